"""``oodbench data``: which data sets are there, and where; ``oodbench data prepare``: have them ready ahead."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from oodbench.cli import find_plugins
from oodbench.cli.options import data_option, json_option, print_json, print_table

if TYPE_CHECKING:
    from oodbench.api import Dataset
    from oodbench.data.loading import Loader

SPLITS = ("train", "validation", "test")
"""As in oodbench.api, which takes long to import."""
SECONDS = 5
"""Between two lines that say how far a data set is decoded."""


@click.group(invoke_without_command=True)
@click.option("--verify", is_flag=True, help="Compare files with their published MD5 checksums; reads all of them.")
@data_option
@json_option
@click.pass_context
def command(ctx: click.Context, verify: bool, data_dir: Path | None, as_json: bool) -> None:
    """Show which data sets are there, and prepare them.

    Numbers of images are those found where a data set is prepared, that is decoded in the cache, else the published.
    With --verify it ends with 1 if a file is not the published one.
    """
    if ctx.invoked_subcommand:
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"put options behind the word {ctx.invoked_subcommand}")
        return
    loader = _loader(data_dir)
    rows = [describe(dataset, loader, verify) for _, dataset in sorted(loader.registry.datasets.items())]
    if as_json:
        print_json(rows)
    else:
        _print(rows)
    damaged = [path for row in rows for path in row["damaged"]]
    for path in dict.fromkeys(damaged):
        click.echo(f"{path} is not as published: delete it and fetch it again", err=True)
    ctx.exit(1 if damaged else 0)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def prepare(ctx: click.Context, names: tuple[str, ...], data_dir: Path | None, quiet: bool, as_json: bool) -> None:
    """Download, decode and cache data sets ahead.

    One that cannot be had does not stop the others, but it ends with 1 then.

    \b
    oodbench data prepare cifar10 svhn
    """
    loader = _loader(data_dir, (lambda text: None) if quiet else lambda text: click.echo(text, err=True))
    rows = [prepared(name, loader) for name in dict.fromkeys(names)]
    if as_json:
        print_json(rows)
    else:
        shown = ("name", *SPLITS, "seconds")
        print_table({column: _cell(row[column]) for column in shown} for row in rows if not row["error"])
    for row in rows:
        if row["error"]:
            click.echo(f"Failed: {row['name']}: {row['error']}", err=True)
    ctx.exit(1 if any(row["error"] for row in rows) else 0)


def _loader(data_dir: Path | None, say: Callable[[str], None] = lambda text: None) -> Loader:
    from oodbench.data.loading import Loader
    from oodbench.folders import cache_folder, data_folder

    return Loader(find_plugins(), data_dir or data_folder(), cache_folder(), _Teller(say))


class _Teller:
    """Says how far the decoding of a split is, at its end and every few seconds."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.last = time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        if done == of or time.monotonic() - self.last >= SECONDS:
            self.last = time.monotonic()
            self.say(f"{what}: {done:,} of {of:,} images")


# ---------------------------------------------------------------------------------------- prepare


def prepared(name: str, loader: Loader) -> dict[str, Any]:
    """Have all splits of one data set in the cache: how many images each has, or the error."""
    from oodbench.errors import reason

    start, counts, error = time.monotonic(), dict.fromkeys(SPLITS), ""
    try:
        counts |= _counts(name, loader)
    except Exception as failure:
        error = reason(failure)
    return {"name": name, **counts, "seconds": round(time.monotonic() - start, 1), "error": error}


def _counts(name: str, loader: Loader) -> Iterator[tuple[str, int]]:
    dataset, _ = loader.find(name)
    for split in SPLITS:
        if split in dataset.sizes:
            # without a shape of its own it is made when it is scored, in the shape of the in-data
            yield split, len(loader.load(name, split)) if dataset.shape else dataset.sizes[split]


# ------------------------------------------------------------------------------------------- show


def describe(dataset: Dataset, loader: Loader, verify: bool) -> dict[str, Any]:
    """One row: whether the data set is there, where, how many images it has, and what its checksums say."""
    files = dataset.required_files(loader.root)
    missing = [str(path) for path in files if not path.exists()]
    found = loader.cached_counts(dataset.name) if not missing and dataset.from_path is None else {}
    checksum, damaged = _checksum(dataset, loader.root, verify) if not missing else ("", [])
    return {
        "name": dataset.name,
        "state": _state(dataset, bool(files), bool(missing), found.keys() == dataset.sizes.keys()),
        **{split: found.get(split, dataset.sizes.get(split)) for split in SPLITS},
        "checksum": checksum,
        "where": _where(files),
        "missing": missing,
        "damaged": damaged,
        "download_instructions": dataset.download_instructions(loader.root)
        if missing and dataset.download_instructions
        else "",
    }


def _state(dataset: Dataset, has_files: bool, is_missing: bool, is_prepared: bool) -> str:
    if dataset.from_path is not None:
        return "name a path"
    if is_missing:
        return "fetch by hand" if dataset.download_instructions else "to be downloaded"
    if is_prepared:
        return "prepared"
    return "there" if has_files else "built in"


def _where(files: list[Path]) -> str:
    """The one file or folder, or the folder that all of them are in."""
    return os.path.commonpath(files) if files else ""


def _checksum(dataset: Dataset, root: Path, verify: bool) -> tuple[str, list[str]]:
    """What the published MD5s say of the files that are there, and those that are not as published."""
    if dataset.checksums is dict:
        return "none published", []
    if not verify:
        return "not verified", []
    published = {root / name: md5 for name, md5 in dataset.checksums().items()}
    there = {path: md5 for path, md5 in published.items() if path.is_file()}
    damaged = [str(path) for path, md5 in there.items() if not _is_published(path, md5)]
    if damaged:
        return f"{len(damaged)} of {len(there)} files damaged", damaged
    if there:
        return f"{len(there)} file{'s' if len(there) > 1 else ''} verified", []
    return "published of no file here", []


@cache
def _is_published(path: Path, md5: str) -> bool:
    """Kept, as several data sets may be made from one file."""
    from torchvision.datasets.utils import check_md5

    return bool(check_md5(path, md5))


def _print(rows: list[dict[str, Any]]) -> None:
    columns = ("name", "state", *SPLITS, "checksum", "where")
    print_table({column: _cell(row[column]) for column in columns} for row in rows)
    download_instructions = sorted(
        (row for row in rows if row["download_instructions"]), key=lambda row: len(row["name"]), reverse=True
    )
    instructions = {
        row["download_instructions"]: row["name"] for row in download_instructions
    }  # of sets made from the same files the shortest
    if instructions:
        click.echo("\nTo be fetched by hand:")
    for text, name in instructions.items():
        click.echo(f"  {name}: {text}")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
