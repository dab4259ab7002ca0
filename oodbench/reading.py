"""Reads files that people write or exchange: only regular files, and only up to a sensible size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from oodbench.errors import OODBenchError
from oodbench.text import shorten

TEXT_BYTES = 2**20
"""Largest size of a text file: suites, notes and tables of reported figures are far smaller."""


class NoRegularFile(OSError):
    """A device, a pipe or a folder where a file is expected."""

    def __init__(self) -> None:
        super().__init__("it is no regular file")


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading. Raises NoRegularFile, and OSError as ``open`` does."""
    # Without blocking: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoRegularFile
    return open(descriptor, "rb")


def read_bytes(path: Path, longest: int = 2**31) -> bytes:
    """Return the content of a regular file of at most ``longest`` bytes.

    Raises OODBenchError where the file is missing, may not be read, is too long, or is a device, a pipe or a folder.
    """
    where = shorten(str(path))
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(longest, max(size, TEXT_BYTES)) + 1)  # read allocates this much at first
    except NoRegularFile:
        raise OODBenchError(f"{where} is no regular file") from None
    except (OSError, ValueError) as error:
        raise OODBenchError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > longest:
        raise OODBenchError(f"{where} is too long: more than {longest:,} bytes")
    return content


def read_text(path: Path, longest: int = TEXT_BYTES) -> str:
    """Return the content of a UTF-8 text file of at most ``longest`` bytes, without a byte-order mark.

    Raises OODBenchError as ``read_bytes`` does, and where the content is not UTF-8.
    """
    try:
        return read_bytes(path, longest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OODBenchError(f"{path} is no UTF-8 text (byte {error.start}): save it as UTF-8") from None
