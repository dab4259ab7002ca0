"""The plain autoencoder: what it scores, and that training is what makes it score so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_ae.detector import AE, AEParams

from oodbench import Context, ImageSet, UnknownName, resolve

SHAPE = (1, 28, 28)
TINY = {"latent_dim": 4, "width": 0.2, "training": {"epochs": 8, "batch_size": 64, "learning_rate": 2e-3}}


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's 8×8 digits, three times as large, in a frame of 2."""
    from sklearn.datasets import load_digits

    small = (load_digits().images * 255 / 16).astype(np.uint8)
    images = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2)])[:, None]
    sets = (("train", images[:1500]), ("validation", images[1500:]))
    return tuple(
        ImageSet("digits", name, part, np.zeros(len(part), np.int64), np.arange(len(part))) for name, part in sets
    )


@pytest.fixture(scope="module")
def fitted(digits) -> tuple[AE, Context]:
    context = Context(torch.device("cpu"))
    return AE(AEParams(**TINY), SHAPE).fit(*digits, context), context


def test_the_score_is_the_mean_squared_error(fitted):
    detector, _ = fitted
    images = torch.rand(5, *SHAPE)
    expected = ((images - detector.reconstruct(images)) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(detector.score(images), expected)


def test_training_makes_data_cheap_and_leaves_noise_dear(fitted, digits):
    detector, context = fitted
    data = next(digits[1].batches(200))
    assert context.history[-1]["validation_loss"] < 0.5 * context.history[0]["validation_loss"]
    assert detector.score(torch.rand(50, *SHAPE)).min() > detector.score(data).max()


def test_the_weights_kept_are_those_of_the_best_validation_loss(fitted, digits):
    detector, context = fitted
    energy = detector.score(next(digits[1].batches(1000))).mean().item()
    assert energy == pytest.approx(min(row["validation_loss"] for row in context.history), rel=1e-5)


@pytest.mark.slow
def test_refit_forgets(fitted, digits):
    detector, _ = fitted
    again = AE(detector.params, SHAPE).fit(*digits, Context(torch.device("cpu"), seed=1))
    again.fit(*digits, Context(torch.device("cpu"), seed=0))
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in detector.state().items())


def test_state_round_trip(fitted):
    detector, _ = fitted
    copied = AE(detector.params, SHAPE)
    copied.load_state(detector.state())
    images = torch.rand(3, *SHAPE)
    assert torch.equal(copied.score(images), detector.score(images))


def test_encoder_l2_shrinks_the_encoder(digits):
    """The sum of squares of all encoder parameters is part of the loss, not a decay of the optimiser."""
    few = digits[0].select_classes([0])
    few = ImageSet("few", "train", few.images[:64], few.labels[:64], few.indices[:64])
    norms = []
    for weight in (0.0, 1e-2):
        params = AEParams(**TINY | {"training": {**TINY["training"], "epochs": 3, "encoder_l2": weight}})
        context = Context(torch.device("cpu"))
        AE(params, SHAPE).fit(few, few, context)
        norms.append(context.history[-1]["encoder_norm"])
        first = context.history[0]
        if weight:
            assert first["loss"] > first["positive_energy"] + 0.5 * weight * first["encoder_norm"] ** 2
        else:
            assert first["loss"] == first["positive_energy"]
    assert norms[1] < norms[0]


def test_presets():
    assert resolve(AE, "paper", SHAPE, {}).training.epochs == 100
    assert resolve(AE, "paper", (3, 32, 32), {}).training.epochs == 120
    assert resolve(AE, "quick", SHAPE, {}).width < 1
    with pytest.raises(UnknownName, match="did you mean quick"):
        resolve(AE, "quik", SHAPE, {})
