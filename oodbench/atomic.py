"""Atomic writes of local files: a file appears whole or not at all."""

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
    """Create or replace a file with what ``write`` writes; a reader sees the old file or the new one, never a part.

    The file is written in the same folder, under a name that begins with a dot, and then moved. Its permissions are
    those of any new file of the user. Raises OSError, and what ``write`` raises; then nothing is left behind.
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
    """Return a new temporary name in the path's folder; it records the writing process (see ``is_abandoned``)."""
    return path.with_name(f".{path.name}.{os.getpid()}.{machine()}{secrets.token_hex(10)}")


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the user has named; where it is a link, the target is replaced, not the link.

    A regular file appears whole or not at all. Anything else that exists there, such as ``/dev/stdout``, a device or a
    pipe, is written to directly. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as file:
            file.write(data)
    else:
        write_atomically(target, lambda file: file.write(data))
        sweep(target.parent, f"{target.name}.")


def is_left_behind(name: str) -> bool:
    """Whether this is the name of a temporary file of ``write_atomically``, left behind by a killed process."""
    return LEFT_BEHIND.fullmatch(name) is not None


def sweep(folder: Path, name: str = "") -> None:
    """Delete the temporary files of ``write_atomically`` that killed processes left in a folder.

    With ``name``, delete only those that were to become files with this prefix. A file that cannot be deleted stays.
    """
    for path in folder.glob(".*"):
        with suppress(OSError):
            if path.name.startswith(f".{name}") and is_abandoned(path):
                path.unlink()


def is_abandoned(path: Path) -> bool:
    """Whether ``name_beside`` gave this name to a process of this machine that has ended, or the file is a day old."""
    match = LEFT_BEHIND.fullmatch(path.name)
    return match is not None and (_has_ended(match) or time.time() - path.stat().st_mtime > DAY)


def _has_ended(match: re.Match[str]) -> bool:
    """Whether the writer was a process of this machine, and no process has its number now."""
    number, writers_machine = match.groups()
    return writers_machine == machine() and has_ended(int(number))


def has_ended(process: int) -> bool:
    """Whether no running process of this machine has this number; False where that is unknown."""
    if os.name == "nt":  # where signal 0 is a real one, CTRL_C_EVENT
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or not a valid number
        pass
    return _is_unreaped(process)


def _is_unreaped(process: int) -> bool:
    """Whether the process is a zombie: it has ended, but its parent has not waited for it. Only Linux tells."""
    try:
        facts = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return facts.rpartition(b")")[2].split()[0] in (b"Z", b"X")  # after its name, which may have spaces


@cache
def machine() -> str:
    """Return an id of where process numbers are valid, 12 hexadecimal digits: a machine since boot, or a container."""
    parts = [os.uname().nodename if hasattr(os, "uname") else ""]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(read())
        except OSError:
            continue
    return sha256("|".join(parts).encode()).hexdigest()[:12]
