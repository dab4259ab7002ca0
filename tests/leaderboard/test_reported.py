"""Figures of others: read, set beside ours, and never taken for ours."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from oodbench.api import Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard import markdown
from oodbench.leaderboard.reported import LiteratureResult, compare, read_reported
from oodbench.leaderboard.sections import Board
from oodbench.leaderboard.tables import records

AUROC = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve")
FPR = Metric("fpr95_in", lambda in_scores, out_scores: 0.0, False, "share of out-images accepted")

FILE = """
[[table]]
metric = "auroc"
source = "A. Author, A paper (2021), Table 2"
reliability = "recalled"
in = "bars:0"
out = ["bars:1", "white"]
rows = [
    { name = "Mean", detector = "mean-distance", values = [0.25, 1.0] },
    { name = "Better", values = [[0.9, 0.05], 1.0] },
]

[[table]]
metric = "fpr95_in"
source = "Another paper"
reliability = "read there"
in = ["bars:0", "bars:1"]
out = ["bars:1", "bars:0"]
rows = [{ name = "Mean", detector = "mean-distance", preset = "quick", values = [0.5, 0.75] }]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "reported.toml").write_text(text)
        return read_reported(tmp_path / "reported.toml")

    return read


def figure(row="Other", value=0.5, detector="", out="white", **said):
    facts = {"preset": "", "in_dataset": "bars:0", "metric": "auroc", "sd": None, "source": "a paper", **said}
    return LiteratureResult(row, detector, out_dataset=out, value=value, reliability="recalled", **facts)


def render(results, metrics, title="", reported=None, introduction=""):
    return markdown.render(Board(results, metrics, reported), title, introduction)


def results(*rows):
    """Rows as ``storage`` reads them, from (detector, out-set, seed, value)."""
    facts = {
        "in_dataset": "bars:0", "metric": "auroc", "n_in": 9, "n_out": 9, "preset": "paper", "precision": "float32",
        "plugin_version": "1", "params": "{}", "device": "cpu", "fit_seconds": 1.0, "parameters": 1, "notes": "",
        "n_train": 9, "error": "", "distribution": "", "plugin_commit": "",
        "covariate": "",
    }  # fmt: skip
    names = ("detector", "out_dataset", "seed", "value")
    named = [dict(zip(names, row, strict=True)) for row in rows]
    return pd.DataFrame([{"run": f"{row['detector']}-s{row['seed']}-0a", **row, **facts} for row in named])


def test_every_value_of_a_file_is_one_figure_with_its_source(read):
    figures = read(FILE)
    assert [(each.row, each.in_dataset, each.out_dataset, each.value, each.sd) for each in figures] == [
        ("Mean", "bars:0", "bars:1", 0.25, None),
        ("Mean", "bars:0", "white", 1.0, None),
        ("Better", "bars:0", "bars:1", 0.9, 0.05),
        ("Better", "bars:0", "white", 1.0, None),
        ("Mean", "bars:0", "bars:1", 0.5, None),
        ("Mean", "bars:1", "bars:0", 0.75, None),
    ]
    assert figures[0].origin == "A. Author, A paper (2021), Table 2; recalled"
    assert (figures[2].detector, figures[4].preset) == ("", "quick")


def test_a_file_may_say_that_nothing_is_known(read):
    assert read("# nothing is known\n") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0.25, 1.0]", "[0.25]", "Mean has 1 values for 2 columns"),
        ('["bars:0", "bars:1"]', '["bars:0"]', "Another paper: 1 in-data sets for 2 out-data sets"),
        ("[0.25, 1.0]", '["high", 1.0]', "table.0.rows.0.values.0"),
        ("[0.25, 1.0]", "[true, 1.0]", "table.0.rows.0.values.0"),
        ("[0.25, 1.0]", '["0.25", 1.0]', "table.0.rows.0.values.0"),
        ('metric = "auroc"\n', "", "table.0.metric: Field required"),
        ('reliability = "recalled"', 'trust = "high"', "table.0"),
        ("[[table]]", "[[table", "reported.toml: "),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(read, old, new, message):
    assert old in FILE
    with pytest.raises(OODBenchError) as refusal:
        read(FILE.replace(old, new, 1))
    assert "reported.toml: " in str(refusal.value)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_two_figures_for_one_place_are_refused(read):
    with pytest.raises(OODBenchError, match="has two figures of auroc for"):
        read(FILE + FILE)


def test_ours_is_the_same_detector_on_the_same_data_by_the_same_metric():
    ours = records(results(("ae", "white", 0, 0.5), ("ae", "white", 1, 0.75), ("ae", "grey", 0, 0.1)), [AUROC])
    beside, absent, foreign, other_metric = compare(
        ours,
        [
            figure("AE", 0.5, "ae"),
            figure("AE", 0.5, "ae", out="black"),
            figure("NAE", 0.9),
            figure("AE", 0.5, "ae", metric="fpr95_in"),
        ],
    )
    assert (beside["reported"], beside["ours"], beside["difference"]) == (0.5, 0.625, 0.125)
    assert (beside["label"], beside["seeds"]) == ("ae", [0, 1])
    for alone in (absent, foreign, other_metric):
        assert (alone["label"], alone["ours"], alone["difference"], alone["seeds"]) == (None, None, None, [])
    json.dumps([beside, absent], allow_nan=False)


