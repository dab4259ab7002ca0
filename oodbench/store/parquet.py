"""Tables ↔ Parquet files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import Result, Scores
from oodbench.store import records, schema

if TYPE_CHECKING:
    import pandas
    import pyarrow

SMALL_ROWS = 1_000
SMALL = {"compression": "snappy", "use_dictionary": False, "write_statistics": False}
"""How tables of at most SMALL_ROWS rows are written: a run's results are read in half the time that zstd and
dictionaries take, from two thirds of the bytes."""


def scores_table(scores: Scores) -> pyarrow.Table:
    """Return scores as one row per image, with the facts common to all of them in the metadata."""
    import pyarrow

    arrays = {column: getattr(scores, field) for column, field in schema.SCORE_ARRAYS.items()}
    scalars = {name: getattr(scores, name) for name in schema.SCORE_SCALARS}
    facts = json.dumps({**scalars, "count": len(scores.values)})
    table = pyarrow.table(arrays, schema=schema.scores_schema())
    return table.replace_schema_metadata({schema.SCORE_METADATA: facts})


def results_table(results: Iterable[Result], key: str) -> pyarrow.Table:
    """Return the results of a run, one row each. Raises ValueError for what ``parse_results`` would refuse."""
    import pyarrow

    rows = records.parse_results([vars(result) for result in results], key)
    return pyarrow.Table.from_pylist(rows, schema.results_schema())


def parse_scores(data: bytes) -> Scores:
    """Return the scores in a file's bytes. Raises ValueError where they are invalid."""
    read = read_table(data)
    table = read.cast(schema.scores_schema())
    if any(column.null_count for column in table.columns):
        raise ValueError("it lacks values")
    columns = {name: table[name].to_numpy() for name in schema.SCORE_ARRAYS}
    return records.parse_scores(read.schema.metadata[schema.SCORE_METADATA], columns)


def parse_results(data: bytes, key: str) -> list[dict[str, Any]]:
    """Return the results in the bytes of a run's file (see ``records.parse_results``).

    Raises ValueError where they are invalid.
    """
    return records.parse_results(read_table(data).to_pylist(), key)


def history_table(history: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Return a training curve, one row per epoch.

    A column that Parquet cannot store, such as one that mixes numbers with texts, becomes texts: a curve is no reason
    to lose a fit.
    """
    import pandas
    import pyarrow

    frame = pandas.DataFrame(list(history))
    for name in frame:
        if not _can_be_written(frame[[name]]):
            frame[name] = frame[name].map(str)
    return pyarrow.Table.from_pandas(frame, preserve_index=False)


def _can_be_written(frame: pandas.DataFrame) -> bool:
    import pyarrow

    try:
        to_bytes(pyarrow.Table.from_pandas(frame, preserve_index=False))  # some types fail only here
    except (pyarrow.ArrowException, OverflowError):
        return False
    return True


def to_bytes(table: pyarrow.Table) -> bytes:
    """Return a table as a Parquet file, compressed, each page with a checksum."""
    from pyarrow import parquet

    sink = io.BytesIO()
    options = SMALL if len(table) <= SMALL_ROWS else {"compression": "zstd"}
    parquet.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue()


def read_table(data: bytes) -> pyarrow.Table:
    """Return the table in a Parquet file's bytes. Raises ValueError where it, or a page by its checksum, is damaged."""
    from pyarrow import BufferReader, parquet

    try:
        file = parquet.ParquetFile(BufferReader(data), page_checksum_verification=True)
        return file.read(use_threads=False)  # files are small, and many: handing them to threads takes longer
    except Exception as error:  # pyarrow's errors are many, and name its own parts
        is_changed = "CRC" in str(error)
        raise ValueError("a page's checksum is wrong" if is_changed else "it is no whole Parquet file") from error
