"""What tells one state of a data set's files from another.

Small files are known by their content, so that a copied or moved folder need not be decoded again, and so that no trick
with times deceives. The digest is remembered by the files' status, and so computed once. Large files are known by
their status: size, modification time, inode and change time, of which ``cp -p`` can forge only the first two.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from oodbench.atomic import write_atomically

LARGEST_CONTENT = 2**26
"""Bytes: files of this size together, or less, are known by their content."""

Status = tuple[int, int, int, int]


def stamp(paths: Sequence[Path], cache: Path) -> str:
    """Return a text that is another one as soon as any of the files is.

    Args:
        paths: files or folders, of which a folder is known by its status alone; they may be missing.
        cache: the cache folder, in which digests of contents are remembered.
    """
    found = [_status(path) for path in paths]
    state = _digest(json.dumps([list(map(str, paths)), [status for status, _ in found]]))
    is_small = sum(status[0] for status, _ in found) <= LARGEST_CONTENT
    if not paths or not is_small or not all(is_file for _, is_file in found):
        return state
    remembered = cache / "contents" / state
    try:
        return remembered.read_text(encoding="ascii")
    except (OSError, ValueError):
        pass
    try:
        content = _content(paths)
    except OSError:
        return state  # whoever decodes them says why they cannot be read
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(remembered, lambda file: file.write(content.encode()))
    except OSError:
        pass  # it is computed again next time
    return content


def _content(paths: Sequence[Path]) -> str:
    """A digest of the files' names, from the folder on that all are in, and of their bytes."""
    top = os.path.commonpath([path.parent for path in paths])
    digest = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{os.path.relpath(path, top)!r}:{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _status(path: Path) -> tuple[Status, bool]:
    """Size, modification time, inode and change time; whether it is a regular file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1, -1, -1), False
    known = status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns
    return known, stat.S_ISREG(status.st_mode)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
