"""``oodbench data``: which data sets are available, and where; ``oodbench data prepare``: download and decode them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import data_option, json_option, print_json, print_table
from oodbench.text import shorten

if TYPE_CHECKING:
    from oodbench.data.inventory import DatasetStatus
    from oodbench.data.loading import Loader

COUNTS = ("train", "validation", "test")
MESSAGE_SECONDS = 5
"""Seconds between two messages on how far a data set is decoded."""


@click.group(invoke_without_command=True)
@click.option("--verify", is_flag=True, help="Compare files with their published MD5 checksums; reads all of them.")
@data_option
@json_option
@click.pass_context
def command(ctx: click.Context, verify: bool, data_dir: Path | None, as_json: bool) -> None:
    """Show which data sets are available, and prepare them.

    For a prepared data set, that is one decoded in the cache, the numbers of images are those decoded; for any other
    they are the published ones. With --verify the exit code is 1 if a file differs from the published one.
    """
    if ctx.invoked_subcommand:
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"put options after the word {ctx.invoked_subcommand}")
        return
    from oodbench.data.inventory import dataset_statuses

    statuses = dataset_statuses(_loader(data_dir), verify)
    if as_json:
        print_json([asdict(status) for status in statuses])
    else:
        _print(statuses)
    damaged = [path for status in statuses for path in status.damaged]
    for path in dict.fromkeys(damaged):
        echo(f"{path} differs from the published file: delete it and fetch it again", err=True)
    faulty = [status for status in statuses if status.error]
    for status in faulty:
        echo(f"Failed: {status.name}: {status.error}", err=True)
    ctx.exit(1 if damaged or faulty else 0)


@command.command("prepare")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def prepare_command(
    ctx: click.Context, names: tuple[str, ...], data_dir: Path | None, quiet: bool, as_json: bool
) -> None:
    """Download, decode and cache data sets ahead of a run.

    A data set that fails does not stop the others, but the exit code is then 1.

    \b
    oodbench data prepare cifar10 svhn
    """
    from oodbench.data.inventory import prepare

    loader = _loader(data_dir, (lambda text: None) if quiet else lambda text: echo(text, err=True))
    outcomes = [prepare(name, loader) for name in dict.fromkeys(names)]
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        _print_columns((outcome for outcome in outcomes if not outcome.error), ("name", *COUNTS, "seconds"))
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        echo(f"Failed: {shorten(outcome.name)}: {outcome.error}", err=True)
    ctx.exit(1 if failed else 0)


def _loader(data_dir: Path | None, show: Callable[[str], None] = lambda text: None) -> Loader:
    from oodbench.data.loading import Loader
    from oodbench.folders import cache_folder, data_folder

    return Loader(find_plugins(), data_dir or data_folder(), cache_folder(), _DecodingProgress(show))


class _DecodingProgress:
    """A display of how far the decoding of a split is, at its end and every few seconds."""

    def __init__(self, show: Callable[[str], None]):
        self.show = show
        self.last = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self.last >= MESSAGE_SECONDS:
            self.last = time.monotonic()
            self.show(f"{name}: {done:,} of {total:,} images")


def _print(statuses: list[DatasetStatus]) -> None:
    _print_columns(statuses, ("name", "state", *COUNTS, "checksum", "where"))
    by_hand = sorted((status for status in statuses if status.download_instructions), key=lambda each: -len(each.name))
    # several data sets may be made from the same files: the shortest name stands for them
    instructions = {status.download_instructions: status.name for status in by_hand}
    if instructions:
        echo("\nTo be downloaded by hand:")
    for text, name in instructions.items():
        echo(f"  {name}: {text}")


def _print_columns(rows: Iterable[object], columns: Iterable[str]) -> None:
    print_table({column: _cell(getattr(row, column)) for column in columns} for row in rows)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
