"""Image lists, as OpenOOD and others publish their splits: a text file with a picture's path and its class per line.

``imglist:LIST`` is a user's own list, a test split; ``imglist:FOLDER`` has a list per split: ``train.txt``,
``validation.txt`` or ``val.txt``, and ``test.txt``. Paths are relative to the folder of the list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.builtin.own_dataset import UserDataset
from oodbench.builtin.own_folders import read_files, shape_of
from oodbench.builtin.own_names import LIST_RULES, choose_classes, place_of, take_apart
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl
from oodbench.reading import read_text
from oodbench.text import shorten

LIST_BYTES = 2**28
"""Largest size of a list: that of ImageNet's training images has 60 MB."""
NO_CLASS = -1
SPLIT_FILES = {"train": ("train.txt",), "validation": ("validation.txt", "val.txt"), "test": ("test.txt",)}


@dataclass(frozen=True)
class ImageList:
    """Paths of pictures, as written, and their classes, int64 (n,); all -1 if the pictures have none."""

    paths: list[str]
    labels: np.ndarray


def read_list(path: Path) -> ImageList:
    """Return the list in a file: per line a path and, after a space, its class, a whole number.

    Without a class, or with -1 as in OpenOOD's lists of out-data, the picture has none; then no picture may have one.

    Raises OODBenchError where the file cannot be read, and DataError, with the line, where it is no such list or empty.
    """
    paths, labels = [], []
    for number, line in enumerate(read_text(path, LIST_BYTES).splitlines(), 1):
        if line.strip():
            name, _, label = line.rstrip().rpartition(" ")
            if not name:
                name, label = label, str(NO_CLASS)
            try:
                labels.append(np.int64(int(label)))
            except (ValueError, OverflowError):
                what = f"line {number} is not a path and a class: {shorten(repr(line))}"
                raise DataError(
                    f"{path} is no image list, {what}; where a name has a space, write the class too"
                ) from None
            paths.append(name)
    if not paths:
        raise DataError(f"{path} is an empty image list")
    found = ImageList(paths, np.array(labels, np.int64))
    without = np.flatnonzero(found.labels == NO_CLASS)
    if 0 < len(without) < len(paths):
        count = f"{len(without):,} of the {len(paths):,} pictures of {path} have no class"
        raise DataError(f"{count}, first of all {shorten(paths[without[0]])}: give one to each, or to none")
    return found


def imglist_at(path: str) -> Dataset:
    """Return the data set of a list, or of a folder of lists.

    An index is the number of a line in its list, without empty lines.

    Args:
        path: of the list or folder, followed by classes and a shape, if any (see ``own_names.take_apart``).

    Raises DataError where there is no list, or a picture of one is missing.
    """
    given = take_apart("imglist", path)
    name = f"imglist:{given.path}{given.shape_suffix}"
    place = place_of(name, given.path)
    files = _split_files(place) if os.path.isdir(place) else {"test": place}
    if not files or not all(map(os.path.isfile, files.values())):
        raise DataError(
            f"{name}: there is no list {place}" + (", nor a test.txt in it" if os.path.isdir(place) else "")
        )
    lists = {split: read_list(file) for split, file in files.items()}
    pictures = {split: [files[split].parent / each for each in lists[split].paths] for split in files}
    for split, paths in pictures.items():
        check_there(name, files[split], paths)
    every = [path for paths in pictures.values() for path in paths]
    shape = shape_of(given, every if given.size else pictures.get("train", []), is_fitted="train" in files)
    labels = {split: found.labels for split, found in lists.items()}
    classes = [each for each in np.unique(np.concatenate([*labels.values()])).tolist() if each != NO_CLASS]
    chosen = choose_classes(name, given.classes, classes, ())
    read = partial(read_files, pictures)
    needed = [*files.values(), *every]  # the lists, too, as they have the classes
    return UserDataset(
        name, labels, classes, shape, read, needed, place, chosen, split_files=pictures, rules=LIST_RULES
    ).dataset()


def check_there(name: str, file: Path, paths: list[Path]) -> None:
    """Raise DataError, which names the first one, where pictures of a list are missing."""
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        count = f"{len(missing):,} of the {len(paths):,} pictures of {file} are missing"
        raise DataError(f"{name}: {count}, first of all {missing[0]}")


def _split_files(folder: Path) -> dict[str, Path]:
    found = {
        split: folder / file for split, names in SPLIT_FILES.items() for file in names if os.path.isfile(folder / file)
    }
    return found if "test" in found else {}


def _without_path(split: str, root: Path, shape: Shape | None) -> ImageSet:
    raise DataError("imglist is named with a path: imglist:PATH")


@hookimpl
def register_datasets() -> list[Dataset]:
    summary = "pictures of an image list, named as imglist:PATH"
    return [
        Dataset("imglist", _without_path, shape=None, sizes={}, from_path=imglist_at, summary=summary, rules=LIST_RULES)
    ]
