"""SQL over the results, scores and training curves of a store, or over a published leaderboard, in DuckDB."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.errors import OODBenchError
from oodbench.leaderboard.published import load_results, results_table
from oodbench.leaderboard.score_file import load_score_table
from oodbench.store.selection import check_there
from oodbench.store.store import Store
from oodbench.store.tables import OnDamaged, history_table, results_and_failures, scores_dataset
from oodbench.text import shorten

if TYPE_CHECKING:
    import duckdb

Tables = Mapping[str, Callable[[], Any]]
"""Name of a view → function that reads it, as a pyarrow table or data set. Only what a query names is read."""

CLOSED = {
    "enable_external_access": "false",  # no file and no network from SQL
    "python_enable_replacements": "false",  # no variable of this program either
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing is written
    "lock_configuration": "true",  # and no SET changes any of it
}


@dataclass(frozen=True)
class Answer:
    """The answer to a query: the names of the columns, and the rows, each with a value per column; NULL is None."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]


def query_store(store: Store, sql: str, on_damaged: OnDamaged = None) -> Answer:
    """Answer a query over the views ``results``, ``scores`` and ``history`` of a store (docs/columns.md).

    A run or file that cannot be read is reported to ``on_damaged`` and left out; if that is None, it raises StoreError.
    Raises OODBenchError as ``answer`` does, StoreError where there is no such folder.
    """
    check_there(store)
    return answer(
        sql,
        {
            "results": lambda: results_table(results_and_failures(store, on_damaged), nan_is_null=True),
            "scores": lambda: scores_dataset(store, on_damaged),
            "history": lambda: history_table(store, on_damaged),
        },
    )


def query_folder(folder: Path, sql: str) -> Answer:
    """Answer a query over the views ``results`` and, if there are any, ``scores`` of a leaderboard's folder.

    Raises OODBenchError as ``answer`` does, and where the files are missing or hold something else.
    """
    if not os.path.isdir(folder):
        raise OODBenchError(f"there is no folder {shorten(str(folder))}; leave it out to ask a store")

    def no_history() -> Any:
        raise OODBenchError(f"{shorten(str(folder))} has no training curves; a store has: leave the folder out")

    tables: dict[str, Callable[[], Any]] = {
        "results": lambda: results_table(load_results(folder / "results.parquet").rows, nan_is_null=True),
        "scores": lambda: load_score_table(folder / "scores.parquet"),
        "history": no_history,
    }
    there = {"results.parquet": "results", "scores.parquet": "scores"}
    all_ = [view for name, view in there.items() if os.path.lexists(folder / name)]
    return answer(sql, tables, all_)


def answer(sql: str, tables: Tables, without_names: Sequence[str] | None = None) -> Answer:
    """Answer one SELECT (or DESCRIBE, SUMMARIZE, PIVOT, EXPLAIN …) over tables.

    Args:
        without_names: the tables available to a query that names none, such as ``show tables``; None for all.

    Raises OODBenchError, in one line, where DuckDB is not installed, or the SQL is invalid, does not read, or fails.
    """
    engine = _engine()
    connection = engine.connect(":memory:", config=CLOSED)
    try:
        _check_statement(connection, sql)
        named = [name for name in tables if re.search(rf"\b{name}\b", sql, re.IGNORECASE)]
        for name in named or (tables if without_names is None else without_names):
            connection.register(name, tables[name]())
        done = connection.execute(sql)
        return Answer([str(column[0]) for column in done.description or ()], done.fetchall())
    except engine.Error as error:
        raise OODBenchError(f"the query failed: {_one_line(str(error))}") from None
    finally:
        connection.close()


def _engine() -> Any:
    try:
        import duckdb
    except ImportError:
        raise OODBenchError("SQL needs DuckDB, which is not installed: pip install 'oodbench[query]'") from None
    return duckdb


def _check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise OODBenchError unless the SQL is one statement that reads; DuckDB's own error where it is not SQL."""
    from duckdb import StatementType

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise OODBenchError(f"a query is one statement, and this has {len(statements)}")
    if statements[0].type not in (StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI):
        raise OODBenchError(f"a query reads, as SELECT does, and this is {statements[0].type.name}")


def _one_line(message: str) -> str:
    """Return DuckDB's message on one line, without its picture of the query."""
    return shorten(" ".join(re.split(r"\n+LINE \d+:", message)[0].split()), 600)
