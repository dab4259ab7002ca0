"""Finds plugins: those built in, then the entry points of the group ``oodbench``; reports broken ones by name."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import Any

import pluggy

from oodbench.api import LOCAL
from oodbench.errors import OODBenchError, reason
from oodbench.plugin import hookspecs
from oodbench.plugin.local_files import LocalFile
from oodbench.plugin.source import Source, source_of

GROUP = "oodbench"
BUILTIN = {
    f"builtin-{name}": f"oodbench.builtin.{name}"
    for name in (
        "metrics", "synthetic", "samples", "vision", "characters", "derived", "celeba", "imagenet32", "own",
        "image_lists", "openood", "tiny_imagenet", "textures", "places365", "cifar10_c",
    )
} | {"builtin-local": "oodbench.runs.executors.local"}  # fmt: skip
"""Name → module."""
FIRST_PARTY = tuple(
    f"oodbench-{name}"
    for name in (
        "ae", "classifier", "dae", "dagmm", "ebae", "glow", "igebm", "input-complexity", "pixelcnnpp", "pyod",
        "pytorch-ood", "ray", "slurm", "vae", "wae",
    )
)  # fmt: skip
"""Distributions of this repository. They are loaded before others, so that no other plugin takes their names."""


_first_loaded: dict[str, tuple[Any, float]] = {}
"""Plugin → its module, and when, in seconds since the epoch, this process loaded the code."""


@dataclass
class Plugins:
    """The plugin manager with what was loaded into it (name → version) and what failed (name → reason).

    ``files`` are the users' own files with detectors (``/path/my_method.py:MyMethod`` → the file).
    """

    manager: pluggy.PluginManager
    versions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    distributions: dict[str, metadata.Distribution | None] = field(default_factory=dict)
    files: dict[str, LocalFile] = field(default_factory=dict)
    loading_since: float = field(default_factory=time.time)

    def add(self, name: str, module: Any, distribution: metadata.Distribution | None, version: str) -> None:
        """Add a loaded plugin; a module that this process loaded earlier keeps its first time of loading."""
        self.versions[name], self.distributions[name] = version, distribution
        known, _ = _first_loaded.get(name, (None, 0.0))
        if known is not module:
            _first_loaded[name] = module, self.loading_since

    def source(self, name: str) -> Source:
        """Return the source of the plugin's code that this process has loaded.

        Raises OODBenchError where the code has changed since.
        """
        if name in self.files:
            file = self.files[name]
            loaded = file.loaded
            source = _source_of(file.module.__name__, None, loaded)
            source = replace(source, distribution=file.path.name, version=LOCAL)
        else:
            module: Any = self.manager.get_plugin(name)
            loaded = _first_loaded[name][1]
            source = _source_of(module.__name__, self.distributions[name], loaded)
        if source.changed > loaded:
            again = "run the command again, or start Python again"
            raise OODBenchError(f"the code of plugin {name} has changed since it was loaded; {again}")
        return source


def _check_marked(module: Any) -> None:
    """Raise TypeError where a function has the name of a hook but is not marked as one, so that it is never called."""
    for hook in vars(hookspecs):
        function = getattr(module, hook, None)
        if hook.startswith("register_") and callable(function) and not hasattr(function, f"{GROUP}_impl"):
            raise TypeError(f"{hook} is not marked with @hookimpl, so that nobody calls it")


def is_builtin(plugin: str) -> bool:
    """Whether a plugin of this name ships with oodbench."""
    return plugin in BUILTIN


@cache
def _source_of(module: str, distribution: metadata.Distribution | None, loaded: float) -> Source:
    """Return the source of a module, cached for the time at which it was loaded."""
    return source_of(module, distribution)


def load_plugins() -> Plugins:
    """Load all plugins, or only those named in ``OODBENCH_PLUGINS=a,b``; the built-in ones always."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager)
    core = metadata.distribution("oodbench")
    for name, module in BUILTIN.items():
        loaded = importlib.import_module(module)
        manager.register(loaded, name=name)
        plugins.add(name, loaded, core, core.version)
    wanted = os.environ.get("OODBENCH_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    for name, entry in _entries():
        if names is None or entry.name in names:
            _load(plugins, name, entry)
    missing = sorted((names or set()) - plugins.versions.keys() - plugins.failures.keys())
    plugins.failures.update(dict.fromkeys(missing, "named in OODBENCH_PLUGINS but not installed"))
    return plugins


def _entries() -> Iterator[tuple[str, metadata.EntryPoint]]:
    """Yield the installed entry points, this repository's first, each with a unique name."""
    entries = [(_distribution_name(entry), entry) for entry in metadata.entry_points(group=GROUP)]
    taken = set()
    for distribution, entry in sorted(entries, key=lambda pair: (pair[0] not in FIRST_PARTY, pair[1].name, pair[0])):
        name = f"{distribution}:{entry.name}" if entry.name in taken else entry.name
        taken.add(name)
        yield name, entry


def _distribution_name(entry: metadata.EntryPoint) -> str:
    return entry.dist.metadata["Name"] if entry.dist else ""


def _load(plugins: Plugins, name: str, entry: metadata.EntryPoint) -> None:
    """Load one plugin, not with pluggy's own loader: a broken plugin must be named and must not end the program."""
    try:
        module = entry.load()
        plugins.manager.register(module, name=name)
        plugins.manager.check_pending()
        _check_marked(module)
    except (Exception, SystemExit) as error:
        if plugins.manager.has_plugin(name):
            plugins.manager.unregister(name=name)
        plugins.failures[name] = reason(error)
    else:
        plugins.add(name, module, entry.dist, entry.dist.version if entry.dist else "unknown")
