"""Labels that distinguish the rows of a table: the detector, its preset, and whatever else differs between runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import is_local_version
from oodbench.api.parameters import flatten
from oodbench.api.record import base_without_paths, without_paths

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[Any, Any]
"""Column → value."""
CONFIGURATION = ["detector", "distribution", "plugin_version", "params", "base", "in_dataset", "precision"]
"""The columns in which all seeds of one row agree."""
NOT_OF_FAILURES = ("n_train", "in_images")
"""Columns that are not recorded for a run that failed."""
UNKNOWN = "unknown"


def add_row_labels(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the column ``label``: the detector, its preset, and what else distinguishes runs.

    The preset ``paper`` is not named; a detector from a user's own file is labelled as such. A run that is smaller than
    published is labelled reduced, whichever options made it so. Failed runs have the label of other seeds of the same
    configuration; if there are none, a label that distinguishes them from all others. Existing labels are kept, as part
    of a table may lack the very runs that its labels distinguish.
    """
    if "label" in results:
        return results
    results = results.assign(**dict.fromkeys({"base", "distribution"} - {*results}, ""))  # which older tables lack
    failed = results["metric"] == ""
    done = results[~failed]
    labels = _labels(done.drop_duplicates("run").to_dict("records"))
    by_configuration = dict(zip(configurations(done), map(labels.get, done["run"]), strict=True))
    lost = results[failed].drop_duplicates("run")
    lost = lost[~lost["run"].isin([*labels])]
    alone = []
    for row, configuration in zip(lost.to_dict("records"), configurations(lost), strict=True):
        if label := by_configuration.get(configuration):
            labels[row["run"]] = label
        else:
            alone.append({name: value for name, value in row.items() if name not in NOT_OF_FAILURES})
    if alone:
        labels = _labels([*done.drop_duplicates("run").to_dict("records"), *alone]) | labels
    return results.assign(label=results["run"].map(labels))


def configurations(results: pd.DataFrame, columns: Sequence[str] = CONFIGURATION) -> list[tuple[Any, ...]]:
    """Return each row's values in these columns, without the paths of files that are identified by their content."""
    texts = {"params": without_paths, "base": base_without_paths}
    found = []
    for name in columns:
        values = results[name].tolist()
        known = {value: texts[name](value) for value in set(values)} if name in texts else {}
        found.append([known.get(value, value) for value in values])
    return [*zip(*found, strict=True)]


def _labels(runs: Sequence[Row]) -> dict[str, str]:
    """Return run → label."""
    labels: dict[str, str] = {}
    preset: dict[tuple[str, ...], str] = {}  # the same parameters can be requested in many ways: the shortest
    for row in runs:
        parameters, words = _parameters(row), row["preset"]
        preset[parameters] = min(preset.get(parameters, words), words, key=lambda text: (len(text), text))
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in runs:
        described = _preset_label(preset[_parameters(row)], row.get("reduced", ""))
        groups.setdefault((row["in_dataset"], row["detector"], described), []).append(row)
    for (_, detector, described), alike in groups.items():
        local = {row["run"]: "local file" if is_local_version(row["plugin_version"]) else "" for row in alike}
        for run, difference in _differences(alike).items():
            labels[run] = ", ".join(filter(None, [detector, local[run], described, *difference]))
    return labels


def _parameters(row: Row) -> tuple[str, ...]:
    return row["detector"], without_paths(row["params"]), base_without_paths(row.get("base", ""))


def _preset_label(preset: str, reduced: str) -> str:
    """Return ``reduced (preset quick)``; older records (before 0.2.0) lack whether a run is reduced: quick ones are."""
    is_reduced = reduced == "yes" or (reduced != "no" and preset.startswith("quick"))
    if is_reduced:
        return f"reduced (preset {preset})"
    return "" if preset == "paper" else f"preset {preset}"


def _differences(runs: Sequence[Row]) -> dict[str, list[str]]:
    """Return for each run the facts, other than the seed, in which these runs differ: ``latent_dim=8``."""
    facts = {row["run"]: _identity(row) for row in runs}
    seeds = {row["run"]: row["seed"] for row in runs}
    twins = Counter((repr(facts[run]), seeds[run]) for run in facts)
    for run, fact in facts.items():
        if twins[repr(fact), seeds[run]] > 1:  # only their data differ: not two seeds of one row
            fact["run"] = run.rpartition("-")[2]
    names = dict.fromkeys(name for fact in facts.values() for name in fact)
    differing = [name for name in names if _tells_apart(name, [*facts.values()])]
    return {run: [f"{name}={fact[name]}" for name in differing if name in fact] for run, fact in facts.items()}


def _tells_apart(name: str, facts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a fact differs among these runs. Older records do not say which package and images were used."""
    if name == "in_images":
        return len({fact.get(name, UNKNOWN) for fact in facts} - {UNKNOWN}) > 1
    if name.rpartition(".")[2] == "package":  # named only where one version is of several packages
        version = name.removesuffix("package") + "version"
        known = {(fact.get(version), fact[name]) for fact in facts if fact.get(name, UNKNOWN) != UNKNOWN}
        return len(known) > len({version for version, _ in known})
    return len({repr(fact.get(name)) for fact in facts}) > 1


def _identity(row: Row) -> dict[str, Any]:
    facts = {"version": row["plugin_version"], "package": row["distribution"] or UNKNOWN, "precision": row["precision"]}
    facts |= {"n_train": row["n_train"]} if "n_train" in row else {}
    facts |= {"in_images": row["in_images"][:8] or UNKNOWN} if "in_images" in row else {}
    base = base_facts(base_without_paths(row.get("base", "")))
    return flatten(json.loads(without_paths(row["params"]))) | facts | base


def base_facts(text: str) -> dict[str, Any]:
    """Return the code and parameters of a run's base, from its ``Run.base_text``: ``classifier.epochs`` → 2."""
    return _facts_of_base(json.loads(text)) if text else {}


def _facts_of_base(base: Mapping[str, Any]) -> dict[str, Any]:
    code = {"version": base["version"], "package": base["distribution"] or UNKNOWN}
    facts = flatten(json.loads(base["params"])) | code
    below = _facts_of_base(base["base"]) if "base" in base else {}
    return {f"{base['detector']}.{name}": value for name, value in facts.items()} | below
