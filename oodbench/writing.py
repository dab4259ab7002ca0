"""Writes files that a user has named."""

from __future__ import annotations

from pathlib import Path

from oodbench.atomic import write_output
from oodbench.errors import OODBenchError
from oodbench.text import shorten


def write_file(path: Path, data: bytes, named: str = "") -> None:
    """Write a file whole or not at all: the old file may be the only record (see ``atomic.write_output``).

    Raises OODBenchError where it cannot be written; the message calls the file ``named``, by default its path.
    """
    try:
        write_output(path, data)
    except OSError as error:
        raise OODBenchError(f"{named or shorten(str(path))} cannot be written: {error.strerror}") from None
