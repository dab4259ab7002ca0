"""The whole line: nothing finished is done again, and what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from oodbench.api import Metric, Progress
from oodbench.errors import OODBenchError, StoreError
from oodbench.leaderboard import markdown
from oodbench.leaderboard.figures import draw_runs
from oodbench.leaderboard.sections import Board
from oodbench.plan.requests import RunRequest
from oodbench.plugin.registry import load_registry
from oodbench.plugin.source import forget_trees
from oodbench.runs.pipeline import ExecutionOptions, Outcome, run
from oodbench.runs.recomputing import recompute_store
from oodbench.store.records import Combination
from oodbench.store.store import Store


@pytest.fixture
def store(tmp_path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def execute(toys, store):
    """Runs requests on one store, and says what detectors were asked to do for it."""

    def execute(*words: RunRequest, force: bool = False, **surroundings) -> tuple[Outcome, list[str]]:
        toys.calls.clear()
        outcome = run(*words, options=ExecutionOptions(store, device="cpu", force=force), **surroundings)
        return outcome, list(toys.calls)

    return execute


def words(**said) -> RunRequest:
    chosen = {"detectors": ("mean-distance",), "in_datasets": ("bars:0",), "out_datasets": ("white",)}
    return RunRequest(**chosen | said)


def files(folder: str) -> dict[str, bytes]:
    """Everything in the store but the locks."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in paths}


def test_scores_and_results_are_those_of_the_detector(execute, store):
    outcome, _ = execute(words())
    (key,) = outcome.keys
    mean = np.mean([image for image, label in bars("train") if label == 0], axis=0)
    expected = [np.square(image - mean).mean() for image, label in bars("test") if label == 0]
    np.testing.assert_allclose(Store(store).read_scores(key, None).values, expected, rtol=1e-5)
    np.testing.assert_allclose(Store(store).read_scores(key, "white").values, np.square(1 - mean).mean(), rtol=1e-5)
    assert set(outcome.results["metric"]) == set(load_registry().metrics)
    auroc = outcome.results.set_index("metric").loc["auroc"]
    assert (auroc["value"], auroc["n_in"], auroc["n_out"]) == (1.0, 10, 20)


def bars(split: str):
    import oodbench_toys

    images = oodbench_toys.load_bars(split, Path(), None)
    return zip(images.images.astype(np.float64) / 255, images.labels, strict=True)


def test_the_same_call_again_fits_scores_and_writes_nothing(execute, store):
    first, done = execute(words(out_datasets=("white", "bars:1"), seeds=(0, 1)))
    assert done == [
        step for seed in (0, 1) for step in (f"fit bars:0 seed {seed}", "load_state", "score", "score", "score")
    ]
    before = files(store)
    second, done_again = execute(words(out_datasets=("white", "bars:1"), seeds=(0, 1)))
    assert done_again == []
    assert files(store) == before
    assert second.results.equals(first.results)


def test_another_out_set_costs_no_fit(execute):
    execute(words())
    outcome, done = execute(words(out_datasets=("bars:1",)))
    assert done == ["load_state", "score"]
    assert set(outcome.results["out_dataset"]) == {"bars:1"}


def own_images(path: Path, others: int) -> str:
    """An out-data set of three in-images, and of others that are none."""
    import oodbench_toys

    images = oodbench_toys.load_bars("test", Path(), None)
    chosen = np.asarray(images.images)[images.labels == 0][:3]
    other = np.random.default_rng(0).integers(0, 256, (others, *chosen.shape[1:]), np.uint8)
    np.savez(path, images=np.concatenate([other, chosen]))
    return f"npz:{path}"


def test_a_few_out_images_that_are_in_images_are_counted_in_a_note(execute, tmp_path):
    outcome, _ = execute(words(out_datasets=(own_images(tmp_path / "own.npz", 100),)))
    (note,) = set(outcome.results["out_note"])
    assert re.fullmatch(r"3 of the 103 test images of npz:\S+ are also in bars:0 \(.*3 in its test split\)", note)
    page = markdown.render(Board(outcome.results, list(load_registry().metrics.values()))).replace("\\", "")
    assert f"103. {note}." in page


