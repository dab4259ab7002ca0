"""Records in files → Run, Provenance, Result, Scores: nothing that is read is trusted without a check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, NotRequired, TypeVar

import numpy as np
import pydantic
from typing_extensions import TypedDict  # pydantic requires it instead of typing's before Python 3.12

from oodbench.api import Provenance, Run, Scores, Shape
from oodbench.api.full_spectrum import check_covariate
from oodbench.store import schema

T = TypeVar("T")

Count = Annotated[int, pydantic.Field(ge=0, strict=True)]
Text = Annotated[str, pydantic.Field(strict=True, max_length=schema.TEXT_LENGTH)]
Name = Annotated[str, pydantic.Field(strict=True, min_length=1, max_length=4096)]
Size = Annotated[int, pydantic.Field(ge=1, le=2**16, strict=True)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Hash = Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{64})$")]


class Record(pydantic.BaseModel):
    """A record in a file. Unknown fields are ignored: a newer oodbench may have written them."""

    model_config = pydantic.ConfigDict(extra="ignore")


class _Run(Record):
    detector: Name
    version: Name
    params: Text
    in_dataset: Name
    seed: Count = 0
    precision: Name = "float32"
    preset: Text = "paper"
    distribution: Text = ""
    base: _Run | None = None


class _Provenance(Record):
    oodbench: Text
    plugin: Text
    plugin_version: Text
    torch: Text
    python: Text
    commit: Text
    device: Text
    fit_seconds: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
    peak_memory_mib: float
    parameters: Count
    images: dict[str, Count]
    created: Text
    in_images: Text = ""
    notes: tuple[Text, ...] = ()
    plugin_commit: Text = ""
    base_run: Text = ""
    base_fit: Text = ""
    facts: dict[str, Finite] = {}
    reduced: bool | None = None
    shape: tuple[()] | tuple[Size, Size, Size] = ()


class _File(Record):
    run: _Run
    provenance: _Provenance
    parts: dict[str, Hash] = {}


class _Result(TypedDict):
    """A result; no model, for speed, as a store has tens of thousands. Older files lack what is not required."""

    run: Name
    detector: Name
    in_dataset: Name
    out_dataset: Name
    seed: Count
    metric: Name
    value: Finite
    n_in: Annotated[int, pydantic.Field(gt=0, strict=True)]
    n_out: Annotated[int, pydantic.Field(gt=0, strict=True)]
    out_images: NotRequired[Text]
    out_note: NotRequired[Text]
    covariate: NotRequired[Text]
    metric_version: NotRequired[Text]


_RESULTS = pydantic.TypeAdapter(list[_Result])


class _ScoreFacts(Record):
    dataset: Name
    split: Name
    fingerprint: Name
    images_per_second: float
    device: Text
    fit_id: Text = ""
    note: Text = ""
    covariates: tuple[Name, ...] = ()
    count: Count | None = None


class _Failure(_Run):
    out_dataset: Name | None
    error: Text
    split: Name = "test"
    is_shifted: bool = False


@dataclass(frozen=True)
class Combination:
    """What can fail by itself: the fit of a run, or its scores and results of one data set.

    Args:
        out_dataset: an out-data set, or one of covariate-shifted in-data; None for the fit.
        split: of that set.
        is_shifted: whether it is covariate-shifted in-data.
    """

    run: Run
    out_dataset: str | None = None
    split: str = "test"
    is_shifted: bool = False

    @property
    def set_title(self) -> str:
        """The set's name in tables, with its split if that is not test; empty for the fit."""
        of_split = f", {self.split} split" if self.split != "test" else ""
        return f"{self.out_dataset}{of_split}" if self.out_dataset else ""


class _FitFacts(Record):
    run: _Run
    shape: tuple[Size, Size, Size]
    software: dict[Name, Text]
    notes: tuple[Text, ...] = ()


@dataclass(frozen=True)
class FitFacts:
    """Facts of a fitted detector that is in no store.

    Args:
        run: its code, parameters and seed, and those of its base; ``in_dataset`` is the name of its images.
        shape: (C, H, W) of the images that it was fitted to.
        software: versions of what it was fitted with, as Provenance has them.
        notes: what a reader of its scores must know.
    """

    run: Run
    shape: Shape
    software: Mapping[str, str]
    notes: Sequence[str] = ()


def parse_fit_facts(values: Mapping[str, Any]) -> FitFacts:
    """Return the facts in a record that ``fit_facts_record`` made. Raises ValueError as ``parse_run`` does."""
    record = validated(_FitFacts, values)
    json.loads(record.run.params)
    return FitFacts(_run(record.run.model_dump()), record.shape, record.software, record.notes)


def fit_facts_record(facts: FitFacts) -> dict[str, Any]:
    """Return the facts as JSON values."""
    return {**_plain(facts), "run": asdict(facts.run), "shape": list(facts.shape), "notes": list(facts.notes)}


