"""Glow as a detector: it learns, it goes on after an interruption, and it says what went wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_glow.detector import Glow, GlowParams, TrainingParams, rate

from oodbench import Context, FitError, ImageSet, OODBenchError, resolve
from oodbench.testing import kill_and_resume, same_state

SHAPE = (1, 8, 8)
TINY = {
    "depth": 2,
    "hidden": 8,
    "training": {"epochs": 3, "batch_size": 32, "warmup": 4, "learning_rate": 5e-3, "least_learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's 8×8 digits."""
    from sklearn.datasets import load_digits

    images = (load_digits().images * 255 / 16).astype(np.uint8)[:, None]
    sets = (("train", images[:600]), ("validation", images[1500:]))
    return tuple(
        ImageSet("digits", name, part, np.zeros(len(part), np.int64), np.arange(len(part))) for name, part in sets
    )


def fitted(digits, changes: dict | None = None, **settings) -> tuple[Glow, Context]:
    context = Context(torch.device("cpu"), **settings)
    params = {**TINY, "training": {**TINY["training"], **(changes or {})}}
    return Glow(GlowParams(**params), SHAPE).fit(*digits, context), context


def test_training_lowers_the_bits_of_data_below_those_of_noise(digits):
    detector, context = fitted(digits)
    untrained = Glow(detector.params, SHAPE)
    with context.global_seed("weights"):
        untrained.model = untrained.build()
    data = next(digits[1].batches(200))
    noise = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert context.history[-1]["validation_loss"] < context.history[0]["validation_loss"]
    assert detector.score(data).mean() < untrained.score(data).mean()
    assert detector.score(noise).mean() > detector.score(data).mean()


def test_the_score_is_in_bits_per_dimension(digits):
    detector, context = fitted(digits)
    assert Glow.score_unit == "bits per dimension"
    mean = detector.score(next(digits[1].batches(1000))).mean().item()
    assert mean == pytest.approx(min(row["validation_loss"] for row in context.history), rel=1e-5)


def test_images_are_taken_on_the_8_bit_grid(digits):
    detector, _ = fitted(digits)
    images = next(digits[1].batches(20))
    assert torch.equal(detector.score(images + 0.4 / 255), detector.score(images))
    assert not torch.equal(detector.score(images + 0.6 / 255), detector.score(images))


@pytest.mark.parametrize("kill_at", [1, 19, 30])
def test_an_interrupted_fit_ends_with_the_same_weights(digits, kill_at):
    """The initialisation from data is neither lost nor made anew, and the learning rate goes on where it was."""
    whole, _ = fitted(digits)
    resumed, _ = kill_and_resume(lambda **settings: fitted(digits, **settings), kill_at)
    assert same_state(whole, resumed)


def test_the_learning_rate_rises_then_falls_to_its_floor():
    training = TrainingParams(warmup=100, learning_rate=1e-3, least_learning_rate=1e-4)
    rates = [1e-3 * rate(update, training) for update in (1, 50, 100, 400, 10_000, 10**6)]
    assert rates == pytest.approx([1e-5, 5e-4, 1e-3, 5e-4, 1e-4, 1e-4])


def negatives(images: ImageSet) -> ImageSet:
    return ImageSet("negatives", "validation", 255 - images.images, images.labels, images.indices)


def test_the_weights_kept_are_the_best_or_the_last(digits):
    """Validated on negatives, a model of digits gets worse with every epoch."""
    sets = digits[0], negatives(digits[1])
    best, context = fitted(sets, {"keep": "best"})
    last, _ = fitted(sets, {"keep": "last"})
    losses = [row["validation_loss"] for row in context.history]
    assert min(losses) < losses[-1], "else this test shows nothing"
    data = next(sets[1].batches(1000))
    assert best.score(data).mean().item() == pytest.approx(min(losses), rel=1e-5)
    assert last.score(data).mean().item() == pytest.approx(losses[-1], rel=1e-5)


def test_a_fit_that_diverges_at_once_is_an_error(digits):
    with pytest.raises(FitError, match="epoch 1 of 3: the likelihood is no longer finite; lower training.learning"):
        fitted(digits, {"learning_rate": 1e6, "warmup": 1, "clip_value": 0.0, "clip_norm": 0.0})


def test_shapes_that_cannot_be_squeezed_are_refused():
    with pytest.raises(OODBenchError, match="even height and width, not of 1×27×28"):
        Glow.check_shape((1, 27, 28))
    Glow.check_shape((3, 32, 32))


def test_presets():
    paper = resolve(Glow, "paper", (1, 28, 28), {})
    assert (paper.depth, paper.hidden, paper.coupling) == (12, 64, "affine")
    assert (paper.training.learning_rate, paper.training.warmup, paper.training.clip_norm) == (1e-3, 4000, 100)
    quick = resolve(Glow, "quick", (3, 32, 32), {})
    assert quick.depth < 12 and quick.hidden < 64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree(digits):
    detector, _ = fitted(digits)
    images = next(digits[1].batches(20))
    on_gpu = Glow(detector.params, SHAPE)
    on_gpu.load_state({name: tensor.cuda() for name, tensor in detector.state().items()})
    torch.testing.assert_close(on_gpu.score(images.cuda()).cpu(), detector.score(images), rtol=1e-3, atol=1e-3)
