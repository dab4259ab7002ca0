"""A whole store as tables, at any address; and their columns as the documentation names them."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import numpy as np
import pytest

from oodbench.api import Provenance, Run, Scores
from oodbench.errors import StoreError
from oodbench.runs import new_scores
from oodbench.store import schema
from oodbench.store.store import Store
from oodbench.store.tables import history_table, results_and_failures, scores_dataset

RUN = Run("ae", "0.2", "{}", "mnist:0-8")
PROVENANCE = Provenance(
    "0.2.0", "p", "0.1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 3}, ""
)
HISTORY = [
    {"phase": "a", "epoch": 1, "loss": 0.5, "text": "x"},
    {"phase": "b", "epoch": 1, "energy": 2, "fine": True},
    {"loss": float("nan")},
]
DOCUMENT = Path(__file__).parents[2] / "docs" / "columns.md"


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path) -> Store:
    made = Store(str(tmp_path / "a store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}")
    key = RUN.key("")
    made.write_fit(key, RUN, PROVENANCE, {}, HISTORY)
    for name, out in (("mnist:0-8", False), ("folder:/a b/c%d[1]", True)):
        values = np.array([0.25, -1e-300, 1 / 3])
        found = Scores(name, "test", "a" * 16, np.arange(3), np.arange(3), values, 1.0, "cpu", made.fit_id(key))
        made.write_scores(key, found, out)
    return made


def test_scores_are_read_with_the_names_of_their_data_sets(store):
    table = scores_dataset(store).to_table()
    assert tuple(table.column_names) == schema.SCORE_COLUMNS
    assert set(table["dataset"].to_pylist()) == {"mnist:0-8", "folder:/a b/c%d[1]"}
    assert sorted(table["score"].to_pylist()) == sorted([0.25, -1e-300, 1 / 3] * 2)


def test_a_curve_is_the_numbers_that_were_recorded(store):
    table = history_table(store)
    assert tuple(table.column_names) == schema.HISTORY_COLUMNS
    rows = [tuple(row.values())[1:] for row in table.to_pylist()]
    assert rows == [(1, "a", 1, "loss", 0.5), (2, "b", 1, "energy", 2.0)]


def test_a_damaged_run_is_reported_or_raises(store):
    store.files.write(f"{RUN.key('')}/run.json", b"{")
    for read in (scores_dataset, history_table, results_and_failures):
        reported = []
        read(store, lambda key, error, reported=reported: reported.append(key))
        assert reported == [RUN.key("")]
        with pytest.raises(StoreError):
            read(store)


def test_an_empty_store_has_all_columns():
    store = Store(f"memory://{uuid.uuid4().hex}")
    assert tuple(scores_dataset(store).schema.names) == schema.SCORE_COLUMNS
    assert tuple(history_table(store).column_names) == schema.HISTORY_COLUMNS
    assert tuple(results_and_failures(store)) == (*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS)


def test_the_documentation_names_exactly_these_columns():
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    named = {
        section.split("\n")[0]: tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) for section in sections
    }
    assert named == {
        "results": (*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS, *schema.PUBLISHED_COLUMNS),
        "scores": schema.SCORE_COLUMNS,
        "history": schema.HISTORY_COLUMNS,
        "new images": new_scores.COLUMNS,
    }
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            _, _, kind, _, meaning, _ = line.split("|")
            assert kind.strip() in ("text", "integer", "double", "boolean") and meaning.strip()
