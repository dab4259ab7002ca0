"""Images of one's own, named by where they are: ``folder:PATH`` with picture files, ``npz:PATH`` with arrays.

With a train split they can be named after ``--in``; where there is none for validation, a tenth of train is drawn.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import SPLITS, Dataset, ImageSet, Shape, Stream, chunk_rows, shape_text
from oodbench.builtin import archives
from oodbench.builtin.pictures import gather, pictures_below
from oodbench.builtin.vision import choose
from oodbench.data.imaging import picture_shape, read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl
from oodbench.text import shorten

VALIDATION_RATIO = (9, 1, 0)
FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""What a split's folder, or the beginning of its arrays' names, may be called."""
SLIPS = {"valid": "validation", "dev": "validation", "training": "train", "testing": "test", "tests": "test"}
"""What it is called now and then, and would be taken for something else."""

LARGEST_IMAGE = 2**28  # bytes

Header = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class UserDataset:
    """What was found at a path.

    Args:
        labels: split → int64 (n,), those of all images found for it.
        classes: the values of the labels; empty where there are none.
        shape: of the images; None where they differ.
        read: ``read(split, places, shape)`` yields the images in these places of a split, in chunks.
    """

    name: str
    labels: Mapping[str, np.ndarray]
    classes: list[int]
    shape: Shape | None
    read: Callable[[str, np.ndarray, Shape], Iterator[np.ndarray]]
    files: list[Path]

    def dataset(self) -> Dataset:
        if "test" not in self.labels:
            raise DataError(f"{self.name} has no test split: add images to it as 'test'")
        drawn = "train" in self.labels and "validation" not in self.labels
        splits = [split for split in SPLITS if split in self.labels or (split == "validation" and drawn)]
        return Dataset(
            name=self.name,
            load=partial(gather, self.stream),
            stream=self.stream,
            shape=self.shape,
            sizes={split: len(self.indices(split)) for split in splits},
            classes=self.classes,
            required_files=lambda root: self.files,
            summary="your own images",
            source=self.name.partition(":")[2],
            version=2,  # 2: pictures are turned as their EXIF orientation says
        )

    def stream(self, split: str, root: Path, shape: Shape | None) -> Stream:
        """Return a split.

        An index is a place among the images found for the split, or for train if validation is drawn from it.
        """
        wanted = self.shape or shape
        if wanted is None:
            raise DataError(f"{self.name} has no one shape: name it after --out, where it is brought to that of --in")
        part, places = self.source_split(split), self.indices(split)
        return Stream(self.name, split, wanted, self.labels[part][places], places, self.read(part, places, wanted))

    def source_split(self, split: str) -> str:
        """Return the split that the images of this one were found for."""
        return split if split in self.labels else "train"

    def indices(self, split: str) -> np.ndarray:
        """Return which of the images found make up the split, in order."""
        count = len(self.labels[self.source_split(split)])
        if split == "test" or "validation" in self.labels:
            return np.arange(count)
        return choose(split, count, VALIDATION_RATIO)


# ----------------------------------------------------------------------------------------- folder


def folder_at(path: str) -> Dataset:
    """Return the picture files of a folder; its folders ``train``, ``validation`` or ``val``, and ``test`` are splits.

    Without them all pictures are the test split. Folders below a split are classes, numbered in the order of all their
    names. An index is a picture's place, folder by folder, each sorted by name. Where all pictures are of one size, the
    grey ones among others are read as colour. Raises DataError where a folder or link in it cannot be followed.
    """
    name = f"folder:{path}"
    folder = _place(name, path)
    if not stat.S_ISDIR(_mode(name, folder, "folder")):
        raise DataError(f"{name}: there is no folder {folder}")
    folders = _split_folders(name, folder) or {"test": folder}
    paths = {split: [*pictures_below(where)] for split, where in folders.items()}
    for split, where in folders.items():
        if not paths[split]:
            raise DataError(f"{name}: there is no picture in {where}")
    every = [path for listed in paths.values() for path in listed]
    shape = _one_shape(every) if "train" in paths else None  # nothing is fitted to it else: spare the look at each
    labels, classes = _labels_of_folders(name, folders, paths)
    return UserDataset(name, labels, classes, shape, partial(_read_files, paths), every).dataset()


