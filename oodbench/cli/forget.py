"""``oodbench forget``: remove runs from a store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo
from oodbench.cli.options import print_table, store_option

if TYPE_CHECKING:
    from oodbench.store.removal import StoredRun


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@store_option
@click.option("--yes", is_flag=True, help="Remove them without asking.")
@click.pass_context
def command(ctx: click.Context, runs: tuple[str, ...], store: str, yes: bool) -> None:
    """Remove runs from a store.

    RUN is a run's key (the name of its folder) or a unique prefix of it. Its weights, scores, results and failures are
    removed; only running it again brings them back. A run that another process is working on is kept, and the exit code
    is then 1.

    \b
    oodbench forget ae-mnist5k_0,2-9-s0-960f
    """
    from oodbench.store.removal import find_runs, remove_runs, runs_using
    from oodbench.store.selection import listed
    from oodbench.store.store import Store

    opened = Store(store)
    found = find_runs(opened, runs)
    print_table(map(_row, found))
    if left := runs_using(opened, found):
        what = "a run that is kept depends" if len(left) == 1 else f"{len(left)} runs that are kept depend"
        echo(f"{what} on what is removed, and cannot score new images without it: {listed(left)}", err=True)
    if not yes:
        _ask(ctx, len(found))
    for error in (errors := remove_runs(opened, found, lambda run: echo(f"Removed {run.key}", err=True))):
        echo(f"Error: {error}", err=True)
    ctx.exit(1 if errors else 0)


def _ask(ctx: click.Context, count: int) -> None:
    if not sys.stdin.isatty():
        raise click.ClickException(
            "nothing is removed: there is no terminal to confirm on; --yes removes without asking"
        )
    if not click.confirm(f"Remove {'this run' if count == 1 else f'these {count} runs'}?", err=True):
        echo("Nothing is removed.", err=True)
        ctx.exit(1)


def _row(run: StoredRun) -> dict[str, str]:
    return {
        "run": run.key,
        "seed": "?" if run.seed is None else str(run.seed),
        "state": run.state,
        "out-data sets": str(run.out_datasets),
        "failures": str(len(run.failures)),
        "size": f"{run.size / 2**20:,.2f} MiB",
    }
