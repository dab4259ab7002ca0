"""Hyper-parameters: declaring them, and reaching nested ones by a dotted name such as ``visible_chain.steps``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeGuard

import pydantic

MISSING: Final = object()


class Params(pydantic.BaseModel):
    """The hyper-parameters of a detector: declare each with ``param``; groups nest as further Params.

    A file with the path parameter ``x`` is identified by its content if there is also a parameter ``x_sha256``, which a
    validator fills in. The path is then recorded, but is not part of the run's identity.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_truth_values(cls, values: Any) -> Any:
        """Refuse true and false for numbers; pydantic would take them as 1 and 0."""
        for name, info in cls.model_fields.items() if isinstance(values, Mapping) else ():
            if info.annotation in (int, float) and isinstance(values.get(name), bool):
                raise ValueError(f"{name} must be a number, not {str(values[name]).lower()}")
        return values

    def canonical(self) -> str:
        """Return the values as JSON with sorted keys: equal exactly where the parameters are equal."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def param(
    default: Any,
    meaning: str,
    *,
    source: str = "",
    unit: str = "",
    reduces: Literal["", "lower", "higher"] = "",
    **bounds: Any,
) -> Any:
    """Declare a hyper-parameter.

    Args:
        default: its value where nothing else is given.
        meaning: what it is, in a few words.
        source: where the value comes from: a paper's equation or table, a repository.
        unit: what it is measured in.
        reduces: whether values ``lower`` or ``higher`` than the published one make a smaller run, with fewer updates or
            a smaller network. Such runs are labelled reduced. A value of 0 switches something off: that is another
            method, not a smaller run.
        bounds: ``gt``, ``ge``, ``lt``, ``le``.
    """
    extra: dict[str, Any] = {"source": source, "unit": unit, "reduces": reduces}
    return pydantic.Field(default, description=meaning, json_schema_extra=extra, **bounds)


def group_defaults(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Return the default of each group of parameters, which may differ from the defaults of the group's own class."""
    defaults = {name: info.default for name, info in model.model_fields.items()}
    return {name: value.model_dump() for name, value in defaults.items() if isinstance(value, pydantic.BaseModel)}


def is_smaller(values: Params, published: Params) -> bool:
    """Whether some value makes a run smaller than the published one, as its ``param`` declares."""
    for path, info in fields_by_path(type(values)).items():
        reduces = info.json_schema_extra.get("reduces") if isinstance(info.json_schema_extra, dict) else ""
        if reduces:
            value, reference = get_path(values, path), get_path(published, path)
            if (0 < value < reference) if reduces == "lower" else value > reference:
                return True
    return False


def fields_by_path(model: type[pydantic.BaseModel], prefix: str = "") -> dict[str, pydantic.fields.FieldInfo]:
    """Return the field of every parameter by its dotted name, including those of nested groups."""
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
    """Return nested dicts that contain only ``value``, at the dotted name."""
    name, _, rest = path.partition(".")
    return {name: nest(rest, value) if rest else value}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings in which the values of ``over`` replace those of ``base``, group by group."""
    merged = dict(base)
    for name, value in over.items():
        is_deep = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if is_deep else value
    return merged
