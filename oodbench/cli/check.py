"""``oodbench check NAME``: check a detector, data set, metric or executor against its contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from oodbench.cli import completion, echo, find_plugins
from oodbench.cli.options import data_option, json_option, print_json, print_table


@click.command()
@click.argument("name", shell_complete=completion.anything)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="CxHxW",
    help="Image shape, such as 1x28x28; repeats.  [default: all that it accepts]",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; repeats.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Not this check; repeats.")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="A parameter or setting: latent_dim=8; repeats."
)
@data_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    shapes: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    sets: tuple[str, ...],
    data_dir: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check a detector, data set, metric or executor against its contract.

    NAME is a registered name, or a file with a detector class: ./my_method.py:MyMethod.

    The exit code is 1 if a check fails. A detector is fitted with its preset quick, on 512 images and with a reduced
    budget: a parameter named epochs or steps is at most 4, a batch_size at most 16. --set overrides this. An executor
    gets small tasks, some of which kill their process; its settings come from your settings file and --set.

    The outcome "known" is a failure that the detector declares in known_findings, because its method cannot avoid it.
    """
    from oodbench.testing.selection import SelectionError, choose_checks, find_checks

    try:
        checks, cases = find_checks(name, find_plugins(), shapes, sets, data_dir)
        checks = choose_checks(checks, only, skip)
    except SelectionError as error:
        raise click.UsageError(str(error)) from None
    rows = list(_results(checks, cases, quiet))
    if as_json:
        print_json(rows)
    else:
        columns = ("check", "shape", "outcome", "reason") if "" not in cases else ("check", "outcome", "reason")
        print_table([{column: row[column] for column in columns} for row in rows])
    counts = Counter(row["outcome"] for row in rows)
    if not quiet or counts["failed"]:
        echo(f"{len(rows)} checks: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}", err=True)
    if counts["failed"]:
        context.exit(1)


def _results(checks: Iterable[Any], cases: Mapping[str, Any], quiet: bool) -> Iterator[dict[str, Any]]:
    """Yield the result of each check on each case, and show it on stderr at once, unless quiet."""
    from oodbench.testing import run_checks

    for shape, case in cases.items():
        for result in run_checks(checks, case):
            where = f" {shape}" if shape else ""
            if not quiet:
                echo(f"{result.check}{where}: {result.outcome}, {result.seconds:.1f} s", err=True)
            fields = asdict(result)
            yield {"check": fields.pop("check"), "shape": shape, **fields}
