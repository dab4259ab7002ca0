"""The folder of a suite through ``oodbench leaderboard``: only its runs, beside reported figures, and verifiable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from oodbench.cli import main
from oodbench.store.store import Store

SUITE = """
title = "Bars"
detector = "mean-distance"
in = "bars:0"
out = ["bars:1", "white"]
seeds = 2
"""
REPORTED = """
[[table]]
metric = "auroc"
source = "a paper"
reliability = "recalled"
in = "bars:0"
out = ["bars:1", "absent"]
rows = [{ name = "Mean", detector = "mean-distance", values = [0.25, 0.5] }, { name = "Other", values = [0.5, 0.5] }]
"""


@pytest.fixture
def here(toys, tmp_path, monkeypatch) -> Path:
    """A working folder with a suite in it."""
    folder = tmp_path / "here"
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def stored(here) -> Path:
    """Its runs are in the store."""
    oodbench("run", "suite", "-q")
    return here


@pytest.fixture
def crowded(stored) -> Path:
    """And so are others, which it does not name."""
    oodbench("run", "suite/suite.toml", "-q", "--preset", "quick")
    oodbench("run", "suite/suite.toml", "-q", "--seed", 7)
    oodbench("run", "suite/suite.toml", "-q", "--in", "bars:1", "--out", "white")
    return stored


def oodbench(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refusal(*words: object) -> str:
    (line,) = oodbench(*words, code=1).stderr.splitlines()
    return line


@pytest.mark.parametrize("suite", ["suite", "suite/suite.toml"])
def test_only_what_the_suite_names_is_on_its_page(crowded, suite):
    rows = json.loads(oodbench("leaderboard", suite, "--metric", "auroc", "--json").stdout)
    assert [(row["out_dataset"], row["label"], row["seeds"]) for row in rows] == [
        ("bars:1", "mean-distance", [0, 1]),
        ("white", "mean-distance", [0, 1]),
    ]
    page = oodbench("leaderboard", suite).stdout
    assert page.startswith("# Bars\n")
    assert "quick" not in page
    assert oodbench("leaderboard", suite, "--title", "Other").stdout.startswith("# Other\n")


def test_runs_that_differ_by_anything_but_the_images_are_not_the_suites(stored):
    for line in ('precision = "bfloat16"', "set = { power = 1 }", "seed = 3"):
        words = SUITE.replace("seeds = 2", "seeds = 2" if "seed" not in line else "")
        (stored / "suite" / "suite.toml").write_text(f"{words}\n{line}")
        assert "there are no results" in refusal_after_warning("leaderboard", "suite")


def refusal_after_warning(*words: str) -> str:
    warning, error = oodbench(*words, code=1).stderr.splitlines()
    assert "of the suite's runs are not in results" in warning
    return error


def test_runs_that_the_store_lacks_are_counted(stored):
    assert oodbench("leaderboard", "suite").stderr == ""
    (stored / "suite" / "suite.toml").write_text(SUITE.replace("seeds = 2", "seeds = 5"))
    assert oodbench("leaderboard", "suite").stderr.startswith("3 of the suite's runs are not in results;")


def test_of_runs_that_the_store_lacks_those_that_are_worked_on_are_told(stored):
    (stored / "suite" / "suite.toml").write_text(SUITE.replace("seeds = 2", "seeds = 5"))
    store = Store("results")
    run = replace(store.read_run(store.keys()[0])[0], seed=3)
    with store.claim(run.key("c" * 16), run=run, title="seed 3"):
        said = oodbench("leaderboard", "suite").stderr
    working = "(1 run is being worked on: `oodbench status suite --store results`)"
    assert said.startswith(f"3 of the suite's runs are not in results {working}; `oodbench run suite` makes them")


def test_a_page_of_published_results_needs_no_store(stored):
    oodbench("publish", "results", "suite", "-q")
    again = oodbench("leaderboard", "suite", "--results", "suite/results.parquet")
    assert again.stdout == (stored / "suite" / "README.md").read_text()
    assert "two places to read from" in oodbench(
        "leaderboard", "suite", "--results", "suite/results.parquet", "--store", "results", code=2
    ).stderr  # fmt: skip


def test_published_results_stay_a_record_when_a_preset_changes(stored):
    oodbench("publish", "results", "suite", "-q")
    older = pd.read_parquet("suite/results.parquet").assign(plugin_version="0.9", in_images="", params='{"power": 3.0}')
    older.to_parquet("suite/results.parquet")
    assert " 0.9 " in oodbench("leaderboard", "suite", "--results", "suite/results.parquet").stdout


def test_reported_figures_and_notes_beside_the_suite_are_on_its_page(stored):
    (stored / "suite" / "reported.toml").write_text(REPORTED)
    (stored / "suite" / "notes.md").write_text("## What came out\n\nBars are found.\n")
    page = oodbench("leaderboard", "suite").stdout
    assert page.startswith("# Bars\n\n## What came out\n\nBars are found.\n\n")
    assert "| *Mean (reported)*[^1] " in page
    assert "| absent ↑ " in page


def test_without_results_the_page_says_how_to_make_them(here):
    (here / "suite" / "reported.toml").write_text(REPORTED)
    page = oodbench("leaderboard", "suite").stdout
    assert "no results of ours here yet" in page and "`oodbench run suite.toml`" in page
    assert "| *Mean (reported)*[^1] " in page
    assert json.loads(oodbench("leaderboard", "suite", "--json").stdout) == []


def test_reported_figures_are_printed_beside_ours_with_the_difference(stored):
    (stored / "suite" / "reported.toml").write_text(REPORTED)
    (cell,) = (
        row
        for row in json.loads(oodbench("leaderboard", "suite", "--json").stdout)
        if (row["out_dataset"], row["metric"]) == ("bars:1", "auroc")
    )
    first, *others = json.loads(oodbench("leaderboard", "suite", "--reported", "--json").stdout)
    assert (first["row"], first["reported"], first["ours"], first["seeds"]) == ("Mean", 0.25, cell["mean"], [0, 1])
    assert first["difference"] == pytest.approx(cell["mean"] - 0.25)
    assert [row["difference"] for row in others] == [None] * 3
    text = oodbench("leaderboard", "suite", "--reported").stdout
    assert f"{cell['mean'] - 0.25:+.3f}" in text
    assert "Reported: a paper; recalled." in text


def test_reported_needs_a_suite_that_has_figures(stored):
    assert "--reported needs the SUITE" in oodbench("leaderboard", "--reported", code=2).stderr
    assert "reported.toml" in refusal("leaderboard", "suite", "--reported")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.toml",), "none.toml cannot be read"),
        ((".",), "suite.toml cannot be read"),
        (("suite", "--results", "none.parquet"), "none.parquet cannot be read"),
        (("suite", "--results", "suite/suite.toml"), "suite/suite.toml holds no results"),
        (("suite", "--output", "suite/suite.toml/x.md"), "--output suite/suite.toml/x.md cannot be written"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(stored, words, message):
    assert message in refusal("leaderboard", *words)