def test_out_data_that_are_in_data_are_refused(execute, store, tmp_path):
    outcome, _ = execute(words(out_datasets=(own_images(tmp_path / "own.npz", 20), "white")))
    (failure,) = outcome.failures
    assert "3 of the 23 test images of npz:" in failure.error
    assert "no image can count twice; choose others" in failure.error
    assert set(outcome.results["out_dataset"]) == {"white"}


def test_reloaded_weights_give_the_same_scores(execute, store):
    execute(words(out_datasets=("white",)))
    (key,) = Store(store).keys()
    at_once = Store(store).read_scores(key, "white").values
    (Path(store) / key / "scores" / "white.parquet").unlink()
    execute(words(out_datasets=("white",)))
    np.testing.assert_array_equal(Store(store).read_scores(key, "white").values, at_once)


def test_what_the_state_forgets_is_in_no_score(execute, store, toys, monkeypatch):
    """Else scores of the process that has fitted it are of another detector than those made later."""
    fit, score = toys.MeanDistance.fit, toys.MeanDistance.score

    def fit_with_offset(self, *given):
        self.offset = 1.0
        return fit(self, *given)

    monkeypatch.setattr(toys.MeanDistance, "fit", fit_with_offset)
    monkeypatch.setattr(toys.MeanDistance, "score", lambda self, x: score(self, x) + getattr(self, "offset", 0.0))
    outcome, _ = execute(words())
    assert not outcome.failures
    assert Store(store).read_scores(outcome.keys[0], None).values.max() < 1.0


def test_a_data_set_whose_code_fails_fails_alone(execute, toys, monkeypatch):
    """Whatever its error is, of finished runs too."""
    registry = load_registry()
    white = registry.datasets["white"]

    def load(split, root, shape):
        raise ZeroDivisionError("no white")

    registry.datasets["white"] = dataclasses.replace(white, load=load, version=2)
    for _ in range(2):
        outcome, _ = execute(words(out_datasets=("white", "bars:1")), registry=registry)
        (failure,) = outcome.failures
        assert (failure.out_dataset, failure.error) == ("white", "ZeroDivisionError: no white")
        assert set(outcome.results["out_dataset"]) == {"bars:1"}


def test_test_images_that_are_training_images_are_counted_in_a_note(execute, toys):
    registry = load_registry()
    bars = registry.datasets["bars"]

    def load(split, root, shape):
        images = bars.load(split, root, shape)
        if split == "test":
            images.images[:3] = bars.load("train", root, shape).images[0]
        return images

    registry.datasets["bars"] = dataclasses.replace(bars, load=load, version=2)
    outcome, _ = execute(words(), registry=registry)
    assert "2 of the 10 test images of bars:0 are also in its train split" in outcome.results["notes"].iloc[0]


def test_out_data_smaller_than_published_have_a_note(execute, toys):
    registry = load_registry()
    registry.datasets["bars"] = dataclasses.replace(registry.datasets["bars"], sizes=toys.SIZES | {"test": 30})
    outcome, _ = execute(words(out_datasets=("bars:1",)), registry=registry)
    assert set(outcome.results["out_note"]) == {"bars: 20 test images of 30 published (reduced)"}


def test_a_kill_right_after_the_fit_leaves_no_checkpoint(execute, store):
    """The record of the fit is there, and so the checkpoint is of no use; it may be large."""
    execute(words())
    (key,) = Store(store).keys()
    Store(store).files.write(f"{key}/checkpoint.pt", b"of the last epoch")
    _, done = execute(words(out_datasets=("white", "bars:1")))
    assert "fit bars:0 seed 0" not in done
    assert not Store(store).has_checkpoint(key)


def test_force_does_it_all_again(execute):
    execute(words())
    _, done = execute(words(), force=True)
    assert done == ["fit bars:0 seed 0", "load_state", "score", "score"]


