"""Places365: the small validation pictures, 256×256, where torchvision's ``Places365(small=True)`` puts them.

Source: Zhou et al., Places: A 10 Million Image Database for Scene Recognition (TPAMI 2017).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream
from oodbench.builtin.image_lists import check_there, read_list
from oodbench.builtin.pictures import middle_square
from oodbench.data.imaging import read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

NAME = "places365"
LIST, FOLDER = "places365_val.txt", "val_256"
URL = "http://data.csail.mit.edu/places/places365/"
SCENES = 365
SIZE = 36_500
DEFAULT_SHAPE = (3, 256, 256)


def stream(split: str, root: Path, shape: Shape | None) -> Stream:
    """Return the pictures of the list, resized to the shape; an index is a position in the list."""
    missing = [path for path in files(root) if not path.exists()]
    if missing:
        raise DataError(f"{NAME} is not there, {missing[0]} is missing: {download_instructions(root)}")
    listed = read_list(root / LIST)
    paths = [root / FOLDER / Path(name).name for name in listed.paths]
    check_there(NAME, root / LIST, paths)
    wrong = listed.labels[(listed.labels < 0) | (listed.labels >= SCENES)]
    if len(wrong):
        raise DataError(f"{root / LIST} has class {wrong[0]}, and there are 0 to {SCENES - 1}: fetch it again")
    made = shape or DEFAULT_SHAPE
    return Stream(NAME, split, made, listed.labels, np.arange(len(paths)), read_pictures(paths, made, middle_square))


def files(root: Path) -> list[Path]:
    return [root / LIST, root / FOLDER]


def download_instructions(root: Path) -> str:
    return (
        f"fetch val_256.tar and filelist_places365-standard.tar from {URL} and unpack both, so that there are "
        f"{root / LIST} and {root / FOLDER / 'Places365_val_00000001.jpg'}"
    )


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset.streamed(
            name=NAME,
            stream=stream,
            shape=None,
            sizes={"test": SIZE},
            classes=range(SCENES),
            required_files=files,
            summary="scenes, the published validation split",
            source=URL,
            licence="non-commercial research only",
            download_instructions=download_instructions,
        )
    ]
