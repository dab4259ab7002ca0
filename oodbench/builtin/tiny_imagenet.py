"""Tiny ImageNet as originally published: 200 classes, 64×64, in ``tiny-imagenet-200`` of the data folder.

Its own test split has no classes; the test split here is its validation split, as is usual. Source: Le and Yang, Tiny
ImageNet Visual Recognition Challenge (2015).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream
from oodbench.builtin.pictures import check_shape, names_in
from oodbench.builtin.vision import choose
from oodbench.data.imaging import read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl
from oodbench.reading import read_text
from oodbench.text import shorten

NAME, FOLDER = "tin", "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
SHAPE = (3, 64, 64)
CLASSES = 200
SIZES = {"train": 90_000, "validation": 10_000, "test": 10_000}


def stream(split: str, root: Path, shape: Shape | None) -> Stream:
    """Return one split; validation is drawn at random from the published train split.

    A class is the position of its WordNet id in sorted order. An index is a picture's position in the published split:
    train sorted by class and name, validation by name.
    """
    missing = [path for path in files(root) if not path.exists()]
    if missing:
        raise DataError(f"{NAME} is not there, {missing[0]} is missing: {download_instructions(root)}")
    folder = root / FOLDER
    classes = {name: number for number, name in enumerate(sorted(read_text(folder / "wnids.txt").split()))}
    paths, labels = (_test if split == "test" else _train)(folder, classes)
    chosen = choose(split, len(paths), (SIZES["train"], SIZES["validation"], SIZES["test"]))
    pictures = read_pictures((paths[index] for index in chosen), SHAPE, _checked)
    return Stream(NAME, split, SHAPE, np.array(labels, np.int64)[chosen], chosen, pictures)


def _train(folder: Path, classes: dict[str, int]) -> tuple[list[Path], list[int]]:
    by_class = {name: folder / "train" / name / "images" for name in classes}
    found = [(where / each, classes[name]) for name, where in by_class.items() for each in names_in(where)]
    return [path for path, _ in found], [label for _, label in found]


def _test(folder: Path, classes: dict[str, int]) -> tuple[list[Path], list[int]]:
    file = folder / "val" / "val_annotations.txt"
    lines = [line.split("\t") for line in read_text(file).splitlines() if line.strip()]
    for number, words in enumerate(lines, 1):
        if len(words) < 2 or words[1] not in classes:
            raise DataError(f"{file}: line {number} is no picture and class: {shorten(repr(words))}; fetch it again")
    by_name = {words[0]: classes[words[1]] for words in lines}
    where = folder / "val" / "images"
    names = names_in(where)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DataError(f"{where / unknown[0]} is not among the pictures of {file}: fetch both again")
    return [where / name for name in names], [by_name[name] for name in names]


def _checked(picture: np.ndarray) -> np.ndarray:
    check_shape(NAME, picture, SHAPE[1:], "the published ones, which have 64×64")
    return picture


def files(root: Path) -> list[Path]:
    return [root / FOLDER / name for name in ("wnids.txt", "train", "val/val_annotations.txt", "val/images")]


def download_instructions(root: Path) -> str:
    return f"fetch {URL} and unpack it, so that there is {root / FOLDER / 'wnids.txt'}"


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset.streamed(
            name=NAME,
            stream=stream,
            shape=SHAPE,
            sizes=SIZES,
            classes=range(CLASSES),
            required_files=files,
            summary="Tiny ImageNet as published; its validation split is the test split",
            source=URL,
            licence="non-commercial research only",
            download_instructions=download_instructions,
        )
    ]
