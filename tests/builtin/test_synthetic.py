from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodbench.builtin import synthetic

DATASETS = {dataset.name: dataset for dataset in synthetic.register_datasets()}
MAKERS = [synthetic.constant, synthetic.constant_rgb, synthetic.noise]
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 7, 5)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_depends_on_its_index_alone(make, shape):
    many = make(36_000, 200, shape)
    assert many.shape == (200, *shape)
    assert many.dtype == np.uint8
    for index in (0, 1, 117, 199):
        np.testing.assert_array_equal(make(36_000 + index, 1, shape)[0], many[index])
    np.testing.assert_array_equal(make(36_100, 10, shape), many[100:110])


def test_bytes_are_those_of_the_philox_stream_read_from_its_start():
    stream = b"".join(int(word).to_bytes(8, "little") for word in np.random.Philox(key=9).random_raw(4 * 3 * 50))
    rows = np.frombuffer(stream, np.uint8).reshape(50, 96)  # 70 bytes a row take three blocks of 32
    np.testing.assert_array_equal(synthetic.random_bytes(9, 20, 30, 70), rows[20:, :70])


def test_seeds_give_other_images():
    first, second = (synthetic.random_bytes(seed, 0, 100, 64) for seed in (1, 2))
    assert (first == second).mean() < 0.02


def test_constant_fills_all_channels_with_one_value_and_constant_rgb_each_channel():
    one, rgb = (make(32_000, 4_000, (3, 32, 32)) for make in (synthetic.constant, synthetic.constant_rgb))
    assert (one == one[:, :1, :1, :1]).all()
    assert (rgb == rgb[:, :, :1, :1]).all()
    assert abs(np.corrcoef(rgb[:, 0, 0, 0], rgb[:, 1, 0, 0])[0, 1]) < 0.06


@pytest.mark.parametrize("make", MAKERS)
def test_values_are_uniform_on_all_256(make):
    images = make(36_000, 4_000, (1, 28, 28))
    values = images.ravel() if make is synthetic.noise else images[:, 0, 0, 0]
    expected = len(values) / 256
    chi_squared = ((np.bincount(values, minlength=256) - expected) ** 2 / expected).sum()
    assert 150 < chi_squared < 360  # 255 degrees of freedom: mean 255, standard deviation 22.6
    error = np.sqrt((256**2 - 1) / 12 / len(values))
    assert values.mean() == pytest.approx(127.5, abs=4 * error)
    assert values.var() == pytest.approx((256**2 - 1) / 12, rel=0.05)


def test_noise_pixels_are_uncorrelated():
    images = synthetic.noise(36_000, 4_000, (1, 8, 8)).reshape(4_000, 64).astype(float)
    correlation = np.corrcoef(images.T)
    assert np.abs(correlation - np.eye(64)).max() < 5 / np.sqrt(4_000)


@pytest.mark.parametrize("name", ["constant", "constant-rgb", "noise"])
def test_splits_are_the_published_rows(name):
    dataset = DATASETS[name]
    assert dataset.shape is None
    assert dataset.sizes == {"validation": 4_000, "test": 4_000}
    validation, test = (dataset.load(split, Path(), (1, 8, 8)) for split in ("validation", "test"))
    np.testing.assert_array_equal(validation.indices, np.arange(32_000, 36_000))
    np.testing.assert_array_equal(test.indices, np.arange(36_000, 40_000))
    assert validation.shape == (1, 8, 8)
    assert set(test.labels) == {0}
    assert dataset.load("test", Path(), None).shape == (1, 28, 28)


def test_the_three_sets_are_as_they_were_published():
    """A change here changes every stored score: raise the data sets' ``version``."""
    found = {name: dataset.load("test", Path(), (3, 32, 32)).fingerprint for name, dataset in DATASETS.items()}
    assert found == {
        "constant": "fecca05d27d20590",
        "constant-rgb": "ed1a945edd9067dd",
        "noise": "22326ab14b1eda1a",
    }
