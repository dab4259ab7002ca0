"""Curves over updates and over seconds: what a part of a method gains for the same work, and in the same time.

    python -m benchmarks.curves curves.png leaderboards/mnist-ablation-cpu/curves.csv

The CSV has the columns ``row`` (a label), ``updates``, ``seconds`` and ``auroc``, as ``benchmarks.epochs --every``
measures them; a row is one fit. Each curve ends where its fit does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from oodbench.leaderboard.drawing import line_style, paper_style, save

AXES = {"updates": "updates", "seconds": "seconds of training on one core"}


def draw(curves: pd.DataFrame, output: Path) -> None:
    with paper_style():
        figure, panels = plt.subplots(1, 2, figsize=(7.0, 3.0), sharey=True)
        for axes, (column, text) in zip(panels, AXES.items(), strict=True):
            for number, (label, row) in enumerate(curves.groupby("row", sort=False)):
                colour, dashes = line_style(number)
                axes.plot(row[column], row["auroc"], color=colour, ls=dashes, lw=1.2, marker=".", ms=3, label=label)
            axes.axhline(0.5, color="0.8", lw=0.6, zorder=0)  # chance
            axes.set(xlabel=text, xlim=(0, None))
        panels[0].set(ylabel="AUROC of the held-out digit")
        panels[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.tight_layout()
        save(figure, output)
        plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("csv", type=Path)
    given = parser.parse_args()
    draw(pd.read_csv(given.csv), given.output)
