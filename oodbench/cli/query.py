"""``oodbench query``: SQL over a store, or over a published leaderboard."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import echo
from oodbench.cli.options import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from oodbench.leaderboard.query import Answer


@click.command()
@click.argument("sql")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@store_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def command(sql: str, folder: Path | None, store: str, as_json: bool, as_csv: bool) -> None:
    """Query a store or a published leaderboard in SQL.

    The views are results (including failures, which have no metric), scores (one row per image) and history (training
    curves); docs/columns.md lists their columns. With FOLDER, the folder of a leaderboard, the views show its
    results.parquet and, if there is one, scores.parquet. The dialect is DuckDB's, which must be installed: pip install
    'oodbench[query]'. A query can only read these views, and no other file.

    \b
    oodbench query "select detector, avg(value) from results where metric = 'auroc' group by all order by all"
    oodbench query "select run, index, score from scores order by score desc limit 5" --csv
    """
    from oodbench.leaderboard.query import query_folder, query_store
    from oodbench.store.store import Store

    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    if folder:
        found = query_folder(folder, sql)
    else:
        found = query_store(Store(store), sql, lambda key, error: echo(f"Left out: {error}", err=True))
    if as_json:
        print_json(_records(found))
    elif as_csv:
        echo(_csv(found), nl=False)
    else:
        print_table(_named(found.columns, map(_cell, row)) for row in found.rows)
        if not found.rows:
            echo("No rows.", err=True)


def _named(columns: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """Return a row by column; a number is appended to the name of a second column of the same name."""
    row: dict[str, Any] = {}
    for column, value in zip(columns, values, strict=True):
        name, number = column, 2
        while name in row:
            name, number = f"{column}_{number}", number + 1
        row[name] = value
    return row


def _records(found: Answer) -> list[dict[str, Any]]:
    return [_named(found.columns, map(_plain, row)) for row in found.rows]


def _plain(value: Any) -> Any:
    """Return the value in types that JSON has; a number that is not finite becomes None."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _cell(value: Any) -> str:
    """Return the text of a value in a table, with six digits; --csv and --json have all."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _csv(found: Answer) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(found.rows)
    return text.getvalue()
