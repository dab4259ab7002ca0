"""``oodbench new``: create a package that works, for a detector, a data set, a metric or an executor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import completion, echo, find_plugins

if TYPE_CHECKING:
    from oodbench.scaffold.package import Kind

EXAMPLES = {
    "detector": "oodbench run --detector {name} --in mnist5k:0,2-9 --out mnist5k:1 --preset quick",
    "dataset": "oodbench show {name}",
    "metric": "oodbench evaluate --metric {name}",
    "executor": "oodbench run SUITE --executor {name} --jobs 2",
}


@click.command()
@click.argument("kind", type=click.Choice(["detector", "dataset", "metric", "executor"]))
@click.argument("name")
@click.option(
    "--base", default="", help="Detector whose fit it uses, such as classifier.", shell_complete=completion.detectors
)
@click.option("--network", is_flag=True, help="Create a detector that trains a network.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder to write, new or empty.  [default: oodbench-NAME]"
)
def command(kind: Kind, name: str, base: str, network: bool, output: Path | None) -> None:
    """Create a package for a detector, data set, metric or executor.

    It works as it is and is meant to be edited: a pyproject.toml with the entry point, the code, a README, and contract
    tests. --network creates a detector that trains a network, --base one that uses another detector's fit.

    \b
    oodbench new detector my-method
    oodbench new detector my-score --base classifier
    """
    from oodbench.scaffold.package import WORDS, new_package, write_package

    if (base or network) and kind != "detector":
        raise click.UsageError("--base and --network are for detectors")
    if base and network:
        raise click.UsageError("give --base or --network, not both")
    package = new_package(kind, name, find_plugins(), base, network)
    folder = output or Path(package.distribution)
    write_package(package, folder)
    where = folder if folder.is_absolute() else f".{os.sep}{folder}"
    echo(f"{folder}{os.sep} has {WORDS[kind]} that works. Next:")
    echo(f"  pip install --editable {where}")
    echo(f"  # edit {folder / package.main_file}")
    echo(f"  oodbench check {name}")
    echo(f"  {EXAMPLES[kind].format(name=name)}")
