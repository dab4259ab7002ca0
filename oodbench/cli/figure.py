"""``oodbench figure``: draw inputs, reconstructions and score histograms of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import data_option, request_options, requests_from_options, store_option


@click.command()
@request_options
@data_option
@store_option
@click.option(
    "--images",
    type=click.IntRange(1, 64),
    help="Number of images per data set, the first of its test split.  [default: 8]",
)
@click.option(
    "--most-anomalous",
    metavar="N",
    type=click.IntRange(1, 32),
    help="Instead of the first images, the N of each data set with the lowest scores, and the N with the highest.",
)
@click.option("--title", default="", help="Heading of the figure.")
@click.option(
    "--output",
    default="figure.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; its ending says the kind: png, svg, pdf.",
)
def command(
    store: str,
    data_dir: Path | None,
    images: int | None,
    most_anomalous: int | None,
    title: str,
    output: Path,
    **given: Any,
) -> None:
    """Draw inputs, reconstructions and score histograms of finished runs.

    Select runs as in `oodbench run`: one in-data set, any detectors and out-data sets. With several seeds, the first
    is drawn. The images are the first of each test split, the same for all detectors; with --most-anomalous, those with
    the highest and lowest scores of each detector.

    \b
    oodbench figure --detector ae --detector ebae --in mnist5k:0,2-9 --out mnist5k:1 --preset quick --output figure.png
    """
    from oodbench.leaderboard.figures import draw_runs

    if images and most_anomalous:
        raise click.UsageError("give --images or --most-anomalous, not both")
    draw_runs(
        *requests_from_options(**given),
        store=store,
        data_dir=data_dir,
        count=images or 8,
        most_anomalous=most_anomalous or 0,
        title=title,
        path=output,
        registry=find_plugins(),
    )
    echo(f"Written to {output}", err=True)
