"""``oodbench status``: what is done, running, stopped, failed and waiting, of a store and of a suite."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from oodbench.store.processes import this_process
from oodbench.store.records import Combination
from oodbench.store.store import Store
from oodbench.store.work import work_json

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1", "-q"]
SUITE = """
detector = "mean-distance"
in = "bars:0"
out = ["bars:1", "white"]
seeds = 3
"""


@pytest.fixture
def suite(here) -> str:
    (here / "suite.toml").write_text(SUITE)
    return "suite.toml"


def states(result) -> dict[str, str]:
    """Title → state."""
    return {run["title"]: run["state"] for run in json.loads(result.stdout)["runs"]}


def test_a_store_is_counted_and_what_is_not_finished_is_shown(oodbench):
    oodbench(*RUN, "--seeds", 2)
    oodbench("run", "--detector", "broken", "--set", "fault=fit", "--in", "bars:0", "--out", "bars:1", "-q", code=1)
    store = Store("results")
    key = store.keys()[0].replace("-s0-", "-s7-")
    with store.claim(key, title="mean-distance on bars:0, seed 7") as claim:
        claim.report("averaging", 0.43, 720.0)
        claim._write_claim()
        result = oodbench("status")
    head, _, _, running, failed = result.stdout.splitlines()
    assert head == "4 runs: 2 done, 1 running, 1 failed"
    assert running.split()[:6] == ["running", "mean-distance", "on", "bars:0,", "seed", "7"]
    assert f"process {os.getpid()}" in running and "averaging 43%" in running and running.rstrip().endswith("12 min")
    assert failed.startswith("failed") and "the loss is not finite" in failed


def test_a_run_with_an_out_set_that_failed_is_one_run(oodbench):
    words = ("--detector", "broken", "--set", "fault=nan", "--set", "only=1.0", "--in", "bars:0")
    oodbench("run", *words, "--out", "white", "--out", "bars:1", "-q", code=1)
    assert len(Store("results").keys()) == 1 and len(Store("results").read_failures())
    (run,) = json.loads(oodbench("status", "--json").stdout)["runs"]
    assert run["state"] == "failed" and run["run"] == Store("results").keys()[0]
    assert "white: " in run["error"]


@pytest.mark.parametrize("damage", [b"", b"[" * 100_000, b"{}", b'{"pid": 1e999}', bytes(99)], ids=len)
def test_what_cannot_be_read_hides_nothing_else(damage, oodbench, suite):
    oodbench("run", suite, "-q")
    damaged, *whole = Path("results").glob("*-s*")
    for file in (damaged / "run.json", damaged / "status.json", Path("results/failures/x.json")):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(damage)
    assert {states(oodbench("status", "--json"))[each.name] for each in whole} == {"done"}
    assert sorted(states(oodbench("status", suite, "--json")).values()) == ["done", "done", "waiting"]


def test_json_has_every_run_with_who_works_on_it(oodbench):
    oodbench(*RUN)
    store = Store("results")
    (key,) = store.keys()
    with store.claim(key, title="mean-distance on bars:0, seed 0") as claim:
        claim.report("scoring bars:1", 0.5, 3.0)
        claim._write_claim()
        record = json.loads(oodbench("status", "results", "--json").stdout)
    assert record["counts"] == {"running": 1}
    (run,) = record["runs"]
    assert (run["run"], run["pid"], run["phase"], run["share"]) == (key, os.getpid(), "scoring bars:1", 0.5)
    assert run["seconds_left"] == 3.0 and run["seconds_silent"] < 60 and run["since"].endswith("+00:00")
    assert json.loads(oodbench("status", "--json").stdout)["counts"] == {"done": 1}


def test_of_a_suite_what_waits_is_shown_too(oodbench, suite):
    assert oodbench("status", suite).stdout.startswith("3 runs: 3 waiting\n")
    oodbench(*RUN)
    titles = [f"mean-distance on bars:0, seed {seed}" for seed in range(3)]
    result = oodbench("status", suite, "--json")
    assert states(result) == dict.fromkeys(titles, "waiting")
    assert [run["missing"] for run in json.loads(result.stdout)["runs"]] == [1, 2, 2], "of two out-data sets"
    oodbench("run", suite, "-q", "--seeds", 1)
    assert states(oodbench("status", suite, "--json")) == dict(zip(titles, ["done", "waiting", "waiting"], strict=True))
    oodbench("run", suite, "-q")
    assert oodbench("status", suite, "--watch").stdout == "3 runs: 3 done\n"


def test_of_a_suite_a_run_counts_whoever_works_on_it_and_whatever_became_of_it(oodbench, suite, toys):
    oodbench("run", suite, "-q", "--seeds", 1)
    store = Store("results")
    (key,) = store.keys()
    run, _ = store.read_run(key)
    runs = {seed: replace(run, seed=seed) for seed in (1, 2)}
    dead = replace(this_process(runs[2].key(""), "two"), host="far", machine="of another machine")
    stopped = runs[2].key("c" * 16)
    store.files.put(f"{stopped}/status.json", work_json(dead))
    os.utime(Path("results", stopped, "status.json"), (0, 0))
    with store.claim(runs[1].key("c" * 16), run=runs[1], title="one"):
        result = oodbench("status", suite, "--json")
        table = oodbench("status", suite).stdout
    assert list(states(result).values()) == ["done", "running", "stopped"]
    assert "no sign of life for" in table and "far, process" in table
    store.write_failure(Combination(runs[2]), "it diverged", "")
    assert list(states(oodbench("status", suite, "--json")).values()) == ["done", "waiting", "failed"]


def test_a_base_is_a_run_of_the_suite_that_stands_on_it(standing, here, invoke):
    (here / "suite.toml").write_text('detector = "offset"\nin = "bars:0"\nout = "white"\n')
    assert list(states(invoke("status", "suite.toml", "--json"))) == [
        "centre on bars:0, seed 0", "offset on bars:0, seed 0"
    ]  # fmt: skip
    invoke("run", "suite.toml", "-q")
    assert invoke("status", here / "suite.toml").stdout == "2 runs: 2 done\n"


def test_it_says_the_same_of_object_storage(oodbench, s3, suite):
    oodbench(*RUN, "--store", s3, "--seeds", 2)
    assert oodbench("status", s3).stdout == "2 runs: 2 done\n"
    store = Store(s3)
    (first, _) = store.keys()
    with store.claim(first, title="mean-distance on bars:0, seed 0"):
        assert oodbench("status", s3).stdout.startswith("2 runs: 1 done, 1 running\n")
    oodbench("run", suite, "--store", s3, "-q")
    assert oodbench("status", suite, "--store", s3).stdout == "3 runs: 3 done\n"


def test_what_cannot_be_asked_is_refused(oodbench, suite, refusal):
    assert "there is no store nowhere; `oodbench run` makes one" in refusal(oodbench("status", "nowhere", code=1))
    assert "name one" in oodbench("status", "a", "--store", "b", code=2).stderr
    assert "--json without it" in oodbench("status", suite, "--watch", "--json", code=2).stderr
    assert oodbench("status", suite).stdout.startswith("3 runs: 3 waiting"), "a suite needs no store yet"
    Path("empty").mkdir()
    assert oodbench("status", "empty").stdout == "There is no run in empty.\n"
