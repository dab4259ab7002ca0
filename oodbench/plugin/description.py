"""All that is known about one detector, data set, metric or executor, ready to be printed or written as JSON."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from oodbench.api import Detector, Executor, Location, Params, Shape
from oodbench.api.parameters import fields_by_path, get_path
from oodbench.errors import OODBenchError, UnknownName
from oodbench.folders import data_folder
from oodbench.plugin.catalogue import shapes_text
from oodbench.plugin.registry import Registry

NO_SHAPE = {
    True: "images of several sizes; a shape behind the name, as @28x28x1, brings them to one",
    False: "that of the in-data",
}
"""Text in place of a shape where the images at a path have none in common: by whether there is a train split."""

BOUND_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def describe_name(name: str, registry: Registry, data_dir: Path | None = None) -> dict[str, Any]:
    """Return what is known about the detector (or its file), data set, metric or executor of this name.

    Args:
        data_dir: folder of the data sets' files; None for the user's data folder.

    Raises UnknownName if no plugin offers the name.
    """
    if registry.has_detector(name):
        detector = registry.detector(name)
        return _identity("detector", detector.name, registry) | describe_detector(detector)
    if name in registry.datasets:
        return _identity("data set", name, registry) | _describe_dataset(name, registry, data_dir or data_folder())
    kind, _, path = name.partition(":")
    if path and kind in registry.datasets and registry.datasets[kind].from_path is not None:
        return _identity("data set", kind, registry) | {"name": name} | _describe_place(kind, path, registry)
    if name in registry.metrics:
        metric = registry.metrics[name]
        better = "higher" if metric.higher_is_better else "lower"
        return _identity("metric", name, registry) | {"better": better, "summary": metric.summary}
    if name in registry.executors:
        return _identity("executor", name, registry) | describe_executor(registry.executors[name])
    known = [*registry.detector_names, *registry.datasets, *registry.metrics, *registry.executors]
    raise UnknownName("detector, data set, metric or executor", name, known)


def describe_detector(detector: type[Detector]) -> dict[str, Any]:
    """Return a detector's summary, paper, shapes and presets, and each parameter with its values and bounds."""
    shapes = detector.shapes or ((1, 28, 28),)
    return {
        "summary": detector.summary,
        "paper": detector.paper,
        "stands on": detector.base,
        "known findings": [f"{check}: {why}" for check, why in detector.known_findings.items()],
        "shapes": shapes_text(detector.shapes),
        "presets": list(detector.presets),
        "parameters": [
            described | {"presets": _preset_values(path, described["default"], detector, shapes)}
            for path, described in _describe_parameters(detector.Params).items()
        ],
    }


def describe_executor(executor: type[Executor]) -> dict[str, Any]:
    """Return an executor's summary, and each parameter with its default and bounds."""
    return {"summary": executor.summary, "parameters": [*_describe_parameters(executor.Params).values()]}


def _identity(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    return {"kind": kind, "name": name, "plugin": f"{registry.plugin_of[kind, name]} {registry.version(kind, name)}"}


def _describe_dataset(name: str, registry: Registry, root: Path) -> dict[str, Any]:
    dataset = registry.datasets[name]
    return {
        "summary": dataset.summary,
        "shape": shapes_text(dataset.shape and (dataset.shape,)),
        "sizes": dict(dataset.sizes),
        "classes": list(dataset.classes),
        "files": [str(path) for path in dataset.files(root)],
        "splits": dataset.rules,
        "source": dataset.source,
        "licence": dataset.licence,
    }


def _describe_place(kind: str, path: str, registry: Registry) -> dict[str, Any]:
    """Return what was found at the path of a data set such as ``folder:PATH``. Raises DataError for an invalid path."""
    dataset = registry.datasets[kind].from_path(path)  # type: ignore[misc]
    place = dataset.location or Location(Path(path))
    names = place.class_names or [""] * len(dataset.classes)
    named = {number: f"{number} {name}".strip() for number, name in zip(dataset.classes, names, strict=True)}
    is_in = "train" in dataset.sizes and dataset.shape is not None
    return {
        "summary": dataset.summary,
        "shape": shapes_text((dataset.shape,)) if dataset.shape else NO_SHAPE["train" in dataset.sizes],
        "sizes": dict(dataset.sizes),
        "classes": [*named.values()],
        "chosen": [named[number] for number in place.chosen or ()],
        "images": {split: dict(counts) for split, counts in place.counts.items() if counts},
        "named after": "--in, --out" if is_in else "--out",
        "splits": dataset.rules,
        "source": dataset.source,
    }


def _describe_parameters(params: type[Params]) -> dict[str, dict[str, Any]]:
    """Return each parameter by dotted name: its default, bounds, unit, meaning and source; ``presets`` is empty."""
    # defaults of the whole model: a group's default may differ from the defaults of its fields
    defaults, described = params.model_construct().model_dump(mode="json"), {}
    for path, info in fields_by_path(params).items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        described[path] = {
            "name": path,
            "default": get_path(defaults, path),
            "presets": {},
            "bounds": _bounds(info),
            "unit": extra.get("unit", ""),
            "meaning": info.description or "",
            "source": extra.get("source", ""),
        }
    return described


def _preset_values(path: str, default: Any, detector: type[Detector], shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Return preset → its value where that is not the default; ``preset shape`` → value if it depends on the shape."""
    values: dict[str, Any] = {}
    for preset in detector.presets:
        found: dict[str, Any] = {}
        for shape in shapes:
            with suppress(OODBenchError):  # a preset may be for some shapes only
                found[shapes_text((shape,))] = get_path(detector.preset(preset, shape), path, default)
        differing = {shape: value for shape, value in found.items() if value != default}
        if len(set(map(repr, found.values()))) == 1 and differing:
            values[preset] = next(iter(differing.values()))
        else:
            values |= {f"{preset} {shape}": value for shape, value in differing.items()}
    return values


def _bounds(info: FieldInfo) -> str:
    """Return the bounds as text: ``int, ≥ 1``, or the choices of a Literal."""
    if get_origin(info.annotation) is Literal:
        return " or ".join(map(str, get_args(info.annotation)))
    rules = [(sign, getattr(rule, name, None)) for rule in info.metadata for name, sign in BOUND_SIGNS.items()]
    limits = [f"{sign} {limit}" for sign, limit in rules if limit is not None]
    return ", ".join([getattr(info.annotation, "__name__", str(info.annotation)), *limits])
