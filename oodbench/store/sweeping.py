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
"""Name of a probe (see ``probes``), an empty file that a killed process may leave behind."""
SWEPT = ("", "scores", "scores/validation", "outputs")
"""Folders of a run, in which a killed process may have left a file half-written."""


def sweep(files: Files, folder: str, older_than: float = 0.0) -> None:
    """Remove half-written files of killed processes in a folder and below it, if they are older than these seconds.

    The caller must hold the folder's lock, or give an age at which nobody is still writing. In object storage nothing
    is ever half-written.
    """
    if not files.local:
        return
    for place in (Path(files.place(folder), part) for part in SWEPT):
        with suppress(OSError):
            for entry in os.scandir(place):
                if _is_left(entry.name) and time.time() - entry.stat().st_mtime >= older_than:
                    os.unlink(entry.path)


def sweep_probes(files: Files) -> None:
    """Remove the probes of killed processes from object storage, once they are a day old.

    Then nobody still reads them, even if the store's clock and this machine's differ. On a disk ``sweep`` does this.
    """
    if files.local:
        return
    with suppress(StoreError):  # what stays does no harm
        for name, facts in files.facts_in("").items():
            if NUMBERED_PROBE.fullmatch(name) and facts.modified and time.time() - facts.modified > DAY:
                files.remove_file(name)


def _is_left(name: str) -> bool:
    return is_left_behind(name) or NUMBERED_PROBE.fullmatch(name) is not None
