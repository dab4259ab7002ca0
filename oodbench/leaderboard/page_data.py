"""The data that an HTML page has beside its tables, for the panel of a cell: seeds, curves, provenance, the command.

It is JSON in one script element. A place is a row and a column of the tables, for all metrics together.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api.full_spectrum import covariate_sets
from oodbench.api.parameters import flatten
from oodbench.leaderboard.curves import histograms, small_roc_curve
from oodbench.leaderboard.failures import is_failure
from oodbench.leaderboard.row_labels import Row, base_facts
from oodbench.leaderboard.score_file import ScoreTable
from oodbench.leaderboard.sections import Board
from oodbench.text import one_line, printable

if TYPE_CHECKING:
    import pandas as pd

MOST_CURVES = 2000
"""The most curves, one per run and out-data set, of about 0.4 KB each."""
SETTING = re.compile(r"(?:^|, )([A-Za-z_][A-Za-z0-9_.]*)=")
FACTS = {
    "run": "run",
    "package": "distribution",
    "version": "plugin_version",
    "commit": "plugin_commit",
    "oodbench": "oodbench",
    "torch": "torch",
    "Python": "python",
    "device": "device",
    "precision": "precision",
    "fit seconds": "fit_seconds",
    "training images": "n_train",
    "parameters": "parameters",
    "created": "created",
}
"""Name of a fact in the panel → its column."""

Place = tuple[str, str, str]
"""(row, in-data set, out-data set)."""


def page_data(board: Board, scores: ScoreTable) -> tuple[dict[Place, int], str]:
    """Return the number of each place, and the JSON, escaped for a script element."""
    done = board.results[~is_failure(board.results)]
    shown = {
        (label, *column)
        for in_dataset in board.measured
        for section in board.sections(in_dataset)
        for label, column in section.table.cells
        if label in section.table.rows
    }
    groups = _groups(done, shown)
    runs: dict[str, int] = {}
    facts: list[dict[str, str]] = []
    places: list[dict[str, Any]] = []
    numbers: dict[Place, int] = {}
    for place, rows in groups:
        by_run = {row["run"]: row for row in rows}
        for run, row in by_run.items():
            if run not in runs:
                runs[run] = len(facts)
                facts.append(_facts(row))
        numbers[place] = len(places)
        places.append(_place(place, rows, [runs[run] for run in by_run], board))
    curves, left_out = _curves(groups, runs, scores)
    data = {"runs": facts, "places": places, "curves": curves, "left_out": left_out}
    return numbers, embedded_json(data)


def _groups(results: pd.DataFrame, places: set[Place]) -> list[tuple[Place, list[Row]]]:
    """Return the rows of each place, by seed. They are plain dicts, as pandas takes milliseconds per group."""
    groups: dict[Place, list[Row]] = {}
    for row in results.sort_values("seed", kind="stable").to_dict("records"):
        place = row["label"], row["in_dataset"], row["out_dataset"]
        if place in places:
            groups.setdefault(place, []).append(row)
    return sorted(groups.items(), key=lambda group: group[0])


def embedded_json(data: Any) -> str:
    """Return JSON that can neither end the script element that it is in nor start a comment there."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _place(place: Place, rows: list[Row], runs: list[int], board: Board) -> dict[str, Any]:
    label, in_dataset, out_dataset = place
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], []).append(row)
    return {
        "label": printable(label),
        "in": printable(in_dataset),
        "out": printable(out_dataset),
        "counts": [int(rows[0]["n_in"]), int(rows[0]["n_out"])],
        "runs": runs,
        "note": printable(board.notes.get((in_dataset, label), "")),
        "commands": commands(rows),
        "metrics": {one_line(metric): _values(group) for metric, group in by_metric.items()},
    }


def _values(rows: list[Row]) -> dict[str, Any]:
    """Return p against the best of the column, and seed, value, low and high of each seed."""
    fits = [[int(row["seed"]), *(_short(row.get(name)) for name in ("value", "low", "high"))] for row in rows]
    return {"p": _short(rows[0].get("p_best")), "fits": fits}


def _short(value: float | None) -> float | None:
    """Return the value with six digits; None where it is not finite, as JSON has no such number."""
    return float(f"{value:.6g}") if value is not None and abs(value) < float("inf") else None


def _facts(row: Row) -> dict[str, str]:
    texts = {name: _fact(row.get(column, "")) for name, column in FACTS.items()}
    return {"seed": str(row["seed"]), **{name: text for name, text in texts.items() if text}}


def _fact(value: Any) -> str:
    if isinstance(value, str):
        return printable(value)
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


# --------------------------------------------------------------------------------------- commands


def commands(rows: Sequence[Row]) -> list[str]:
    """Return the commands that reproduce the results of one row and out-data set; one per distinct set of options."""
    runs = {row["run"]: row for row in rows}
    covariates = {row["run"]: covariate_sets(row["covariate"]) for row in rows if row["covariate"]}
    seeds: dict[tuple[str, ...], list[str]] = {}
    for run, row in runs.items():
        seeds.setdefault(_words(row, covariates.get(run, ())), []).append(str(row["seed"]))
    return [
        printable(shlex.join([*words, *(word for seed in each for word in ("--seed", seed))]))
        for words, each in seeds.items()
    ]


def _words(row: Row, covariates: Iterable[str]) -> tuple[str, ...]:
    preset, _, settings = row["preset"].partition(", ")
    params = flatten(json.loads(row["params"])) | base_facts(row.get("base", ""))
    words = ["oodbench", "run", "--detector", row["detector"], "--in", row["in_dataset"], "--out", row["out_dataset"]]
    words += [word for name in covariates for word in ("--covariate", name)]
    words += ["--preset", preset] if preset else []
    for path in SETTING.findall(settings):  # values here are Python's, with commas; params are exact
        if path in params:
            words += ["--set", f"{path}={_setting(params[path])}"]
    return (*words, *(["--precision", row["precision"]] if row["precision"] not in ("", "float32") else []))


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ----------------------------------------------------------------------------------------- curves


def _curves(
    groups: list[tuple[Place, list[Row]]], runs: Mapping[str, int], scores: ScoreTable
) -> tuple[dict[str, Any], int]:
    """Return ``run number|out-data set`` → ROC curve and histograms, by seed, and how many were left out."""
    wanted = {
        (seed, run, in_dataset, out_dataset)
        for (_, in_dataset, out_dataset), rows in groups
        for seed, run in ((row["seed"], row["run"]) for row in rows)
        if (run, in_dataset) in scores and (run, out_dataset) in scores
    }
    made: dict[str, Any] = {}
    for _, run, in_dataset, out_dataset in sorted(wanted)[:MOST_CURVES]:
        pair = scores[run, in_dataset].values, scores[run, out_dataset].values
        shape = histograms(*pair)
        edges = [_short(edge) for edge in shape[:2]] if shape else []
        made[f"{runs[run]}|{printable(out_dataset)}"] = [
            small_roc_curve(*pair),
            *([edges, *shape[2:]] if shape else []),
        ]
    return made, max(0, len(wanted) - MOST_CURVES)
