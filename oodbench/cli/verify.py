"""``oodbench verify``: recompute every published number from its scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import counted, data_option, json_option, print_json, progress_display
from oodbench.errors import OODBenchError

if TYPE_CHECKING:
    from oodbench.api import Progress
    from oodbench.leaderboard.verification import Verification
    from oodbench.plugin.registry import Registry

MOST_LINES = 50


@click.command()
@click.argument("published", type=click.Path(exists=True, path_type=Path))
@click.option("--rerun", default=0, type=click.IntRange(0), help="Fit this number of the runs again, chosen at random.")
@data_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(published: Path, rerun: int, data_dir: Path | None, quiet: bool, as_json: bool) -> None:
    """Recompute every published number from its scores.

    PUBLISHED is the folder of a suite or its suite.toml, or an entry of `oodbench bundle`. Results, intervals and
    tests are computed from the scores, the page is made from the results, and the images are compared with the data
    sets available here. Each cell that differs is listed, and the exit code is then 1. --rerun also shows that the
    code gives these scores.

    \b
    oodbench verify leaderboards/mnist5k-ood
    oodbench verify leaderboards/mnist5k-ood --rerun 1
    oodbench verify entry.oodbench
    """
    registry = find_plugins()
    if published.name == "suite.toml":
        published = published.parent
    with progress_display(quiet) as progress:
        checked = _verify(published, registry, data_dir, rerun, progress)
    if as_json:
        print_json(asdict(checked))
    else:
        _print(checked, published)
    click.get_current_context().exit(1 if checked.differences else 0)


def _verify(published: Path, registry: Registry, data_dir: Path | None, count: int, progress: Progress) -> Verification:
    from oodbench.data.loading import open_loader
    from oodbench.leaderboard import entries, verification
    from oodbench.leaderboard.publication import read_publication

    loader = open_loader(registry, data_dir, progress)
    if published.is_dir():
        found = read_publication(published)
        checked = verification.verify(published, registry, loader, counted(progress, "intervals and tests"))
    else:
        found = entries.read_entry(published)
        checked = verification.check_publication(found, registry, loader)
    if count:
        from oodbench.leaderboard.rerun import rerun

        try:
            checked.differences += rerun(found, count, registry, loader, progress)
        except OODBenchError as error:  # earlier findings must not be lost
            checked.differences.append(f"nothing was fitted again: {error}")
    return checked


def _print(checked: Verification, published: Path) -> None:
    for line in checked.differences[:MOST_LINES]:
        echo(f"Differs: {line}")
    if len(checked.differences) > MOST_LINES:
        echo(f"… and {len(checked.differences) - MOST_LINES:,} more; --json names all")
    for name, why in checked.not_compared.items():
        echo(f"Not compared: {name}: {why}", err=True)
    if checked.unverified:
        some = ", ".join(checked.unverified[:3])
        echo(f"Unverified, as their scores are not published: {len(checked.unverified)} runs, such as {some}", err=True)
    if not checked.differences:
        echo(f"{published}: {checked.values:,} results are what their {checked.scores:,} scores give")
