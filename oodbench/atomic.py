"""Local files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

LEFT_BEHIND = re.compile(r"\..+\.(\d+)\.[0-9a-f]{32}")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace a file by what ``write`` writes; a reader sees the old file or the new one, never a part.

    The file is written beside its place, under a name that begins with a dot, and then moved there. Its permissions
    are those of any new file of the user. Raises OSError, and what ``write`` raises; then nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}")
    try:
        with open(beside, "xb") as file:
            write(file)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the user has named: what a link points to is replaced, not the link.

    A regular file appears whole or not at all. Anything else that is there, such as ``/dev/stdout``, a device or a
    pipe, is written to as it is. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as file:
            file.write(data)
    else:
        write_atomically(target, lambda file: file.write(data))


def is_left_behind(name: str) -> bool:
    """Whether a file of this name is one that ``write_atomically`` did not come to move, as its process was killed."""
    return LEFT_BEHIND.fullmatch(name) is not None
