"""What the plugins offer, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from oodbench.api import LOCAL, Dataset, Detector, Executor, Metric, Params
from oodbench.api.full_spectrum import PREFIX, in_full_spectrum, is_full_spectrum
from oodbench.api.images import is_shape
from oodbench.errors import OODBenchError, UnknownName, reason
from oodbench.plugin import catalogue_cache
from oodbench.plugin.local_files import is_file_word, load_detector
from oodbench.plugin.manager import Plugins, is_builtin, load_plugins
from oodbench.plugin.source import Source

HOOKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "register_datasets": ("data set", lambda offer: isinstance(offer, Dataset)),
    "register_detectors": ("detector", lambda offer: isinstance(offer, type) and issubclass(offer, Detector)),
    "register_metrics": ("metric", lambda offer: isinstance(offer, Metric)),
    "register_executors": ("executor", lambda offer: isinstance(offer, type) and issubclass(offer, Executor)),
    "register_commands": ("command", lambda offer: isinstance(offer, click.Command) and bool(offer.name)),
}
RESERVED = "in"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass
class Registry:
    """Everything that plugins offer, by name.

    With a saved catalogue, which says which plugin has which detector, detectors are loaded only when requested: torch
    and their other packages take seconds to import.

    Args:
        plugin_of: (kind, name) → the plugin that offers it.
        failures: plugin → why an offer of it is missing.
        waiting: detector that is not loaded yet → its plugin.
        of_files: file and class, as in ``./my_method.py:MyMethod`` → the detector.
    """

    plugins: Plugins
    offers: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind, _ in HOOKS.values()})
    plugin_of: dict[tuple[str, str], str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    of_files: dict[str, type[Detector]] = field(default_factory=dict)

    @property
    def datasets(self) -> dict[str, Dataset]:
        return self.offers["data set"]

    @property
    def detectors(self) -> dict[str, type[Detector]]:
        """All detectors, loaded."""
        for plugin in dict.fromkeys(self.waiting.values()):
            self._load_detectors(plugin)
        return self.offers["detector"]

    @property
    def detector_names(self) -> list[str]:
        """The names of all detectors that plugins offer, without loading them."""
        return [*self.offers["detector"], *self.waiting]

    @property
    def metrics(self) -> dict[str, Metric]:
        return self.offers["metric"]

    @property
    def executors(self) -> dict[str, type[Executor]]:
        return self.offers["executor"]

    @property
    def commands(self) -> dict[str, click.Command]:
        return self.offers["command"]

    def dataset(self, name: str) -> Dataset:
        return self._get("data set", name)

    def detector(self, name: str) -> type[Detector]:
        """Return a detector by its name, or by its file and class, as in ``./my_method.py:MyMethod``."""
        if is_file_word(name):
            return self._add_file(name)
        if name in self.waiting:
            self._load_detectors(self.waiting[name])
        return self._get("detector", name)

    def has_detector(self, name: str) -> bool:
        """Whether ``detector`` accepts this name; a file is not opened to find out."""
        return name in self.detector_names or is_file_word(name)

    def metric(self, name: str) -> Metric:
        """Return a metric by its name or by its full-spectrum name."""
        if is_full_spectrum(name):
            return in_full_spectrum(self._get("metric", name.removeprefix(PREFIX)))
        return self._get("metric", name)

    def executor(self, name: str) -> type[Executor]:
        return self._get("executor", name)

    def version(self, kind: str, name: str) -> str:
        """Return the version of the plugin that offers this."""
        plugin = self.plugin_of[kind, name]
        return LOCAL if plugin in self.plugins.files else self.plugins.versions[plugin]

    def source(self, kind: str, name: str) -> Source:
        """Return the source of the code that offers this.

        Raises OODBenchError where the code has changed since it was loaded.
        """
        return self.plugins.source(self.plugin_of[kind, name])

    def code_version(self, kind: str, name: str) -> str:
        """Return the version of the code that offers this, with a fingerprint if it may change and is not oodbench's.

        Raises OODBenchError where the code has changed since it was loaded.
        """
        plugin = self.plugin_of[kind, name]
        return self.version(kind, name) if is_builtin(plugin) else self.plugins.source(plugin).code_version

    def metric_version(self, name: str) -> str:
        """Return the version of another package's metric, also in full spectrum; empty for a metric of oodbench."""
        plain = name.removeprefix(PREFIX)
        plugin = self.plugin_of.get(("metric", plain))
        return "" if plugin is None or is_builtin(plugin) else self.code_version("metric", plain)

    @property
    def idle_plugins(self) -> list[str]:
        """The plugins that were loaded and offer nothing."""
        offering = {*self.plugin_of.values(), *self.failures}
        return [name for name in self.plugins.versions if name not in offering]

    def _add_file(self, word: str) -> type[Detector]:
        """Register the detector of a file under its own name, as if a plugin offered it."""
        if word not in self.of_files:  # a registered detector stays, even if the file is edited
            file, detector = load_detector(word)
            plugin = f"{file.path}:{detector.__name__}"
            if self.plugin_of.get(("detector", detector.name)) != plugin:
                try:
                    _add(self, plugin, "detector", HOOKS["register_detectors"][1], detector)
                except ValueError as error:
                    raise OODBenchError(f"{file.path.name}: {error}") from None
                self.plugins.files[plugin] = file
            self.of_files[word] = self.offers["detector"][detector.name]
        return self.of_files[word]

    def _load_detectors(self, plugin: str) -> None:
        """Load the detectors of a plugin. Raises OODBenchError where it fails, unlike when the catalogue was saved."""
        self.waiting = {name: owner for name, owner in self.waiting.items() if owner != plugin}
        try:
            for offer in _offers(self.plugins, "register_detectors", plugin):
                _add(self, plugin, *HOOKS["register_detectors"], offer)
        except (Exception, SystemExit) as error:
            raise OODBenchError(f"plugin {plugin}: {reason(error)}") from None

    def _get(self, kind: str, name: str) -> Any:
        if name not in self.offers[kind]:
            raise UnknownName(kind, name, self.detector_names if kind == "detector" else self.offers[kind])
        return self.offers[kind][name]


