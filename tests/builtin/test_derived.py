"""HalfMNIST and ChimeraMNIST, pixel by pixel, over every set they are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.api import ImageSet
from oodbench.builtin import derived, samples
from oodbench.errors import DataError
from oodbench.testing import DATASET_CHECKS, DatasetCase

DATASETS = {dataset.name: dataset for dataset in derived.register_datasets()}


@pytest.fixture(scope="module")
def digits():
    return samples.load_mnist5k("test", Path(), None)


def made(make, labels, seed=0):
    """A small set with no black pixel, and what is made of it."""
    pixels = np.random.default_rng(seed).integers(1, 256, (len(labels), 1, 28, 28), np.uint8)
    pixels.flags.writeable = False
    original = ImageSet("toy", "test", pixels, np.array(labels), np.arange(len(labels)))
    return pixels, make(original)


def test_half_blackens_the_upper_half_of_even_places_and_the_lower_of_odd_ones():
    pixels, halves = made(derived.half, [0, 1, 1, 0, 2])
    for place, (before, after) in enumerate(zip(pixels[:, 0], halves[:, 0], strict=True)):
        black, kept = (slice(0, 14), slice(14, 28)) if place % 2 == 0 else (slice(14, 28), slice(0, 14))
        assert not after[black].any()
        np.testing.assert_array_equal(after[kept], before[kept])


def test_a_chimera_has_the_upper_half_of_the_next_image_of_another_class_and_a_seam():
    labels = [3, 3, 1, 1, 2, 3]
    pixels, chimeras = made(derived.chimera, labels)
    for place, image in enumerate(chimeras[:, 0]):
        following = [(place + step) % 6 for step in range(1, 6)]
        other = next(candidate for candidate in following if labels[candidate] != labels[place])
        np.testing.assert_array_equal(image[:11], pixels[other, 0, :11])
        np.testing.assert_array_equal(image[17:], pixels[place, 0, 17:])
        assert not image[11:17].any()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_next_of_another_class_is_found_by_looking_at_each_in_turn(classes):
    labels = np.random.default_rng(classes).integers(0, classes, 300)
    labels[:4] = labels[-4:] = labels[0]  # a run that goes on at the beginning
    for place, found in enumerate(derived.next_of_another_class(labels)):
        following = [*range(place + 1, 300), *range(place)]
        assert found == next(candidate for candidate in following if labels[candidate] != labels[place])


@pytest.mark.parametrize("labels", [[4, 4, 4], [4]])
def test_a_chimera_of_one_class_is_refused(labels):
    with pytest.raises(DataError, match="a chimera needs images of two classes, and those of toy are all of one"):
        made(derived.chimera, labels)


@pytest.mark.parametrize("prefix", ["half", "chimera"])
def test_labels_and_indices_are_those_of_the_images_it_is_made_from(prefix, digits):
    found = DATASETS[f"{prefix}mnist5k"].load("test", Path(), None)
    np.testing.assert_array_equal(found.labels, digits.labels)
    np.testing.assert_array_equal(found.indices, digits.indices)
    rows = (slice(17, 28), slice(0, 11))  # of the image itself: below in a chimera, and in every other half
    for place in (0, 1, 998, 999):
        kept = rows[place % 2] if prefix == "half" else rows[0]
        np.testing.assert_array_equal(found.images[place, 0, kept], digits.images[place, 0, kept])


def test_there_is_one_of_each_kind_for_every_grey_set_of_that_shape():
    for name in ("mnist", "mnist5k", "fashionmnist", "kmnist"):
        assert {f"half{name}", f"chimera{name}"} <= DATASETS.keys()
    assert {dataset.shape for dataset in DATASETS.values()} == {(1, 28, 28)}
    assert DATASETS["halfmnist"].sizes == DATASETS["chimeramnist"].sizes == {"test": 10_000}


@pytest.mark.parametrize("name", ["halfmnist5k", "chimeramnist5k"])
@pytest.mark.parametrize("check", DATASET_CHECKS)
def test_contract(check, name):
    check(DatasetCase(DATASETS[name]))


def test_the_images_are_as_they_were_published():
    """A change here changes every stored score: raise the data sets' ``version``."""
    found = {name: DATASETS[f"{name}mnist5k"].load("test", Path(), None).fingerprint for name in ("half", "chimera")}
    assert found == {"half": "490865dc015de423", "chimera": "2fdfe7197a504c3f"}
