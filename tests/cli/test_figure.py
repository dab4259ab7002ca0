"""``oodbench figure``: the first images of each data set, or the most anomalous ones."""

from __future__ import annotations

from pathlib import Path

RUN = ["--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1", "--out", "white"]


def test_figure_shows_the_first_images_or_the_most_anomalous(oodbench):
    oodbench("run", *RUN, "-q")
    result = oodbench("figure", *RUN, "--output", "first.svg", "--images", 3)
    assert result.stderr == "Written to first.svg\n"
    assert "<!-- out: white -->" in Path("first.svg").read_text()
    oodbench("figure", *RUN, "--most-anomalous", 2, "--output", "most.svg")
    text = Path("most.svg").read_text()
    for name in ("in: bars:0", "out: bars:1", "out: white"):
        assert f"<!-- {name}, lowest scores -->" in text and f"<!-- {name}, highest scores -->" in text
    assert "<!-- mean-distance: input -->" in text


def test_figure_refuses_what_contradicts_itself(oodbench):
    result = oodbench("figure", *RUN, "--most-anomalous", 2, "--images", 3, code=2)
    assert "give --images or --most-anomalous, not both" in result.stderr
    assert "0 is not in the range 1<=x<=32" in oodbench("figure", *RUN, "--most-anomalous", 0, code=2).stderr


def test_figure_of_what_was_not_run_names_the_command(oodbench, refusal):
    line = refusal(oodbench("figure", *RUN, "--most-anomalous", 2, code=1))
    assert "`oodbench run --detector mean-distance --in bars:0 --out bars:1` with the same preset" in line
