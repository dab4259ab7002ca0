"""``oodbench leaderboard``: results as ranked tables, of a store or of a suite, beside what others reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import chosen_metrics, json_option, metric_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from oodbench.api import Metric
    from oodbench.leaderboard.suites import Suite
    from oodbench.plugin.registry import Registry

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@store_option
@click.option("--results", "published", type=FILE, help="Show what --save wrote to this file, without a store.")
@metric_option
@click.option("--title", default="", help="Heading of the page.  [default: the suite's]")
@click.option("--output", type=FILE, help="Write the page to this file.")
@click.option("--save", type=FILE, help="Write the results that are shown to this file, as Parquet.")
@click.option("--latest", is_flag=True, help="Only the newest version of each detector.")
@click.option("--reported", is_flag=True, help="Print the suite's reported figures beside ours instead.")
@json_option
def command(
    suite: Path | None,
    store: str,
    published: Path | None,
    metrics: tuple[str, ...],
    title: str,
    output: Path | None,
    save: Path | None,
    latest: bool,
    reported: bool,
    as_json: bool,
) -> None:
    """Print the results of a store as ranked tables in Markdown.

    SUITE is a suite file or its folder. The tables then have the results that it names, and below them the figures of
    the file reported.toml beside it; the text of notes.md opens the page.

    \b
    oodbench leaderboard leaderboards/mnist5k-ood --save results.parquet --output page.md
    oodbench leaderboard leaderboards/mnist5k-ood --results results.parquet
    oodbench leaderboard leaderboards/mnist-holdout --reported
    """
    from oodbench.leaderboard import suites
    from oodbench.leaderboard.published import results_file

    opened = _open(suite, reported)
    registry = find_plugins()
    chosen = chosen_metrics(registry, metrics)
    results = _results(opened, published, store, registry)
    if latest:
        results = _latest(results, "" if published else store)
    _check_savable(save, results, str(published or store))
    page = "" if reported or (as_json and not output) else suites.page(opened, results, chosen, title)
    if save:
        _write(save, "--save", results_file(results))
    if output and not reported:
        _write(output, "--output", page.encode())
    if reported:
        _print_reported(opened, results, chosen, as_json)
    elif as_json:
        print_json(suites.records(opened, results, chosen))
    elif not output:
        echo(page, nl=False)


def _open(suite: Path | None, reported: bool) -> Suite:
    from oodbench.leaderboard import suites

    if reported and not suite:
        raise click.UsageError("--reported needs the SUITE whose figures are meant")
    return suites.open_suite(suite) if suite else suites.Suite()


def _check_savable(save: Path | None, results: pd.DataFrame, source: str) -> None:
    from oodbench.errors import OODBenchError

    if save and results.empty:
        raise OODBenchError(f"there is nothing to save to {save}: {source} has none of these results")


def _results(suite: Suite, published: Path | None, store: str, registry: Registry) -> pd.DataFrame:
    from oodbench.leaderboard import suites

    if published:
        return suites.results_from_file(suite, published)
    results, missing = suites.stored_results(
        suite, store, registry, lambda key, error: echo(f"Left out: {error}", err=True)
    )
    if missing:
        echo(f"{missing} of the suite's runs are not in {store}; `oodbench run` with the suite makes them", err=True)
    return results


def _latest(results: pd.DataFrame, store: str) -> pd.DataFrame:
    """Of a store the newest code; of a published file, where ``store`` is empty, as far as versions tell."""
    from oodbench.leaderboard.latest import latest_versions
    from oodbench.store.store import Store

    return latest_versions(results, (lambda run: Store(store).read_run(run)[1].created) if store else None)


def _print_reported(suite: Suite, results: pd.DataFrame, metrics: Sequence[Metric], as_json: bool) -> None:
    """Each reported figure beside ours, then where the reported ones come from."""
    from oodbench.leaderboard import suites

    rows = suites.comparison(suite, results, metrics)
    if as_json:
        print_json(rows)
        return
    print_table(
        {
            **{name: row[name] for name in ("in", "out", "metric", "row")},
            "reported": _or_dash(row["reported"], row["reported_sd"]),
            "ours": _or_dash(row["ours"], row["ours_sd"]),
            "difference": "–" if row["difference"] is None else f"{row['difference']:+.3f}",
            "seeds": ", ".join(map(str, row["seeds"])),
            "our row": row["label"],
        }
        for row in rows
    )
    for origin in dict.fromkeys(f"{row['source']}; {row['reliability']}" for row in rows):
        echo(f"\nReported: {origin}.")


def _or_dash(mean: float | None, sd: float | None) -> str:
    from oodbench.leaderboard.tables import value_text

    return "–" if mean is None else value_text(mean, sd)


def _write(path: Path, option: str, data: bytes) -> None:
    """Whole or not at all: what is replaced may be the only record."""
    from oodbench.atomic import write_output
    from oodbench.errors import OODBenchError

    try:
        write_output(path, data)
    except OSError as error:
        raise OODBenchError(f"{option} {path} cannot be written: {error.strerror}") from None
    echo(f"Written to {path}", err=True)
