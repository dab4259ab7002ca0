"""``oodbench leaderboard``: results of a store or a suite as ranked tables, beside what others reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import json_option, metric_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from oodbench.api import Metric
    from oodbench.leaderboard.publication import Publication
    from oodbench.leaderboard.suites import Suite
    from oodbench.plugin.registry import Registry

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@store_option
@click.option("--results", "published", type=FILE, help="Show published results: a file that `oodbench publish` wrote.")
@metric_option
@click.option("--title", default="", help="Heading of the page.  [default: the suite's]")
@click.option("--in", "in_datasets", multiple=True, help="Only this in-distribution data set; repeats.")
@click.option("--group", "groups", multiple=True, help="Only this group of out-data sets of the suite; repeats.")
@click.option(
    "--sort",
    default="",
    metavar="COLUMN|mean",
    help="Rank rows by this group or out-data set.  [default: what the suite ranks by, else mean]",
)
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show the first N rows of each table.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["markdown", "html", "latex", "csv"]),
    help="Format of the page.  [default: that of the output's name, .md .html .tex .csv, else markdown]",
)
@click.option("--output", type=FILE, help="Write the page to this file.")
@click.option("--save", type=FILE, help="Also write the shown results to this Parquet file, without scores.")
@click.option("--latest", is_flag=True, help="Only the newest version of each detector.")
@click.option("--reported", is_flag=True, help="Print the suite's reported figures beside ours instead.")
@json_option
def command(
    suite: Path | None,
    store: str,
    published: Path | None,
    metrics: tuple[str, ...],
    title: str,
    in_datasets: tuple[str, ...],
    groups: tuple[str, ...],
    sort: str,
    top: int | None,
    format_name: str | None,
    output: Path | None,
    save: Path | None,
    latest: bool,
    reported: bool,
    as_json: bool,
) -> None:
    """Print the results of a store, or published ones, as ranked tables.

    SUITE is a suite file or its folder. The tables then show the results that it names and, below them, the figures
    reported by others, from reported.toml in the same folder; the text of notes.md opens the page. To publish results
    with their scores, intervals and tests, use `oodbench publish`.

    \b
    oodbench leaderboard leaderboards/mnist5k-ood --output page.md
    oodbench leaderboard leaderboards/mnist5k-ood --results leaderboards/mnist5k-ood/results.parquet
    oodbench leaderboard --in mnist5k:0-8 --sort mnist5k:9 --top 5 --output page.html
    """
    from oodbench.leaderboard import formats, suites
    from oodbench.leaderboard.tables import Order

    is_page = not reported and (output is not None or not as_json)
    if not is_page and (top or sort or format_name):
        raise click.UsageError("--sort, --top and --format are of pages; --json prints every cell")
    opened = _open(suite, reported)
    registry = find_plugins()
    _check_one_source(published)
    format_name = format_name or formats.format_of(output)
    found = _publication(opened, suite, published, store, registry, needs_scores=format_name == "html")
    opened, found = formats.only(opened, _only_latest(found) if latest else found, in_datasets)
    opened, found = formats.only_groups(opened, found, groups)
    _check_savable(save, found, str(published or store))
    chosen = _metrics(found, registry, metrics)
    if is_page:
        parts = formats.Page(opened, found, chosen, bool(metrics), title, Order(sort, top))
        _put(formats.write(parts, format_name), output)
    if save:
        _save(save, found)
    if reported:
        _print_reported(opened, found.results, chosen, as_json)
    elif as_json:
        print_json(suites.records(opened, found.results, chosen))


def _open(suite: Path | None, reported: bool) -> Suite:
    from oodbench.leaderboard import suites

    if reported and not suite:
        raise click.UsageError("--reported needs the SUITE whose figures are meant")
    return suites.open_suite(suite) if suite else suites.Suite()


def _check_savable(save: Path | None, found: Publication, source: str) -> None:
    """Raise OODBenchError if there is nothing to save, or the file is that of a suite's published results."""
    from oodbench.errors import OODBenchError

    if save and found.results.empty:
        raise OODBenchError(f"there is nothing to save to {save}: {source} has none of these results")
    if save and save.exists() and (save.parent / "suite.toml").exists():
        raise OODBenchError(f"{save} holds a suite's published results; only `oodbench publish` adds to it")


def _check_one_source(published: Path | None) -> None:
    source = click.get_current_context().get_parameter_source("store")
    if published and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--results and --store are two places to read from: name one; `publish` merges them")


def _publication(
    suite: Suite, path: Path | None, published: Path | None, store: str, registry: Registry, needs_scores: bool
) -> Publication:
    from oodbench.leaderboard import suites
    from oodbench.leaderboard.publication import Publication, read_files
    from oodbench.leaderboard.published import load_results

    if published and needs_scores:
        return read_files(published)
    if published:
        read = load_results(published)
        return Publication(read.rows, metrics=read.metrics)
    stored = suites.stored_results(suite, store, registry, lambda key, error: echo(f"Left out: {error}", err=True))
    if path and (lack := stored.lack(store, path)):
        echo(lack, err=True)
    return Publication(stored.results)


def _only_latest(found: Publication) -> Publication:
    from oodbench.leaderboard.latest import latest_versions

    chosen = latest_versions(found.results)
    if len(chosen) < len(found.results) and "p_best" in chosen:
        chosen = chosen.drop(columns="p_best")  # the tests were among all rows
    return replace(found, results=chosen)


def _metrics(found: Publication, registry: Registry, names: Sequence[str]) -> list[Metric]:
    """Return the metrics of these names, or all; also published ones that no installed plugin offers."""
    from oodbench.api.full_spectrum import with_full_spectrum
    from oodbench.leaderboard.publication import shown_metrics

    shown = shown_metrics(found, registry.metrics)
    for name in shown.keys() - with_full_spectrum(registry.metrics, shown).keys():
        echo(f"{name} is of {found.metrics[name].source}, which is not installed: shown as published", err=True)
    return [shown[name] if name in shown else registry.metric(name) for name in names] or list(shown.values())


def _print_reported(suite: Suite, results: pd.DataFrame, metrics: Sequence[Metric], as_json: bool) -> None:
    """Print each reported figure beside ours, then the sources of the reported ones."""
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


def _put(page: str, output: Path | None) -> None:
    """Write the page to the file, or print it where there is none."""
    if output:
        _write(output, "--output", page.encode())
    else:
        echo(page, nl=False)


def _save(path: Path, found: Publication) -> None:
    from oodbench.leaderboard.published import results_file

    _write(path, "--save", results_file(found.results))


def _write(path: Path, option: str, data: bytes) -> None:
    from oodbench.writing import write_file

    write_file(path, data, f"{option} {path}")
    echo(f"Written to {path}", err=True)
