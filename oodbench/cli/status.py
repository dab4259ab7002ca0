"""``oodbench status``: which runs are done, running, failed and waiting, on any machine."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import data_option, json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oodbench.runs.states import RunState
    from oodbench.store.work import Work

SHOWN_WAITING = 10


@click.command()
@click.argument("place", required=False, metavar="[STORE|SUITE]")
@store_option
@data_option
@click.option("--watch", is_flag=True, help="Repeat until nothing is running or waiting.")
@click.option(
    "--every", type=click.FloatRange(1), default=10.0, show_default=True, help="Seconds between two updates of --watch."
)
@json_option
def command(place: str | None, store: str, data_dir: Path | None, watch: bool, every: float, as_json: bool) -> None:
    """Show what is done, running, failed and waiting.

    Everything is read from the store, so the command works from any machine. For a STORE, every run is counted and
    those that are not finished are shown; for a SUITE (a file or its folder), also those that are still waiting.

    \b
    oodbench status results
    oodbench status leaderboards/mnist5k-ood --store s3://bucket/results --watch
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a table again and again; give --json without it")
    suite = Path(place) if place and _is_suite(place) else None
    address = store if suite or place is None else _one_store(place)
    look = _look(suite, address, data_dir)
    states = look()
    while True:
        if as_json:
            print_json(_record(states))
        else:
            _print(states, address)
        if not watch or not any(each.state in ("running", "waiting", "stopped") for each in states):
            return
        time.sleep(every)
        states = look()
        click.clear() if sys.stdout.isatty() else echo()


def _is_suite(place: str) -> bool:
    return place.endswith(".toml") or os.path.isfile(os.path.join(place, "suite.toml"))


def _one_store(place: str) -> str:
    source = click.get_current_context().get_parameter_source("store")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"{place} and --store are two stores: name one; a suite is a .toml file or its folder")
    return place


def _look(suite: Path | None, address: str, data_dir: Path | None) -> Any:
    """Return a function that returns the current states."""
    from oodbench.runs.states import store_states, suite_states
    from oodbench.store.selection import check_there
    from oodbench.store.store import Store

    store = Store(address)
    if suite is None:
        check_there(store)
        return lambda: store_states(store)
    from oodbench.data.loading import open_loader
    from oodbench.plan.suite_files import read_suite
    from oodbench.plan.tasks import plan

    registry = find_plugins()
    tasks = plan(read_suite(suite), registry, open_loader(registry, data_dir))
    return lambda: suite_states(store, tasks)


def _print(states: Sequence[RunState], address: str) -> None:
    from oodbench.runs.states import counts

    if not states:
        echo(f"There is no run in {address}.")
        return
    echo(f"{_runs(len(states))}: " + ", ".join(f"{count} {state}" for state, count in counts(states).items()))
    waiting = [each for each in states if each.state == "waiting"]
    shown = [each for each in states if each.state not in ("done", "waiting")]
    order = ("running", "stopped", "failed", "unfinished")
    shown = sorted(shown, key=lambda each: order.index(each.state)) + waiting[:SHOWN_WAITING]
    if shown:
        print_table(map(_row, shown))
    if len(waiting) > SHOWN_WAITING:
        echo(f"… and {len(waiting) - SHOWN_WAITING} more are waiting; --json names them")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _row(state: RunState) -> dict[str, str]:
    from oodbench.progress import duration
    from oodbench.text import shorten

    row = {"state": state.state, "run": shorten(state.title, 70)}
    row |= dict.fromkeys(("where", "for", "progress", "time left"), "") | {"note": shorten(state.error, 100)}
    work = state.work
    if work and state.state in ("running", "stopped"):
        row |= {"where": work.where, "for": duration(_seconds_since(work)), "progress": _progress(work)}
        if state.state == "stopped":
            row["note"] = f"no sign of life for {duration(state.silent)}"
        elif work.seconds_left is not None:
            row["time left"] = duration(work.seconds_left)
    return row


def _progress(work: Work) -> str:
    return f"{work.phase} {work.share:.0%}" if work.phase else ""


def _seconds_since(work: Work) -> float:
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(work.since)).total_seconds())
    except (ValueError, TypeError):  # written by another program
        return 0.0


def _record(states: Sequence[RunState]) -> dict[str, Any]:
    from oodbench.runs.states import counts

    runs = []
    for each in states:
        facts = {name: value for name, value in asdict(each).items() if name not in ("work", "silent")}
        runs.append(facts | (_work_record(each) if each.work else {}))
    return {"counts": counts(states), "runs": runs}


def _work_record(state: RunState) -> dict[str, Any]:
    names = ("host", "owner", "pid", "since", "phase", "share", "seconds_left")
    return {name: getattr(state.work, name) for name in names} | {"seconds_silent": round(state.silent, 1)}
