"""``oodbench run``: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oodbench.api import SCORE_CONVENTION
from oodbench.store.store import Store

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1"]


def test_run_s_help_has_an_example(invoke):
    assert "oodbench run --detector" in invoke("run", "--help").stdout


def test_run_prints_a_table_with_arrows_the_convention_and_the_folders(oodbench, here):
    result = oodbench(*RUN, "--out", "white", "--seeds", "2")
    assert "auroc ↑" in result.stdout
    assert "fpr95_out ↓" in result.stdout
    assert "bars:1" in result.stdout
    assert SCORE_CONVENTION in result.stdout
    folders = [line.strip() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert [Path(folder).name for folder in folders] == Store("results").keys()
    assert len(folders) == 2
    assert all((Path(folder) / "run.json").is_file() for folder in folders)


def test_json_is_all_that_is_on_stdout(oodbench, toys):
    result = oodbench(*RUN, "--json")
    records = json.loads(result.stdout)
    assert {record["metric"] for record in records} == {"auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in"}
    assert all(record["out_dataset"] == "bars:1" and isinstance(record["value"], float) for record in records)
    assert "fitting to 20 images" in result.stderr


def test_quiet_shows_nothing_but_the_table(oodbench):
    assert oodbench(*RUN, "-q").stderr == ""


def test_every_option_reaches_the_run(oodbench, here):
    options = ["--seed", "4", "--seed", "6", "--preset", "quick", "--set", "power=3", "--set", "blur.steps=2"]
    oodbench(*RUN, *options, "--precision", "bfloat16", "--device", "cpu", "--store", "elsewhere", "-q")
    runs = [Store("elsewhere").read_run(key)[0] for key in Store("elsewhere").keys()]
    assert sorted(run.seed for run in runs) == [4, 6]
    assert {(run.preset, run.precision) for run in runs} == {("quick, power=3, blur.steps=2", "bfloat16")}
    assert json.loads(runs[0].params) == {"power": 3.0, "blur": {"strength": 0.5, "steps": 2}}
    assert not (here / "results").exists()


def test_the_store_can_be_named_by_the_environment(oodbench, here, monkeypatch):
    monkeypatch.setenv("OODBENCH_STORE", "kept")
    oodbench(*RUN, "-q")
    assert (here / "kept").is_dir()


def test_force_fits_again(oodbench, toys):
    oodbench(*RUN, "-q")
    toys.calls.clear()
    oodbench(*RUN, "-q")
    assert toys.calls == []
    oodbench(*RUN, "-q", "--force")
    assert toys.calls[0] == "fit bars:0 seed 0"


def test_a_suite_file_is_run_and_options_replace_its_words(oodbench, here):
    (here / "suite.toml").write_text(
        'detector = "mean-distance"\nin = "bars:0"\nout = ["bars:1", "white"]\nseeds = 3\n[set]\npower = 3\n'
    )
    records = json.loads(oodbench("run", "suite.toml", "--seed", "5", "--out", "bars:1", "--json").stdout)
    assert {(record["seed"], record["out_dataset"]) for record in records} == {(5, "bars:1")}
    assert json.loads(records[0]["params"])["power"] == 3


def test_the_data_folder_reaches_the_data_sets(oodbench):
    result = oodbench(
        "run", "--detector", "mean-distance", "--in", "absent", "--out", "white", "--data-dir", "mine", code=1
    )
    assert str(Path("mine/absent/images.npy")) in result.stderr


def test_failures_are_listed_last_and_end_with_1(oodbench):
    result = oodbench(*RUN, "--detector", "broken", "-q", code=1)
    assert "auroc ↑" in result.stdout
    assert result.stderr.splitlines() == [
        "Failed: broken on bars:0, seed 0: broken gave NaN or infinity for 3 of 10 images of bars:0"
    ]


def test_json_stays_json_when_all_fails(oodbench):
    result = oodbench("run", "--detector", "broken", "--in", "bars:0", "--out", "white", "--json", code=1)
    assert json.loads(result.stdout) == []


def test_ctrl_c_says_how_to_go_on(oodbench):
    interrupted = ["--detector", "broken", "--set", "fault=interrupt"]
    result = oodbench("run", *interrupted, "--in", "bars:0", "--out", "white", code=130)
    assert "The same command resumes from the last checkpoint." in result.stderr


def test_ctrl_c_of_force_does_not_promise_that_the_same_command_goes_on(oodbench):
    interrupted = ["--detector", "broken", "--set", "fault=interrupt", "--force"]
    result = oodbench("run", *interrupted, "--in", "bars:0", "--out", "white", code=130)
    assert "The same command resumes" not in result.stderr
    assert "The same command starts over; without --force it resumes from the last checkpoint" in result.stderr


def test_a_long_fit_is_told_how_to_be_shorter(oodbench, install, monkeypatch):
    install(
        "slow",
        "slow",
        """
from oodbench_toys import MeanDistance
from oodbench import hookimpl, param, progress

class SlowParams(MeanDistance.Params):
    epochs: int = param(100, "epochs")

class Slow(MeanDistance):
    name = "slow"
    Params = SlowParams

    def fit(self, train, validation, context):
        context.progress.plan({"training": 1.0})
        for share in (0.0, 0.01, 0.02):
            progress.time.sleep(60)
            context.progress.advance("training", share, "1/100", {})
        return super().fit(train, validation, context)