def _split_folders(name: str, folder: Path) -> dict[str, Path]:
    """The folder of each split, in the order of SPLITS; empty where no folder is called like one."""
    try:
        with os.scandir(folder) as entries:
            there = [entry.name for entry in entries if os.path.isdir(entry.path)]
    except OSError as error:
        raise DataError(f"{name}: {folder} cannot be read: {error.strerror}") from error
    found = _by_split(name, there)
    return {split: folder / found[split] for split in SPLITS if split in found}


def _by_split(name: str, words: Iterable[str]) -> dict[str, str]:
    """Split → the word that stands for it. DataError at two for one split, and at one that nearly stands for one."""
    found: dict[str, str] = {}
    for word in (word for word in words if word in FOLDERS):
        if FOLDERS[word] in found:
            raise DataError(f"{name} has both {found[FOLDERS[word]]!r} and {word!r}: put them together, or delete one")
        found[FOLDERS[word]] = word
    for word in words if found else ():
        if word.lower() in {*SLIPS, *FOLDERS} and word not in FOLDERS:
            meant = SLIPS.get(word.lower()) or FOLDERS[word.lower()]
            raise DataError(f"{name}: {word!r} beside {', '.join(found.values())} is no split: rename it to {meant!r}")
    return found


def _place(name: str, path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(f"{shorten(name)}: there is no user of that name to have a folder") from error


def _mode(name: str, path: Path, kind: str) -> int:
    """The file type of what is at the path, 0 if nothing is. DataError where that cannot be found out."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shorten(name)}: the {kind} cannot be read: {why}") from error


def _labels_of_folders(
    name: str, folders: Mapping[str, Path], paths: Mapping[str, list[Path]]
) -> tuple[dict[str, np.ndarray], list[int]]:
    names = {split: [_class_name(path, folders[split]) for path in paths[split]] for split in paths}
    known = sorted({each for listed in names.values() for each in listed})
    if len(known) > 1 and "" in known:
        raise DataError(f"{name}: some pictures are in folders, which are classes, and some beside them: move these")
    number = {each: place for place, each in enumerate(known)}
    labels = {split: np.array([number[each] for each in listed], np.int64) for split, listed in names.items()}
    return labels, [] if known == [""] else [*number.values()]


def _class_name(path: Path, folder: Path) -> str:
    first, *rest = path.relative_to(folder).parts
    return first if rest else ""


def _one_shape(paths: list[Path]) -> Shape | None:
    """The shape that all pictures have; None if their sizes differ. Grey ones among others are read as colour."""
    shapes = set(map(picture_shape, paths))
    if len({shape[1:] for shape in shapes}) > 1:
        return None
    return max(shapes)


def _read_files(paths: Mapping[str, list[Path]], split: str, places: np.ndarray, shape: Shape) -> Iterator[np.ndarray]:
    return read_pictures((paths[split][place] for place in places), shape)


# -------------------------------------------------------------------------------------------- npz


def npz_at(path: str) -> Dataset:
    """Return the arrays ``train_images``, ``validation_images`` or ``val_images``, and ``test_images`` of a file.

    A file may also have ``images`` alone, a test split. Images are uint8 (n, C, H, W), (n, H, W, C) or (n, H, W),
    with C 1 or 3. Classes are in ``train_labels`` and so on, or in ``labels``: whole numbers (n,).

    Raises DataError otherwise.
    """
    name = f"npz:{path}"
    file = _place(name, path)
    if not _mode(name, file, "file"):
        raise DataError(f"{name}: there is no file {file}")
    arrays = archives.headers(file)
    words = _by_split(name, [key.removesuffix("_images") for key in arrays if key.endswith("_images")])
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
    return UserDataset(name, labels, classes, next(iter(shapes.values())), read, [file]).dataset()


def _image_shape(name: str, key: str, header: Header) -> Shape:
    """The shape of the images of such an array; DataError where they cannot be images."""
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
    """The classes of an array of images: int64 (n,), all 0 where the file has none."""
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


# ------------------------------------------------------------------------------------ registration


def _without_path(kind: str, split: str, root: Path, shape: Shape | None) -> ImageSet:
    raise DataError(f"{kind} is named with a path: {kind}:PATH")


@hookimpl
def register_datasets() -> list[Dataset]:
    offers: list[tuple[str, Callable[[str], Dataset], str]] = [
        ("folder", folder_at, "your picture files, named as folder:PATH"),
        ("npz", npz_at, "your arrays, named as npz:PATH"),
    ]
    return [
        Dataset(kind, partial(_without_path, kind), shape=None, sizes={}, from_path=from_path, summary=summary)
        for kind, from_path, summary in offers
    ]
