"""Presets and ``--set name=value`` → the parameters of a detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from oodbench.api import Detector, Params, Shape
from oodbench.api.parameters import fields_by_path, group_defaults, merge, nest
from oodbench.errors import OODBenchError, UnknownName
from oodbench.text import shorten

if TYPE_CHECKING:
    from oodbench.plan.requests import RunRequest
    from oodbench.plugin.registry import Registry


OnUnmatched = Callable[[str, OODBenchError], None]
"""Called with a setting that applies to no detector of its request, and the error for it."""


def refuse(path: str, error: OODBenchError) -> None:
    """Raise the error."""
    raise error


class UnmatchedSettings:
    """The settings of several requests that apply to no detector of their own request.

    A setting that every request has, such as one that ``--set`` adds to each run of a suite, is meant for the detectors
    that have the parameter, and is an error only if none has it.
    """

    def __init__(self, requests: Collection[RunRequest]):
        paths = [{split_setting("--set", text)[0] for text in request.sets} for request in requests]
        self._shared = set.intersection(*paths) if len(requests) > 1 else set[str]()
        self._requests = set(requests)
        self._errors: dict[str, dict[RunRequest, OODBenchError]] = {}

    def add(self, request: RunRequest, path: str, error: OODBenchError) -> None:
        """Record such a setting; raise its error if not every request has it."""
        if path not in self._shared:
            raise error
        self._errors.setdefault(path, {})[request] = error

    def check(self) -> None:
        """Raise the error of a setting that reaches no detector in any request."""
        for errors in self._errors.values():
            if errors.keys() == self._requests:
                raise next(iter(errors.values()))


def values_by_detector(
    sets: Sequence[str], detectors: Mapping[str, type[Detector]], registry: Registry, on_unmatched: OnUnmatched = refuse
) -> dict[str, dict[str, Any]]:
    """Return, for each detector, the settings meant for it: dotted name → value.

    Besides the requested detectors, these may be their bases, if a setting names them.

    Raises OODBenchError, unless ``on_unmatched`` does otherwise, for a setting that no requested detector has.
    """
    values: dict[str, dict[str, Any]] = {name: {} for name in detectors}
    for text in sets:
        path, value = split_setting("--set", text)
        try:
            targets = _targets(path, detectors, registry)
        except UnknownName as error:
            on_unmatched(path, error)
            continue
        for name, parameter in targets:
            values.setdefault(name, {})[parameter] = value
    return values


def _targets(path: str, detectors: Mapping[str, type[Detector]], registry: Registry) -> list[tuple[str, str]]:
    """Return the (detector, parameter) pairs that a setting is for."""
    fields = {name: fields_by_path(detector.Params) for name, detector in detectors.items()}
    first, dot, rest = path.partition(".")
    if dot and first in registry.detector_names:
        known = fields.get(first) or fields_by_path(registry.detector(first).Params)
        if rest not in known:
            raise UnknownName(f"parameter of {first}", rest, known)
        return [(first, rest)]
    having = [(name, path) for name in detectors if path in fields[name]]
    if not having:
        parameters = {parameter for names in fields.values() for parameter in names}
        raise UnknownName(f"parameter of {' or '.join(detectors)}", path, parameters)
    return having


def check_used(
    settings: Mapping[str, Mapping[str, Any]],
    detectors: Iterable[str],
    used: Mapping[str, Collection[str]],
    on_unmatched: OnUnmatched = refuse,
) -> None:
    """Raise OODBenchError for a setting that applies to neither a requested detector nor a base of one.

    ``on_unmatched`` may do otherwise.

    Args:
        used: each of these detectors → the settings that apply to it.
    """
    for name, values in settings.items():
        for path in values:
            if name not in used:
                listed = ", ".join(detectors)
                lack = f"{name} is not among the detectors to run: {listed}"
            elif path not in used[name]:
                lack = f"what stands on {name} gives its {path}; set it there"
            else:
                continue
            on_unmatched(f"{name}.{path}", OODBenchError(f"--set {name}.{path}: {lack}"))


def split_setting(option: str, text: str) -> tuple[str, Any]:
    """Return the dotted name and the value of ``name=value``. Raises OODBenchError, naming the option, if it is not."""
    path, equals, value = text.partition("=")
    if not equals:
        raise OODBenchError(f"{option} {shorten(text)}: write it as name=value")
    return path.strip(), _value(value.strip())


def _value(text: str) -> Any:
    """Return the JSON value, else the text itself, also if it is JSON too long or too deep for Python to read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def resolve(detector: type[Detector], preset: str, shape: Shape, values: Mapping[str, Any]) -> Params:
    """Return the parameters of a run: ``values`` (dotted name → value) over the preset over the defaults.

    Raises OODBenchError, naming each parameter, where a value is unknown or out of bounds, and where the detector
    cannot be fitted to images of this shape.
    """
    detector.check_shape(shape)
    merged = merge(group_defaults(detector.Params), detector.preset(preset, shape))
    for path, value in values.items():
        merged = merge(merged, nest(path, value))
    try:
        return detector.Params(**merged)
    except pydantic.ValidationError as error:
        faults = "; ".join(map(fault, error.errors(include_url=False)))
        raise OODBenchError(f"{detector.name}: {faults}; `oodbench show {detector.name}` lists the bounds") from None


def fault(error: Mapping[str, Any]) -> str:
    """Return a pydantic error as text: ``visible_chain.steps must be greater than or equal to 0 (got -3)``."""
    where = ".".join(map(str, error["loc"]))
    what = " ".join(error["msg"].split()).removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where} {what} (got {shorten(repr(error['input']))})" if where else what
