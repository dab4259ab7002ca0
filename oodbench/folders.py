"""The user's own folders that oodbench reads and writes when no option says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return where data sets are read from and downloaded to: ``OODBENCH_DATA``, else the user's data folder."""
    from platformdirs import user_data_path

    return Path(os.environ.get("OODBENCH_DATA") or user_data_path("oodbench"))


def cache_folder() -> Path:
    """Return where decoded images and the plugins' catalogue are kept: ``OODBENCH_CACHE``, else the user's cache."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("OODBENCH_CACHE") or user_cache_path("oodbench"))
