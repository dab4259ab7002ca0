"""A third party's single-file detector, installed as a package of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GUEST = Path(__file__).parent / "guest"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that pip installed the guest into, as it installs any package."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, GUEST], check=True)
    return folder


@pytest.fixture(scope="module")
def oodbench(site, tmp_path_factory):
    """Runs the command with the guest as the only plugin beside those built in, and gives what it prints."""
    cache = tmp_path_factory.mktemp("cache")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "OODBENCH_PLUGINS": "guest", "OODBENCH_CACHE": str(cache)}

    def run(*arguments):
        command = [sys.executable, "-m", "oodbench", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cache)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def ran(oodbench, tmp_path_factory):
    """A store that the guest's detector was run into, and the table of that run: metric → value."""
    store = str(tmp_path_factory.mktemp("store"))
    words = ["--detector", "pixel-gaussian", "--in", "mnist5k:0", "--out", "constant", "--store", store]
    return store, {row["metric"]: row["value"] for row in json.loads(oodbench("run", *words, "--json"))}


def test_it_is_listed_with_its_plugin_and_version(oodbench):
    listed = {row["name"]: row for row in json.loads(oodbench("list", "detectors", "--json"))}
    assert (listed["pixel-gaussian"]["plugin"], listed["pixel-gaussian"]["version"]) == ("guest", "2.7.1")
    (line,) = (line for line in oodbench("list", "detectors").splitlines() if line.startswith("pixel-gaussian"))
    assert line.split()[1:3] == ["guest", "2.7.1"]


def test_its_parameters_are_shown(oodbench):
    assert "least standard deviation of a pixel" in oodbench("show", "pixel-gaussian")


def test_it_runs_and_its_numbers_are_in_the_table(ran):
    _, values = ran
    assert {"auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in"} <= values.keys()
    assert values["auroc"] > 0.95  # an evenly grey image is far from every zero


def test_it_is_on_the_leaderboard(oodbench, ran):
    store, values = ran
    page = oodbench("leaderboard", "--store", store).splitlines()
    rows = [line for line in page if line.startswith("|") and "pixel-gaussian" in line]
    assert any(f"{values['auroc']:.3f}" in row for row in rows)
