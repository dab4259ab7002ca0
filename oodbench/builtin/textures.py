"""Textures (DTD), as published or as torchvision's ``DTD`` unpacks it: 47 kinds, 120 pictures each, of several sizes.

All of it is one test split, as in benchmarks of out-of-distribution detection. Source: Cimpoi et al., Describing
Textures in the Wild (CVPR 2014).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream
from oodbench.builtin.pictures import middle_square, names_in
from oodbench.data.imaging import read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

NAME = "textures"
URL = "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz"
KINDS = 47
SIZE = 5_640
DEFAULT_SHAPE = (3, 64, 64)


def stream(split: str, root: Path, shape: Shape | None) -> Stream:
    """Return all pictures: the largest square in the middle of each, resized to the shape.

    A class is the position of its folder in sorted order. An index is a picture's position, sorted by class and name.
    """
    folder = images_folder(root)
    kinds = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    found = [(folder / kind / name, label) for label, kind in enumerate(kinds) for name in names_in(folder / kind)]
    if not found:
        raise DataError(f"{NAME} is not there, {folder} is missing or empty: {download_instructions(root)}")
    if len(kinds) != KINDS:
        raise DataError(f"{folder} has {len(kinds)} folders, and textures are of {KINDS} kinds: fetch it again")
    made = shape or DEFAULT_SHAPE
    pictures = read_pictures((path for path, _ in found), made, middle_square)
    labels = np.array([label for _, label in found], np.int64)
    return Stream(NAME, split, made, labels, np.arange(len(found)), pictures)


def images_folder(root: Path) -> Path:
    """Return where the pictures are: torchvision unpacks the archive into a second, inner folder ``dtd``."""
    plain = root / "dtd" / "images"
    nested = root / "dtd" / "dtd" / "images"
    return nested if nested.is_dir() and not plain.is_dir() else plain


def download_instructions(root: Path) -> str:
    return f"fetch {URL} and unpack it, so that there is the folder {root / 'dtd' / 'images' / 'banded'}"


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset.streamed(
            name=NAME,
            stream=stream,
            shape=None,
            sizes={"test": SIZE},
            classes=range(KINDS),
            required_files=lambda root: [images_folder(root)],
            summary="describable textures (DTD), all three splits",
            source=URL,
            licence="research only",
            download_instructions=download_instructions,
        )
    ]
