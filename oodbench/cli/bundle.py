"""``oodbench bundle``: runs of a store become one file that can be handed in."""

from __future__ import annotations

from pathlib import Path

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import store_option


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Write the entry here."
)
@store_option
def command(runs: tuple[str, ...], output: Path, store: str) -> None:
    """Make one file of runs, to be handed in.

    It has their scores, results, parameters, versions and hashes. RUNS are keys of runs or their beginnings,
    labels of a leaderboard, or detectors. `oodbench verify` checks the file, and who publishes the leaderboard
    takes it in with `oodbench accept`.

    \b
    oodbench bundle ebae -o entry.oodbench
    """
    from oodbench.leaderboard import entries
    from oodbench.writing import write_file

    data = entries.bundle(store, runs, find_plugins())
    write_file(output, data, f"--output {output}")
    echo(f"Written to {output}: {len(data):,} bytes; check it with `oodbench verify {output}`", err=True)
