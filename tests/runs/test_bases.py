"""Runs that stand on others: the base is made once, kept, shared, never stale, and its failure is theirs by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.api import Context, Progress
from oodbench.data.loading import open_loader
from oodbench.leaderboard import markdown
from oodbench.leaderboard.published import load_results, results_file
from oodbench.leaderboard.sections import Board
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import load_detector
from oodbench.plugin.registry import load_registry
from oodbench.runs.pipeline import ExecutionOptions, Outcome, run
from oodbench.store.schema import PUBLISHED_COLUMNS
from oodbench.store.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def execute(standing, store):
    """Runs detectors on ``bars:0``, and says what of them was done."""

    def execute(*detectors: str, options: dict | None = None, **said) -> tuple[Outcome, list[str]]:
        standing()
        request = RunRequest(detectors, **{"in_datasets": ("bars:0",), "out_datasets": ("white", "bars:1")} | said)
        outcome = run(request, options=ExecutionOptions(store.address, device="cpu", **options or {}))
        return outcome, standing()

    return execute


def key_of(store: Store, detector: str, seed: int = 0) -> str:
    (key,) = [key for key in store.keys() if key.startswith(f"{detector}-") and f"-s{seed}-" in key]
    return key


def scores_of(store: Store, detector: str) -> np.ndarray:
    key = key_of(store, detector)
    return np.concatenate([store.read_scores(key, name).values for name in (None, "white", "bars:1")])


def test_a_base_is_fitted_once_for_any_number_of_detectors_and_seeds(execute):
    outcome, done = execute("offset", "other", seeds=(0, 1))
    assert [line for line in done if line.startswith("fit centre")] == ["fit centre seed 0", "fit centre seed 1"]
    assert not outcome.failures
    assert len(outcome.keys) == 4, "the base was not asked for"
    assert set(outcome.results["detector"]) == {"offset", "other"}
    _, done = execute("given", "other", seeds=(0, 1))
    assert sorted(line for line in done if line.startswith("fit")) == [
        "fit centre seed 0",
        "fit centre seed 1",
        "fit given seed 0",
        "fit given seed 1",
    ], "with other parameters it is another base"  # fmt: skip


def test_what_the_base_computes_of_images_is_computed_once(execute, store):
    _, first = execute("offset")
    assert [line for line in first if line.startswith("outputs")] == [
        "outputs 20",
        "outputs 10",
        "outputs 20",
        "outputs 10",
    ]
    _, second = execute("other")
    assert second == ["fit other seed 0"]
    np.testing.assert_array_equal(scores_of(store, "offset"), scores_of(store, "other"))


def test_who_changes_its_base_changes_nothing_that_is_kept_for_others(execute, store, tmp_path):
    execute("meddler")
    execute("offset")
    after = scores_of(store, "offset")
    execute("offset", options={"force": True})
    np.testing.assert_array_equal(scores_of(store, "offset"), after)
    alone = Store(str(tmp_path / "alone"))
    request = RunRequest(("offset",), ("bars:0",), ("white", "bars:1"))
    run(request, options=ExecutionOptions(alone.address, device="cpu"))
    np.testing.assert_array_equal(scores_of(alone, "offset"), after)


def test_the_base_is_kept_like_any_run_and_is_found_by_who_asks_for_it(execute, store):
    execute("offset")
    key = key_of(store, "centre")
    assert set(store.read_weights(key)) == {"mean"}
    assert store.read_run(key)[1].fit_seconds > 0
    assert not Path(store.where(key), "scores").exists(), "nobody asked for its scores"
    outcome, done = execute("centre")
    assert not [line for line in done if line.startswith("fit")]
    assert outcome.keys == [key]
    assert len(outcome.results)


def test_the_record_names_the_base(execute, store):
    execute("offset", preset="quick", sets=("weight=2",))
    key, base = key_of(store, "offset"), key_of(store, "centre")
    made, provenance = store.read_run(key)
    assert made.base == store.read_run(base)[0]
    assert (provenance.base_run, provenance.base_fit) == (base, store.fit_id(base))
    assert json.loads(Path(store.where(key), "run.json").read_text())["run"]["base"]["detector"] == "centre"
    assert "stands on centre 1.0 (quick), whose fit is not counted in its seconds" in provenance.notes
    assert "centre: it holds" in provenance.notes
    assert provenance.reduced, "as its base is"


def test_scores_are_those_of_the_fitted_base(execute, store, tmp_path):
    execute("offset", "upon")
    registry = load_registry()
    loader = open_loader(registry, None)
    splits = {split: loader.load("bars:0", split) for split in ("train", "validation", "test")}
    for name in ("offset", "upon"):
        made, _ = store.read_run(key_of(store, name))
        context = Context(torch.device("cpu"))
        detector = load_detector(made, splits, registry, store.read_weights, context)
        images = next(splits["test"].batches(100))
        expected = store.read_scores(key_of(store, name), None).values
        np.testing.assert_allclose(detector.score(images).numpy(), expected, rtol=1e-5)


def test_a_base_that_fails_fails_only_what_stands_on_it_by_name(execute):
    outcome, done = execute("offset", "other", "mean-distance", sets=("centre.fails=true",))
    assert [line for line in done if line.startswith("fit")] == ["fit centre seed 0"], "it is not tried again"
    assert set(outcome.results["detector"]) == {"mean-distance"}
    assert [(failure.run, failure.error) for failure in outcome.failures] == [
        ("centre on bars:0, fails=True, seed 0", "RuntimeError: the centre cannot hold"),
        *[
            (
                f"{name} on bars:0, centre.fails=True, seed 0",
                "its base, centre on bars:0, fails=True, seed 0, failed: RuntimeError: the centre cannot hold",
            )
            for name in ("offset", "other")
        ],
    ]


def test_what_fails_while_another_process_works_on_its_fitted_base_is_not_tried_again(execute, store, monkeypatch):
    execute("centre", out_datasets=("white",))
    claim = Store(store.address).claim(key_of(store, "centre"))
    claim.__enter__()
    fits = []

    def fails(self, train, validation, context):
        fits.append(context.seed)
        raise RuntimeError("out of luck")

    class Waiting(Progress):
        def message(self, text):
            if text.startswith("waiting for another process"):
                claim.__exit__(None, None, None)

    monkeypatch.setattr("oodbench_standing.Other.fit", fails)
    request = RunRequest(("centre", "other"), ("bars:0",), ("white", "bars:1"))
    outcome = run(request, options=ExecutionOptions(store.address, device="cpu"), progress=Waiting())
    assert fits == [0]
    assert [failure.error for failure in outcome.failures] == ["RuntimeError: out of luck"]
    assert outcome.keys == [key_of(store, "centre")]


@pytest.mark.parametrize("sets", [(), ("centre.fails=true",)])
def test_several_at_once_make_it_once_too(execute, store, sets):
    outcome, done = execute("offset", "other", "given", "mean-distance", options={"jobs": 2}, sets=sets)
    fits = [line for line in done if line.startswith("fit centre")]
    assert len(fits) == 2, "one with the default power, one for given"
    assert len(outcome.failures) == (5 if sets else 0), "both bases, and what stands on them"
    if not sets:
        outputs = [line for line in done if line.startswith("outputs")]
        assert len(outputs) == 2 * 4, "each set once for each of the two"
        np.testing.assert_array_equal(scores_of(store, "offset"), scores_of(store, "other"))


def test_a_kill_between_base_and_detector_loses_neither(standing, store, tmp_path):
    code = (
        "from oodbench.plan.requests import RunRequest\n"
        "from oodbench.runs.pipeline import ExecutionOptions, run\n"
        f"request = RunRequest(('offset',), ('bars:0',), ('white',), sets=('kill={tmp_path / 'killed'}',))\n"
        f"run(request, options=ExecutionOptions({store.address!r}, device='cpu'))\n"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    killed = [subprocess.run([sys.executable, "-c", code], env={**os.environ, **path}).returncode for _ in range(2)]
    assert killed == [-9, 0]
    assert [line for line in standing() if line.startswith("fit")] == [
        "fit centre seed 0", "fit offset seed 0", "fit offset seed 0",
    ]  # fmt: skip
    assert len(store.read_results()) > 0


def test_on_another_fit_of_the_base_it_is_fitted_again(execute, store):
    execute("offset")
    key = key_of(store, "centre")
    made, provenance = store.read_run(key)
    store.write_fit(key, made, provenance, {"mean": torch.full((1, 8, 8), 0.25)}, [])
    before = scores_of(store, "offset")
    _, done = execute("offset")
    assert [line for line in done if line.startswith("fit")] == ["fit offset seed 0"]
    assert [line for line in done if line.startswith("outputs")], "what the other fit gave counts no more"
    assert not np.array_equal(before, scores_of(store, "offset"))
    assert store.read_run(key_of(store, "offset"))[1].base_fit == store.fit_id(key)


@pytest.mark.parametrize("damage", ["deleted", "damaged", "none kept"])
def test_kept_outputs_can_be_deleted(execute, store, damage, monkeypatch):
    if damage == "none kept":
        monkeypatch.setenv("OODBENCH_OUTPUTS_MIB", "0")
    execute("offset")
    files = list(Path(store.where(key_of(store, "centre")), "outputs").glob("*"))
    assert bool(files) == (damage != "none kept")
    for file in files:
        file.write_bytes(file.read_bytes()[:-1]) if damage == "damaged" else file.unlink()
    outcome, done = execute("other")
    assert not outcome.failures
    assert len([line for line in done if line.startswith("outputs")]) == 4
    np.testing.assert_array_equal(scores_of(store, "offset"), scores_of(store, "other"))


def test_the_page_names_the_base_and_tells_rows_on_different_ones_apart(execute, store, tmp_path):
    execute("offset")
    execute("offset", sets=("centre.power=3",))
    results = store.read_results()
    page = markdown.render(Board(results, [*load_registry().metrics.values()]))
    assert "stands on centre 1.0 (paper)" in page
    assert "centre.power=3" in page
    published = tmp_path / "results.parquet"
    published.write_bytes(results_file(results))
    assert (
        markdown.render(
            Board(load_results(published).rows.drop(columns=[*PUBLISHED_COLUMNS]), [*load_registry().metrics.values()])
        )
        == page
    )


def test_a_run_that_is_finished_needs_nothing_again(execute):
    execute("offset")
    _, done = execute("offset")
    assert done == []