def test_a_figure_of_one_preset_is_set_beside_that_preset_alone():
    paper, quick = results(("ae", "white", 0, 0.5)), results(("ae", "white", 0, 0.25))
    both = pd.concat([paper, quick.assign(preset="quick", run="ae-s0-0b")])
    assert [row["ours"] for row in compare(records(both, [AUROC]), [figure("AE", 0.5, "ae", preset="quick")])] == [0.25]
    assert {row["ours"] for row in compare(records(both, [AUROC]), [figure("AE", 0.5, "ae")])} == {0.25, 0.5}


def test_the_order_of_a_preset_s_settings_does_not_matter():
    ours = records(results(("ae", "white", 0, 0.25)).assign(preset="paper, a=1, b=[1, 2]"), [AUROC])
    for preset, value in [("paper, b=[1, 2], a=1", 0.25), ("paper, a=1", None), ("quick, a=1, b=[1, 2]", None)]:
        assert [row["ours"] for row in compare(ours, [figure("AE", 0.5, "ae", preset=preset)])] == [value]


def lines(page, start):
    return [line for line in page.splitlines() if line.startswith(start)]


def test_reported_rows_stand_below_ours_in_italics_and_are_never_bold():
    measured = results(("ae", "white", 0, 0.3), ("dae", "white", 0, 0.5))
    page = render(measured, [AUROC], reported=[figure("Great", 0.99), figure("Great", 0.98, out="grey", sd=0.01)])
    head, _, best, second, reported = lines(page, "|")[:5]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["detector", "grey ↑", "white ↑"]
    assert [cell.strip() for cell in best.split("|")[1:-1]] == ["dae", "–", "**0.500**"]
    assert [cell.strip() for cell in second.split("|")[1:-1]] == ["ae", "–", "0.300"]
    assert [cell.strip() for cell in reported.split("|")[1:-1]] == [
        "*Great (reported)*[^1]", "*0.980 ± 0.010*", "*0.990*",
    ]  # fmt: skip
    assert lines(page, "[^1]:") == ["[^1]: reported, not measured here: a paper; recalled"]
    assert "not measured here" in page.split("## How to read this")[1]


def test_our_notes_and_their_sources_have_footnotes_of_their_own():
    measured = results(("ae", "white", 0, 0.3)).assign(notes="restarted")
    page = render(measured, [AUROC], reported=[figure("Great"), figure("Good", source="another paper")])
    assert len(lines(page, "| ae[^1] ")) == 2
    assert lines(page, "| *Great (reported)*[^2]") and lines(page, "| *Good (reported)*[^3]")
    assert [line[:5] for line in lines(page, "[^")] == ["[^1]:", "[^2]:", "[^3]:"]


def test_a_page_may_have_reported_figures_alone_but_not_nothing():
    nothing = results(("ae", "white", 0, 0.3)).iloc[:0]
    page = render(nothing, [AUROC, FPR], "Title", [figure("Great", 0.99)], "Nothing of ours yet.")
    assert page.startswith("# Title\n\nNothing of ours yet.\n")
    assert "*Great (reported)*" in page
    assert "How these runs were made" not in page and "fpr95_in" not in page and "**" not in page
    assert render(nothing, [AUROC], "Title", []).startswith("# Title\n")
    with pytest.raises(OODBenchError, match="`oodbench run"):
        render(nothing, [AUROC], "Title")


def test_several_in_data_sets_are_shown_together_first():
    measured = pd.concat(
        [
            results(("ae", "white", 0, 0.3), ("dae", "white", 0, 0.5)),
            results(("ae", "grey", 1, 0.9)).assign(in_dataset="bars:1"),
        ]
    )
    page = render(measured, [AUROC], reported=[figure("Great", 0.99, out="grey", in_dataset="bars:1")])
    together, *each = page.split("\n## ")[1:]
    assert together.startswith("All in-distribution data sets")
    assert [cell.strip() for cell in lines(together, "| detector")[0].split("|")[2:-1]] == [
        "white (in bars:0) ↑", "grey (in bars:1) ↑",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines(together, "| ae")[0].split("|")[2:-1]] == ["0.300", "**0.900**"]
    assert [cell.strip() for cell in lines(together, "| *Great")[0].split("|")[2:-1]] == ["–", "*0.990*"]
    assert [part.split("\n")[0] for part in each] == [
        "In-distribution: bars:0",
        "In-distribution: bars:1",
        "How to read this",
    ]
    assert not lines(each[0], "| *Great") and lines(each[1], "| *Great")
