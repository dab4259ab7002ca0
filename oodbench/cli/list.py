"""``oodbench list detectors|datasets|metrics|plugins``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import find_plugins
from oodbench.cli.options import json_option, print_json, print_table

if TYPE_CHECKING:
    from oodbench.registry import Registry

Rows = list[dict[str, Any]]


@click.command("list")
@click.argument("kind", type=click.Choice(["detectors", "datasets", "metrics", "plugins"]))
@json_option
def command(kind: str, as_json: bool) -> None:
    """List detectors, data sets, metrics or plugins."""
    rows = {"detectors": detectors, "datasets": datasets, "metrics": metrics, "plugins": plugins}[kind](find_plugins())
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def detectors(registry: Registry) -> Rows:
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


def datasets(registry: Registry) -> Rows:
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


def metrics(registry: Registry) -> Rows:
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


def plugins(registry: Registry) -> Rows:
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
