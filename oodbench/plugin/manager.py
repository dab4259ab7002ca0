"""Finds plugins: those built in, then the entry points of the group ``oodbench``; names the broken one."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from importlib import metadata

import pluggy

from oodbench.errors import reason
from oodbench.plugin import hookspecs

GROUP = "oodbench"
BUILTIN = ("metrics", "synthetic", "samples", "vision", "characters", "derived", "celeba", "imagenet32", "own")


@dataclass
class Plugins:
    """The plugin manager with what was loaded into it (name → version) and what failed (name → reason)."""

    manager: pluggy.PluginManager
    versions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def load_plugins() -> Plugins:
    """Load all plugins, or only those named in ``OODBENCH_PLUGINS=a,b``; the built-in ones always."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager)
    for name in BUILTIN:
        manager.register(importlib.import_module(f"oodbench.builtin.{name}"), name=f"builtin-{name}")
        plugins.versions[f"builtin-{name}"] = metadata.version("oodbench")
    wanted = os.environ.get("OODBENCH_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        if names is None or entry.name in names:
            _load(plugins, entry)
    missing = sorted((names or set()) - plugins.versions.keys() - plugins.failures.keys())
    plugins.failures.update(dict.fromkeys(missing, "named in OODBENCH_PLUGINS but not installed"))
    return plugins


def _load(plugins: Plugins, entry: metadata.EntryPoint) -> None:
    """A broken plugin must not end the program, and must be named: so not pluggy's own entry-point loader."""
    try:
        module = entry.load()
        plugins.manager.register(module, name=entry.name)
        plugins.manager.check_pending()
    except (Exception, SystemExit) as error:
        if plugins.manager.has_plugin(entry.name):
            plugins.manager.unregister(name=entry.name)
        plugins.failures[entry.name] = reason(error)
    else:
        plugins.versions[entry.name] = entry.dist.version if entry.dist else "unknown"
