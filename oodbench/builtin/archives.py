"""Arrays in .npz files, read a few rows at a time, as they may be larger than memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from oodbench.data.imaging import check_regular, file_error
from oodbench.errors import DataError

LARGEST_SIZE = 2**48
"""Bytes of an array: no disk holds more."""


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and type of every array of the file, without reading the arrays. Raises DataError for damage."""
    with _archive(path) as archive:
        members = [member for member in archive.namelist() if member.endswith(".npy")]
        found = {}
        for member in members:
            with archive.open(member) as file:
                shape, _, dtype = _header(file)
                found[member.removesuffix(".npy")] = shape, dtype
        return found


def rows(path: Path, name: str, count: int) -> Iterator[np.ndarray]:
    """Yield the rows of one array in order, at most ``count`` at a time. Raises DataError if the file is damaged."""
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
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    except PermissionError as error:
        raise file_error(path, error, ".npz file") from error
    except Exception as error:  # a damaged header is evaluated and checked by numpy, and breaks in many ways
        raise DataError(f"{file_error(path, error, '.npz file')}: fetch or save it again") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    if not all(0 <= size <= LARGEST_SIZE for size in shape) or math.prod(shape) * dtype.itemsize > LARGEST_SIZE:
        raise ValueError(f"an array of the shape {shape}")
    return shape, fortran_order, dtype
