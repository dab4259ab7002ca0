"""Removes from a store what killed processes left behind."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from oodbench.atomic import DAY, is_left_behind
from oodbench.errors import StoreError
from oodbench.store.files import Files

NUMBERED_PROBE = re.compile(r"\.probe-[0-9a-f]{16}")
"""What a store was asked with (see ``probes``); who is killed then may leave it, empty."""
SWEPT = ("", "scores", "scores/validation", "outputs")
"""Folders of a run, in which a killed process may have left a file half-written."""


def sweep(files: Files, folder: str, older_than: float = 0.0) -> None:
    """Remove what killed processes left half-written in a folder and below it, if it is older than these seconds.

    For who holds the lock of the folder, or with an age at which nobody is still writing. In object storage nothing is
    ever half-written.
    """
    if not files.local:
        return
    for place in (Path(files.place(folder), part) for part in SWEPT):
        with suppress(OSError):
            for entry in os.scandir(place):
                if _is_left(entry.name) and time.time() - entry.stat().st_mtime >= older_than:
                    os.unlink(entry.path)


def sweep_probes(files: Files) -> None:
    """Remove from object storage the probes of processes that were killed, a day later.

    Whatever the clocks of the store and of this machine say, nobody still reads them then. On a disk ``sweep`` does.
    """
    if files.local:
        return
    with suppress(StoreError):  # what stays does no harm
        for name, facts in files.facts_in("").items():
            if NUMBERED_PROBE.fullmatch(name) and facts.modified and time.time() - facts.modified > DAY:
                files.remove_file(name)


def _is_left(name: str) -> bool:
    return is_left_behind(name) or NUMBERED_PROBE.fullmatch(name) is not None
