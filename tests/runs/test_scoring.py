"""Scoring: one finite number per image, whatever the detector does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench.api import Context, Detector, ImageSet, Params, PostHocDetector, Progress
from oodbench.errors import ScoreError
from oodbench.runs import scoring
from oodbench.runs.devices import FIRST_BATCH, LARGEST_BATCH

CPU = torch.device("cpu")


def image_set(n: int, name: str = "random", seed: int = 0) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), np.uint8)
    return ImageSet(name, "test", images, np.arange(n) % 2, np.arange(n) + 100)


class Brightness(Detector):
    """Nothing to learn: the mean pixel."""

    name = "brightness"

    def fit(self, train, validation, context):
        return self

    def score(self, images):
        return images.mean((1, 2, 3))

    def state(self):
        return {}

    def load_state(self, state):
        pass


def detector_that_gives(score, name: str = "odd") -> Detector:
    kind = type("Odd", (Brightness,), {"name": name, "score": lambda self, images: score(images)})
    return kind(Params(), (1, 8, 8))


@pytest.mark.parametrize("n", [1, 512, 1300])
def test_every_image_is_scored_in_its_order(n):
    images = image_set(n)
    scores = scoring.score(detector_that_gives(lambda x: x.mean((1, 2, 3))), images, Context(CPU))
    assert scores.values.dtype == np.float64
    np.testing.assert_allclose(scores.values, images.images.mean((1, 2, 3)) / 255, rtol=1e-5)
    np.testing.assert_array_equal(scores.indices, images.indices)
    np.testing.assert_array_equal(scores.labels, images.labels)
    assert (scores.dataset, scores.split, scores.fingerprint) == ("random", "test", images.fingerprint)
    assert scores.images_per_second > 0


def test_a_post_hoc_detector_that_stands_on_nothing_scores_the_images():
    class OfPixels(Brightness, PostHocDetector):
        score = PostHocDetector.score

        def score_outputs(self, outputs, images):
            assert outputs == {}
            return images.mean((1, 2, 3))

    images = image_set(30)
    detector = OfPixels(Params(), (1, 8, 8))
    expected = scoring.score(Brightness(Params(), (1, 8, 8)), images, Context(CPU)).values
    np.testing.assert_array_equal(scoring.score(detector, images, Context(CPU)).values, expected)
    np.testing.assert_array_equal(detector.score(next(images.batches(30))), expected.astype(np.float32))


def test_float64_scores_keep_all_their_digits():
    scores = scoring.score(
        detector_that_gives(lambda x: x.double().mean((1, 2, 3)) + 1e-12), image_set(5), Context(CPU)
    )
    exact = torch.from_numpy(image_set(5).images).float().div(255).double().mean((1, 2, 3)) + 1e-12
    np.testing.assert_array_equal(scores.values, exact.numpy())


def test_a_score_may_take_gradients():
    def gradient_norm(images):
        images = images.requires_grad_()
        (gradient,) = torch.autograd.grad(images.square().sum(), images)
        return gradient.flatten(1).norm(dim=1) + images.flatten(1).sum(1)

    images = image_set(4)
    scores = scoring.score(detector_that_gives(gradient_norm), images, Context(CPU))
    pixels = images.images.reshape(4, -1) / 255
    np.testing.assert_allclose(scores.values, 2 * np.sqrt((pixels**2).sum(1)) + pixels.sum(1), rtol=1e-5)


def test_scores_are_computed_in_the_precision_asked_for():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    detector = detector_that_gives(lambda x: (x.flatten(1) @ weight).float().sum(1))
    coarse = scoring.score(detector, image_set(8), Context(CPU, precision="bfloat16")).values
    fine = scoring.score(detector, image_set(8), Context(CPU)).values
    assert 0 < np.abs(coarse - fine).max() < 5


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (
            lambda x: torch.where(torch.arange(len(x)) < 3, torch.nan, x.mean((1, 2, 3))),
            "odd gave NaN or infinity for 3 of 8 images of noise",
        ),
        (lambda x: x.mean((1, 2, 3)) / 0.0, "odd gave NaN or infinity for 8 of 8 images of noise"),
        (lambda x: x.mean((1, 2, 3))[:5], "odd gave 5 scores for 8 images of noise"),
        (lambda x: x.mean((2, 3)), "odd gave scores of shape (8, 1) for 8 images of noise"),
        (lambda x: x.mean(), "odd gave scores of shape () for 8 images of noise"),
        (lambda x: [0.0] * len(x), "odd gave a list for images of noise, not a tensor (b,)"),
    ],
)
def test_scores_that_break_the_contract_are_refused(score, message):
    with pytest.raises(ScoreError) as refusal:
        scoring.score(detector_that_gives(score), image_set(8, "noise"), Context(CPU))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(error):
    sizes = []

    def score(images):
        sizes.append(len(images))
        if len(images) > 130:
            raise error
        return images.mean((1, 2, 3))

    images = image_set(300)
    scores = scoring.score(detector_that_gives(score), images, Context(CPU))
    np.testing.assert_allclose(scores.values, images.images.mean((1, 2, 3)) / 255, rtol=1e-5)
    assert sizes == [300, 256, 128, 128, 44]


def test_what_was_scored_before_memory_ran_out_is_not_scored_again():
    sizes = []

    def score(images):
        sizes.append(len(images))
        if len(images) > 200 and len(sizes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((1, 2, 3))

    images = image_set(1000)
    scores = scoring.score(detector_that_gives(score), images, Context(CPU))
    np.testing.assert_allclose(scores.values, images.images.mean((1, 2, 3)) / 255, rtol=1e-5)
    assert sizes == [512, 488, 256, 128, 128, 128, 104]


def test_another_error_is_not_tried_again():
    sizes = []

    def score(images):
        sizes.append(len(images))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        scoring.score(detector_that_gives(score), image_set(300), Context(CPU))
    assert sizes == [300]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_first_batch_says_how_large_the_next_may_be():
    sizes = []

    def score(images):
        sizes.append(len(images))
        return images.mean((1, 2, 3))

    images = image_set(9000)
    device = torch.device("cuda")
    scores = scoring.score(detector_that_gives(score), images, Context(device))
    np.testing.assert_allclose(scores.values, images.images.mean((1, 2, 3)) / 255, rtol=1e-5)
    assert sizes == [FIRST_BATCH["cuda"], LARGEST_BATCH, LARGEST_BATCH, 9000 - 256 - 2 * 4096]


def test_one_image_that_does_not_fit_is_an_error():
    def score(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        scoring.score(detector_that_gives(score), image_set(3), Context(CPU))


def test_scoring_says_how_far_it_is():
    class Heard(Progress):
        def __init__(self):
            self.shares: list[tuple[str, float]] = []

        def advance(self, phase, share, epoch, values):
            self.shares.append((phase, share))

    heard = Heard()
    scoring.score(detector_that_gives(lambda x: x.mean((1, 2, 3))), image_set(1024), Context(CPU, progress=heard))
    assert heard.shares == [("scoring random", 0.5), ("scoring random", 1.0)]
