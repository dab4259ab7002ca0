"""``folder:PATH``: a user's own picture files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import SPLITS, Dataset, Shape
from oodbench.builtin.own_dataset import UserDataset
from oodbench.builtin.own_names import (
    FOLDER_RULES,
    OwnName,
    choose_classes,
    file_type,
    place_of,
    split_words,
    take_apart,
)
from oodbench.builtin.pictures import pictures_below
from oodbench.data.imaging import picture_shape, read_pictures
from oodbench.errors import DataError


def folder_at(path: str) -> Dataset:
    """Return the data set of a folder; its folders ``train``, ``validation`` or ``val``, and ``test`` are splits.

    Without them all pictures are the test split. Folders below a split are classes, numbered in the order of all their
    names. An index is a picture's position, folder by folder, each sorted by name. Where all pictures are of one size,
    or brought to one, grey ones among colour ones are read as colour.

    Args:
        path: of the folder, followed by classes and a shape, if any (see ``own_names.take_apart``).

    Raises DataError where a folder or link in it cannot be followed, or a class or shape cannot be read.
    """
    given = take_apart("folder", path)
    name = f"folder:{given.path}{given.shape_suffix}"
    folder = place_of(name, given.path)
    if not stat.S_ISDIR(file_type(name, folder, "folder")):
        raise DataError(f"{name}: there is no folder {folder}")
    folders = _split_folders(name, folder) or {"test": folder}
    paths = {split: [*pictures_below(where)] for split, where in folders.items()}
    for split, where in folders.items():
        if not paths[split]:
            raise DataError(f"{name}: there is no picture in {where}")
    every = [path for listed in paths.values() for path in listed]
    shape = shape_of(given, every, is_fitted="train" in paths)
    labels, class_names = _labels_of_folders(name, folders, paths)
    classes = [*range(len(class_names))]
    chosen = choose_classes(name, given.classes, classes, class_names)
    read = partial(read_files, paths)
    return UserDataset(
        name, labels, classes, shape, read, every, folder, chosen, class_names, paths, FOLDER_RULES
    ).dataset()


def _split_folders(name: str, folder: Path) -> dict[str, Path]:
    """Return the folder of each split, in the order of SPLITS; empty where no folder has the name of one."""
    try:
        with os.scandir(folder) as entries:
            there = [entry.name for entry in entries if os.path.isdir(entry.path)]
    except OSError as error:
        raise DataError(f"{name}: {folder} cannot be read: {error.strerror}") from error
    found = split_words(name, there)
    return {split: folder / found[split] for split in SPLITS if split in found}


def _labels_of_folders(
    name: str, folders: Mapping[str, Path], paths: Mapping[str, list[Path]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the labels of each split, and the names of the classes; no names where no picture is in a subfolder."""
    names = {split: [_class_name(path, folders[split]) for path in paths[split]] for split in paths}
    known = sorted({each for listed in names.values() for each in listed})
    if len(known) > 1 and "" in known:
        raise DataError(f"{name}: some pictures are in folders, which are classes, and some beside them: move these")
    number = {each: place for place, each in enumerate(known)}
    labels = {split: np.array([number[each] for each in listed], np.int64) for split, listed in names.items()}
    return labels, [] if known == [""] else known


def _class_name(path: Path, folder: Path) -> str:
    first, *rest = path.relative_to(folder).parts
    return first if rest else ""


def shape_of(given: OwnName, paths: list[Path], is_fitted: bool) -> Shape | None:
    """Return the shape that the pictures are brought to, or that all have; None where they differ.

    Also None, without opening a picture, where no shape is given and nothing is fitted to them.
    """
    if given.size is None:
        return _one_shape(paths) if is_fitted else None
    channels = given.channels or max(picture_shape(path)[0] for path in paths)
    return (channels, *given.size)


def _one_shape(paths: list[Path]) -> Shape | None:
    """Return the shape of all pictures; None if their sizes differ. Grey ones among colour ones are read as colour."""
    shapes = set(map(picture_shape, paths))
    if len({shape[1:] for shape in shapes}) > 1:
        return None
    return max(shapes)


def read_files(paths: Mapping[str, list[Path]], split: str, places: np.ndarray, shape: Shape) -> Iterator[np.ndarray]:
    return read_pictures((paths[split][place] for place in places), shape)
