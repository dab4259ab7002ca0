"""The choice of an executor and its settings: by flags, a suite file, or the user's own settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from oodbench.api import Executor
from oodbench.api.parameters import fields_by_path, flatten, group_defaults, merge, nest
from oodbench.errors import OODBenchError, UnknownName
from oodbench.folders import settings_file
from oodbench.plan.settings import fault, split_setting
from oodbench.reading import read_text
from oodbench.text import shorten

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry

LOCAL = "local"


@dataclass(frozen=True)
class ExecutorChoice:
    """An executor's name, empty if none is chosen, and settings of executors.

    Args:
        settings: executor → dotted name → value.
    """

    name: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def overridden_by(self, other: ExecutorChoice) -> ExecutorChoice:
        """Return this choice, overridden by ``other``, setting by setting."""
        names = {**self.settings, **other.settings}
        merged = {name: {**self.settings.get(name, {}), **other.settings.get(name, {})} for name in names}
        return ExecutorChoice(other.name or self.name, merged)


NO_CHOICE = ExecutorChoice()


def choose_executor(name: str, sets: Sequence[str], suite: ExecutorChoice) -> tuple[str, dict[str, Any]]:
    """Return the executor's name and its settings: flags override the suite, which overrides the user's own settings.

    Args:
        name: as after ``--executor``; empty if not given.
        sets: ``name=value`` texts, for the chosen executor.

    Raises OODBenchError where a text is not a setting, or the user's settings file cannot be understood.
    """
    choice = read_user_settings().overridden_by(suite).overridden_by(ExecutorChoice(name))
    chosen, settings = choice.name or LOCAL, {}
    for text in sets:
        path, value = split_setting("--executor-set", text)
        settings[path] = value
    return chosen, {**choice.settings.get(chosen, {}), **settings}


def new_executor(name: str, settings: Mapping[str, Any], registry: Registry) -> Executor:
    """Return the executor of this name with these settings (dotted name → value).

    Raises OODBenchError where there is no such executor or setting, or a value is out of bounds.
    """
    executor = registry.executor(name)
    known = fields_by_path(executor.Params)
    merged = group_defaults(executor.Params)
    for path, value in settings.items():
        if path not in known:
            raise UnknownName(f"setting of executor {name}", path, known)
        merged = merge(merged, nest(path, value))
    try:
        return executor(executor.Params(**merged))
    except pydantic.ValidationError as error:
        faults = "; ".join(map(fault, error.errors(include_url=False)))
        raise OODBenchError(f"executor {name}: {faults}; `oodbench show {name}` lists the bounds") from None


def read_executor_table(table: Any) -> ExecutorChoice:
    """Return the choice in an ``[executor]`` table: ``name``, and a table of settings for each executor by its name."""
    if not isinstance(table, dict):
        raise OODBenchError(f"write executor as a table, [executor], not {shorten(repr(table))}")
    name = table.get("name", "")
    if not isinstance(name, str):
        raise OODBenchError(f"name of the executor is one text, not {shorten(repr(name))}")
    settings = {each: value for each, value in table.items() if each != "name"}
    for each, value in settings.items():
        if not isinstance(value, dict):
            raise OODBenchError(f"{shorten(each)} in [executor]: settings go into a table, [executor.{name or 'NAME'}]")
    return ExecutorChoice(name, {each: flatten(value) for each, value in settings.items()})


def read_user_settings(path: Path | None = None) -> ExecutorChoice:
    """Return the choice in the user's settings file; NO_CHOICE if there is no such file.

    Raises OODBenchError, naming the file, where it cannot be understood.
    """
    path = path or settings_file()
    if not path.exists():
        return NO_CHOICE
    try:
        table = tomllib.loads(read_text(path))
        for word in table:
            if word != "executor":
                raise UnknownName("word", word, ("executor",))
        return read_executor_table(table.get("executor", {}))
    except (ValueError, RecursionError) as error:
        raise OODBenchError(f"settings {path} is not TOML: {shorten(str(error))}") from None
    except OODBenchError as error:
        raise OODBenchError(f"settings {path}: {error}") from None