def test_other_parameters_are_another_run(execute):
    first, _ = execute(words())
    second, done = execute(words(sets=("power=1",)))
    assert "fit bars:0 seed 0" in done
    assert first.keys != second.keys
    assert set(second.results["run"]) == set(second.keys)


def test_what_fails_does_not_stop_the_rest(execute, store):
    outcome, _ = execute(
        words(detectors=("broken", "mean-distance"), in_datasets=("absent", "bars:0"), sets=("broken.fault=fit",))
    )
    assert len(outcome.keys) == 1
    assert set(outcome.results["detector"]) == {"mean-distance"}
    errors = {failure.run: failure.error for failure in outcome.failures}
    assert errors["broken on bars:0, fault=fit, seed 0"] == "RuntimeError: the loss is not finite"
    assert "images.npy is missing" in errors["mean-distance on absent, seed 0"]
    assert len(errors) == 3
    assert len(Store(store).read_failures()) == 3
    records = (Path(store) / "failures").glob("*.json")
    assert any("raise RuntimeError" in path.read_text() for path in records), "the traceback is kept"


def test_an_out_set_that_fails_does_not_stop_the_others(execute, store):
    settings = ("fault=nan", "only=1.0")  # NaN for white images only
    outcome, _ = execute(words(detectors=("broken",), out_datasets=("white", "bars:1"), sets=settings))
    (failure,) = outcome.failures
    assert failure.out_dataset == "white"
    assert failure.error == "broken gave NaN or infinity for 3 of 20 images of white"
    assert set(outcome.results["out_dataset"]) == {"bars:1"}
    assert [*Store(store).out_datasets(outcome.keys[0])] == ["bars:1"]


def test_success_strikes_a_failure_off_the_record(execute, store, toys, monkeypatch):
    def absent(self, train, validation, context):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as unlucky:
        unlucky.setattr(toys.MeanDistance, "fit", absent)
        outcome, _ = execute(words())
    assert [failure.error for failure in outcome.failures] == ["RuntimeError: out of luck"]
    assert len(Store(store).read_failures()) == 1
    outcome, _ = execute(words())
    assert outcome.failures == []
    assert len(Store(store).read_failures()) == 0


def test_a_run_that_is_finished_has_no_failure_on_what_it_was_scored_on(execute, store):
    outcome, _ = execute(words())
    record, _ = Store(store).read_run(outcome.keys[0])
    for out_dataset in ("white", "bars:1"):
        Store(store).write_failure(Combination(record, out_dataset), "of then", "")
    execute(words())
    assert Store(store).read_failures()["out_dataset"].tolist() == ["bars:1"]


def test_ctrl_c_is_not_taken_for_a_failure(execute, store):
    with pytest.raises(KeyboardInterrupt):
        execute(words(detectors=("broken",), sets=("fault=interrupt",)))
    assert len(Store(store).read_failures()) == 0
    assert Store(store).keys() == []


@pytest.mark.parametrize(
    "said",
    [
        {"detectors": ("mean-distance", "nothing")},
        {"out_datasets": ("white", "nothing")},
        {"sets": ("power=-1",)},
        {"in_datasets": ("bars:0", "photos")},
    ],
)
def test_one_bad_word_and_nothing_is_done_or_written(execute, store, toys, said):
    with pytest.raises(OODBenchError):
        execute(words(**said))
    assert toys.calls == []
    assert not Path(store).exists()


@pytest.mark.parametrize("name", ["CHECKPOINT_SECONDS", "LEASE_SECONDS", "OUTPUTS_MIB"])
def test_one_bad_limit_and_nothing_is_done_or_written(execute, store, toys, monkeypatch, name):
    monkeypatch.setenv(f"OODBENCH_{name}", "2GB")
    with pytest.raises(OODBenchError, match=f"OODBENCH_{name} is '2GB': give a"):
        execute(words())
    assert toys.calls == []
    assert not Path(store).exists()


