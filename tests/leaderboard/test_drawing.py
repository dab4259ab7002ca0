"""What figures share: names that cannot harm them, bins, and files that are the same each time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from oodbench.errors import OODBenchError
from oodbench.leaderboard.drawing import LINES, bin_edges, line_style, paper_style, plain_text, save


def test_every_line_of_a_figure_differs():
    assert len({line_style(number) for number in range(LINES)}) == LINES


@pytest.mark.parametrize("name", ["$\\frac{$", "a$b$c", "\x1b[2J", "名" * 200, "two\nlines", "_hidden", "ä ±"])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_any_name_can_be_drawn(name, kind, tmp_path):
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().set_title(plain_text(name))
        save(figure, tmp_path / f"figure.{kind}")
    assert (tmp_path / f"figure.{kind}").stat().st_size > 1000
    assert len(plain_text(name)) < 70 and "\n" not in plain_text(name) and "\x1b" not in plain_text(name)


def test_the_user_s_settings_are_neither_used_nor_changed():
    matplotlib.rcParams["axes.facecolor"] = "black"
    try:
        with paper_style():
            assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert matplotlib.rcParams["axes.facecolor"] == "black"
    finally:
        matplotlib.rcdefaults()


def test_bins_are_logarithmic_where_positive_scores_span_a_decade():
    assert bin_edges(np.array([1.0, 100.0]))[1] and not bin_edges(np.array([1.0, 9.0]))[1]
    for values in ([-1.0, 100.0], [0.0, 100.0], [3.0, 3.0]):
        edges, log = bin_edges(np.array(values))
        assert not log and edges[0] <= min(values) < max(values) + 1e-9 and edges[-1] >= max(values)


def test_a_file_that_cannot_be_is_refused_in_one_line(tmp_path):
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure()
        with pytest.raises(OODBenchError, match="figure.txt is not a supported figure format: end it with .png"):
            save(figure, tmp_path / "figure.txt")
        with pytest.raises(OODBenchError, match="cannot be written: No such file"):
            save(figure, Path(tmp_path, "nowhere", "figure.png"))
