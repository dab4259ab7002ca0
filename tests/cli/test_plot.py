"""``oodbench plot``: files of each kind, the same each time; which rows are drawn, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.store.store import Store

RUN = ["run", "--in", "bars:0", "-q"]
BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
KINDS = [["roc", "--out", "bars:1"], ["roc", "--log-x", "--out", "white"], ["scores"], ["history"]]


@pytest.fixture
def runs(oodbench) -> list[str]:
    """Two detectors; the first with two seeds and two out-data sets."""
    oodbench(*RUN, "--detector", "mean-distance", "--out", "bars:1", "--out", "white", "--seeds", 2)
    oodbench(*RUN, "--detector", "mean-distance", "--preset", "quick", "--out", "bars:1")
    return Store("results").keys()


@pytest.fixture
def drawn(oodbench):
    """Draws a plot as SVG and gives its text, in which each name stands as a comment."""

    def drawn(*words: object) -> str:
        oodbench("plot", *words, "--output", "plot.svg")
        return Path("plot.svg").read_text()

    return drawn


@pytest.mark.parametrize("words", KINDS, ids=lambda words: " ".join(words))
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_each_kind_of_file_is_the_same_each_time(oodbench, runs, words, kind):
    made = []
    for name in (f"first.{kind}", f"second.{kind}"):
        result = oodbench("plot", *words, "--output", name)
        assert (result.stdout, result.stderr) == ("", f"Written to {name}\n")
        made.append(Path(name).read_bytes())
    assert made[0] == made[1] and made[0].startswith(BEGINNINGS[kind]) and len(made[0]) > 3000


def test_roc_draws_every_row_that_has_the_out_set_with_its_auroc(runs, drawn):
    text = drawn("roc", "--out", "bars:1")
    assert "mean-distance (2 seeds) -->" in text and "mean-distance, reduced" not in drawn("roc", "--out", "white")
    assert "reduced (preset quick) -->" in text or "preset quick -->" in text
    assert " ± 0.000  mean-distance" in text


def test_one_run_is_drawn_by_the_beginning_of_its_key(runs, drawn):
    key = next(key for key in runs if "-s1-" in key)
    text = drawn("roc", key[:-2], "--out", "white", "--title", "One $run")
    assert "mean-distance, seed 1 -->" in text and "seeds)" not in text and "<!-- One" in text


def test_scores_has_a_panel_for_each_run(runs, drawn):
    text = drawn("scores", "mean-distance", "--out", "white", "--out", "bars:1")
    assert text.count("<!-- mean-distance, seed") == 2
    assert "<!-- out: white -->" in text and "<!-- out: bars:1 -->" in text and "AUROC" in text
    assert "out: white" not in drawn("scores", "mean-distance", "--out", "bars:1")


def test_history_has_a_panel_for_each_quantity(runs, drawn):
    assert "<!-- brightness -->" in drawn("history")
    assert "<!-- brightness -->" in drawn("history", "mean-distance", "--quantity", "brightness")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["roc", "mean-distance"], "choose with --out"),
        (["roc", "--out", "black"], "unknown out-data set 'black'"),
        (["roc", "--in", "bars", "--out", "white"], "unknown in-data set 'bars'; did you mean bars:0"),
        (["roc", "mean-distanz", "--out", "white"], "unknown row or run 'mean-distanz'; did you mean mean-distance"),
        (["scores", "mean-distance", "--out", "\x1b[2J"], "'\\x1b[2J'"),
        (["history", "--quantity", "los"], "unknown quantity of a training curve 'los'; there are: brightness"),
        (["scores", "--store", "nothing"], "nothing has no results; `oodbench run` makes some"),
        (["ranks", "--store", "nothing"], "there is no store nothing"),
        (["ranks", "--in", "bars"], "unknown in-data set 'bars'; did you mean bars:0"),
        (["scores", "--output", "plot.txt"], "plot.txt is not a supported figure format"),
        (["scores", "--output", "no/plot.png"], "cannot be written: No such file"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(oodbench, runs, refusal, words, why):
    assert why in refusal(oodbench("plot", *words, code=1))


def test_several_in_sets_are_refused_and_one_can_be_chosen(oodbench, runs, refusal):
    oodbench("run", "--detector", "mean-distance", "--in", "bars:1", "--out", "white", "-q")
    assert "several in-data sets: bars:0, bars:1; choose one with --in" in refusal(
        oodbench("plot", "roc", "mean-distance", "--out", "white", code=1)
    )
    oodbench("plot", "roc", "mean-distance", "--out", "white", "--in", "bars:1")
    assert Path("plot.png").stat().st_size > 1000


def test_a_run_that_cannot_be_read_is_left_out_and_the_rest_is_drawn(oodbench, runs):
    Path("results", runs[0], "run.json").write_text("{")
    result = oodbench("plot", "scores")
    assert result.stderr.startswith("Left out: ") and result.stderr.endswith("Written to plot.png\n")


def test_damaged_scores_are_one_line(oodbench, runs, refusal):
    Path("results", runs[0], "scores", "in.parquet").write_bytes(b"PAR1")
    assert "is damaged" in refusal(oodbench("plot", "scores", code=1))


@pytest.mark.parametrize("kind", ["roc", "scores", "history"])
def test_each_plot_explains_itself(oodbench, kind):
    assert "--output FILE" in oodbench("plot", kind, "--help").stdout
    assert kind in oodbench("plot", "--help").stdout


def test_it_needs_a_kind(oodbench):
    assert "No such command 'ranking'" in oodbench("plot", "ranking", code=2).stderr
