"""Step 1: flags or a suite file → what to run. Every word is checked here, before anything is run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from oodbench.api import SPLITS, Detector, Params, Run, Shape
from oodbench.errors import OODBenchError, UnknownName

if TYPE_CHECKING:
    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry

PRECISIONS = ("float32", "bfloat16")
SUITE_WORDS = ("title", "detector", "in", "out", "seed", "seeds", "preset", "precision", "set")


@dataclass(frozen=True)
class RunRequest:
    """What to run, in the words of the command line and of a suite file; an empty word was not said.

    sets: ``name=value``, for every chosen detector with such a parameter, or ``detector.name=value`` for that one.
        Of two that set the same parameter the later one counts.
    """

    detectors: tuple[str, ...] = ()
    in_datasets: tuple[str, ...] = ()
    out_datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    preset: str = ""
    sets: tuple[str, ...] = ()
    precision: str = ""
    title: str = ""

    def overridden_by(self, other: RunRequest) -> RunRequest:
        """The other's words where it says any, else these. Its settings come after these, so that they count."""
        said = {name: value for name, value in vars(other).items() if value}
        dropped = set(self.detectors) - set(other.detectors) if other.detectors else set()
        kept = tuple(text for text in self.sets if text.partition(".")[0] not in dropped)
        return replace(self, **said | {"sets": kept + other.sets})


@dataclass(frozen=True)
class Task:
    """One run and the out-data sets it is to be scored on: one fit, however many they are.

    split: the one that is scored of the in- and the out-data; only of ``test`` there are results.
    """

    run: Run
    out_datasets: tuple[str, ...]
    split: str = "test"


def plan(words: Iterable[RunRequest], registry: Registry, loader: Loader, split: str = "test") -> list[Task]:
    """Every combination of each set of words, each run once. Raises OODBenchError at the first bad word."""
    out_datasets_by_run: dict[Run, list[str]] = {}
    for chosen in words:
        for run in _runs(chosen, registry, loader, split):
            out_datasets_by_run.setdefault(run, []).extend(chosen.out_datasets)
    return [Task(run, tuple(dict.fromkeys(out_datasets)), split) for run, out_datasets in out_datasets_by_run.items()]


def _runs(words: RunRequest, registry: Registry, loader: Loader, split: str) -> Iterator[Run]:
    _check_said(words)
    detectors = {name: registry.detector(name) for name in words.detectors}
    for name in words.in_datasets:
        for each in SPLITS:
            loader.check(name, each)
    for name in words.out_datasets:
        loader.check(name, split)
    for in_name, out_name in product(words.in_datasets, words.out_datasets):
        if loader.share_classes(in_name, out_name):
            flag = "--out" if split == "test" else "--val-out"
            apart = "choose others, as in mnist:0-8 and mnist:9"
            raise OODBenchError(f"{flag} {out_name} has classes of --in {in_name}; {apart}")
    values = values_by_detector(words.sets, detectors, registry)
    for in_name, name in product(words.in_datasets, detectors):
        shape = loader.shape(in_name)
        if shape is None:
            raise OODBenchError(f"{in_name} has no one shape, so that nothing can be fitted to it: resize its images")
        params = resolve(detectors[name], words.preset or "paper", shape, values[name]).canonical()
        version = registry.version("detector", name)
        label = ", ".join([words.preset or "paper", *(f"{path}={value}" for path, value in values[name].items())])
        for seed in words.seeds or (0,):
            yield Run(name, version, params, in_name, seed, words.precision or "float32", label)


def _check_said(words: RunRequest) -> None:
    for word, names in {"--detector": words.detectors, "--in": words.in_datasets, "--out": words.out_datasets}.items():
        if not names:
            raise OODBenchError(f"name at least one {word}, or a suite file that does")
    if words.precision and words.precision not in PRECISIONS:
        raise UnknownName("precision", words.precision, PRECISIONS)
    for seed in words.seeds:
        if not 0 <= seed < 2**63:
            raise OODBenchError(f"a seed is a whole number from 0, not {seed}")


# ------------------------------------------------------------------------------------ parameters


