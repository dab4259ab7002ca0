"""The catalogue, saved in the cache folder so that names are listed and completed without loading a plugin."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.atomic import write_atomically
from oodbench.errors import OODBenchError
from oodbench.folders import cache_folder
from oodbench.plugin.catalogue import Catalogue, describe
from oodbench.reading import read_bytes

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry


def current_catalogue(load_registry: Callable[[], Registry]) -> Catalogue:
    """Return the saved catalogue if it is current and complete, else describe what ``load_registry`` returns.

    It is incomplete if a plugin failed: the failure must be reported again, and may be fixed by now.
    """
    saved = load()
    return describe(load_registry()) if saved is None or saved["failures"] else saved


def load() -> Catalogue | None:
    """Return the saved catalogue; None if there is none, it is damaged, or a plugin or the core has changed since."""
    try:
        check, packages, body = read_bytes(_path()).decode("utf-8").split("\n", 2)
    except (OODBenchError, ValueError):
        return None
    return json.loads(body) if check == _check(cache_key(), packages, body) else None


def save(registry: Registry, key: str) -> None:
    """Save the catalogue of the registry, with the plugins that failed.

    Never raises: an error only means that the plugins are loaded next time.

    Args:
        key: what ``cache_key`` returned before the plugins were loaded.
    """
    with suppress(Exception):
        body = json.dumps(describe(registry), default=str)
        packages = " ".join(sorted({offer.__module__.partition(".")[0] for offer in registry.detectors.values()}))
        _write(_path(), f"{_check(key, packages, body)}\n{packages}\n{body}".encode())


def _write(path: Path, text: bytes) -> None:
    with suppress(OODBenchError):
        if read_bytes(path) == text:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text))


def cache_key() -> str:
    """Return a text that changes with the version, the entry point or any file of a plugin or of the core."""
    from importlib import metadata

    chosen = os.environ.get("OODBENCH_PLUGINS")
    names = None if chosen is None else {name.strip() for name in chosen.split(",")}
    entries = [entry for entry in metadata.entry_points(group="oodbench") if names is None or entry.name in names]
    facts = [(entry.name, entry.value, entry.dist.version if entry.dist else "") for entry in entries]
    packages = sorted({"oodbench", *(entry.value.partition(":")[0].partition(".")[0] for entry in entries)})
    files = [file for package in packages for file in _files_of(package)]
    return json.dumps([metadata.version("oodbench"), sys.version, chosen, sorted(facts), files])


def _files_of(package: str) -> list[tuple[str, int, int]]:
    """Return path, size and modification time of each file of a package or single module, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    paths = [path for folder in folders for path in _walk(folder)] if folders else [str(spec.origin)]
    files = []
    for path in sorted(paths):
        with suppress(OSError):
            status = os.stat(path)
            files.append((path, status.st_size, status.st_mtime_ns))
    return files


def _walk(folder: str) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (os.path.join(root, name) for name in names)


def _path() -> Path:
    """Return the file for this Python environment and this value of OODBENCH_PLUGINS."""
    which = json.dumps([sys.prefix, os.environ.get("OODBENCH_PLUGINS")])
    return cache_folder() / "plugins" / f"{hashlib.sha256(which.encode()).hexdigest()[:12]}.json"


def _check(key: str, packages: str, body: str) -> str:
    """Hash all that the catalogue depends on: also the packages that define detectors, which may not be plugins."""
    files = [file for package in packages.split() for file in _files_of(package)]
    return hashlib.sha256(json.dumps([key, packages, files, body]).encode()).hexdigest()
