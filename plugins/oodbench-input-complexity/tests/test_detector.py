"""The correction over a small likelihood model that is genuine: independent pixels, each with its own histogram."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_input_complexity.compression import bits_per_dimension
from oodbench_input_complexity.detector import InputComplexity, InputComplexityParams

import oodbench
from oodbench import Context, ImageSet, OODBenchError, UnknownName, find_detector, resolve

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
    return InputComplexity(params, SHAPE).fit(*sets, Context(torch.device("cpu")))


def test_the_score_is_the_bases_own_minus_the_compressed_length(fitted):
    """The base is fitted as it would be alone, with its quick preset and the run's seed."""
    base, _ = find_detector("pixels")
    alone = base(resolve(base, "quick", SHAPE, {}), SHAPE)
    alone.fit(images_of(textured(200, 0), "train"), images_of(textured(20, 1), "validation"), Context("cpu"))
    assert alone.params.smoothing == 0.03
    images = torch.from_numpy(textured(5, 2)) / 255
    torch.testing.assert_close(fitted.score(images), alone.score(images) - bits_per_dimension(images, "min"))


def test_of_two_images_as_likely_the_complex_one_scores_lower(fitted):
    """The same pixels, sorted: as likely under a model in which all pixels have one distribution."""
    fitted.base.bits = fitted.base.bits.mean(dim=(0, 1, 2), keepdim=True).expand(1, 28, 28, 256)
    complex_image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *SHAPE), np.uint8)) / 255
    simple_image = complex_image.flatten().sort().values.view(1, *SHAPE)
    torch.testing.assert_close(fitted.base.score(simple_image), fitted.base.score(complex_image))
    assert fitted.score(complex_image) < fitted.score(simple_image) - 1


def test_simple_images_that_are_likely_are_no_longer_taken_for_data(fitted):
    """The correction is what tells them: the plain likelihood prefers a flat frame that it has seen in every image."""
    data = torch.from_numpy(textured(50, 3)) / 255
    flat = data.clone()
    flat[:, :, 4:24, 4:24] = 128 / 255
    assert fitted.base.score(flat).mean() <= fitted.base.score(data).mean() + 0.05
    assert fitted.score(flat).min() > fitted.score(data).max()


def test_state_round_trip(fitted):
    copied = InputComplexity(fitted.params, SHAPE)
    copied.load_state(fitted.state())
    images = torch.rand(3, *SHAPE)
    assert torch.equal(copied.score(images), fitted.score(images))


def test_the_record_names_the_libraries_that_lengths_depend_on(bases):
    context = Context(torch.device("cpu"))
    params = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels"})
    for _ in range(2):  # a resumed fit passes here again
        InputComplexity(params, SHAPE).fit(images_of(textured(9, 0), "train"), images_of(textured(9, 1), "v"), context)
    assert len([note for note in context.notes if "Pillow" in note]) == 1


def test_the_bases_version_is_part_of_what_a_run_is(bases):
    one = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels"})
    bases("1.1")
    other = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels"})
    assert [version.partition("+")[0] for version in (one.base_version, other.base_version)] == ["1.0", "1.1"]
    assert one.canonical() != other.canonical()
    assert InputComplexityParams.model_validate_json(one.canonical()) == one, "a recorded run stays what it is"
    with pytest.raises(OODBenchError, match=r"this run is of pixels 1\.0\S*, but 1\.1\S* is installed"):
        InputComplexity(one, SHAPE).build()
    bases("1.0")
    assert InputComplexity(one, SHAPE).build().name == "pixels"


def test_a_base_that_is_not_there_is_named_with_near_ones(bases):
    with pytest.raises(UnknownName, match="unknown detector 'pixel'; did you mean pixels"):
        resolve(InputComplexity, "quick", SHAPE, {"base": "pixel"})


@pytest.mark.parametrize(
    ("base", "unit"), [("distance", "squared error"), ("plain", "not declared"), ("input-complexity", "not declared")]
)
def test_a_base_without_a_likelihood_is_refused_before_anything_is_run(bases, base, unit):
    with pytest.raises(OODBenchError, match=f"base {base} gives no likelihood: its score_unit is '{unit}'"):
        resolve(InputComplexity, "quick", SHAPE, {"base": base})


def test_a_preset_that_the_base_lacks_is_named(bases):
    params = resolve(InputComplexity, "quick", SHAPE, {"base": "pixels", "base_preset": "quik"})
    with pytest.raises(UnknownName, match="unknown preset of pixels 'quik'; did you mean quick"):
        InputComplexity(params, SHAPE).build()


def test_find_detector_is_public():
    assert "find_detector" in oodbench.__all__
