"""Memory-mapped arrays: what was read need not stay in memory."""

from __future__ import annotations

import mmap

import numpy as np


def release(array: np.ndarray, start: int, stop: int) -> None:
    """Tell the system that rows ``start``…``stop`` of a mapped array are not needed for now; ignore other arrays.

    Without this, a pass over the array leaves all of it in the process's memory until another process needs the room.
    A row that is read again comes from the file, so this is done only for read-only arrays.
    """
    mapping: object = array.base  # numpy's own types leave mmap out
    if not isinstance(mapping, mmap.mmap) or array.flags.writeable or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = _address(array) - _address(np.frombuffer(mapping, np.uint8))
    first, last = ((begin + row * array.strides[0]) // mmap.PAGESIZE * mmap.PAGESIZE for row in (start, stop))
    if last > first:
        mapping.madvise(mmap.MADV_DONTNEED, first, last - first)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
