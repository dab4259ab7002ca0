"""What the plugins offer as plain facts, kept in the cache: to list or complete names then loads no plugin."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.atomic import write_atomically
from oodbench.folders import cache_folder

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry

Catalogue = dict[str, list[dict[str, Any]]]
"""detectors, datasets, metrics, commands, plugins → a row for each."""


def catalogue(load_registry: Callable[[], Registry]) -> Catalogue:
    """Return the saved catalogue if it is current, else describe the registry that ``load_registry`` returns."""
    kept = load()
    return describe(load_registry()) if kept is None else kept


def load() -> Catalogue | None:
    """What was kept; None if that is nothing, or damaged, or if any plugin has changed since."""
    try:
        check, _, body = _path().read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return json.loads(body) if check == _check(cache_key(), body) else None


def save(registry: Registry, key: str) -> None:
    """Keep what is offered, if every plugin works: a failure is found anew each time. A cache that fails is no matter.

    ``key`` was taken before the plugins were loaded.
    """
    with suppress(Exception):
        if not registry.failures:
            body = json.dumps(describe(registry), default=str)
            _write(_path(), f"{_check(key, body)}\n{body}".encode())


def _write(path: Path, text: bytes) -> None:
    if path.exists() and path.read_bytes() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text))


def cache_key() -> str:
    """Changes as soon as a plugin or the core is another: its version, its entry point, or any file of its package."""
    from importlib import metadata

    chosen = os.environ.get("OODBENCH_PLUGINS")
    names = None if chosen is None else {name.strip() for name in chosen.split(",")}
    entries = [entry for entry in metadata.entry_points(group="oodbench") if names is None or entry.name in names]
    facts = [(entry.name, entry.value, entry.dist.version if entry.dist else "") for entry in entries]
    packages = sorted({"oodbench", *(entry.value.partition(":")[0].partition(".")[0] for entry in entries)})
    files = [file for package in packages for file in _files_of(package)]
    return json.dumps([metadata.version("oodbench"), sys.version, chosen, sorted(facts), files])


def _files_of(package: str) -> list[tuple[str, int, int]]:
    """Path, size and time of change of all files of a package, or of its one module. Nothing is imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    paths = [path for folder in folders for path in _walk(folder)] if folders else [str(spec.origin)]
    stamps = []
    for path in sorted(paths):
        with suppress(OSError):
            status = os.stat(path)
            stamps.append((path, status.st_size, status.st_mtime_ns))
    return stamps


def _walk(folder: str) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (os.path.join(root, name) for name in names)


def _path() -> Path:
    """One file for each Python environment and choice of plugins."""
    which = json.dumps([sys.prefix, os.environ.get("OODBENCH_PLUGINS")])
    return cache_folder() / "plugins" / f"{hashlib.sha256(which.encode()).hexdigest()[:12]}.json"


def _check(key: str, body: str) -> str:
    return hashlib.sha256(f"{key}\n{body}".encode()).hexdigest()


# ------------------------------------------------------------------------------------------ facts


def describe(registry: Registry) -> Catalogue:
    """The facts of all that is offered, each kind in the order it is listed in."""
    return {
        "detectors": _detectors(registry),
        "datasets": _datasets(registry),
        "metrics": _metrics(registry),
        "commands": _commands(registry),
        "plugins": _plugins(registry),
    }


def _detectors(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "plugin": registry.plugin_of["detector", name],
            "version": registry.version("detector", name),
            "shapes": shapes_text(detector.shapes),
            "presets": ", ".join(detector.presets),
            "summary": detector.summary,
        }
        for name, detector in sorted(registry.detectors.items())
    ]


def _datasets(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "plugin": registry.plugin_of["data set", name],
            "version": registry.version("data set", name),
            "shape": shapes_text(dataset.shape and (dataset.shape,)),
            "train": dataset.sizes.get("train"),
            "validation": dataset.sizes.get("validation"),
            "test": dataset.sizes.get("test"),
            "classes": len(dataset.classes) or None,
            "summary": dataset.summary,
        }
        for name, dataset in sorted(registry.datasets.items())
    ]


def _metrics(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "better": "higher" if metric.higher_is_better else "lower",
            "plugin": registry.plugin_of["metric", name],
            "version": registry.version("metric", name),
            "summary": metric.summary,
        }
        for name, metric in registry.metrics.items()
    ]


def _commands(registry: Registry) -> list[dict[str, Any]]:
    """Those of plugins: the core's own need no plugin to be found."""
    return [
        {
            "name": name,
            "plugin": registry.plugin_of["command", name],
            "version": registry.version("command", name),
            "summary": command.get_short_help_str(limit=100),
        }
        for name, command in sorted(registry.commands.items())
    ]


def _plugins(registry: Registry) -> list[dict[str, Any]]:
    """Each plugin with what it offers, or why it offers nothing."""
    names = dict.fromkeys([*registry.plugins.versions, *registry.failures])
    return [
        {
            "name": name,
            "version": registry.plugins.versions.get(name, ""),
            "offers": ", ".join(offer for (_, offer), plugin in registry.plugin_of.items() if plugin == name),
            "failure": registry.failures.get(name, ""),
        }
        for name in names
    ]


def shapes_text(shapes: tuple[tuple[int, int, int], ...] | None) -> str:
    from oodbench.api import shape_text

    return ", ".join(map(shape_text, shapes)) if shapes else "any"
