"""What tells apart the rows of a table: the detector, its preset, and whatever else differs between runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def add_row_labels(results: pd.DataFrame) -> pd.DataFrame:
    """With the column ``label``: the detector, its preset unless that is ``paper``, and what else tells runs apart.

    Part of a table that has labels keeps them, as it may lack the very runs they set apart.
    """
    if "label" in results:
        return results
    runs = results.drop_duplicates("run")
    said = runs.groupby(["detector", "params"])["preset"].transform("min")  # one thing can be asked for in many words
    runs = runs.assign(preset=said)
    labels: dict[str, str] = {}
    for (_, detector, preset), alike in runs.groupby(["in_dataset", "detector", "preset"]):
        for run, difference in _differences(alike).items():
            labels[run] = ", ".join([str(detector), *_preset_label(str(preset)), *difference])
    return results.assign(label=results["run"].map(labels))


def _preset_label(preset: str) -> list[str]:
    if preset == "paper":
        return []
    return [f"reduced (preset {preset})" if preset.startswith("quick") else f"preset {preset}"]


def _differences(runs: pd.DataFrame) -> dict[str, list[str]]:
    """For each run the facts, other than the seed, in which these runs are not all alike: ``latent_dim=8``."""
    facts = {row["run"]: _identity(row) for row in runs.to_dict("records")}
    seeds = dict(zip(runs["run"], runs["seed"], strict=True))
    twins = Counter((repr(facts[run]), seeds[run]) for run in facts)
    for run, fact in facts.items():
        if twins[repr(fact), seeds[run]] > 1:  # only their data differ: not two seeds of one thing
            fact["run"] = run.rpartition("-")[2]
    if not all(fact["in_images"] for fact in facts.values()):  # an older record does not say
        facts = {run: {name: fact[name] for name in fact if name != "in_images"} for run, fact in facts.items()}
    names = dict.fromkeys(name for fact in facts.values() for name in fact)
    differing = [name for name in names if len({repr(fact.get(name)) for fact in facts.values()}) > 1]
    return {run: [f"{name}={fact[name]}" for name in differing if name in fact] for run, fact in facts.items()}


def _identity(row: Mapping[Any, Any]) -> dict[str, Any]:
    facts = {"version": row["plugin_version"], "precision": row["precision"], "n_train": row["n_train"]}
    facts["in_images"] = row.get("in_images", "")[:8]
    return _flat(json.loads(row["params"])) | facts


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