def parameters(model: type[pydantic.BaseModel], prefix: str = "") -> dict[str, pydantic.fields.FieldInfo]:
    """Every parameter by its dotted name: ``visible_chain.steps``."""
    found: dict[str, pydantic.fields.FieldInfo] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            found |= parameters(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = info
    return found


def values_by_detector(
    sets: Sequence[str], detectors: Mapping[str, type[Detector]], registry: Registry
) -> dict[str, dict[str, Any]]:
    """The settings meant for each detector: dotted name → value."""
    values: dict[str, dict[str, Any]] = {name: {} for name in detectors}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals:
            raise OODBenchError(f"--set {text}: write it as name=value")
        for name, parameter in _meant(path.strip(), detectors, registry):
            values[name][parameter] = _value(value.strip())
    return values


def _meant(path: str, detectors: Mapping[str, type[Detector]], registry: Registry) -> list[tuple[str, str]]:
    """The (detector, parameter) pairs that a setting speaks of."""
    first, dot, rest = path.partition(".")
    if dot and first in detectors:
        if rest not in parameters(detectors[first].Params):
            raise UnknownName(f"parameter of {first}", rest, parameters(detectors[first].Params))
        return [(first, rest)]
    if dot and first in registry.detectors:
        raise OODBenchError(f"--set {path}: {first} is not among the detectors to run: {', '.join(detectors)}")
    having = [(name, path) for name, detector in detectors.items() if path in parameters(detector.Params)]
    if not having:
        known = {parameter for detector in detectors.values() for parameter in parameters(detector.Params)}
        raise UnknownName(f"parameter of {' or '.join(detectors)}", path, known)
    return having


def _value(text: str) -> Any:
    """A JSON value, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def resolve(detector: type[Detector], preset: str, shape: Shape, values: Mapping[str, Any]) -> Params:
    """The parameters of a run: defaults, over them the preset, over that the settings (dotted name → value)."""
    detector.check_shape(shape)
    merged = _merge(_group_defaults(detector.Params), detector.preset(preset, shape))
    for path, value in values.items():
        for name in reversed(path.split(".")):
            value = {name: value}
        merged = _merge(merged, value)
    try:
        return detector.Params(**merged)
    except pydantic.ValidationError as error:
        faults = "; ".join(map(_fault, error.errors(include_url=False)))
        raise OODBenchError(f"{detector.name}: {faults}; `oodbench show {detector.name}` lists the bounds") from None


def _group_defaults(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The default of each group of parameters, which may differ from the defaults of the group's own class."""
    defaults = {name: info.default for name, info in model.model_fields.items()}
    return {name: value.model_dump() for name, value in defaults.items() if isinstance(value, pydantic.BaseModel)}


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        deep = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if deep else value
    return merged


def _fault(error: Mapping[str, Any]) -> str:
    """One of pydantic's findings: ``visible_chain.steps must be greater than or equal to 0 (got -3)``."""
    where = ".".join(map(str, error["loc"]))
    what = " ".join(error["msg"].split()).removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where} {what} (got {error['input']!r})" if where else what


# ------------------------------------------------------------------------------------ suite files


def read_suite(path: Path) -> list[RunRequest]:
    """The words of a suite file: one set, or one for every ``[[run]]`` table, on top of those before the tables.

    Of a folder, its ``suite.toml`` is meant.
    """
    path = path / "suite.toml" if path.is_dir() else path
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OODBenchError(f"suite {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OODBenchError(f"suite {path} is not TOML: {error}") from None
    tables = table.pop("run", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise OODBenchError(f"suite {path}: write runs as [[run]] tables")
    try:
        top = _words(table)
        return [top.overridden_by(_words(each)) for each in tables] or [top]
    except OODBenchError as error:
        raise OODBenchError(f"suite {path}: {error}") from None


def _words(table: Mapping[str, Any]) -> RunRequest:
    for word in table:
        if word not in SUITE_WORDS:
            raise UnknownName("word", word, (*SUITE_WORDS, "run"))
    return RunRequest(
        detectors=_texts(table, "detector"),
        in_datasets=_texts(table, "in"),
        out_datasets=_texts(table, "out"),
        seeds=_seeds(table),
        preset=_text(table, "preset"),
        sets=_sets(table),
        precision=_text(table, "precision"),
        title=_text(table, "title"),
    )


def _text(table: Mapping[str, Any], word: str) -> str:
    value = table.get(word, "")
    if not isinstance(value, str):
        raise OODBenchError(f"{word} is one text, not {value!r}")
    return value


def _texts(table: Mapping[str, Any], word: str) -> tuple[str, ...]:
    value = table.get(word, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise OODBenchError(f"{word} is a name or a list of names, not {value!r}")
    return tuple(values)


def _seeds(table: Mapping[str, Any]) -> tuple[int, ...]:
    """``seeds = 3`` means 0, 1, 2; ``seeds = [3, 5]`` and ``seed = 3`` mean just those."""
    if {"seed", "seeds"} <= table.keys():
        raise OODBenchError("say seed or seeds, not both")
    count, one = table.get("seeds", []), table.get("seed", [])
    values = list(range(count)) if type(count) is int else count or one
    values = [values] if type(values) is int else values
    if not isinstance(values, list) or not all(type(each) is int for each in values):
        raise OODBenchError(f"seeds is a number or a list of numbers, not {values!r}")
    if not values and table.keys() & {"seed", "seeds"}:
        raise OODBenchError("seeds is empty: a run needs one at least")
    return tuple(values)


def _sets(table: Mapping[str, Any]) -> tuple[str, ...]:
    values = table.get("set", {})
    if not isinstance(values, dict):
        raise OODBenchError(f"set is a table of parameters, not {values!r}")
    return tuple(_flat(values))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value, default=str)}"
