"""Arrays in .npz files, read a few rows at a time, as they may be larger than memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from oodbench.errors import DataError


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The shape and type of every array of the file, without reading the arrays."""
    with _archive(path) as archive:
        members = [member for member in archive.namelist() if member.endswith(".npy")]
        found = {}
        for member in members:
            with archive.open(member) as file:
                shape, _, dtype = _header(file)
                found[member.removesuffix(".npy")] = shape, dtype
        return found


def rows(path: Path, name: str, count: int) -> Iterator[np.ndarray]:
    """The rows of one array in order, at most ``count`` at a time."""
    with _archive(path) as archive, archive.open(f"{name}.npy") as file:
        shape, fortran_order, dtype = _header(file)
        if fortran_order:
            raise DataError(f"{path}: {name} is stored by columns: save numpy.ascontiguousarray({name})")
        row = int(np.prod(shape[1:])) * dtype.itemsize
        for start in range(0, shape[0], count):
            here = min(count, shape[0] - start)
            content = file.read(here * row)
            if len(content) != here * row:
                raise EOFError(f"{name} ends too soon")
            yield np.frombuffer(content, dtype).reshape(here, *shape[1:])


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path} is damaged or no .npz file ({why}): fetch or save it again") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
