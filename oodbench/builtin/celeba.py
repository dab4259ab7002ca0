"""CelebA: the aligned pictures of faces, cropped at the centre and downscaled."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream
from oodbench.builtin.pictures import check_shape, names_in, three_ways
from oodbench.data.imaging import read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

SEED = 30_001
SHAPE = (3, 32, 32)
HEIGHT, WIDTH = 218, 178
SIZES = {"train": 162_079, "validation": 20_260, "test": 20_260}
# The supplement of EBAE crops 160, the code of NAE 140; the size changes the scores.
CROPS = {"celeba": 160, "celeba-crop140": 140}
FOLDER = Path("celeba", "img_align_celeba")
ZIP = "celeba/img_align_celeba.zip"
MD5 = "00d2c5bc6d35e252742224ab0c1e8fcb"


def stream(name: str, split: str, root: Path, shape: Shape | None) -> Stream:
    """Return one split, a random 80, 10 or 10 % of the pictures, in the order of their names.

    An index is a picture's position among all.
    """
    names = names_in(root / FOLDER)
    if not names:
        raise DataError(f"{name} is not there: {download_instructions(root)}")
    chosen = three_ways(split, len(names), SIZES, SEED)
    paths = (root / FOLDER / names[index] for index in chosen)
    pictures = read_pictures(paths, SHAPE, partial(centre, name, CROPS[name]))
    return Stream(name, split, SHAPE, np.zeros(len(chosen), np.int64), chosen, pictures)


def centre(name: str, size: int, picture: np.ndarray) -> np.ndarray:
    """Return the square of ``size`` pixels in the middle: (C, 218, 178) → (C, size, size)."""
    check_shape(name, picture, (HEIGHT, WIDTH), f"the aligned ones, which have {HEIGHT}×{WIDTH}")
    top, left = (HEIGHT - size) // 2, (WIDTH - size) // 2
    return picture[:, top : top + size, left : left + size]


def download_instructions(root: Path) -> str:
    return (
        "fetch img_align_celeba.zip from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack it, so that the "
        f"pictures are {root / FOLDER}/000001.jpg and so on"
    )


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset.streamed(
            name=name,
            stream=partial(stream, name),
            shape=SHAPE,
            sizes=SIZES,
            required_files=lambda root: [root / FOLDER],
            summary=f"faces, the middle {crop}×{crop} pixels made 32×32",
            source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
            licence="non-commercial research only",
            checksums=lambda: {ZIP: MD5},
            download_instructions=download_instructions,
        )
        for name, crop in CROPS.items()
    ]
