"""Runs, results and failures → rows of one table, with the columns that ``schema`` names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from oodbench.api import Provenance, Result, Run
from oodbench.store import schema

if TYPE_CHECKING:
    import pandas

REDUCED = {True: "yes", False: "no", None: ""}


def result_rows(run: Run, provenance: Provenance, fit_id: str, results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return one row per result, with the facts of its run, which the run's own record states."""
    facts = {**vars(provenance), **vars(run), "base": run.base_text, "error": "", "fit_id": fit_id}
    facts |= {"notes": "; ".join(provenance.notes), "n_train": provenance.images.get("train", 0)}
    facts["reduced"] = REDUCED[provenance.reduced]
    facts["facts"] = json.dumps(dict(provenance.facts), sort_keys=True) if provenance.facts else ""
    chosen = {name: facts[name] for name in (*schema.RUN_COLUMNS, "detector", "in_dataset", "seed")}
    return [{**vars(result), **chosen} for result in results]


def failure_row(run: Run, out_dataset: str | None, error: str) -> dict[str, Any]:
    """Return the row of a failure: no metric, the value NaN; ``out_dataset`` is empty where the whole run failed."""
    texts = dict.fromkeys([*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS], "")
    numbers = {"n_in": 0, "n_out": 0, "parameters": 0, "n_train": 0, "value": float("nan"), "fit_seconds": float("nan")}
    facts = {"run": run.key(""), "plugin_version": run.version, "out_dataset": out_dataset or "", "error": error}
    facts["base"] = run.base_text
    return {**texts, **numbers, **{name: value for name, value in vars(run).items() if name in texts}, **facts}


def frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Return the rows as a table: RESULT_COLUMNS, then RUN_COLUMNS."""
    import pandas

    return pandas.DataFrame(list(rows), columns=[*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS])
