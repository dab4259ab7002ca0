"""PixelCNN++ as a detector: it learns, it goes on after an interruption, and it says what went wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_pixelcnnpp.detector import PixelCNNPP, PixelCNNPPParams

from oodbench import Context, FitError, ImageSet, OODBenchError, resolve
from oodbench.testing import kill_and_resume, same_state

SHAPE = (1, 8, 8)
TINY = {
    "resnets": 1,
    "filters": 6,
    "mixtures": 3,
    "dropout": 0.1,
    "training": {"epochs": 2, "batch_size": 32, "learning_rate": 1e-2, "learning_rate_decay": 0.5},
}


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's 8×8 digits."""
    from sklearn.datasets import load_digits

    images = (load_digits().images * 255 / 16).astype(np.uint8)[:, None]
    sets = (("train", images[:300]), ("validation", images[1600:]))
    return tuple(
        ImageSet("digits", name, part, np.zeros(len(part), np.int64), np.arange(len(part))) for name, part in sets
    )


def fitted(sets, changes: dict | None = None, **settings) -> tuple[PixelCNNPP, Context]:
    context = Context(torch.device("cpu"), **settings)
    params = {**TINY, "training": {**TINY["training"], **(changes or {})}}
    return PixelCNNPP(PixelCNNPPParams(**params), SHAPE).fit(*sets, context), context


@pytest.fixture(scope="module")
def learnt(digits) -> tuple[PixelCNNPP, Context]:
    return fitted(digits)


def test_training_lowers_the_bits_of_data_below_those_of_noise(learnt, digits):
    detector, context = learnt
    untrained = PixelCNNPP(detector.params, SHAPE)
    with context.global_seed("weights"):
        untrained.model = untrained.build()
    data = next(digits[1].batches(100))
    noise = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert context.history[-1]["validation_loss"] < context.history[0]["validation_loss"]
    assert detector.score(data).mean() < untrained.score(data).mean() - 0.5
    assert detector.score(noise).mean() > detector.score(data).mean()


def test_the_score_is_in_bits_per_dimension(learnt, digits):
    detector, context = learnt
    assert PixelCNNPP.score_unit == "bits per dimension"
    mean = detector.score(next(digits[1].batches(1000))).mean().item()
    assert mean == pytest.approx(min(row["validation_loss"] for row in context.history), rel=1e-5)


def test_images_are_taken_on_the_8_bit_grid(learnt, digits):
    detector, _ = learnt
    images = next(digits[1].batches(20))
    assert torch.equal(detector.score((images + 0.4 / 255).clamp(0, 1)), detector.score(images))
    assert not torch.equal(detector.score((images + 0.6 / 255).clamp(0, 1)), detector.score(images))


def test_a_constant_image_is_cheaper_than_data(learnt, digits):
    """What the model has learnt, that neighbours are alike, holds for black images above all. No score is flipped."""
    detector, _ = learnt
    assert detector.score(torch.zeros(1, *SHAPE)).item() < detector.score(next(digits[1].batches(100))).min().item()


@pytest.mark.parametrize("kill_at", [1, 13])
def test_an_interrupted_fit_ends_with_the_same_weights(learnt, digits, kill_at):
    """Dropout masks and the falling learning rate go on where they were."""
    resumed, _ = kill_and_resume(lambda **settings: fitted(digits, **settings), kill_at)
    assert same_state(resumed, learnt[0])


def test_the_weights_kept_are_the_best_or_the_last(digits):
    """Validated on noise, a model of digits gets worse with every epoch."""
    pixels = np.random.default_rng(0).integers(0, 256, (100, *SHAPE), np.uint8)
    noise = ImageSet("noise", "validation", pixels, np.zeros(100, np.int64), np.arange(100))
    sets = digits[0], noise
    best, context = fitted(sets, {"keep": "best"})
    last, _ = fitted(sets, {"keep": "last"})
    losses = [row["validation_loss"] for row in context.history]
    assert min(losses) < losses[-1], "else this test shows nothing"
    images = next(noise.batches(100))
    assert best.score(images).mean().item() == pytest.approx(min(losses), rel=1e-5)
    assert last.score(images).mean().item() == pytest.approx(losses[-1], rel=1e-5)


def test_a_fit_that_diverges_at_once_is_an_error(digits):
    with pytest.raises(FitError, match="epoch 1 of 2: the likelihood is no longer finite; lower training.learning"):
        fitted(digits, {"learning_rate": 1e30})


@pytest.mark.parametrize("shape", [(1, 30, 28), (3, 32, 30), (2, 32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(OODBenchError, match="multiples of 4, not of"):
        PixelCNNPP.check_shape(shape)


def test_presets():
    paper = resolve(PixelCNNPP, "paper", (1, 28, 28), {})
    assert (paper.resnets, paper.filters, paper.mixtures, paper.dropout) == (5, 80, 10, 0.5)
    training = paper.training
    assert (training.learning_rate, training.learning_rate_decay, training.batch_size) == (2e-4, 0.999995, 64)
    assert resolve(PixelCNNPP, "quick", (3, 32, 32), {}).filters < 80


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree(learnt, digits):
    detector, _ = learnt
    images = next(digits[1].batches(20))
    on_gpu = PixelCNNPP(detector.params, SHAPE)
    on_gpu.load_state({name: tensor.cuda() for name, tensor in detector.state().items()})
    torch.testing.assert_close(on_gpu.score(images.cuda()).cpu(), detector.score(images), rtol=1e-3, atol=1e-3)
