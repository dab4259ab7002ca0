"""Local files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

LEFT_BEHIND = re.compile(r"\..+\.(\d+)\.([0-9a-f]{12})[0-9a-f]{20}")
DAY = 86_400  # seconds


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace a file by what ``write`` writes; a reader sees the old file or the new one, never a part.

    The file is written beside its place, under a name that begins with a dot, and then moved there. Its permissions
    are those of any new file of the user. Raises OSError, and what ``write`` raises; then nothing is left behind.
    """
    beside = name_beside(path)
    try:
        with open(beside, "xb") as file:
            write(file)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def name_beside(path: Path) -> Path:
    """Return a new name beside the path, for what is to be moved there; it tells whose it is (see ``is_abandoned``)."""
    return path.with_name(f".{path.name}.{os.getpid()}.{machine()}{secrets.token_hex(10)}")


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
        sweep(target.parent, f"{target.name}.")


def is_left_behind(name: str) -> bool:
    """Whether a file of this name is one that ``write_atomically`` did not come to move, as its process was killed."""
    return LEFT_BEHIND.fullmatch(name) is not None


def sweep(folder: Path, name: str = "") -> None:
    """Delete the files in a folder that ``write_atomically`` left there as its process was killed.

    Where ``name`` is given, they are only those that were to become files whose names begin so. A file that cannot be
    deleted stays.
    """
    for path in folder.glob(".*"):
        with suppress(OSError):
            if path.name.startswith(f".{name}") and is_abandoned(path):
                path.unlink()


def is_abandoned(path: Path) -> bool:
    """Whether ``name_beside`` gave this name to a process of this machine that has ended, or nobody wrote for a day."""
    match = LEFT_BEHIND.fullmatch(path.name)
    return match is not None and (_has_ended(match) or time.time() - path.stat().st_mtime > DAY)


def _has_ended(match: re.Match[str]) -> bool:
    """Whether the writer was a process of this machine, and no process has its number now."""
    number, writers_machine = match.groups()
    return writers_machine == machine() and has_ended(int(number))


def has_ended(process: int) -> bool:
    """Whether no process of this machine that still runs has this number; False where that cannot be told."""
    if os.name == "nt":  # where signal 0 is one
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is another user's, or cannot be one
        pass
    return _is_unreaped(process)


def _is_unreaped(process: int) -> bool:
    """Whether the process has ended, and keeps its number until its parent asks for it. Only Linux says so."""
    try:
        facts = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return facts.rpartition(b")")[2].split()[0] in (b"Z", b"X")  # after its name, which may have spaces


@cache
def machine() -> str:
    """What process numbers are valid for, 12 hexadecimal digits: a machine since its start, or a container."""
    parts = [os.uname().nodename if hasattr(os, "uname") else ""]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(read())
        except OSError:
            continue
    return sha256("|".join(parts).encode()).hexdigest()[:12]