def test_progress_hears_of_every_run(execute):
    class Heard(Progress):
        def __init__(self):
            self.texts: list[str] = []

        def message(self, text):
            self.texts.append(text)

    heard = Heard()
    execute(words(seeds=(0, 1)), progress=heard)
    execute(words(seeds=(1,)), progress=heard)
    assert heard.texts == [
        "[1/2] mean-distance on bars:0, seed 0: fitting to 20 images",
        "[2/2] mean-distance on bars:0, seed 1: fitting to 20 images",
        "[1/1] mean-distance on bars:0, seed 1: finished already",
    ]


def test_progress_hears_of_decoding_once_a_data_set(execute):
    class Heard(Progress):
        def __init__(self):
            self.shares: list[tuple[str, float]] = []

        def advance(self, phase, share, epoch, values):
            if phase.startswith("decoding"):
                self.shares.append((phase, share))

    heard = Heard()
    execute(words(), progress=heard)
    assert {phase for phase, _ in heard.shares} >= {"decoding bars train", "decoding white test"}
    assert max(share for _, share in heard.shares) == 1
    heard.shares.clear()
    execute(words(seeds=(1,)), progress=heard)
    assert heard.shares == []


def test_two_processes_on_one_store_fit_each_run_once(toys, store):
    command = [sys.executable, "-m", "oodbench", "run", "--detector", "mean-distance", "--in", "bars:0"]
    command += ["--out", "white", "--seeds", "3", "--store", store, "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert ends[0][0] == ends[1][0]
    assert sum(stderr.count("fitting to") for _, stderr in ends) == 3
    assert sum(stderr.count(f"{done} already") for _, stderr in ends for done in ("fitted", "finished")) == 3


@pytest.mark.parametrize("out_datasets", [(), ("white",)])
def test_a_figure_of_what_was_not_run_names_the_command_that_runs_it(execute, store, tmp_path, out_datasets):
    if out_datasets:
        execute(words(out_datasets=out_datasets))
    asked = words(out_datasets=("bars:1",))
    with pytest.raises(StoreError, match="no scores of bars:1 in the store; `oodbench run --detector mean-distance"):
        draw_runs(asked, path=tmp_path / "figure.png", store=store)


# ------------------------------------------------------------------------------- damage and repair


@pytest.mark.parametrize("name", ["scores/in.parquet", "results.parquet", "run.json"])
@pytest.mark.parametrize("force", [False, True])
def test_a_truncated_file_is_named_and_made_again(execute, store, name, force):
    """Once it is deleted, or with --force; only the record of the fit costs the fit."""
    outcome, _ = execute(words())
    path = Path(store, outcome.keys[0], name)
    path.write_bytes(path.read_bytes()[:40])
    outcome, _ = execute(words())
    (failure,) = outcome.failures
    assert str(path) in failure.error
    assert ("--force" if name == "run.json" else "delete it, and") in failure.error
    if not force:
        path.unlink()
    outcome, _ = execute(words(), force=force)
    assert outcome.failures == []
    assert len(outcome.results) == len(load_registry().metrics)


def test_truncated_weights_are_named_when_they_are_needed(execute, store):
    outcome, _ = execute(words())
    path = Path(store, outcome.keys[0], "weights.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    assert execute(words())[0].failures == []
    outcome, _ = execute(words(out_datasets=("white", "bars:1")))
    (failure,) = outcome.failures
    assert failure.out_dataset == "bars:1"
    assert str(path) in failure.error


def test_truncated_scores_of_an_out_set_leave_the_others_alone(execute, store):
    outcome, _ = execute(words(out_datasets=("white", "bars:1")))
    path = Path(store, outcome.keys[0], "scores", "white.parquet")
    path.write_bytes(path.read_bytes()[:40])
    outcome, _ = execute(words(out_datasets=("white", "bars:1")))
    (failure,) = outcome.failures
    assert failure.out_dataset == "white"
    assert str(path) in failure.error
    assert set(outcome.results["out_dataset"]) == {"bars:1"}


# ---------------------------------------------------------------------------------------- evaluate


def test_a_new_metric_needs_no_detector(execute, store, toys):
    execute(words(seeds=(0, 1)))
    toys.calls.clear()
    gap = Metric(
        "gap",
        lambda in_scores, out_scores: float(out_scores.min() - in_scores.max()),
        True,
        "least out minus greatest in",
    )
    outcome = recompute_store(store, [gap])
    assert toys.calls == []
    assert outcome.failures == []
    for row in outcome.results[outcome.results["metric"] == "gap"].itertuples():
        in_scores, out_scores = (Store(store).read_scores(row.run, name).values for name in (None, "white"))
        assert row.value == out_scores.min() - in_scores.max()
    assert set(outcome.results["metric"]) == {"gap", *load_registry().metrics}


def test_a_metric_that_was_mended_strikes_its_failure_off_the_record(execute, store):
    registry = load_registry()

    def with_gap(compute) -> None:
        registry.metrics["gap"] = Metric("gap", compute, True, "least out minus greatest in")

    with_gap(lambda in_scores, out_scores: 1 / 0)
    execute(words(out_datasets=("white", "bars:1")), registry=registry)
    with_gap(
        lambda in_scores, out_scores: float(out_scores.min() - in_scores.max()) if out_scores.min() > 0.5 else 1 / 0
    )
    recompute_store(store, [registry.metrics["auroc"]], registry)
    assert sorted(Store(store).read_failures()["out_dataset"]) == ["bars:1", "white"], "nothing is known of it yet"
    recompute_store(store, [registry.metrics["gap"]], registry)
    assert Store(store).read_failures()["out_dataset"].tolist() == ["bars:1"]


GAP = """
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric("gap", lambda in_scores, out_scores: float(out_scores.min() - in_scores.max()) * 1, True, "gap")]
"""


def test_values_of_a_metric_s_earlier_code_are_computed_again(execute, store, install, monkeypatch):
    """Of new out-data sets and of old ones, so that no table has both; the detector is not asked."""
    site = install("gap", "gap_module", GAP)
    monkeypatch.setenv("OODBENCH_PLUGINS", "toys,gap")
    before, _ = execute(words())
    (site / "gap_module.py").write_text(GAP.replace("* 1", "* 20"))
    sys.modules.pop("gap_module")
    forget_trees()
    after, done = execute(words(out_datasets=("white", "bars:1")))
    assert done == ["load_state", "score"]
    gaps = [each.results.set_index(["metric", "out_dataset"]).loc[("gap", "white")] for each in (before, after)]
    assert gaps[1]["value"] == 20 * gaps[0]["value"]
    assert gaps[0]["metric_version"] != gaps[1]["metric_version"]
    assert set(after.results.loc[after.results["metric"] == "gap", "metric_version"]) == {gaps[1]["metric_version"]}
    assert set(after.results.loc[after.results["metric"] == "auroc", "metric_version"]) == {""}
    _, done = execute(words(out_datasets=("white", "bars:1")))
    assert done == []


def test_evaluate_names_a_damaged_file_and_goes_on(execute, store):
    outcome, _ = execute(words(seeds=(0, 1)))
    path = Path(store, outcome.keys[0], "scores", "white.parquet")
    path.write_bytes(path.read_bytes()[:40])
    outcome = recompute_store(store)
    (failure,) = outcome.failures
    assert str(path) in failure.error
    assert set(outcome.results["seed"]) == {1}


def test_there_is_nothing_to_evaluate_in_an_empty_store(store):
    with pytest.raises(StoreError, match="there is no finished run in"):
        recompute_store(store, [])
    assert not Path(store).exists()


def test_a_run_records_its_preset_and_parameters(execute, store):
    outcome, _ = execute(words(preset="quick", sets=("blur.steps=2",)))
    record, provenance = Store(store).read_run(outcome.keys[0])
    assert record.preset == "quick, blur.steps=2"
    assert json.loads(record.params) == {"power": 2.0, "blur": {"strength": 0.5, "steps": 2}}
    assert provenance.plugin == "toys"
