"""``oodbench leaderboard``: tables of a store."""

from __future__ import annotations

import json

from oodbench.api import SCORE_CONVENTION

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1"]


def test_leaderboard_prints_markdown(oodbench):
    oodbench(*RUN, "-q")
    page = oodbench("leaderboard", "--title", "Bars").stdout
    assert page.startswith("# Bars\n")
    assert "| mean-distance" in page
    assert SCORE_CONVENTION in page


def test_leaderboard_writes_a_file_and_prints_json(oodbench, here, refusal):
    oodbench(*RUN, "-q")
    result = oodbench("leaderboard", "--metric", "auroc", "--output", "page.md")
    assert result.stdout == ""
    assert "auroc" in (here / "page.md").read_text()
    (record,) = json.loads(oodbench("leaderboard", "--metric", "auroc", "--json").stdout)
    assert (record["detector"], record["out_dataset"]) == ("mean-distance", "bars:1")
    assert "--output page.md/page.md cannot be written" in refusal(
        oodbench("leaderboard", "--output", "page.md/page.md", code=1)
    )


def test_the_format_is_that_of_the_output(oodbench, here):
    oodbench(*RUN, "-q")
    beginnings = {
        "page.md": "# Leaderboard",
        "page.html": "<!doctype html>",
        "page.tex": "% Made by",
        "page.csv": "in,",
    }
    for name, beginning in beginnings.items():
        oodbench("leaderboard", "--output", name)
        assert (here / name).read_text().startswith(beginning)
    assert oodbench("leaderboard", "--format", "csv").stdout == (here / "page.csv").read_text()
    oodbench("leaderboard", "--format", "csv", "--output", "page.txt")
    assert (here / "page.txt").read_text() == (here / "page.csv").read_text()


def test_a_part_of_the_results(oodbench, here, refusal):
    oodbench(*RUN, "--out", "white", "-q")
    oodbench("run", "--detector", "mean-distance", "--in", "bars:1", "--out", "bars:0", "-q")
    (line,) = oodbench("leaderboard", "--in", "bars:1", "--metric", "auroc", "--format", "csv").stdout.splitlines()[1:]
    assert line.startswith("bars:1,bars:0,mean-distance,auroc,")
    assert "unknown in-data set of these results 'bars:2'" in refusal(oodbench("leaderboard", "--in", "bars:2", code=1))
    assert "unknown column 'whit'; did you mean white" in refusal(oodbench("leaderboard", "--sort", "whit", code=1))
    assert "ranked by white" in oodbench("leaderboard", "--sort", "white", "--top", "1").stdout
    assert "--sort, --top and --format are of pages" in oodbench("leaderboard", "--json", "--top", "1", code=2).stderr


def test_the_curves_of_a_page_are_those_of_the_published_scores(oodbench, here):
    (here / "suite").mkdir()
    (here / "suite" / "suite.toml").write_text('detector = "mean-distance"\nin = "bars:0"\nout = "bars:1"\n')
    oodbench("run", "suite", "-q")
    oodbench("publish", "results", "suite", "-q")
    show = ("leaderboard", "suite", "--results", "suite/results.parquet", "--format", "html")
    assert '"curves":{"0|bars:1":[[' in oodbench(*show).stdout
    (here / "suite" / "scores.parquet").unlink()
    assert '"curves":{}' in oodbench(*show).stdout
