"""``--detector ./my_method.py:MyMethod``: a first try without a package."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

METHOD = '''
from bright_parts import OFFSET
from oodbench import Detector, Params, param

class BrightnessParams(Params):
    power: float = param(1.0, "of the mean", gt=0)

class Brightness(Detector):
    """How far the mean of an image is from that of the training images."""

    name = "brightness"
    Params = BrightnessParams

    def fit(self, train, validation, context):
        self.mean = next(train.batches(len(train), context.device)).mean()
        return self

    def score(self, images):
        return (images.mean((1, 2, 3)) - self.mean).abs() ** self.params.power + OFFSET

    def state(self):
        return {"mean": self.mean}

    def load_state(self, state):
        self.mean = state["mean"]
'''
RUN = ("run", "--in", "mnist5k:0", "--out", "constant", "--detector", "./bright_method.py:Brightness", "--json", "-q")


@pytest.fixture
def oodbench(here, tmp_path):
    """Runs a command in a process of its own, as the file is imported once per process, and gives what it prints."""
    (here / "bright_method.py").write_text(METHOD)
    (here / "bright_parts.py").write_text("OFFSET = 0.5")
    environment = os.environ | {"OODBENCH_CACHE": str(tmp_path / "cache"), "OODBENCH_PLUGINS": ""}

    def run(*words, code=0):
        command = [sys.executable, "-m", "oodbench", *words]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, env=environment)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_it_runs_is_marked_as_local_and_an_edited_file_makes_new_runs(oodbench, here):
    (key,) = {row["run"] for row in json.loads(oodbench(*RUN, "--set", "brightness.power=2"))}
    record = json.loads((here / "results" / key / "run.json").read_text())
    assert record["provenance"]["plugin"] == f"{here}/bright_method.py:Brightness"
    assert record["run"]["version"].startswith("local+") and record["run"]["distribution"] == "bright_method.py"
    assert any("its code is a local file, bright_method.py" in note for note in record["provenance"]["notes"])

    (here / "bright_method.py").write_text(METHOD + "\n# a comment is no change\n")
    assert {row["run"] for row in json.loads(oodbench(*RUN, "--set", "power=2"))} == {key}
    (here / "bright_parts.py").write_text("OFFSET = 0.75")
    edited = {row["run"] for row in json.loads(oodbench(*RUN, "--set", "power=2"))}
    assert key not in edited, "what the file imports from beside it is part of the run"
    (here / "bright_method.py").write_text(METHOD.replace(".abs()", ".abs() + 1e-3"))
    assert not {key, *edited} & {row["run"] for row in json.loads(oodbench(*RUN, "--set", "power=2"))}

    page = oodbench("leaderboard")
    assert page.count("brightness, local file") >= 3 and "which no package has" in page
    assert str(here) not in page


@pytest.mark.slow
def test_several_at_once_run_it_too(oodbench):
    rows = json.loads(oodbench(*RUN, "--seeds", "2", "--jobs", "2"))
    assert {row["seed"] for row in rows} == {0, 1}


def test_show_and_check_take_it(oodbench, here):
    assert "bright_method.py:Brightness local" in oodbench("show", "bright_method.py:Brightness")
    words = ("check", "./bright_method.py:Brightness", "--shape", "1x8x8", "--only", "fit_sees_no_out_data", "--json")
    assert [row["outcome"] for row in json.loads(oodbench(*words))] == ["passed"]


@pytest.mark.parametrize("path", ["~nosuchuser/x.py", f"./{'a' * 300}.py", "/dev/null/x.py"])
def test_a_file_that_cannot_be_there_is_one_line(path, invoke, here, refusal):
    words = ("run", "--detector", f"{path}:X", "--in", "mnist5k:0", "--out", "constant")
    line = refusal(invoke(*words, code=1))
    assert "is no file; write --detector PATH.py:CLASS" in line


@pytest.mark.slow
def test_its_bare_name_is_refused_with_the_file_that_it_was_run_from(oodbench, here):
    oodbench(*RUN)
    words = ("run", "--detector", "brightness", "--in", "mnist5k:0", "--out", "constant")
    (line,) = oodbench(*words, code=1).splitlines()
    assert line.endswith(
        "no plugin here offers brightness; its runs in results are of the local file bright_method.py: "
        f"name it with --detector {here}/bright_method.py:Brightness"
    )
