"""EBAE on the residual networks for 3×32×32 images, on tiny budgets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_ebae.detector import EBAE

from oodbench import Context, ImageSet, resolve
from oodbench.builtin.samples import load_photos

SHAPE = (3, 32, 32)
TINY = {
    "width": 0.05,
    "latent_dim": 4,
    "pretraining.epochs": 1,
    "pretraining.batch_size": 16,
    "latent_chain.steps": 2,
    "visible_chain.steps": 2,
    "epochs": 1,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[ImageSet, ImageSet]:
    root = tmp_path_factory.mktemp("data")
    return tuple(first(load_photos(split, root, None), 40) for split in ("train", "validation"))


def first(images: ImageSet, n: int) -> ImageSet:
    return ImageSet(images.name, images.split, images.images[:n], images.labels[:n], images.indices[:n])


@pytest.mark.parametrize(("preset", "values"), [("quick", {"architecture": "resnet32"}), ("nae-cifar10", {})])
def test_it_fits_photographs(sets, preset, values):
    context = Context(torch.device("cpu"))
    detector = EBAE(resolve(EBAE, preset, SHAPE, TINY | values), SHAPE).fit(*sets, context)
    assert detector.params.architecture == "resnet32"
    assert type(detector.model.encoder[2]).__name__ == "EncoderBlock"
    assert [row["phase"] for row in context.history] == ["pretraining", "ebae"]
    assert all(np.isfinite(row["loss"]) for row in context.history)
    images = next(sets[1].batches(8))
    scores = detector.score(images)
    assert scores.shape == (8,)
    torch.testing.assert_close(scores, (images - detector.reconstruct(images)).square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(torch.cat([detector.score(image[None]) for image in images]), scores)


def test_codes_lie_on_the_sphere(sets):
    detector = EBAE(resolve(EBAE, "nae-cifar10", SHAPE, TINY), SHAPE)
    model = detector.build()
    norms = model.encode(next(sets[0].batches(4))).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4))
