"""``oodbench bundle``: pack runs of a store into one file that can be submitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import store_option

if TYPE_CHECKING:
    from oodbench.leaderboard.entries import Bundle

SHOWN = 5
"""The most left-out runs that are listed."""


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Write the entry here."
)
@click.option("--latest", is_flag=True, help="Only the newest version of each detector.")
@store_option
def command(runs: tuple[str, ...], output: Path, latest: bool, store: str) -> None:
    """Pack runs into one file, to submit to a leaderboard.

    The file holds their scores, results, parameters, versions and hashes. RUNS are run keys or prefixes of them,
    leaderboard labels, or detectors. `oodbench verify` checks the file; the publisher of the leaderboard adds it
    with `oodbench accept`. The output lists what was packed, by code version; failed runs of the same rows, which
    an entry must include; and runs left out because they are not finished.

    \b
    oodbench bundle ebae -o entry.oodbench
    """
    from oodbench.leaderboard import entries
    from oodbench.writing import write_file

    made = entries.bundle(store, runs, find_plugins(), latest)
    write_file(output, made.data, f"--output {output}")
    _print(made)
    echo(f"Written to {output}: {len(made.data):,} bytes; check it with `oodbench verify {output}`", err=True)


def _print(made: Bundle) -> None:
    """Print which runs were taken, by version of the code, and which were left out."""
    versions = made.runs.groupby(["detector", "distribution", "plugin_version"], sort=False)
    for (detector, distribution, version), runs in versions:
        echo(f"Taken: {len(runs)} of {detector}, by {distribution or 'a local file'} {version}", err=True)
    several = [str(name) for name, runs in made.runs.groupby("detector") if runs["plugin_version"].nunique() > 1]
    if several:
        echo(f"{', '.join(several)}: several versions of the code; --latest takes only the newest", err=True)
    for title in made.failed:
        echo(f"Failed, as the entry says: {title}", err=True)
    for run, state in [*made.left_out.items()][:SHOWN]:
        echo(f"Left out, as it has no results: {run} ({state})", err=True)
    if len(made.left_out) > SHOWN:
        echo(f"… and {len(made.left_out) - SHOWN} more; `oodbench status` shows them", err=True)
