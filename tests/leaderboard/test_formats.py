"""One table, four writers: each shows what comes from outside as it is, and says the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from result_rows import result_row

from oodbench.api import Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard import formats, page_latex
from oodbench.leaderboard.curves import BINS, POINTS, histograms, small_roc_curve
from oodbench.leaderboard.page_data import commands
from oodbench.leaderboard.prose import to_html
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.suites import Suite
from oodbench.leaderboard.tables import BY_MEAN, Order

AUROC = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve")
FPR = Metric("fpr95_in", lambda in_scores, out_scores: 0.0, False, "share of out-images accepted")
HOSTILE = "=<b>\"'`|&\\{$%_^~#\n\x1b[2J</script><script>alert(1)</script>"


def row(detector="ae", out="noise", value=0.5, seed=0, metric="auroc", in_dataset="digits", **facts):
    facts = {"params": {"latent_dim": 32, "chain": {"steps": [1, 2], "on": True}}, **facts}
    return result_row(detector, out, value, seed, metric, in_dataset, **facts)


def written(format_name, *rows, reported=None, notes="", metrics=(AUROC, FPR), order=BY_MEAN, **facts):
    suite = Suite(reported=reported, notes=notes)
    page = formats.Page(suite, Publication(pd.DataFrame(rows)), metrics, order=order, **facts)
    return formats.write(page, format_name)


def figure(name="AE", value=0.4, sd=0.01, source="A. Author"):
    return LiteratureResult(name, "ae", "", "digits", "noise", "auroc", value, sd, source, "read in the paper")


ROWS = [
    *(row("ae", out, value + seed / 100, seed) for out, value in (("noise", 0.7), ("ones", 0.9)) for seed in range(3)),
    row("vae", "noise", 0.95),
    row("vae", "ones", 0.2),
    row("vae", "ones", 0.8, metric="fpr95_in"),
]


# -------------------------------------------------------------------------------------------- csv


def parsed(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_for_every_cell_and_all_digits():
    rows = parsed(written("csv", *ROWS, reported=[figure(value=-0.4)]))
    assert len(rows) == 6
    ae = next(row for row in rows if (row["row"], row["out"], row["reported"]) == ("ae", "noise", "no"))
    assert float(ae["mean"]) == pytest.approx(0.71, abs=1e-15)
    assert float(ae["sd"]) == pytest.approx(0.01)
    assert [float(value) for value in ae["values"].split()] == [0.7, 0.71, 0.72]
    assert (ae["n_seeds"], ae["seeds"], ae["low"], ae["best"]) == ("3", "0 1 2", "", "no")
    (theirs,) = [row for row in rows if row["reported"] == "yes"]
    assert (theirs["row"], theirs["mean"], theirs["best"], theirs["seeds"]) == ("AE", "-0.4", "no", "")


def test_csv_has_intervals_and_p_where_they_are_published():
    (one,) = parsed(written("csv", row(low=0.4, high=0.6, p_best=1.0)))
    assert (one["low"], one["high"], one["p_best"]) == ("0.4", "0.6", "1.0")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\n=1+1", "\t@x"])
def test_csv_cells_are_no_formulas(name):
    (one,) = parsed(written("csv", row(name, name, value=-1.0)))
    assert one["row"] == one["out"] == "'" + name.strip()
    assert one["mean"] == "-1.0"


def test_csv_survives_hostile_names():
    (one,) = parsed(written("csv", row(HOSTILE)))
    assert one["row"].startswith("'=<b>") and "\x1b" not in one["row"] and "\n" not in one["row"]


# ------------------------------------------------------------------------------------------ latex


def test_latex_is_a_table_of_the_first_metric_with_the_best_in_bold():
    page = written("latex", *ROWS, row(in_dataset="letters"))
    assert page.count(r"\begin{tabular}") == page.count(r"\caption") == 2
    assert r"ae & 0.710 $\pm$ 0.010 & \textbf{0.910 $\pm$ 0.010} \\" in page
    assert "fpr95" not in page
    assert r"fpr95\_in $\downarrow$" in written("latex", *ROWS, are_named=True)
    assert r"\textit{AE (reported)} & \textit{0.400 $\pm$ 0.010}" in written("latex", *ROWS, reported=[figure()])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mnist5k:0,2-9", "mnist5k:0,2-9"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a_b & 50 % $x$ #1 ^ ~", r"a\_b \& 50 \% \$x\$ \#1 \textasciicircum{} \textasciitilde{}"),
        ("two\nlines", "two lines"),
        ("--set a,,b", "-{}-set a,{},b"),
        ("[x]*", "{[}x{]}{*}"),
        ("\x1b[2J", r"\textbackslash{}x1b{[}2J"),
    ],
)
def test_latex_prints_names_as_they_are(text, shown):
    assert page_latex.escape(text) == shown


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here; the tables were not compiled")
def test_latex_compiles(tmp_path):
    names = [HOSTILE, "[x]", "*", "?`!`", "a -- b"]
    rows = [row(name, out, notes=HOSTILE) for name in names for out in (HOSTILE, "noise")]
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,textcomp}\\begin{document}\n"
    page = written("latex", *rows, *ROWS, reported=[figure(HOSTILE, source=HOSTILE)], title=HOSTILE)
    (tmp_path / "page.tex").write_text(head + page + "\\end{document}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


# ------------------------------------------------------------------------------------------- html


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_html_has_no_element_from_outside():
    names = dict(in_dataset=HOSTILE, notes=HOSTILE, device=HOSTILE, distribution=HOSTILE)
    hostile = Metric(HOSTILE, AUROC.compute, True, HOSTILE)
    rows = [row(HOSTILE, HOSTILE, metric=HOSTILE, **names)]
    reported = [figure(HOSTILE, source=HOSTILE)]
    page = written("html", *rows, metrics=[hostile], reported=reported, notes=HOSTILE, title=HOSTILE)
    elements = Elements(page)
    assert elements.tags.count("script") == 2
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "\x1b" not in page
    assert "alert(1)" in " ".join(elements.texts)
    assert embedded(page)["places"][0]["label"] == HOSTILE.replace("\x1b", "\\x1b")


def test_html_without_scripts_shows_the_first_metric_only_and_everything_of_it():
    page = written("html", *ROWS, reported=[figure()])
    regions = re.findall(r'data-metric="(\w+)" data-better="(\w+)"( hidden)?>', page)
    assert regions == [("auroc", "higher", ""), ("fpr95_in", "lower", " hidden")]
    assert "<strong>0.910 ± 0.010</strong>" in page
    assert "<em>AE (reported)</em>" in page and "<em>0.400 ± 0.010</em>" in page
    assert 'id="tools" hidden' in page
    assert not re.search(r'(src|href)="(?!#|https://|data:,)', page)


def test_html_of_reported_figures_alone():
    nothing = Publication(pd.DataFrame([row()]).iloc[:0])
    page = formats.write(formats.Page(Suite(reported=[figure()]), nothing, [AUROC]), "html")
    assert "<em>0.400 ± 0.010</em>" in page


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a **b** `c<d` *e*", "<p>a <strong>b</strong> <code>c&lt;d</code> <em>e</em></p>"),
        ("- x\n  y\n- z", "<ul><li>x\n  y</li><li>z</li></ul>"),
        ("[a](https://b.org)", '<p><a href="https://b.org" rel="noopener noreferrer">a</a></p>'),
        ("[a](javascript:alert(1))", "<p>a)</p>"),
        ("![drawing](figure.png)", "<p><em>(figure: drawing)</em></p>"),
        ("<img src=x onerror=y>", "<p>&lt;img src=x onerror=y&gt;</p>"),
    ],
)
def test_notes_become_html_that_they_cannot_break_out_of(markdown, html):
    assert to_html(markdown) == html


def test_the_command_of_a_cell_names_all_that_makes_it():
    rows = [row(seed=seed, preset="quick, chain.steps=[1, 2], chain.on=True") for seed in (0, 2)]
    rows += [row("a b", in_dataset="folder:/my cats", seed=1, precision="bfloat16")]
    first, second = commands(rows)
    assert shlex.split(first) == [
        *(["oodbench", "run", "--detector", "ae", "--in", "digits", "--out", "noise", "--preset", "quick"]),
        *("--set", "chain.steps=[1, 2]", "--set", "chain.on=true", "--seed", "0", "--seed", "2"),
    ]
    assert "--in 'folder:/my cats'" in second and "--precision bfloat16" in second


def test_the_command_of_a_cell_names_settings_of_the_base_and_shifted_images():
    base = {"detector": "classifier", "version": "0.1", "distribution": "", "params": '{"training": {"epochs": 2}}'}
    facts = {"preset": "quick, classifier.training.epochs=2", "base": json.dumps(base), "params": {}}
    shifted = row(metric="full_spectrum_auroc", covariate='{"npz:faint.npz": "0a"}', **facts)
    (command,) = commands([row(**facts), shifted])
    assert "--covariate npz:faint.npz" in command and "--set classifier.training.epochs=2" in command


# ----------------------------------------------------------------------------------------- curves


def test_a_roc_curve_has_the_area_that_its_scores_have():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(0, 1, 700).round(1), rng.normal(1, 1, 300).round(1)
    false = np.array(small_roc_curve(inside, outside)) / 1000
    true = np.linspace(0, 2, POINTS) - false
    wins = (outside[:, None] > inside).mean() + (outside[:, None] == inside).mean() / 2
    assert np.trapezoid(true, false) == pytest.approx(wins, abs=0.003)
    assert small_roc_curve(np.zeros(3), np.ones(3))[: POINTS // 2 + 1] == [0] * (POINTS // 2 + 1)


def test_histograms_hold_every_image():
    low, high, inside, outside = histograms(np.arange(1000.0), np.array([500.0] * 9 + [1e9]))
    assert len(inside) == len(outside) == BINS and low < high
    assert sum(inside) == pytest.approx(1000, abs=BINS) and sum(outside) == pytest.approx(1000, abs=BINS)
    assert histograms(np.ones(5), np.ones(5)) is not None
    assert histograms(np.array([-1.7e308]), np.array([1.7e308])) is None


# ------------------------------------------------------------------------------------ what is shown


def labels(page):
    return list(dict.fromkeys(row["row"] for row in parsed(page)))


def test_rows_are_sorted_by_a_column_and_cut():
    assert labels(written("csv", *ROWS, metrics=[AUROC])) == ["ae", "vae"]
    assert labels(written("csv", *ROWS, metrics=[AUROC], order=Order("noise"))) == ["vae", "ae"]
    cut = written("csv", *ROWS, metrics=[AUROC], order=Order("noise", 1))
    assert labels(cut) == ["vae"]
    assert [row["best"] for row in parsed(cut)] == ["yes", "no"]  # of all rows, also those not shown
    assert "| ae" not in written("markdown", *ROWS, metrics=[AUROC], order=Order("noise", 1)).partition("<details>")[0]
    with pytest.raises(OODBenchError, match="unknown column 'nois'; did you mean noise"):
        written("csv", *ROWS, order=Order("nois"))


def test_only_some_in_data_sets():
    published = Publication(pd.DataFrame([*ROWS, row(in_dataset="letters")]))
    suite, part = formats.only(Suite(reported=[figure()]), published, ["letters"])
    assert set(part.results["in_dataset"]) == {"letters"} and suite.reported == []
    with pytest.raises(OODBenchError, match="unknown in-data set of these results 'letter'; did you mean letters"):
        formats.only(Suite(), published, ["letter"])
