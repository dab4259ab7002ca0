"""``oodbench figure``: draw what finished runs make of images, and their scores."""

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
@click.option("--images", default=8, show_default=True, type=click.IntRange(1, 64), help="Of each data set.")
@click.option("--title", default="", help="Heading of the figure.")
@click.option(
    "--output",
    default="figure.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; its ending says the kind: png, svg, pdf.",
)
def command(store: str, data_dir: Path | None, images: int, title: str, output: Path, **given: Any) -> None:
    """Draw inputs, reconstructions and score histograms of finished runs.

    Name them as in `oodbench run`: one in-data set, any detectors and out-data sets; of several seeds the first is
    drawn. The images are the first of each test split.

    \b
    oodbench figure --detector ae --detector ebae --in mnist5k:0,2-9 --out mnist5k:1 --preset quick --output figure.png
    """
    from oodbench.leaderboard.figures import draw_runs

    requests, registry = requests_from_options(**given), find_plugins()
    draw_runs(*requests, store=store, data_dir=data_dir, count=images, title=title, path=output, registry=registry)
    echo(f"Written to {output}", err=True)
