"""Runs, results and failures → rows of one table, with the columns that ``schema`` names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Provenance, Run
from oodbench.api.full_spectrum import covariate_text
from oodbench.store import schema
from oodbench.store.records import Combination

if TYPE_CHECKING:
    import pandas

OF_BOTH = ("detector", "in_dataset", "seed")
"""Columns of a result that the run's own record has, too, and from which they are taken."""

RUN_FACTS = (*schema.RUN_COLUMNS, *OF_BOTH)
NUMBERS = {
    "seed": "int64", "value": "float64", "n_in": "int64", "n_out": "int64",
    "fit_seconds": "float64", "parameters": "int64", "n_train": "int64",
}  # fmt: skip
REDUCED = {True: "yes", False: "no", None: ""}


def facts_of_run(run: Run, provenance: Provenance, fit_id: str) -> dict[str, Any]:
    """Return the facts of a run that are repeated beside each of its results, from its own record."""
    facts = {**vars(provenance), **vars(run), "base": run.base_text, "error": "", "fit_id": fit_id}
    facts |= {"notes": "; ".join(provenance.notes), "n_train": provenance.images.get("train", 0)}
    facts["reduced"] = REDUCED[provenance.reduced]
    facts["facts"] = json.dumps(dict(provenance.facts), sort_keys=True) if provenance.facts else ""
    return {name: facts[name] for name in RUN_FACTS}


def results_frame(runs: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> pandas.DataFrame:
    """Return one row per result: RESULT_COLUMNS, then RUN_COLUMNS.

    Args:
        runs: ``facts_of_run`` and results (see ``records.parse_results``) of each run.
    """
    import pandas

    results = frame([row for _, rows in runs for row in rows], schema.RESULT_COLUMNS)
    facts = frame([facts for facts, _ in runs], RUN_FACTS)  # one row per run, so that it is fast
    later = [name for name in schema.LATER_COLUMNS if name in results]
    results[later] = results[later].fillna("")
    repeated = facts.take(np.repeat(np.arange(len(runs)), [len(rows) for _, rows in runs])).reset_index(drop=True)
    results[[*OF_BOTH]] = repeated[[*OF_BOTH]]
    return pandas.concat([results, repeated[[*schema.RUN_COLUMNS]]], axis=1)


def failure_row(failed: Combination, error: str) -> dict[str, Any]:
    """Return the row of a failure: no metric, the value NaN; ``out_dataset`` is empty where the whole run failed.

    If the failed set is covariate-shifted, ``covariate`` names it.
    """
    run, out_dataset = failed.run, failed.set_title
    texts = dict.fromkeys([*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS], "")
    numbers = {"n_in": 0, "n_out": 0, "parameters": 0, "n_train": 0, "value": float("nan"), "fit_seconds": float("nan")}
    facts = {"run": run.key(""), "plugin_version": run.version, "out_dataset": out_dataset, "error": error}
    facts["base"] = run.base_text
    facts["covariate"] = covariate_text({out_dataset: ""} if failed.is_shifted and out_dataset else {})
    return {**texts, **numbers, **{name: value for name, value in vars(run).items() if name in texts}, **facts}


def frame(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = (*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS)
) -> pandas.DataFrame:
    """Return the rows as a table of these columns, with texts as Python strings (see ``with_plain_texts``)."""
    import pandas

    table = pandas.DataFrame(list(rows), columns=[*columns], dtype=object)
    return table.astype({name: kind for name, kind in NUMBERS.items() if name in table})


def with_plain_texts(results: pandas.DataFrame) -> pandas.DataFrame:
    """Return the results with texts as Python strings: pandas's are several times slower to select and to iterate."""
    import pandas

    texts = [name for name, dtype in results.dtypes.items() if isinstance(dtype, pandas.StringDtype)]
    return results.astype(dict.fromkeys(texts, object))
