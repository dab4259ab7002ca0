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
