"""One suite, on this machine, on a Ray cluster and on Slurm: the same scores, and nothing done twice."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oodbench.store.store import Store

SUITE = """
detector = ["mean-distance", "offset"]
in = "bars:0"
out = ["bars:1", "white"]
preset = "quick"
seeds = 2

[executor.ray]
cpus = 0.5

[executor.slurm]
poll = 0.2
minutes = 10
"""
SCRIPT = Path(__file__).parents[3] / ".ci" / "slurm"
MADE = ["fit_seconds", "created", "plugin_commit"]
"""Columns that say when and from which checkout a run was made: that may change meanwhile."""
SLURM = ("slurmctld", "slurmd", "sbatch", "munged")


@pytest.fixture
def suite(standing, tmp_path, monkeypatch) -> Path:
    for name in ("ray", "slurm"):
        monkeypatch.setenv("OODBENCH_PLUGINS", f"{os.environ['OODBENCH_PLUGINS']},{name}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def slurm(monkeypatch):
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    missing = [program for program in SLURM if shutil.which(program) is None]
    if missing:
        pytest.skip(f"Slurm is not installed: {', '.join(missing)} not found")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    try:
        subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
        yield
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def run(suite: Path, store: Path, *words: str) -> str:
    """Run the suite into the store. Returns what was said on stderr."""
    command = [sys.executable, "-m", "oodbench", "run", str(suite), "--store", str(store), "--device", "cpu", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def check_the_same(suite: Path, tmp_path: Path, done, *words: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    run(suite, here)
    fits = sorted(line for line in done() if line.startswith("fit"))
    said = run(suite, there, *words)
    assert sorted(line for line in done() if line.startswith("fit")) == fits, "each run is fitted once there too"
    stores = [Store(str(path)) for path in (here, there)]
    keys = stores[0].keys()
    assert stores[1].keys() == keys and len(keys) == 6, said
    for key in keys:
        for out in (None, "bars:1", "white") if not key.startswith("centre") else ():
            first, second = (store.read_scores(key, out).values for store in stores)
            np.testing.assert_array_equal(first, second)
    results = [store.read_results(keys).drop(columns=MADE) for store in stores]
    pd.testing.assert_frame_equal(*results)
    again = run(suite, there, *words)
    assert again.count("finished already") == 6 and done() == []


@pytest.mark.slow
def test_on_a_ray_cluster_of_this_machine(suite, standing, tmp_path):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    check_the_same(suite, tmp_path, standing, "--executor", "ray")


@pytest.mark.slow
def test_on_slurm(suite, standing, slurm, tmp_path):
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed")
    check_the_same(suite, tmp_path, standing, "--executor", "slurm", "--executor-set", "silence=10")