def parse_run(data: bytes, key: str) -> tuple[Run, Provenance, dict[str, str]]:
    """Return the run, its provenance and the SHA-256 of its parts from a ``run.json``.

    Raises ValueError where a field is missing, of another type or out of range, or the record is not of the run that
    the key names.
    """
    record = validated(_File, from_json(data))
    from_json(record.run.params)
    run = _run(record.run.model_dump())
    provenance = Provenance(**record.provenance.model_dump())
    if provenance.in_images and run.key(provenance.in_images) != key:
        raise ValueError(f"it is the record of {run.key(provenance.in_images)}")
    return run, provenance, record.parts


def _run(facts: Mapping[str, Any]) -> Run:
    base = facts["base"]
    return Run(**{**facts, "base": base and _run(base)})


def fit_id(provenance: Provenance, weights: str) -> str:
    """Return the id of a fit: the SHA-256 of its weights, hashed with the id of its base's fit, if any; 16 digits."""
    if provenance.base_fit:
        weights = hashlib.sha256(f"{weights} {provenance.base_fit}".encode()).hexdigest()
    return weights[:16]


def parse_results(rows: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the rows of a ``results.parquet``: the fields of a Result, except those that older files lack.

    They stay plain dicts, for speed, as a store has tens of thousands. Raises ValueError as ``parse_run`` does.
    """
    with _said_in_one_line():
        results: list[Any] = _RESULTS.validate_python(rows)
    for result in results:
        if result["run"] != key:
            raise ValueError(f"it has a result of {result['run']}")
    for metric, covariate in {(result["metric"], result.get("covariate", "")) for result in results}:
        check_covariate(metric, covariate)
    if len({(result["out_dataset"], result["metric"]) for result in results}) < len(results):
        raise ValueError("it has a result twice")
    return results


def parse_failure(data: bytes) -> tuple[Combination, str]:
    """Return what failed, and the error. Raises ValueError as ``parse_run`` does."""
    facts = validated(_Failure, from_json(data)).model_dump()
    error = facts.pop("error")
    of_set = {name: facts.pop(name) for name in ("out_dataset", "split", "is_shifted")}
    return Combination(_run(facts), **of_set), error


def parse_scores(facts: bytes, columns: Mapping[str, np.ndarray]) -> Scores:
    """Return the scores of a file from its metadata and columns. Raises ValueError as ``parse_run`` does."""
    values = parse_score_facts(facts)
    arrays: dict[str, Any] = {field: columns[name] for name, field in schema.SCORE_ARRAYS.items()}
    count = values.pop("count")
    if count not in (None, len(arrays["indices"])):
        raise ValueError(f"it has {len(arrays['indices']):,} of {count:,} scores")
    if len(np.unique(arrays["indices"])) != len(arrays["indices"]):
        raise ValueError("it has more than one score of an image")
    if not np.isfinite(arrays["values"]).all():
        raise ValueError("it has scores that are not finite")
    return Scores(**values, **arrays)


def parse_score_facts(facts: bytes) -> dict[str, Any]:
    """Return the facts common to all scores of a file, and their ``count``. Raises ValueError as ``parse_run`` does."""
    return validated(_ScoreFacts, from_json(facts)).model_dump()


def from_json(data: str | bytes) -> Any:
    """Return the value in a JSON text. Raises ValueError where it is not JSON, or nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def validated(model: type[T], values: Any) -> T:
    """Return the values as this model. Raises ValueError, in one line, where one is missing or of the wrong type."""
    with _said_in_one_line():
        return model.model_validate(values)  # type: ignore[attr-defined]


@contextmanager
def _said_in_one_line() -> Iterator[None]:
    try:
        yield
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"{where}: {first['msg']}") from None


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError where it is something else."""
    record = from_json(data)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    return record


def failure_json(failed: Combination, error: str, traceback: str) -> bytes:
    """Return the record of a combination that failed (see ``Store.write_failure``)."""
    facts = asdict(failed)
    return to_json({**facts.pop("run"), **facts, "error": error, "traceback": traceback})


def run_json(run: Run, provenance: Provenance, parts: Mapping[str, bytes]) -> bytes:
    """Return the content of a ``run.json``, given the other files of the fit.

    Raises ValueError where it could not be read again (see ``parse_run``).
    """
    facts = {**_plain(provenance), "images": dict(provenance.images), "notes": list(provenance.notes)}
    facts["facts"] = dict(provenance.facts)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    data = to_json({"run": asdict(run), "provenance": facts, "parts": hashes})
    parse_run(data, run.key(provenance.in_images))
    return data


def to_json(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON that a person can read."""
    return json.dumps(record, indent=2).encode() + b"\n"


def _plain(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
