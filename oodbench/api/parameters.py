"""Hyper-parameters: declaring them, and reaching nested ones by a dotted name such as ``visible_chain.steps``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import pydantic

MISSING: Final = object()


class Params(pydantic.BaseModel):
    """The hyper-parameters of a detector: declare each with ``param``; groups nest as further Params."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The values as JSON with sorted keys: equal exactly where the parameters are."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def param(default: Any, meaning: str, *, source: str = "", unit: str = "", **bounds: Any) -> Any:
    """One hyper-parameter: its default, meaning, bounds (gt, ge, lt, le), unit and where its value comes from."""
    extra: dict[str, Any] = {"source": source, "unit": unit}
    return pydantic.Field(default, description=meaning, json_schema_extra=extra, **bounds)


def fields_by_path(model: type[pydantic.BaseModel], prefix: str = "") -> dict[str, pydantic.fields.FieldInfo]:
    """Return the field of every parameter by its dotted name, those of nested groups included."""
    fields: dict[str, pydantic.fields.FieldInfo] = {}
    for name, info in model.model_fields.items():
        if is_group(info.annotation):
            fields |= fields_by_path(info.annotation, f"{prefix}{name}.")
        else:
            fields[prefix + name] = info
    return fields


def is_group(annotation: Any) -> TypeGuard[type[pydantic.BaseModel]]:
    """Whether a field of this type is a group of parameters."""
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def get_path(values: Any, path: str, default: Any = MISSING) -> Any:
    """Return the value at a dotted name of a Params object or of nested mappings.

    Raises KeyError where there is none and no ``default`` is given.
    """
    for name in path.split("."):
        is_mapping = isinstance(values, Mapping)
        values = values.get(name, MISSING) if is_mapping else getattr(values, name, MISSING)
        if values is MISSING:
            if default is MISSING:
                raise KeyError(path)
            return default
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one dict from dotted name to value."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def nest(path: str, value: Any) -> dict[str, Any]:
    """Return nested dicts that have only ``value``, at the dotted name."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings in which the values of ``over`` replace those of ``base``, group by group."""
    merged = dict(base)
    for name, value in over.items():
        is_deep = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if is_deep else value
    return merged
