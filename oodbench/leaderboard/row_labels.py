"""What tells apart the rows of a table: the detector, its preset, and whatever else differs between runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import is_local_version
from oodbench.api.parameters import flatten

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[Any, Any]
"""Column → value."""
CONFIGURATION = ["detector", "in_dataset", "params", "plugin_version", "precision", "base"]
"""The columns in which all seeds of one row are alike."""


def add_row_labels(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the column ``label``: the detector, its preset, and what else tells runs apart.

    The preset ``paper`` is not named; a detector in a file that no package has is labelled as such. A run that is
    smaller than published is labelled reduced, by whatever options it was requested. Failed runs have the label of
    other seeds of the same run, where there are any. Results that have labels keep them, as a part of a table may lack
    the very runs that they tell apart.
    """
    if "label" in results:
        return results
    results = results if "base" in results else results.assign(base="")  # of a table that is older than bases
    failed = results["metric"] == ""
    labels = _labels(results[~failed].drop_duplicates("run"))
    done = results[~failed]
    by_configuration = dict(zip(_configurations(done), map(labels.get, done["run"]), strict=True))
    rows = results[failed].drop_duplicates("run")
    other_labels = _labels(rows)
    for run, configuration in zip(rows["run"], _configurations(rows), strict=True):
        labels.setdefault(run, by_configuration.get(configuration) or other_labels[run])
    return results.assign(label=results["run"].map(labels))


def _configurations(results: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [*results[CONFIGURATION].itertuples(index=False, name=None)]


def _labels(runs: pd.DataFrame) -> dict[str, str]:
    """Run → label, given one row per run."""
    labels: dict[str, str] = {}
    preset = dict[tuple[str, str], str]()  # one set of parameters can be requested in many words: the shortest
    for detector, params, words in runs[["detector", "params", "preset"]].itertuples(index=False, name=None):
        preset[detector, params] = min(preset.get((detector, params), words), words, key=lambda text: (len(text), text))
    groups: dict[tuple[str, str, str], list[Row]] = {}  # plain rows: pandas takes milliseconds for a group
    for row in runs.to_dict("records"):
        described = _preset_label(preset[row["detector"], row["params"]], row.get("reduced", ""))
        groups.setdefault((row["in_dataset"], row["detector"], described), []).append(row)
    for (_, detector, described), alike in groups.items():
        local = {row["run"]: "local file" if is_local_version(row["plugin_version"]) else "" for row in alike}
        for run, difference in _differences(alike).items():
            labels[run] = ", ".join(filter(None, [detector, local[run], described, *difference]))
    return labels


def _preset_label(preset: str, reduced: str) -> str:
    """``reduced (preset quick)``; records made before 0.2.0 do not say whether a run is reduced: quick presets are."""
    is_reduced = reduced == "yes" or (reduced != "no" and preset.startswith("quick"))
    if is_reduced:
        return f"reduced (preset {preset})"
    return "" if preset == "paper" else f"preset {preset}"


def _differences(runs: Sequence[Row]) -> dict[str, list[str]]:
    """For each run the facts, other than the seed, in which these runs are not all alike: ``latent_dim=8``."""
    facts = {row["run"]: _identity(row) for row in runs}
    seeds = {row["run"]: row["seed"] for row in runs}
    twins = Counter((repr(facts[run]), seeds[run]) for run in facts)
    for run, fact in facts.items():
        if twins[repr(fact), seeds[run]] > 1:  # only their data differ: not two seeds of one thing
            fact["run"] = run.rpartition("-")[2]
    if not all(fact["in_images"] for fact in facts.values()):  # an older record does not say
        facts = {run: {name: fact[name] for name in fact if name != "in_images"} for run, fact in facts.items()}
    names = dict.fromkeys(name for fact in facts.values() for name in fact)
    differing = [name for name in names if len({repr(fact.get(name)) for fact in facts.values()}) > 1]
    return {run: [f"{name}={fact[name]}" for name in differing if name in fact] for run, fact in facts.items()}


def _identity(row: Row) -> dict[str, Any]:
    facts = {"version": row["plugin_version"], "precision": row["precision"], "n_train": row["n_train"]}
    facts["in_images"] = row.get("in_images", "")[:8]
    return flatten(json.loads(row["params"])) | facts | _base_facts(json.loads(row.get("base") or "null"))


def _base_facts(base: Mapping[str, Any] | None) -> dict[str, Any]:
    """Version and parameters of what a run stands on, each with its name before it, as after ``--set``."""
    if base is None:
        return {}
    facts = {"version": base["version"]} | flatten(json.loads(base["params"]))
    return {f"{base['detector']}.{name}": value for name, value in facts.items()} | _base_facts(base.get("base"))
