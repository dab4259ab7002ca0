"""The user's own folders and files that oodbench reads and writes when no option says otherwise."""

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


def settings_file() -> Path:
    """Return the file of the user's own settings: ``OODBENCH_SETTINGS``, else settings.toml in the config folder."""
    from platformdirs import user_config_path

    return Path(os.environ.get("OODBENCH_SETTINGS") or user_config_path("oodbench") / "settings.toml")
