"""Stamps, which distinguish one state of a data set's files from another.

Small files are identified by their content, so that a copied or moved folder need not be decoded again, and so that
changed times do not deceive. The digest is cached by the files' status, and so computed once. Large files are
identified by their status: size, modification time, inode and change time; ``cp -p`` can forge only the first two.
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
"""Bytes: files whose total size is at most this are identified by their content."""

Status = tuple[int, int, int, int]


def stamp(paths: Sequence[Path], cache: Path) -> str:
    """Return a text that changes when any of the files changes.

    Args:
        paths: files or folders; a folder is identified by its status alone. They may be missing.
        cache: the cache folder, in which digests of contents are kept.
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
        return state  # decoding them will say why they cannot be read
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(remembered, lambda file: file.write(content.encode()))
    except OSError:
        pass  # it is computed again next time
    return content


def _content(paths: Sequence[Path]) -> str:
    """Return a digest of the files' names, relative to the folder that all are in, and of their bytes."""
    top = os.path.commonpath([path.parent for path in paths])
    digest = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{os.path.relpath(path, top)!r}:{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _status(path: Path) -> tuple[Status, bool]:
    """Return size, modification time, inode and change time, and whether it is a regular file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1, -1, -1), False
    known = status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns
    return known, stat.S_ISREG(status.st_mode)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
