"""``oodbench forget``: what it says, when it asks, what it leaves alone."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from oodbench.store.processes import host
from oodbench.store.store import Store

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1", "-q"]


@pytest.fixture
def keys(oodbench) -> list[str]:
    oodbench(*RUN, "--seeds", 2)
    return Store("results").keys()


def test_it_says_what_it_removes_and_removes_that_alone(oodbench, keys):
    result = oodbench("forget", keys[0][:-2], "--yes")
    assert result.stdout.splitlines()[-1].split() == [keys[0], "0", "finished", "1", "0", *result.stdout.split()[-2:]]
    assert result.stdout.rstrip().endswith("MiB")
    assert result.stderr == f"Removed {keys[0]}\n"
    assert Store("results").keys() == keys[1:]
    assert not Path("results", keys[0]).exists()


def test_a_run_that_was_forgotten_is_made_again(oodbench, keys, toys):
    oodbench("forget", *keys, "--yes")
    toys.calls.clear()
    oodbench(*RUN)
    assert toys.calls[0].startswith("fit ")
    assert Store("results").keys() == keys[:1]


def test_failures_go_with_their_run(oodbench):
    oodbench("run", "--detector", "broken", "--in", "bars:0", "--out", "bars:1", "-q", code=1)
    assert len(Store("results").keys()) == 1
    assert len(Store("results").read_failures())
    oodbench("forget", "broken-", "--yes")
    assert Store("results").read_failures().empty and Store("results").keys() == []


def test_it_says_what_stands_on_what_it_removes(oodbench, standing):
    oodbench("run", "--detector", "upon", "--in", "bars:0", "--out", "bars:1", "-q")
    (upon,) = (key for key in Store("results").keys() if key.startswith("upon"))
    others = [key for key in Store("results").keys() if key != upon]
    assert others
    said = oodbench("forget", others[0], code=1).stderr
    assert "cannot score new images without it: " in said and upon in said
    assert "cannot score" not in oodbench("forget", *others, upon, "--yes").stderr


def test_without_a_terminal_it_refuses(oodbench, keys):
    result = oodbench("forget", keys[0], code=1)
    assert result.stderr == (
        "Error: nothing is removed: there is no terminal to confirm on; --yes removes without asking\n"
    )
    assert Store("results").keys() == keys


def test_a_run_that_is_worked_on_stays(oodbench, keys):
    with Store("results").claim(keys[0]):
        result = oodbench("forget", *keys, "--yes", code=1)
    removed, error = result.stderr.splitlines()
    assert removed == f"Removed {keys[1]}"
    who = f"{keys[0]} ({host()}, process {os.getpid()})"
    assert error == f"Error: another process works on {who}, and it is not removed; end that first, or wait"
    assert Store("results").keys() == keys[:1]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mean-", "several runs begin with mean-"),
        ("nothing", "unknown run 'nothing'"),
        ("\x1b[2J", "unknown run '\\x1b[2J'"),
        ("", "unknown run ''"),
    ],
)
def test_a_name_that_is_not_one_run_is_refused(oodbench, keys, refusal, name, why):
    assert why in refusal(oodbench("forget", name, "--yes", code=1))
    assert Store("results").keys() == keys


def test_it_needs_a_name(oodbench):
    assert "Missing argument 'RUN...'" in oodbench("forget", "--yes", code=2).stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(oodbench, keys, answer, code):
    """On a real one, as click's runner has none."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "oodbench", "forget", keys[0]]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, f"{answer}\n".encode())
    output, errors = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert keys[0] in output and "Remove this run? [y/N]:" in errors
    assert (keys[0] in Store("results").keys()) == (answer != "y")
