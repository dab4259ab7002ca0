"""Images that are in and out at once: refused, or counted in a note."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.api import ImageSet
from oodbench.data.loading import Loader
from oodbench.data.overlap import check_separate
from oodbench.errors import DataError
from oodbench.plugin.registry import load_registry


def image_set(images: np.ndarray, name: str = "mine", split: str = "test") -> ImageSet:
    return ImageSet(name, split, images, np.zeros(len(images), np.int64), np.arange(len(images)))


def pixels(count: int, seed: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


@pytest.mark.parametrize("shared", [0, 1, 9, 10, 100])
def test_a_tenth_is_refused_and_less_is_noted(tmp_path, shared):
    splits = {split: image_set(pixels(200, seed), "ours", split) for seed, split in enumerate(("train", "test"))}
    out = image_set(np.concatenate([splits["train"].images[:shared], pixels(100 - shared, 9)]))
    for _ in range(2):  # computed, and from the cache
        if shared >= 10:
            with pytest.raises(
                DataError,
                match=f"^{shared} of the 100 test images of mine are also in ours .*: no image can count twice",
            ):
                check_separate(splits, out, tmp_path)
        else:
            note = f"{shared} of the 100 test images of mine are also in ours ({shared} in its train split)"
            assert check_separate(splits, out, tmp_path) == (note if shared else "")


def test_a_pair_as_large_as_cifar10_is_compared_in_a_second(tmp_path):
    splits = {
        split: image_set(pixels(count, count, 32), "ours", split) for split, count in {"a": 45_000, "b": 9_999}.items()
    }
    out = image_set(pixels(10_000, 9, 32))
    check_separate(splits, out, tmp_path)
    start = time.process_time()
    check_separate(splits, out, tmp_path)
    assert time.process_time() - start < 1


def test_a_cache_that_cannot_be_written_or_is_damaged_changes_nothing(tmp_path):
    images = image_set(pixels(20, 1))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="^20 of the 20"):
        check_separate({"test": images}, images, tmp_path / "file")
    (tmp_path / "hashes").mkdir()
    (tmp_path / f"hashes/{images.fingerprint}.npy").write_text("damaged")
    with pytest.raises(DataError, match="^20 of the 20"):
        check_separate({"test": images}, images, tmp_path)


# ------------------------------------------------------------------------------------------ paths


@pytest.fixture
def loader(tmp_path, toys) -> Loader:
    for split in ("train/good", "test/good", "test/broken", "other"):
        folder = tmp_path / "P" / split
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(pixels(1, number + len(split))[0].transpose(1, 2, 0)).save(folder / f"{number}.png")
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


def linked(tmp_path: Path, link) -> Path:
    (tmp_path / "links").mkdir()
    for path in (tmp_path / "P/test/broken").iterdir():
        link(path, tmp_path / "links" / path.name)
    return tmp_path / "links"


@pytest.mark.parametrize("where", ["nested", "symbolic links", "hard links"])
def test_files_that_are_in_and_out_are_refused(tmp_path, loader, where):
    if where == "nested":
        out = tmp_path / "P/test/broken"
    else:
        out = linked(tmp_path, os.symlink if where == "symbolic links" else os.link)
    with pytest.raises(DataError, match=f"^3 of the 3 files of folder:{out} are files of folder:{tmp_path}/P too"):
        loader.share_classes(f"folder:{tmp_path}/P", f"folder:{out}")
    with pytest.raises(DataError, match="^3 of the 9 files of"):
        loader.share_classes(f"folder:{out}", f"folder:{tmp_path}/P")


def test_other_classes_of_a_list_are_no_files_of_a_folder(tmp_path, loader):
    lines = [f"test/{name}/{number}.png {label}" for label, name in ((0, "good"), (1, "broken")) for number in range(3)]
    (tmp_path / "P/list.txt").write_text("\n".join(lines))
    listed, folder = f"imglist:{tmp_path}/P/list.txt", f"folder:{tmp_path}/P/test"
    assert not loader.share_classes(f"{listed}:0", f"{folder}:broken")
    with pytest.raises(DataError, match="^3 of the 3 files of"):
        loader.share_classes(f"{folder}:broken,good", f"{listed}:0")


def test_a_folder_beside_the_splits_is_a_data_set_of_its_own(tmp_path, loader):
    assert not loader.share_classes(f"folder:{tmp_path}/P", f"folder:{tmp_path}/P/other")


def test_copies_are_found_by_their_images(tmp_path, loader):
    shutil.copytree(tmp_path / "P/test/broken", tmp_path / "copies")
    name, copies = f"folder:{tmp_path}/P", f"folder:{tmp_path}/copies"
    assert not loader.share_classes(name, copies)
    splits = {split: loader.load(name, split) for split in ("train", "test")}
    with pytest.raises(DataError, match="3 in its test split"):
        check_separate(splits, loader.load(copies, "test", (3, 4, 4)), loader.cache)