def load_registry(plugins: Plugins | None = None, hooks: Iterable[str] = HOOKS, files: Iterable[str] = ()) -> Registry:
    """Collect what every plugin offers, and the detectors of files (``/path/my_method.py:MyMethod``).

    A hook that fails, or an offer that is invalid or whose name is taken, is left out, with the reason in ``failures``;
    the plugin's other offers stay. With a saved catalogue of these plugins, detectors are loaded only when requested.
    """
    saved = catalogue_cache.load() if plugins is None else None
    plugins = plugins or load_plugins()
    registry = Registry(plugins, failures=dict(plugins.failures))
    if saved and not saved["failures"] and "register_detectors" in hooks:
        there = (row for row in saved["detectors"] if row["plugin"] in plugins.versions)
        registry.waiting = {row["name"]: row["plugin"] for row in there}
        registry.plugin_of |= {("detector", name): plugin for name, plugin in registry.waiting.items()}
        hooks = [hook for hook in hooks if hook != "register_detectors"]
    for plugin in plugins.versions:
        for hook in hooks:
            kind, is_kind = HOOKS[hook]
            try:
                offers = _offers(plugins, hook, plugin)
            except (Exception, SystemExit) as error:
                _record_failure(registry, plugin, error)
                continue
            for offer in offers:
                try:
                    _add(registry, plugin, kind, is_kind, offer)
                except Exception as error:
                    _record_failure(registry, plugin, error)
    for word in files:
        registry.detector(word)
    return registry


def _record_failure(registry: Registry, plugin: str, error: BaseException) -> None:
    """Add the reason to the plugin's earlier ones: one must not hide another."""
    reasons = filter(None, [registry.failures.get(plugin), reason(error)])
    registry.failures[plugin] = "; ".join(reasons)


def find_detector(name: str) -> tuple[type[Detector], str]:
    """Return a detector by its name, with the version of its code, for a detector that builds on another.

    Raises UnknownName where no installed plugin offers it.
    """
    registry = load_registry()
    return registry.detector(name), registry.source("detector", name).code_version


def find_metric(name: str) -> Metric:
    """Return a metric by its name. Raises UnknownName where no installed plugin offers it."""
    return load_registry().metric(name)


def _offers(plugins: Plugins, hook: str, plugin: str) -> list[Any]:
    """Call one hook of one plugin alone, so that an exception is known to be its own."""
    manager = plugins.manager
    others = [other for name, other in manager.list_name_plugin() if other is not None and name != plugin]
    found = manager.subset_hook_caller(hook, remove_plugins=others)()
    for offers in found:
        if not isinstance(offers, list | tuple):
            raise TypeError(f"{hook} returned a {type(offers).__name__}: return a list")
    return [offer for offers in found for offer in offers]


def _add(registry: Registry, plugin: str, kind: str, is_kind: Callable[[Any], bool], offer: Any) -> None:
    if not is_kind(offer):
        raise TypeError(f"{offer!r} is not a {kind}")
    name = offer.name
    if not NAME.fullmatch(name.replace("_", "") if kind == "metric" else name):
        raise ValueError(f"{kind} name {name!r}: use small letters, digits and '-'")
    if kind == "metric" and is_full_spectrum(name):
        raise ValueError(f"metric name {name!r}: {PREFIX} is kept for what oodbench makes of a metric itself")
    if kind == "data set":
        check_dataset_name(name)
        if not (offer.shape is None or is_shape(offer.shape)):
            raise ValueError(
                f"shape of data set {name} is not (channels, height, width), as (1, 28, 28): {offer.shape!r}"
            )
    if kind == "detector":
        _check_declared(offer)
    if name in registry.offers[kind] or (kind == "detector" and name in registry.waiting):
        owner = registry.plugin_of[kind, name]
        raise ValueError(
            f"{kind} {name!r} is already offered by plugin {owner}, and is left out; rename it, or choose plugins with "
            "OODBENCH_PLUGINS=…"
        )
    registry.offers[kind][name] = offer
    registry.plugin_of[kind, name] = plugin


def check_dataset_name(name: str) -> None:
    """Raise OODBenchError for the name under which scores of in-data are stored: no data set can have it."""
    if name == RESERVED:
        raise OODBenchError(f"a data set cannot be called {name!r}, as the scores of in-data are: rename it")


def _check_declared(detector: type[Detector]) -> None:
    """Raise ValueError where an attribute that every command reads from a detector has the wrong type."""
    params: object = detector.Params
    presets: object = detector.presets
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise ValueError(f"Params of detector {detector.name} is no class derived from oodbench.Params")
    if not (isinstance(presets, Mapping) and all(isinstance(values, Mapping) for values in presets.values())):
        raise ValueError(f"presets of detector {detector.name} is no table of names and values")
    shapes: object = detector.shapes
    if shapes is not None and not (isinstance(shapes, tuple) and all(map(is_shape, shapes))):
        raise ValueError(f"shapes of detector {detector.name} is no tuple of shapes such as ((1, 28, 28),): {shapes!r}")
    if not isinstance(detector.known_findings, Mapping):
        raise ValueError(f"known_findings of detector {detector.name} is no table of checks and reasons")
