"""The correction over a small likelihood model that is genuine: independent pixels, each with its own histogram."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_input_complexity.compression import bits_per_dimension
from oodbench_input_complexity.detector import InputComplexity

import oodbench
from oodbench import Context, FittedBase, ImageSet, OODBenchError, UnknownName, find_detector, resolve

SHAPE = (1, 28, 28)


def images_of(images: np.ndarray, split: str) -> ImageSet:
    return ImageSet("waves", split, images, np.zeros(len(images), np.int64), np.arange(len(images)))


def textured(n: int, seed: int) -> np.ndarray:
    """Bright noise in a dark frame: hard to compress, and what the model is trained on."""
    images = np.zeros((n, *SHAPE), np.uint8)
    images[:, :, 4:24, 4:24] = np.random.default_rng(seed).integers(120, 136, (n, 1, 20, 20))
    return images


@pytest.fixture
def fitted(bases) -> InputComplexity:
    params = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels"})
    sets = images_of(textured(200, 0), "train"), images_of(textured(20, 1), "validation")
    context = Context(torch.device("cpu"))
    detector = InputComplexity(params, SHAPE)
    base, _ = find_detector(InputComplexity.base_of(params, SHAPE).detector)
    fitted_base = base(resolve(base, "quick", SHAPE, {}), SHAPE).fit(*sets, context)
    detector.fitted_base = FittedBase(lambda: fitted_base, context)
    return detector.fit(*sets, context)


def test_the_score_is_the_bases_own_minus_the_compressed_length(fitted):
    base = fitted.fitted_base.detector
    assert base.name == "pixels"
    images = torch.from_numpy(textured(5, 2)) / 255
    torch.testing.assert_close(fitted.score(images), base.score(images) - bits_per_dimension(images, "min"))


def test_of_two_images_as_likely_the_complex_one_scores_lower(fitted):
    """The same pixels, sorted: as likely under a model in which all pixels have one distribution."""
    base = fitted.fitted_base.detector
    base.bits = base.bits.mean(dim=(0, 1, 2), keepdim=True).expand(1, 28, 28, 256)
    complex_image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *SHAPE), np.uint8)) / 255
    simple_image = complex_image.flatten().sort().values.view(1, *SHAPE)
    torch.testing.assert_close(
        fitted.fitted_base.detector.score(simple_image), fitted.fitted_base.detector.score(complex_image)
    )
    assert fitted.score(complex_image) < fitted.score(simple_image) - 1


def test_simple_images_that_are_likely_are_no_longer_taken_for_data(fitted):
    """The correction is what tells them: the plain likelihood prefers a flat frame that it has seen in every image."""
    data = torch.from_numpy(textured(50, 3)) / 255
    flat = data.clone()
    flat[:, :, 4:24, 4:24] = 128 / 255
    assert fitted.fitted_base.detector.score(flat).mean() <= fitted.fitted_base.detector.score(data).mean() + 0.05
    assert fitted.score(flat).min() > fitted.score(data).max()


def test_the_record_names_the_libraries_that_lengths_depend_on(bases):
    context = Context(torch.device("cpu"))
    params = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels"})
    for _ in range(2):  # a resumed fit passes here again
        InputComplexity(params, SHAPE).fit(images_of(textured(9, 0), "train"), images_of(textured(9, 1), "v"), context)
    assert len([note for note in context.notes if "Pillow" in note]) == 1


def test_a_base_that_is_not_there_is_named_with_near_ones(bases):
    with pytest.raises(UnknownName, match="unknown detector 'pixel'; did you mean pixels"):
        InputComplexity.base_of(resolve(InputComplexity, "quick", SHAPE, {"base": "pixel"}), SHAPE)


@pytest.mark.parametrize(
    ("base", "unit"), [("distance", "squared error"), ("plain", "not declared"), ("input-complexity", "not declared")]
)
def test_a_base_without_a_likelihood_is_refused_before_anything_is_run(bases, base, unit):
    with pytest.raises(OODBenchError, match=f"base {base} gives no likelihood: its score_unit is '{unit}'"):
        InputComplexity.base_of(resolve(InputComplexity, "quick", SHAPE, {"base": base}), SHAPE)


def test_find_detector_is_public():
    assert "find_detector" in oodbench.__all__
