"""Images of one's own, named by where they are: ``folder:PATH`` with picture files, ``npz:PATH`` with arrays.

With a train split they can be named after ``--in``; where there is none for validation, a tenth of train is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

VALIDATION_RATIO = (9, 1, 0)

Header = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class UserDataset:
    """What was found at a path.

    labels: split → int64 (n,), those of all images found for it. classes: their values; empty where there are none.
    shape: of the images; None where they differ.
    read: ``read(split, places, shape)`` gives the images in these places of a split found, some at a time.
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
        )

    def stream(self, split: str, root: Path, shape: Shape | None) -> Stream:
        """An index is a place among the images found for the split, or for train if validation is drawn from it."""
        wanted = self.shape or shape
        if wanted is None:
            raise DataError(f"{self.name} has no one shape: name it after --out, where it is brought to that of --in")
        part, places = self.source_split(split), self.indices(split)
        return Stream(self.name, split, wanted, self.labels[part][places], places, self.read(part, places, wanted))

    def source_split(self, split: str) -> str:
        """The split that the images of this one were found for."""
        return split if split in self.labels else "train"

    def indices(self, split: str) -> np.ndarray:
        """Which of the images found make up the split, in order."""
        count = len(self.labels[self.source_split(split)])
        if split == "test" or "validation" in self.labels:
            return np.arange(count)
        return choose(split, count, VALIDATION_RATIO)


# ----------------------------------------------------------------------------------------- folder


def folder_at(path: str) -> Dataset:
    """The picture files of a folder, in whose folders ``train``, ``validation``, ``test`` the splits are.

    Without them all pictures are the test split. Folders below a split are classes, numbered in the order of all their
    names. The places of pictures are folder by folder, each sorted by name.
    """
    folder, name = Path(path).expanduser().absolute(), f"folder:{path}"
    if not folder.is_dir():
        raise DataError(f"{name}: there is no folder {folder}")
    folders = {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"test": folder}
    paths = {split: [*pictures_below(where)] for split, where in folders.items()}
    for split, where in folders.items():
        if not paths[split]:
            raise DataError(f"{name}: there is no picture in {where}")
    every = [path for listed in paths.values() for path in listed]
    shape = _one_shape(every) if "train" in paths else None  # nothing is fitted to it else: spare the look at each
    labels, classes = _labels_of_folders(name, folders, paths)
    return UserDataset(name, labels, classes, shape, partial(_read_files, paths), every).dataset()


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
    """The shape that all pictures have; None if they differ."""
    shapes = map(picture_shape, paths)
    first = next(shapes)
    return first if all(shape == first for shape in shapes) else None


def _read_files(paths: Mapping[str, list[Path]], split: str, places: np.ndarray, shape: Shape) -> Iterator[np.ndarray]:
    return read_pictures((paths[split][place] for place in places), shape)


# -------------------------------------------------------------------------------------------- npz


def npz_at(path: str) -> Dataset:
    """The arrays ``train_images``, ``validation_images`` and ``test_images`` of a file, or ``images``, a test split.

    They are uint8 (n, C, H, W), (n, H, W, C) or (n, H, W), with C 1 or 3. Classes are in ``train_labels`` and so on, or
    in ``labels``: whole numbers (n,).
    """
    file, name = Path(path).expanduser().absolute(), f"npz:{path}"
    if not file.is_file():
        raise DataError(f"{name}: there is no file {file}")
    arrays = archives.headers(file)
    keys = {split: f"{split}_images" for split in SPLITS if f"{split}_images" in arrays}
    if not keys and "images" in arrays:
        keys = {"test": "images"}
    if not keys:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{name} has {there}, but no array 'images', nor 'train_images' and 'test_images'")
    shapes = {key: _image_shape(name, key, arrays[key]) for key in keys.values()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{name}: its images are {', '.join(map(shape_text, shapes.values()))}: give all one shape")
    labels = {split: _labels_of(file, name, key, arrays) for split, key in keys.items()}
    labelled = any(_label_key(key) in arrays for key in keys.values())
    classes = np.unique(np.concatenate([*labels.values()])).tolist() if labelled else []
    read = partial(_read_arrays, file, keys)
    return UserDataset(name, labels, classes, next(iter(shapes.values())), read, [file]).dataset()


def _image_shape(name: str, key: str, header: Header) -> Shape:
    """The shape of the images of such an array; DataError where they cannot be images."""
    shape, dtype = header
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
