"""Rows of a store compared on the same images, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from oodbench.api import Provenance, Result, Run, Scores
from oodbench.cli import main
from oodbench.errors import OODBenchError, UnknownName
from oodbench.leaderboard.comparison import compare_rows
from oodbench.leaderboard.statistics import combine_seeds, compare_auroc
from oodbench.store.store import Store

PROVENANCE = Provenance(
    "0.2.0", "p", "0.1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 300}, ""
)
RUN = Run("ae", "0.1", "{}", "mnist:0-8")


def values(quality: float, seed: int, out: bool) -> np.ndarray:
    """Scores of one detector: a part that all share, as they see the same images, and a part of its own."""
    shared = np.random.default_rng(int(out)).normal(size=200 if out else 300)
    own = np.random.default_rng([7, seed, int(1000 * quality), int(out)]).normal(size=len(shared))
    return shared + 0.3 * own + (quality if out else 0.0)


def scores(dataset, given, fingerprint="f" * 16, indices=None) -> Scores:
    indices = np.arange(len(given)) if indices is None else indices
    return Scores(dataset, "test", fingerprint, indices, np.zeros(len(given), np.int64), given, 1.0, "cpu")


def add(store: Store, run: Run, quality: float, outs=("noise", "mnist:9"), **of_out) -> str:
    key = run.key("")
    store.write_fit(key, run, PROVENANCE, {}, [])
    fit_id = store.fit_id(key)
    store.write_scores(key, replace(scores(run.in_dataset, values(quality, run.seed, False)), fit_id=fit_id), out=False)
    for name in outs:
        found = scores(name, values(quality, run.seed, True), **of_out)
        store.write_scores(key, replace(found, fit_id=fit_id), out=True)
    results = [Result(key, run.detector, run.in_dataset, name, run.seed, "auroc", 0.5, 300, 200) for name in outs]
    store.write_results(key, results)
    return key


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(str(tmp_path / "store"))
    for seed in (0, 1):
        add(made, replace(RUN, seed=seed), 1.0)
        add(made, replace(RUN, detector="ebae", seed=seed), 1.5)
    return made


def test_two_rows_are_compared_seed_by_seed_on_every_shared_out_set(store):
    rows = compare_rows(store, "ebae", "ae")
    assert [(row.in_dataset, row.out_dataset) for row in rows] == [("mnist:0-8", "mnist:9"), ("mnist:0-8", "noise")]
    expected = combine_seeds(
        [
            compare_auroc(*((values(quality, seed, False), values(quality, seed, True)) for quality in (1.5, 1.0)))
            for seed in (0, 1)
        ]
    )
    for row in rows:
        assert row.comparison == expected and row.pairs == [(0, 0), (1, 1)]
        assert row.p_holm == pytest.approx(2 * expected.p)
        assert row.is_significant


def test_seeds_that_are_not_shared_are_compared_each_with_each(store):
    for seed in (5, 6):
        add(store, replace(RUN, detector="other", seed=seed), 1.0, outs=("noise",))
    (row,) = compare_rows(store, "ae", "other")
    assert row.pairs == [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert row.comparison.seeds == 4


def test_two_runs_are_named_by_the_beginnings_of_their_keys(store):
    first, second = (RUN.key(""), replace(RUN, seed=1).key(""))
    (row, _) = compare_rows(store, first[:-2], second)
    assert row.pairs == [(0, 1)] and not row.is_significant


@pytest.mark.parametrize(
    "of_out", [{"fingerprint": "0" * 16}, {"indices": np.arange(200)[::-1].copy()}], ids=["other images", "other order"]
)
def test_scores_of_other_images_are_not_compared(store, of_out):
    add(store, replace(RUN, detector="other"), 1.0, outs=("noise",), **of_out)
    (row,) = compare_rows(store, "ae", "other")
    assert (row.comparison, row.p_holm, row.is_significant) == (None, None, False)


def test_names_that_say_too_little_or_nothing_are_refused(store):
    for value in (1, 2):
        add(store, replace(RUN, detector="two", params=f'{{"a": {value}}}'), 1.0)
    with pytest.raises(OODBenchError, match="two has several rows: 'two, a=1', 'two, a=2'"):
        compare_rows(store, "two", "ebae")
    with pytest.raises(OODBenchError, match="several runs begin with ebae-.* or name the row, .* seeds: 'ebae'"):
        compare_rows(store, "ebae-", "ebae")
    with pytest.raises(UnknownName, match="did you mean ebae"):
        compare_rows(store, "ebaee", "ebae")
    add(store, replace(RUN, detector="lonely", in_dataset="cifar10"), 1.0)
    with pytest.raises(OODBenchError, match="lonely and ebae have no out-data set in common"):
        compare_rows(store, "lonely", "ebae")


def test_the_command_prints_a_table_or_json(store):
    command = ["compare", "ae", "ebae", "--store", store.address]
    shown = CliRunner().invoke(main, command).stdout
    assert "  0, 1     -0." in shown and "< .0001  yes" in shown
    rows = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert rows[0]["is_significant"] is True and rows[0]["comparison"]["difference"] < 0
