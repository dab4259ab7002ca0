"""WAE: the loss around the MMD."""

from __future__ import annotations

import pytest
import torch
from oodbench_wae.detector import WAE, WAEParams
from oodbench_wae.mmd import median_heuristic, mmd

from oodbench import Context, OODBenchError, resolve
from oodbench.testing.images import easy_images, tensor

SHAPE = (1, 28, 28)
TINY = {"latent_dim": 4, "width": 0.2, "training": {"epochs": 1, "batch_size": 8}}


def test_the_loss_is_error_plus_weighted_discrepancy():
    detector = WAE(WAEParams(latent_dim=4, width=0.1, mmd_weight=0.05), SHAPE)
    model, images = detector.build(), torch.rand(20, *SHAPE)
    terms = detector.loss(model, images, torch.Generator().manual_seed(3))
    prior = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    codes = model.encoder(images)
    expected = mmd(prior, codes, median_heuristic(prior, codes))
    torch.testing.assert_close(terms["mmd"], expected)
    error = ((images - model(images)) ** 2).mean()
    torch.testing.assert_close(terms["loss"], error + 0.05 * expected)


def test_a_last_batch_of_one_image_trains():
    sets = easy_images(SHAPE, "train", 9), easy_images(SHAPE, "validation", 3)
    params = WAEParams(**TINY)
    context = Context(torch.device("cpu"))
    scores = WAE(params, SHAPE).fit(*sets, context).score(tensor(sets[0]))
    assert scores.isfinite().all() and abs(context.history[-1]["loss"]) < 1


def test_presets():
    assert 0.001 <= resolve(WAE, "paper", SHAPE, {}).mmd_weight <= 0.1
    assert resolve(WAE, "paper", (3, 32, 32), {}).training.epochs == 120
    with pytest.raises(OODBenchError, match="mmd_weight must be greater than or equal to 0"):
        resolve(WAE, "quick", SHAPE, {"mmd_weight": -1})
