"""``oodbench plot roc|scores|history|ranks``: plots of finished runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from oodbench.cli import echo
from oodbench.cli.options import store_option

in_option = click.option("--in", "in_dataset", default="", help="In-data set, where the rows have several.")
OPTIONS = (
    click.argument("rows", nargs=-1, metavar="[ROW...]"),
    store_option,
    in_option,
    click.option("--title", default="", help="Heading of the plot.  [default: the data sets]"),
    click.option(
        "--output",
        default="plot.png",
        show_default=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="File to write; its ending says the kind: png, svg, pdf.",
    ),
)


def plot_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and options that all plots have."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Draw ROC curves, score histograms, training curves or ranks of finished runs.

    ROW is a leaderboard label, a detector with one row, or the prefix of a run key; without any, all rows of the store
    are drawn. Neither data sets nor detectors need to be installed.
    """


@command.command("roc")
@plot_options
@click.option("--out", "out_dataset", default="", help="Out-data set, where the rows have several.")
@click.option("--log-x", is_flag=True, help="Logarithmic false-positive rate, for what happens at low rates.")
def roc_command(
    rows: tuple[str, ...], store: str, in_dataset: str, title: str, output: Path, out_dataset: str, log_x: bool
) -> None:
    """ROC curves on one out-data set.

    With several seeds, the mean at equal false-positive rates is drawn, and each seed as a thin line. Scores are never
    flipped: a curve below the diagonal means that out-images look more normal to the detector than in-images.

    \b
    oodbench plot roc ae ebae --out mnist5k:1 --output roc.pdf
    """
    from oodbench.leaderboard.plots.roc import draw_roc
    from oodbench.store.store import Store

    draw_roc(Store(store), rows, output, in_dataset, out_dataset, log_x, title, _left_out)
    echo(f"Written to {output}", err=True)


@command.command("scores")
@plot_options
@click.option("--out", "out_datasets", multiple=True, help="Out-data set; repeats.  [default: all]")
def scores_command(
    rows: tuple[str, ...], store: str, in_dataset: str, title: str, output: Path, out_datasets: tuple[str, ...]
) -> None:
    """Histograms of in- and out-scores, one panel per run.

    \b
    oodbench plot scores ae --out mnist5k:1 --output scores.svg
    """
    from oodbench.leaderboard.plots.scores import draw_scores
    from oodbench.store.store import Store

    draw_scores(Store(store), rows, output, in_dataset, out_datasets, title, _left_out)
    echo(f"Written to {output}", err=True)


@command.command("history")
@plot_options
@click.option("--quantity", "quantities", multiple=True, help="Column of the training curve; repeats.  [default: all]")
def history_command(
    rows: tuple[str, ...], store: str, in_dataset: str, title: str, output: Path, quantities: tuple[str, ...]
) -> None:
    """Training curves, one panel per quantity, one line per run.

    \b
    oodbench plot history ebae --quantity loss --quantity negative_energy --output history.png
    """
    from oodbench.leaderboard.plots.history import draw_history
    from oodbench.store.store import Store

    draw_history(Store(store), rows, output, in_dataset, quantities, title, _left_out)
    echo(f"Written to {output}", err=True)


@command.command("ranks")
@store_option
@click.option("--results", "published", type=click.Path(dir_okay=False, path_type=Path), help="Published results.")
@in_option
@click.option("--metric", default="auroc", show_default=True, help="Metric that ranks.")
@OPTIONS[-2]
@OPTIONS[-1]
def ranks_command(store: str, published: Path | None, in_dataset: str, metric: str, title: str, output: Path) -> None:
    """Average ranks over many data sets, as a critical-difference diagram.

    Each column of the table counts as one data set. Rows joined by a bar do not differ significantly (Nemenyi's test at
    .05).

    \b
    oodbench plot ranks --results leaderboards/mnist-holdout/results.parquet --output ranks.pdf
    """
    from oodbench.leaderboard.plots.ranks import draw_ranks
    from oodbench.leaderboard.published import load_results
    from oodbench.plugin.registry import find_metric
    from oodbench.store.selection import check_there
    from oodbench.store.store import Store

    if published:
        results = load_results(published).rows
    else:
        check_there(opened := Store(store))
        results = opened.read_results(on_damaged=_left_out)
    ranks = draw_ranks(results, find_metric(metric), in_dataset or None, output, title)
    for row in ranks.left_out:
        echo(f"Left out: {row} lacks a column", err=True)
    echo(f"Written to {output}", err=True)


def _left_out(_: str, error: Exception) -> None:
    echo(f"Left out: {error}", err=True)
