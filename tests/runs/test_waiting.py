"""Threads that wait for each other: asleep on a machine that does other work, and as ever on any other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from oodbench.runs.waiting import wait_asleep_if_busy


@pytest.fixture
def loads(tmp_path):
    def write(running: str):
        path = tmp_path / "loadavg"
        path.write_text(f"0.50 0.40 0.30 {running} 1234\n")
        return path

    return write


@pytest.mark.parametrize(
    ("running", "asleep"), [("1/200", False), ("2/200", True), ("9/200", True), ("nonsense", False)]
)
def test_threads_sleep_where_others_run(loads, running, asleep):
    environment = {"HOME": "/"}
    wait_asleep_if_busy(environment, loads(running))
    assert environment == ({"HOME": "/", "OMP_WAIT_POLICY": "passive"} if asleep else {"HOME": "/"})


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_user_s_choice_stays(loads, name):
    environment = {name: "1"}
    wait_asleep_if_busy(environment, loads("9/200"))
    assert environment == {name: "1"}


def test_where_nothing_is_known_nothing_is_changed(tmp_path):
    environment: dict[str, str] = {}
    wait_asleep_if_busy(environment, tmp_path / "none")
    assert environment == {}


def test_a_run_decides_before_torch_is_loaded():
    """OpenMP reads its settings when it is loaded, and torch loads it."""
    code = """
import sys
from unittest import mock
from click.testing import CliRunner
import oodbench.runs.waiting as waiting
loaded = []
with mock.patch.object(waiting, "wait_asleep_if_busy", lambda: loaded.append("torch" in sys.modules)):
    from oodbench.cli import main
    CliRunner().invoke(main, ["run", "--detector", "none", "--in", "noise", "--out", "noise"])
print(loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[False]"
