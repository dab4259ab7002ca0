"""``npz:PATH``: a user's own arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import SPLITS, Dataset, Shape, chunk_rows, shape_text
from oodbench.builtin import archives
from oodbench.builtin.own_dataset import UserDataset
from oodbench.builtin.own_names import (
    LARGEST_IMAGE,
    NPZ_RULES,
    choose_classes,
    file_type,
    place_of,
    split_words,
    take_apart,
)
from oodbench.errors import DataError

Header = tuple[tuple[int, ...], np.dtype]


def npz_at(path: str) -> Dataset:
    """Return the data set in ``train_images``, ``validation_images`` or ``val_images``, and ``test_images`` of a file.

    A file may also have ``images`` alone, a test split. Images are uint8 (n, C, H, W), (n, H, W, C) or (n, H, W),
    with C 1 or 3. Classes are in ``train_labels`` and so on, or in ``labels``: whole numbers (n,).

    Args:
        path: of the file, followed by classes, if any (see ``own_names.take_apart``).

    Raises DataError for any other file.
    """
    given = take_apart("npz", path)
    name = f"npz:{given.path}"
    if given.size is not None:
        raise DataError(f"{name}{given.shape_suffix}: arrays are taken as they are: save them in that shape")
    file = place_of(name, given.path)
    if not file_type(name, file, "file"):
        raise DataError(f"{name}: there is no file {file}")
    arrays = archives.headers(file)
    words = split_words(name, [key.removesuffix("_images") for key in arrays if key.endswith("_images")])
    keys = {split: f"{words[split]}_images" for split in SPLITS if split in words}
    if not keys and "images" in arrays:
        keys = {"test": "images"}
    if not keys:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{name} has {there}, but no array 'images', nor 'train_images' and 'test_images'")
    shapes = {key: _image_shape(name, key, arrays[key]) for key in keys.values()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{name}: its images are {', '.join(map(shape_text, shapes.values()))}: give all one shape")
    unlabelled = [_label_key(key) for key in keys.values() if _label_key(key) not in arrays]
    labelled = len(unlabelled) < len(keys)
    if unlabelled and labelled:
        raise DataError(
            f"{name} has labels, but no {' and no '.join(unlabelled)}: give labels to each split or to none"
        )
    labels = {split: _labels_of(file, name, key, arrays) for split, key in keys.items()}
    classes = np.unique(np.concatenate([*labels.values()])).tolist() if labelled else []
    read = partial(_read_arrays, file, keys)
    chosen = choose_classes(name, given.classes, classes, ())
    shape = next(iter(shapes.values()))
    return UserDataset(name, labels, classes, shape, read, [file], file, chosen, rules=NPZ_RULES).dataset()


def _image_shape(name: str, key: str, header: Header) -> Shape:
    """Return the shape of the images in an array. Raises DataError where they cannot be images."""
    shape, dtype = header
    if 0 in shape[1:]:
        raise DataError(f"{name}: {key} is {shape}: its images have no pixels")
    if math.prod(shape[1:]) > LARGEST_IMAGE:
        raise DataError(f"{name}: {key} is {shape}, too large for images: resize them")
    if dtype != np.uint8:
        how = f"({key} * 255).round().astype('uint8') if they run from 0 to 1"
        raise DataError(f"{name}: {key} is {dtype}, and images are uint8: save {how}")
    if len(shape) == 3:
        return 1, shape[1], shape[2]
    if len(shape) == 4 and shape[1] in (1, 3):
        return shape[1], shape[2], shape[3]
    if len(shape) == 4 and shape[3] in (1, 3):
        return shape[3], shape[1], shape[2]
    raise DataError(f"{name}: {key} is {shape}; images are (n, C, H, W), (n, H, W, C) or (n, H, W), with C 1 or 3")


def _labels_of(file: Path, name: str, key: str, arrays: Mapping[str, Header]) -> np.ndarray:
    """Return the classes of an array of images: int64 (n,), all 0 where the file has none."""
    count = arrays[key][0][0]
    if _label_key(key) not in arrays:
        return np.zeros(count, np.int64)
    shape, dtype = arrays[_label_key(key)]
    if shape != (count,) or not np.issubdtype(dtype, np.integer):
        raise DataError(f"{name}: {_label_key(key)} must be {count:,} whole numbers, not {dtype} {shape}")
    some = archives.rows(file, _label_key(key), 2**20)
    return np.concatenate([np.empty(0, dtype), *some]).astype(np.int64)


def _label_key(key: str) -> str:
    return key.replace("images", "labels")


def _read_arrays(
    file: Path, keys: Mapping[str, str], split: str, places: np.ndarray, shape: Shape
) -> Iterator[np.ndarray]:
    start = 0
    for rows in archives.rows(file, keys[split], chunk_rows(shape)):
        wanted = rows[places[(start <= places) & (places < start + len(rows))] - start]
        start += len(rows)
        if rows.ndim == 4 and rows.shape[1] not in (1, 3):
            wanted = wanted.transpose(0, 3, 1, 2)
        yield wanted.reshape(-1, *shape)
