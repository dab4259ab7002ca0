"""``oodbench show NAME``: all about one detector, data set or metric."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from oodbench.cli import completion, find_plugins
from oodbench.cli.options import data_option, json_option, print_json
from oodbench.plugin.catalogue import shapes_text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from oodbench.api import Detector, Shape
    from oodbench.plugin.registry import Registry

BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
WIDTH = 100


@click.command()
@click.argument("name", shell_complete=completion.anything)
@data_option
@json_option
def command(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Show all about one detector, data set or metric.

    Of a detector: every parameter with its default, the presets' values, bounds, meaning and source.
    """
    record = find(name, find_plugins(), data_dir)
    if as_json:
        print_json(record)
    else:
        for field, value in record.items():
            _print(field, value)


def find(name: str, registry: Registry, data_dir: Path | None) -> dict[str, Any]:
    """What is known of the name, ready to print."""
    from oodbench.errors import UnknownName

    if name in registry.detectors:
        return _with_plugin("detector", name, registry) | _detector(registry.detectors[name])
    if name in registry.datasets:
        return _with_plugin("data set", name, registry) | _dataset(name, registry, data_dir)
    if name in registry.metrics:
        metric = registry.metrics[name]
        better = "higher" if metric.higher_is_better else "lower"
        return _with_plugin("metric", name, registry) | {"better": better, "summary": metric.summary}
    known = [*registry.detectors, *registry.datasets, *registry.metrics]
    raise UnknownName("detector, data set or metric", name, known)


def _with_plugin(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    return {"kind": kind, "name": name, "plugin": f"{registry.plugin_of[kind, name]} {registry.version(kind, name)}"}


def _dataset(name: str, registry: Registry, data_dir: Path | None) -> dict[str, Any]:
    from oodbench.folders import data_folder

    dataset = registry.datasets[name]
    return {
        "summary": dataset.summary,
        "shape": shapes_text(dataset.shape and (dataset.shape,)),
        "sizes": dict(dataset.sizes),
        "classes": list(dataset.classes),
        "files": [str(path) for path in dataset.required_files(data_dir or data_folder())],
        "source": dataset.source,
        "licence": dataset.licence,
    }


def _detector(detector: type[Detector]) -> dict[str, Any]:
    from oodbench.api.parameters import fields_by_path

    shapes = detector.shapes or ((1, 28, 28),)
    fields = fields_by_path(detector.Params)
    return {
        "summary": detector.summary,
        "paper": detector.paper,
        "shapes": shapes_text(detector.shapes),
        "presets": list(detector.presets),
        "parameters": [_parameter(name, info, detector, shapes) for name, info in fields.items()],
    }


def _parameter(name: str, info: FieldInfo, detector: type[Detector], shapes: tuple[Shape, ...]) -> dict[str, Any]:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    return {
        "name": name,
        "default": _default(name, detector),
        "presets": _preset_values(name, detector, shapes),
        "bounds": _bounds(info),
        "unit": extra.get("unit", ""),
        "meaning": info.description or "",
        "source": extra.get("source", ""),
    }


def _default(name: str, detector: type[Detector]) -> Any:
    """As it is in the whole: a group's default may differ from its fields' own."""
    value: Any = detector.Params().model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return value


def _preset_values(name: str, detector: type[Detector], shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Preset → its value, where that is not the default; by shape where that matters."""
    from oodbench.errors import OODBenchError

    default = _default(name, detector)
    values: dict[str, Any] = {}
    for preset in detector.presets:
        found: dict[str, Any] = {}
        for shape in shapes:
            with suppress(OODBenchError):  # a preset may be for some shapes only
                found[shapes_text((shape,))] = _at(name, detector.preset(preset, shape), default)
        differing = {shape: value for shape, value in found.items() if value != default}
        if len(set(map(repr, found.values()))) == 1 and differing:
            values[preset] = next(iter(differing.values()))
        else:
            values |= {f"{preset} {shape}": value for shape, value in differing.items()}
    return values


def _at(name: str, values: Mapping[str, Any], default: Any) -> Any:
    """The value at a dotted name, the default if there is none."""
    value: Any = values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def _bounds(info: FieldInfo) -> str:
    if get_origin(info.annotation) is Literal:
        return " or ".join(map(str, get_args(info.annotation)))
    rules = [(sign, getattr(rule, name, None)) for rule in info.metadata for name, sign in BOUNDS.items()]
    limits = [f"{sign} {limit}" for sign, limit in rules if limit is not None]
    return ", ".join([getattr(info.annotation, "__name__", str(info.annotation)), *limits])


def _print(field: str, value: Any) -> None:
    if field == "parameters":
        for parameter in value:
            click.echo()
            _print_parameter(parameter)
    elif value not in ("", []):
        text = value
        if isinstance(value, list):
            text = ", ".join(map(str, value))
        elif isinstance(value, Mapping):
            text = ", ".join(f"{name} {number}" for name, number in value.items())
        click.echo(f"{field + ':':10}{text}")


def _print_parameter(parameter: Mapping[str, Any]) -> None:
    unit = f" {parameter['unit']}" if parameter["unit"] else ""
    presets = "".join(f"; {preset}: {value}" for preset, value in parameter["presets"].items())
    click.echo(f"{parameter['name']} = {parameter['default']}{unit}{presets}  [{parameter['bounds']}]")
    source = f" Source: {parameter['source']}." if parameter["source"] else ""
    text = f"{parameter['meaning']}.{source}" if parameter["meaning"] else source
    if text:
        click.echo(textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    "))
