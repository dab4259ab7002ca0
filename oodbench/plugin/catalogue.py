"""What the plugins offer as plain facts: a row of strings and numbers for each detector, data set, metric …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry

NOTHING = "nothing: is @hookimpl missing?"
Catalogue = dict[str, list[dict[str, Any]]]
"""detectors, datasets, metrics, executors, commands, plugins, and failures of plugins → a row for each."""


def describe(registry: Registry) -> Catalogue:
    """Return the facts of everything in the registry, each kind in the order in which it is listed."""
    return {
        "detectors": _detectors(registry),
        "datasets": _datasets(registry),
        "metrics": _metrics(registry),
        "executors": _executors(registry),
        "commands": _commands(registry),
        "plugins": _plugins(registry),
        "failures": [{"name": name, "reason": why} for name, why in registry.failures.items()],
    }


def _detectors(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "plugin": registry.plugin_of["detector", name],
            "version": registry.version("detector", name),
            "shapes": shapes_text(detector.shapes),
            "presets": ", ".join(detector.presets),
            "stands on": detector.base,
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


def _executors(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "plugin": registry.plugin_of["executor", name],
            "version": registry.version("executor", name),
            "summary": executor.summary,
        }
        for name, executor in registry.executors.items()
    ]


def _commands(registry: Registry) -> list[dict[str, Any]]:
    """Describe the commands of plugins; those of the core are known without loading a plugin."""
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
    """Describe each plugin with what it offers, or why it could not be loaded."""
    names = dict.fromkeys([*registry.plugins.versions, *registry.failures])
    offers: dict[str, list[str]] = {}
    for (_, offer), plugin in registry.plugin_of.items():
        offers.setdefault(plugin, []).append(offer)
    offers |= {name: [NOTHING] for name in registry.idle_plugins}
    return [
        {
            "name": name,
            "version": registry.plugins.versions.get(name, ""),
            "offers": ", ".join(offers.get(name, [])),
            "failure": registry.failures.get(name, ""),
        }
        for name in names
    ]


def shapes_text(shapes: tuple[tuple[int, int, int], ...] | None) -> str:
    """Return shapes as text, ``((1, 28, 28), (3, 32, 32))`` → ``1×28×28, 3×32×32``; ``any`` for None or no shape."""
    from oodbench.api import shape_text

    return ", ".join(map(shape_text, shapes)) if shapes else "any"
