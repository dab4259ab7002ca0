"""What people have in a notebook → image sets; and what is refused, in one line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodbench import DataError, ImageSet, OODBenchError
from oodbench.notebook.arrays import image_set

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 8, 9), np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 3, 8, 9), np.uint8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (list(COLOUR), COLOUR),
        (torch.from_numpy(COLOUR), COLOUR),
        (torch.from_numpy(COLOUR).float().requires_grad_() / 255, COLOUR),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float32), COLOUR),
    ],
)
def test_every_layout_and_type_gives_the_same_images(given, expected):
    found = image_set(given, split="train")
    np.testing.assert_array_equal(found.images, expected)
    assert found.indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floats_are_rounded_to_256_levels(dtype):
    levels = torch.tensor([0, 1, 128, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert image_set((levels / 255).to(dtype), split="train").images.reshape(-1).tolist() == [0, 1, 128, 255]
    assert image_set(np.full((4, 2, 2), 0.4999), split="train", layout="NHW").images.max() == 127


def test_many_images_are_converted_in_parts():
    many = np.zeros((3, 1, 3000, 3000), np.float32)
    many[2, 0, -1, -1] = 1
    assert image_set(many, split="train").images.sum() == 255
    many[2, 0, -1, -1] = np.nan
    with pytest.raises(DataError, match="the train images have NaN or infinity"):
        image_set(many, split="train")


def test_a_layout_that_is_said_is_taken():
    both = RANDOM.integers(0, 256, (2, 3, 8, 3), np.uint8)
    assert image_set(both, split="train", layout="NCHW").shape == (3, 8, 3)
    assert image_set(both, split="train", layout="NHWC").shape == (3, 3, 8)
    assert image_set(GREY[:3], split="train", layout="NHW").shape == (1, 8, 9)
    five = RANDOM.integers(0, 256, (2, 5, 8, 9), np.uint8)
    assert image_set(five, split="train", layout="NCHW").shape == (5, 8, 9)


def test_the_shape_of_the_fit_settles_what_is_ambiguous():
    both = RANDOM.integers(0, 256, (2, 3, 8, 3), np.uint8)
    assert image_set(both, split="test", expected=(3, 3, 8)).shape == (3, 3, 8)
    assert image_set(GREY[:3], split="test", expected=(1, 8, 9)).shape == (1, 8, 9), "three images, no colour"


def test_an_image_set_is_taken_as_it_is():
    given = ImageSet("mine", "test", COLOUR, np.arange(5), np.arange(5) + 100)
    assert image_set(given, split="train") is given
    assert image_set(given, [4, 3, 2, 1, 0], split="train").labels.tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (np.zeros((2, 3, 8, 3), np.uint8), {}, r"which is ambiguous: say layout='NCHW' or layout='NHWC'"),
        (np.zeros((2, 8, 8, 8), np.uint8), {}, "no axis has 1 or 3 channels: say layout="),
        (np.zeros((8, 8, 3), np.uint8), {}, r"images\[None\] if that is one image, else say layout='NHW'"),
        (np.zeros((8, 8), np.uint8), {}, r"one image at most: one alone is images\[None\]"),
        (np.zeros(8, np.uint8), {}, r"images are \(n, H, W\), \(n, C, H, W\) or \(n, H, W, C\)"),
        (GREY, {"layout": "NCHW"}, "layout NCHW has 4 axes"),
        (GREY, {"layout": "NHCW"}, "unknown layout 'NHCW'; did you mean"),
        (np.zeros((0, 8, 8), np.uint8), {}, r"the train images are empty: \(0, 8, 8\)"),
        ([], {}, "the train images are empty"),
        (np.zeros((2, 1, 0, 8), np.uint8), {}, "have no pixels"),
        (GREY.astype(np.float32), {}, "values from 0 to 255, not from 0 to 1: divide by 255"),
        (GREY / 255 * 2 - 1, {}, r"not from 0 to 1: bring them there, by \(x - low\) / \(high - low\)"),
        (np.full((2, 8, 8), np.nan), {}, "have NaN or infinity"),
        (GREY.astype(np.int64), {}, r"are int64: give uint8 from 0 to 255, or floats from 0 to 1; images.astype"),
        (GREY > 100, {}, "are bool: give uint8"),
        ([GREY[0], GREY[0, :4]], {}, "are no array: they differ in shape"),
        ("mnist5k", {}, "images are"),
        ([None, None], {}, "are no array of numbers, but of NoneType"),
        (COLOUR, {"expected": (1, 8, 9)}, "are 3×8×9, and those that it is fitted to 1×8×9: bring them to that shape"),
        (GREY, {"labels": [0, 1]}, r"the labels are \(2,\), and there are 5 images: give one label each"),
        (GREY, {"labels": [0.0] * 5}, "the labels are float64, not whole numbers"),
        (GREY, {"labels": list("abcde")}, "not whole numbers: numpy.unique"),
    ],
)  # fmt: skip
def test_what_cannot_be_images_is_refused_in_one_line(given, options, message):
    with pytest.raises(OODBenchError, match=message) as error:
        image_set(given, split="train", **options)
    assert "\n" not in str(error.value)
