"""Functions that data sets of picture files share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from oodbench.builtin.samples import shuffled
from oodbench.data.imaging import check_regular
from oodbench.errors import DataError
from oodbench.text import shorten

ENDINGS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm", ".pnm",
)  # fmt: skip
# Also pictures, but in formats that are not read: leaving them out silently would change the data set.
UNREADABLE = (
    ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".jxr", ".svg", ".tga", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".orf", ".raf", ".rw2", ".exr", ".hdr", ".pfm", ".qoi",
)  # fmt: skip


def names_in(folder: Path) -> list[str]:
    """Return the picture files in a folder, sorted; none if there is no such folder. Hidden files do not count.

    Raises DataError where the folder may not be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_picture(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, by its ending; hidden files are not."""
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def pictures_below(
    folder: Path, above: tuple[str, ...] = (), on_fault: Callable[[str], None] | None = None
) -> Iterator[Path]:
    """Yield the picture files in a folder and below it, in an order that is the same on every machine.

    Links are followed, but not back to a folder that contains them. ``above`` are the folders that contain this one.
    Raises DataError for a folder that cannot be read; and for a broken link, a picture that is no regular file, and a
    picture in a format that is not read. These three are left out if ``on_fault`` is given, which is called with each.
    """
    place = os.path.realpath(folder)
    if place in above:
        return
    folders, names = _entries(folder, on_fault)
    yield from (folder / name for name in names)
    for name in folders:
        yield from pictures_below(folder / name, (*above, place), on_fault)


def _entries(folder: Path, on_fault: Callable[[str], None] | None = None) -> tuple[list[str], list[str]]:
    """Return the folders and the picture files in a folder that are not hidden, each sorted."""
    folders, names = [], []
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    for entry in found:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:
            is_folder = is_file = False  # a circular link
        if is_folder:
            folders.append(entry.name)
            continue
        try:
            if _is_readable(entry, is_file):
                names.append(entry.name)
        except DataError as error:
            if on_fault is None:
                raise
            on_fault(str(error))
    return sorted(folders), sorted(names)


def _is_readable(entry: os.DirEntry[str], is_file: bool) -> bool:
    """Whether a file is a picture. Raises DataError where it is one that cannot be read."""
    if entry.name.lower().endswith(UNREADABLE):
        raise DataError(f"{entry.path} is of a format that is not read: convert it to PNG, or move it away")
    if not is_picture(entry.name) and (is_file or not entry.is_symlink()):
        return False
    if not is_file:
        check_regular(Path(entry.path))
    return True


def _unreadable(folder: Path, error: OSError) -> DataError:
    why = "permission denied" if isinstance(error, PermissionError) else error.strerror
    return DataError(f"the folder {shorten(str(folder))} cannot be read: {why}")


def three_ways(split: str, count: int, sizes: Mapping[str, int], seed: int) -> np.ndarray:
    """Return which of ``count`` images make up the split, in order: drawn at random in the proportion of ``sizes``."""
    order, total = shuffled(count, seed), sum(sizes.values())
    validation, test = (round(count * sizes[part] / total) for part in ("validation", "test"))
    held_out = {"validation": order[:validation], "test": order[validation : validation + test]}
    return np.sort(held_out.get(split, order[validation + test :]))


def middle_square(picture: np.ndarray) -> np.ndarray:
    """Return the largest square in the middle of a picture: (C, H, W) → (C, S, S)."""
    height, width = picture.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[:, top : top + side, left : left + side]


def check_shape(name: str, picture: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise DataError if a picture of a published set has another shape; ``what`` says what pictures are expected."""
    if picture.shape[-len(shape) :] != shape:
        size = "×".join(map(str, picture.shape[1:]))
        raise DataError(f"a picture of {name} has {size} pixels: these are not {what}")
