"""Several runs at once give what they give one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oodbench.api import Progress
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.store.store import Store

PLUGIN = """
import os, signal, time
from pathlib import Path
from oodbench_toys import MeanDistance, SIZES, load_bars
from oodbench import Dataset, Params, hookimpl, param

class Told(Params):
    what: str = param("", "what goes wrong")

class Fatal(MeanDistance):
    name = "fatal"
    Params = Told

    def fit(self, train, validation, context):
        if self.params.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params.what == "wait":
            Path(os.environ["OODBENCH_DATA"], f"waiting.{context.seed}").touch()
            time.sleep(600)
        self.params = MeanDistance.Params()
        return super().fit(train, validation, context)

def load(split, root, shape):
    with (root / "decoded").open("a") as file:
        file.write(f"{split} {shape}\\n")
    images = load_bars(split, root, None)
    images.images[:] //= 2
    return images

def load_other(split, root, shape):
    images = load(split, root, shape)
    images.images[:] += 1
    return images

@hookimpl
def register_detectors():
    return [Fatal]

@hookimpl
def register_datasets():
    return [Dataset("dim", load, (1, 8, 8), SIZES), Dataset("small", load_other, (1, 8, 8), {"test": 20})]
"""


@pytest.fixture
def data(toys, install, tmp_path) -> Path:
    install("fatal", "fatal_module", PLUGIN)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


class Heard(Progress):
    def __init__(self):
        self.texts: list[str] = []

    def message(self, text):
        self.texts.append(text)


@pytest.fixture
def same_threads():
    """One thread here too, as in each of two processes: it decides how sums are rounded, and is on record."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("same_threads")
def test_several_runs_at_once_give_what_they_give_one_after_the_other(data, tmp_path):
    words = [
        RunRequest(("mean-distance",), ("dim",), ("bars:0", "white", "small"), seeds=(0, 1)),
        RunRequest(("broken",), ("bars:0",), ("white",), sets=("fault=fit",)),
    ]
    outcomes, stores = [], [Store(str(tmp_path / f"store{jobs}")) for jobs in (1, 2)]
    heard = Heard()
    for jobs, store in zip((2, 1), stores, strict=True):
        options = ExecutionOptions(store.address, data, device="cpu", jobs=jobs)
        outcomes.append(run(*words, options=options, progress=heard))
    at_once, in_turn = outcomes
    assert at_once.keys == in_turn.keys and len(at_once.keys) == 2
    pd.testing.assert_frame_equal(
        at_once.results.drop(columns=["fit_seconds", "created"]),
        in_turn.results.drop(columns=["fit_seconds", "created"]),
    )
    assert at_once.failures == in_turn.failures and len(at_once.failures) == 1
    for key in at_once.keys:
        for out in (None, "bars:0", "white", "small"):
            first, second = (store.read_scores(key, out).values for store in stores)
            np.testing.assert_array_equal(first, second)
    assert sorted((data / "decoded").read_text().split("\n")) == sorted(
        ["", "train None", "validation None", "test None", "test None"]
    ), "each split of each data set is decoded once"
    assert set(heard.texts[: len(heard.texts) // 2]) == set(heard.texts[len(heard.texts) // 2 :])


def test_a_single_run_has_the_threads_that_the_executor_is_set_to(toys, tmp_path):
    store = Store(str(tmp_path / "store"))
    threads = torch.get_num_threads() + 1
    options = ExecutionOptions(store.address, device="cpu", executor_settings={"threads": threads})
    outcome = run(RunRequest(("mean-distance",), ("bars:0",), ("white",)), options=options)
    _, provenance = store.read_run(outcome.keys[0])
    assert provenance.device.endswith(f", {threads} threads)")


def test_a_run_that_takes_its_process_with_it_is_a_failure_and_the_others_go_on(data, tmp_path):
    store = str(tmp_path / "store")
    words = [
        RunRequest(("fatal",), ("bars:0",), ("white",), sets=("what=kill",)),
        RunRequest(("mean-distance",), ("bars:0",), ("white",), seeds=(0, 1)),
    ]
    heard = Heard()
    outcome = run(*words, options=ExecutionOptions(store, device="cpu", jobs=2), progress=heard)
    (failure,) = outcome.failures
    assert failure.run == "fatal on bars:0, what=kill, seed 0"
    assert failure.error.startswith("its process was killed, as happens when memory runs out")
    assert len(outcome.keys) == 2
    recorded = Store(store).read_failures()
    assert recorded[["detector", "error"]].values.tolist() == [["fatal", failure.error]]
    assert f"failed: {failure.error}" in heard.texts


INTERRUPTIBLE = """
import signal
from oodbench.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever these tests were started with
main()
"""


def test_ctrl_c_ends_all_runs_at_once_and_says_how_to_go_on(data, tmp_path):
    command = [
        sys.executable,
        "-c",
        INTERRUPTIBLE,
        "run",
        "--detector",
        "fatal",
        "--set",
        "what=wait",
        "--in",
        "bars:0",
    ]
    command += ["--out", "white", "--seeds", "2", "--jobs", "2", "--store", str(tmp_path / "store"), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while len(list(data.glob("waiting.*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The same command resumes from the last checkpoint." in said
    assert "Traceback" not in said
    assert sum(line.startswith("[") for line in said.splitlines()) == 2
