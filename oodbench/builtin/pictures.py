"""What data sets of picture files have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from oodbench.api import ImageSet, Shape, Stream
from oodbench.builtin.samples import shuffled
from oodbench.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")

Streamed = Callable[[str, Path, Shape | None], Stream]


def gather(stream: Streamed, split: str, root: Path, shape: Shape | None) -> ImageSet:
    """The ``load`` of a data set that has a ``stream``: all of a split in memory."""
    return stream(split, root, shape).to_memory()


def names_in(folder: Path) -> list[str]:
    """The picture files in a folder, sorted; none if there is no such folder. Hidden files are no pictures."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_picture(entry.name))
    except OSError:
        return []


def is_picture(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def pictures_below(folder: Path) -> Iterator[Path]:
    """The picture files of a folder and of those in it, in an order that is the same on every machine."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(where)) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if is_picture(name))


def three_ways(split: str, count: int, sizes: Mapping[str, int], seed: int) -> np.ndarray:
    """Which of ``count`` images make up the split, in order: drawn at random in the proportion of ``sizes``."""
    order, total = shuffled(count, seed), sum(sizes.values())
    validation, test = (round(count * sizes[part] / total) for part in ("validation", "test"))
    held_out = {"validation": order[:validation], "test": order[validation : validation + test]}
    return np.sort(held_out.get(split, order[validation + test :]))


def check_shape(name: str, picture: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """DataError if a picture of a published set is not as published; ``what`` it should be."""
    if picture.shape[-len(shape) :] != shape:
        size = "×".join(map(str, picture.shape[1:]))
        raise DataError(f"a picture of {name} has {size} pixels: these are not {what}")