@hookimpl
def register_detectors():
    return [Slow]
""",
    )

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    monkeypatch.setattr("oodbench.progress.time", Clock())
    result = oodbench("run", "--detector", "slow", "--in", "bars:0", "--out", "white", "--device", "cpu")
    assert "This fit will take about 1 h 41 min. Shorter: --preset quick, --set epochs=…, " in result.stderr
    assert "--precision bfloat16, --device cuda.\n" in result.stderr


@pytest.mark.parametrize("words", [RUN, ["tune", *RUN[1:5], "--val-out", "bars:1", "--grid", "power=1,2"]])
def test_a_device_that_only_an_executor_s_workers_have_is_theirs_to_find(oodbench, install, words):
    install(
        "far",
        "far_module",
        """
from oodbench import Executor, WorkerDied, hookimpl

class Far(Executor):
    name = "far"

    def work(self, tasks, open_, slots, progress):
        yield from ((title, WorkerDied("the machine was lost")) for title in tasks)

@hookimpl
def register_executors():
    return [Far]
""",
    )
    result = oodbench(*words, "--executor", "far", "--device", "cuda:99", "-q", code=1)
    assert "the machine was lost" in result.stderr and "cuda:99" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "mean-distanse"], "unknown detector 'mean-distanse'; did you mean mean-distance?"),
        (["--in", "bar"], "unknown data set 'bar'; did you mean bars?"),
        (["--out", "whit"], "unknown data set 'whit'; did you mean white"),
        (["--preset", "papr"], "unknown preset of mean-distance 'papr'; did you mean paper?"),
        (["--set", "powr=2"], "unknown parameter of mean-distance 'powr'; did you mean power?"),
        (["--set", "power=0"], "power must be greater than 0 (got 0)"),
        (["--set", "power=x"], "power must be a valid number"),
        (["--set", "power"], "write it as name=value"),
        (["--precision", "float16"], "unknown precision 'float16'; did you mean bfloat16 or float32?"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--in", "bars:3"], "bars has classes 0-1; there is no class 3"),
        (["--in", "bars:"], "cannot read the classes of 'bars:'"),
        (["--in", "photos"], "mean-distance can be fitted to images of 1×8×8 or 1×28×28, not of 3×32×32"),
        (["--in", "white"], "white has no train split"),
    ],
)
def test_a_bad_word_is_one_clear_line_and_nothing_is_written(oodbench, here, toys, words, message, refusal):
    assert message in refusal(oodbench(*RUN, *words, code=1))
    assert list(here.iterdir()) == []
    assert toys.calls == []


def test_nothing_said_is_refused_with_what_to_say(oodbench, refusal):
    assert "name at least one --detector" in refusal(oodbench("run", code=1))


def test_seed_and_seeds_together_are_a_usage_error(oodbench):
    assert "give --seed or --seeds, not both" in oodbench(*RUN, "--seed", "1", "--seeds", "2", code=2).stderr


def test_a_store_that_is_a_file_is_refused(oodbench, here, toys, refusal):
    (here / "file").write_text("mine")
    assert "the store file is not writable" in refusal(oodbench(*RUN, "--store", "file", code=1))
    assert (here / "file").read_text() == "mine"
    assert toys.calls == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_without_permission_is_refused(oodbench, here, toys, refusal):
    (here / "locked").mkdir(mode=0o500)
    assert "is not writable" in refusal(oodbench(*RUN, "--store", "locked/store", code=1))
    assert toys.calls == []


def test_a_selection_without_images_is_a_failure_of_that_combination(oodbench, install):
    install(
        "hollow",
        "hollow",
        """
import numpy as np
from oodbench import Dataset, ImageSet, hookimpl

def load(split, root, shape):
    n = 10
    return ImageSet("hollow", split, np.zeros((n, 1, 8, 8), np.uint8), np.zeros(n, np.int64), np.arange(n))

@hookimpl
def register_datasets():
    return [Dataset("hollow", load, (1, 8, 8), {"train": 10, "validation": 10, "test": 10}, classes=(0, 1))]
""",
    )
    result = oodbench(*RUN, "--out", "hollow:1", "-q", code=1)
    assert "hollow:1 has no image in its test split" in result.stderr
    assert "bars:1" in result.stdout


def test_an_executor_and_its_settings_are_checked_before_anything_runs(oodbench, here):
    assert "unknown executor 'lokal'; did you mean local?" in oodbench(*RUN, "--executor", "lokal", code=1).output
    refused = oodbench(*RUN, "--executor-set", "thread=2", code=1).output
    assert "unknown setting of executor local 'thread'; did you mean threads?" in refused
    assert not (here / "results").exists()


def test_a_detector_that_only_the_store_knows_is_said_with_its_package(oodbench, here, monkeypatch):
    oodbench(*RUN, "-q")
    monkeypatch.setenv("OODBENCH_PLUGINS", "")
    for command in ("run", "figure --output a.png", "tune --val-out noise --grid power=1"):
        words = (*command.split(), "--detector", "mean-distance", "--in", "mnist5k:0", "--out", "constant")
        assert oodbench(*words, code=1).stderr.splitlines()[-1] == (
            "Error: no plugin here offers mean-distance; its runs in results are of oodbench-toys 1.2: install it"
        )
