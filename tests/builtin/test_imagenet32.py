"""ImageNet32 from generated files in both of its layouts, the npz batches in their full number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.builtin import imagenet32
from oodbench.data.loading import Loader
from oodbench.errors import DataError
from oodbench.plugin.registry import load_registry
from oodbench.testing import DATASET_CHECKS, DatasetCase

(DATASET,) = imagenet32.register_datasets()
SPLITS = ("train", "validation", "test")
PUBLISHED = {"train": 1_024_919, "validation": 256_230, "test": 49_999}
TEST = 2**24  # where the numbers of test images begin in the generated files
BATCH = 128_115  # the first nine; the last has 14 more in the PNGs' number of images


def write_batches(root: Path, counts: list[int], test: int, side: int = 32) -> None:
    """The official npz batches. The first bytes of an image are its index, of a test image more by TEST."""
    folder, start = root / "imagenet32", 0
    for name, count in zip([*imagenet32.BATCHES["train"], *imagenet32.BATCHES["test"]], [*counts, test], strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        start = TEST if "val_data" in name else start
        np.savez(path, data=numbered(np.arange(start, start + count), side), labels=[1] * count, mean=np.zeros(3))
        start += count


def numbered(indices: np.ndarray, side: int) -> np.ndarray:
    data = np.zeros((len(indices), 3 * side * side), np.uint8)
    data[:, :4] = indices.astype("<u4")[:, None].view(np.uint8)
    return data


def write_pictures(root: Path, train: int = 50, test: int = 8) -> None:
    for name, count in (("train_32x32", train), ("valid_32x32", test)):
        folder = root / "imagenet32" / name
        folder.mkdir(parents=True)
        for number in range(count):
            seed = number + (TEST if name == "valid_32x32" else 0)
            pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:07}.png")


@pytest.fixture
def loader(tmp_path, no_traces) -> Loader:
    return Loader(load_registry(), tmp_path, tmp_path / "cache")


def test_at_full_number_the_splits_are_as_published_and_mapped(tmp_path, no_traces, monkeypatch):
    """1,281,149 training images, only of 2×2 pixels."""
    monkeypatch.setattr(imagenet32, "SIDE", 2)
    monkeypatch.setattr("oodbench.api.images.CHUNK_BYTES", 2**20)  # so that there are many chunks of small images, too
    loader = Loader(load_registry(), tmp_path, tmp_path / "cache")
    write_batches(tmp_path, [BATCH] * 9 + [1_281_149 - 9 * BATCH], 49_999, side=2)
    sets = {split: loader.load("imagenet32", split) for split in SPLITS}
    assert {split: len(images) for split, images in sets.items()} == PUBLISHED == dict(DATASET.sizes)
    for split, images in sets.items():
        assert isinstance(images.images, np.memmap)
        expected = numbered(images.indices + (TEST if split == "test" else 0), 2)
        np.testing.assert_array_equal(images.images.reshape(-1, 12), expected)
    both = np.concatenate([sets["train"].indices, sets["validation"].indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(1_281_149))
    assert loader.notes("imagenet32") == []


def test_batches_are_planes_of_red_green_and_blue(tmp_path, loader):
    write_batches(tmp_path, [2] * 10, 3)
    path = tmp_path / "imagenet32" / imagenet32.BATCHES["test"][0]
    colours = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    np.savez(path, data=colours.reshape(3, -1), labels=np.zeros(3))
    np.testing.assert_array_equal(loader.load("imagenet32", "test").images, colours)


def test_pictures_are_read_by_name_and_a_fifth_is_for_validation(tmp_path, loader):
    write_pictures(tmp_path)
    sets = {split: loader.load("imagenet32", split) for split in SPLITS}
    assert {split: len(images) for split, images in sets.items()} == {"train": 40, "validation": 10, "test": 8}
    for split, images in sets.items():
        folder = tmp_path / "imagenet32" / ("valid_32x32" if split == "test" else "train_32x32")
        for image, index in zip(images.images, images.indices, strict=True):
            picture = np.asarray(Image.open(folder / f"{index:07}.png"))
            np.testing.assert_array_equal(image, picture.transpose(2, 0, 1))
    assert "(reduced)" in loader.notes("imagenet32")[0]


def test_the_pictures_count_where_both_are_there(tmp_path, loader):
    write_batches(tmp_path, [2] * 10, 3)
    write_pictures(tmp_path)
    assert len(loader.load("imagenet32", "test")) == 8


def test_a_new_picture_is_noticed(tmp_path, loader):
    write_pictures(tmp_path)
    first = loader.load("imagenet32", "test").fingerprint
    Image.new("RGB", (32, 32)).save(tmp_path / "imagenet32/valid_32x32/new.png")
    assert loader.load("imagenet32", "test").fingerprint != first


# --------------------------------------------------------------------------------------- refusals


def test_what_is_missing_must_be_fetched_by_hand(tmp_path, loader):
    with pytest.raises(DataError, match="^imagenet32 is not there, .*train_data_batch_1.npz is missing: put") as error:
        loader.load("imagenet32", "train")
    for word in (
        "train_32x32",
        "valid_32x32",
        "Imagenet32_train_npz.zip",
        "val_data.npz",
        str(tmp_path / "imagenet32"),
    ):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_one_missing_batch_is_named(tmp_path, loader):
    write_batches(tmp_path, [2] * 10, 3)
    (tmp_path / "imagenet32/Imagenet32_train_npz/train_data_batch_7.npz").unlink()
    assert len(loader.load("imagenet32", "test")) == 3
    with pytest.raises(DataError, match="is not there, .*train_data_batch_7.npz is missing"):
        loader.load("imagenet32", "train")


def test_a_damaged_batch_is_named_and_leaves_nothing_in_the_cache(tmp_path, loader):
    write_batches(tmp_path, [2] * 10, 3)
    path = tmp_path / "imagenet32/Imagenet32_train_npz/train_data_batch_3.npz"
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train_data_batch_3.npz is damaged or no .npz file \(Bad CRC"):
        loader.load("imagenet32", "train")
    assert not [path for path in (loader.cache / "datasets").rglob("*") if path.is_file()]


def test_batches_of_another_size_are_refused(tmp_path, loader):
    write_batches(tmp_path, [2] * 10, 3, side=16)
    with pytest.raises(DataError, match=r"is no batch of imagenet32: its array 'data' must be uint8 \(n, 3072\)"):
        loader.load("imagenet32", "train")


def test_pictures_of_another_size_are_refused(tmp_path, loader):
    write_pictures(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "imagenet32/valid_32x32/0000003.png")
    with pytest.raises(DataError, match="a picture of imagenet32 has 64×64 pixels: these are not those of 32×32"):
        loader.load("imagenet32", "test")


@pytest.mark.parametrize("layout", [write_pictures, lambda root: write_batches(root, [9] * 10, 20)])
@pytest.mark.parametrize("check", [check for check in DATASET_CHECKS if "as_declared" not in check.__name__])
def test_contract(check, layout, tmp_path):
    """But for the number of images, which is that of the whole source."""
    layout(tmp_path)
    check(DatasetCase(DATASET, tmp_path))
