"""``oodbench accept``: check a submitted entry, and add it to a suite."""

from __future__ import annotations

from pathlib import Path

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import counted, data_option, json_option, progress_display
from oodbench.cli.publish import print_merge


@click.command()
@click.argument("entry", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("suite", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--drop", multiple=True, metavar="NAME", help="Leave out published runs, as in `oodbench publish`.")
@data_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(entry: Path, suite: Path, drop: tuple[str, ...], data_dir: Path | None, quiet: bool, as_json: bool) -> None:
    """Check a submitted entry and publish it in a suite.

    ENTRY is a file made by `oodbench bundle`, SUITE the folder of suite.toml. The whole entry is checked first:
    hashes, sizes, that every number follows from its scores, and that the images are those of the suite. Nothing
    in it is executed. If a check fails, the error names it and nothing is changed.

    \b
    oodbench accept entry.oodbench leaderboards/mnist5k-ood
    """
    from oodbench.data.loading import open_loader
    from oodbench.leaderboard import suite_folder
    from oodbench.leaderboard.publication import PAGE

    registry = find_plugins()
    with progress_display(quiet) as progress:
        merged = suite_folder.accept(
            entry,
            suite,
            registry,
            open_loader(registry, data_dir, progress),
            drop,
            lambda text: echo(text, err=True),
            counted(progress, "intervals and tests"),
        )
    print_merge(merged, suite, as_json)
    echo(f"All of {entry} is in {suite} now, and {suite / PAGE} shows it: the file can be deleted", err=True)
