"""``oodbench check``: the contract on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from oodbench.cli import COMMANDS, main

BROKEN = Path(__file__).parents[1] / "broken"
QUICK = ("--shape", "1x8x8", "--only", "noise_scores_higher_than_data", "--only", "scores_are_not_constant")


@pytest.fixture(autouse=True)
def broken(install, monkeypatch):
    """The plugin of ``tests/broken``: one detector in order, and one whose sign is wrong."""
    monkeypatch.syspath_prepend(BROKEN)
    install("broken", "oodbench_broken")


def check(*words, exit_code=0):
    result = CliRunner().invoke(main, ["check", *words])
    assert result.exit_code == exit_code, result.output
    return result


def test_a_detector_in_order_passes():
    result = check("working", *QUICK)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["check", "shape", "outcome", "reason"]
    assert [line.split()[:3] for line in lines[2:]] == [
        ["scores_are_not_constant", "1×8×8", "passed"],
        ["noise_scores_higher_than_data", "1×8×8", "passed"],
    ]
    assert "noise_scores_higher_than_data 1×8×8: passed" in result.stderr


def test_a_broken_one_is_named_and_the_command_fails():
    result = check("inverted", *QUICK, exit_code=1)
    (line,) = (line for line in result.stdout.splitlines() if "failed" in line)
    assert line.startswith("noise_scores_higher_than_data") and "the sign of the score" in line
    assert "2 checks: 1 passed, 1 failed" in result.stderr


def test_json_holds_the_same():
    rows = json.loads(check("inverted", *QUICK, "--json", exit_code=1).stdout)
    assert [(row["check"], row["shape"], row["outcome"]) for row in rows] == [
        ("scores_are_not_constant", "1×8×8", "passed"),
        ("noise_scores_higher_than_data", "1×8×8", "failed"),
    ]
    assert rows[0]["reason"] == "" and "AUROC 0.00" in rows[1]["reason"]


def test_without_a_shape_grey_and_colour_are_checked():
    result = check("working", "--only", "fit_sees_no_out_data", "--json", "-q")
    assert result.stderr == ""
    rows = json.loads(result.stdout)
    assert [row["shape"] for row in rows] == ["1×28×28", "3×32×32"]


def test_a_check_that_does_not_apply_is_skipped_with_its_reason():
    rows = json.loads(check("mnist5k", "--only", "an_image_depends_on_its_index_alone", "--json").stdout)
    assert [(row["outcome"], row["reason"]) for row in rows] == [("skipped", "it is read from files, not made")]


def test_set_reaches_the_fit():
    words = ("working", "--shape", "1x8x8", "--only", "training_helps", "--set", "learning_rate=1e-30")
    assert "the training loop trains nothing" in check(*words, exit_code=1).stdout


@pytest.mark.parametrize("name", ["constant", "auroc", "fpr95_in"])
def test_data_sets_and_metrics_are_checked_by_theirs(name):
    lines = check(name).stdout.splitlines()
    assert lines[0].split() == ["check", "outcome", "reason"]
    assert all("passed" in line or "skipped" in line for line in lines[2:])


def test_an_executor_is_checked_and_leaves_nothing(tmp_path):
    words = (
        "local",
        "--only",
        "the_death_of_a_worker_costs_one_task",
        "--only",
        "a_lost_machine_costs_no_task",
        "--json",
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "oodbench", "check", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["the_death_of_a_worker_costs_one_task"]["outcome"] == "passed"
    assert rows["a_lost_machine_costs_no_task"]["outcome"] == "skipped"
    assert "give the case its lose_node" in rows["a_lost_machine_costs_no_task"]["reason"]
    folder = tmp_path / "cache" / "executors" / "local"
    assert folder.is_dir() and [*folder.iterdir()] == []


def test_files_that_are_missing_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    lines = check("mnist", "--data-dir", str(tmp_path)).stdout.splitlines()
    assert sum("skipped" in line and "train-images-idx3-ubyte" in line for line in lines) >= 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["workin"], "did you mean working?"),
        (["working", "--only", "scores_are_constant"], "did you mean scores_are_not_constant"),
        (["working", "--skip", "nonsense_is_checked"], "unknown check 'nonsense_is_checked'"),
        (["auroc", "--only", "order_does_not_matter", "--skip", "order_does_not_matter"], "--skip leaves no check"),
        (["working", "--set", "latent_dims=3"], "did you mean latent_dim?"),
        (["working", "--set", "latent_dim=0", "--shape", "1x8x8"], "latent_dim must be greater than or equal to 1"),
        (["working", "--set", "latent_dim"], "write it as name=value"),
        (["working", "--shape", "28x28"], "write channels, height and width as in 1x28x28"),
        (["auroc", "--shape", "1x28x28"], "--shape is for detectors"),
        (["auroc", "--set", "latent_dim=8"], "--set is for detectors and executors"),
        (["local", "--set", "threads=-1"], "threads must be greater than or equal to 0"),
        (["folder"], "folder has images only with a path, as in folder:PATH; there is nothing to check"),
    ],
)
def test_bad_words_are_refused_in_one_line(words, message):
    result = CliRunner().invoke(main, ["check", *words])
    assert result.exit_code in (1, 2)
    assert message in result.stderr.splitlines()[-1]


def test_checks_can_be_left_out():
    words = ("--only", "fit_sees_no_out_data", "--only", "noise_scores_higher_than_data")
    rows = json.loads(check("inverted", "--shape", "1x8x8", *words, "--skip", words[-1], "--json").stdout)
    assert [row["check"] for row in rows] == ["fit_sees_no_out_data"]


def test_help_names_the_command_as_it_describes_itself():
    assert COMMANDS["check"] in " ".join(CliRunner().invoke(main, ["--help"]).stdout.split())
    assert "--set overrides this" in CliRunner().invoke(main, ["check", "--help"]).stdout
