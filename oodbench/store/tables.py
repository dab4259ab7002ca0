"""All runs of a store as three tables: results, scores, and training curves, with the columns that ``schema`` names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from oodbench.errors import StoreError
from oodbench.store import records, schema
from oodbench.store.faults import why
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import pyarrow.dataset

OnDamaged = Callable[[str, StoreError], None] | None
SPLIT_FOLDERS = ("", "validation")
"""Folders below a run's ``scores``, as ``Store`` lays them out: the test split is in ``scores`` itself."""


def results_and_failures(store: Store, on_damaged: OnDamaged = None) -> pandas.DataFrame:
    """Return the rows of ``Store.read_results``, then those of ``Store.read_failures``."""
    import pandas

    frames = [store.read_results(on_damaged=on_damaged), store.read_failures(on_damaged=on_damaged)]
    return pandas.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def scores_dataset(store: Store, on_damaged: OnDamaged = None) -> pyarrow.dataset.Dataset:
    """Return the scores of all runs, SCORE_COLUMNS, read from their files only when they are scanned.

    Scores that are not of the run's fit, and files and runs that cannot be read, go to ``on_damaged`` and are left out;
    where it is None they raise StoreError.
    """
    import pyarrow as pa
    from pyarrow import dataset

    options = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    files = dataset.ParquetFileFormat(default_fragment_scan_options=options)
    system, fragments = _file_system(store), []
    for key in store.keys():
        try:
            for path, facts in _score_files(store, key, system):
                constants = {"run": key, "dataset": facts["dataset"], "split": facts["split"]}
                fragments.append(files.make_fragment(store.files.place(path), system, _all_equal(constants)))
        except StoreError as error:
            if on_damaged is None:
                raise
            on_damaged(key, error)
    texts = [(name, pa.string()) for name in schema.SCORE_COLUMNS if name not in schema.SCORE_ARRAYS]
    return dataset.FileSystemDataset(fragments, pa.schema([*texts, *schema.scores_schema()]), files, system)


def _file_system(store: Store) -> Any:
    from pyarrow import fs

    return fs.LocalFileSystem() if store.files.local else fs.PyFileSystem(fs.FSSpecHandler(store.files.fs))


def _all_equal(values: dict[str, str]) -> Any:
    """Return the expression from which pyarrow takes the columns that are not in a file's content."""
    from pyarrow import dataset

    parts = [dataset.field(name) == value for name, value in values.items()]
    return parts[0] & parts[1] & parts[2]


def _score_files(store: Store, key: str, system: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the facts of each score file of a run. Raises StoreError."""
    fit_id = store.fit_id(key)
    for folder in SPLIT_FOLDERS:
        place = f"{key}/scores/{folder}".rstrip("/")
        for name in store.files.names(place):
            if name.endswith(".parquet"):
                path = f"{place}/{name}"
                facts = _facts(store, path, system)
                if facts["fit_id"] != fit_id:
                    raise StoreError(f"{store.files.where(path)} has scores of another fit than run.json; delete it")
                yield path, facts


def _facts(store: Store, path: str, system: Any) -> dict[str, Any]:
    """Return the facts common to all scores of a file; only its end is read."""
    from pyarrow import parquet

    try:
        if store.files.local and not os.path.isfile(store.files.place(path)):  # reading a pipe would block
            raise ValueError("it is no regular file")
        read = parquet.read_schema(store.files.place(path), filesystem=system)
        if read.remove_metadata() != schema.scores_schema():
            raise ValueError("it has other columns")
        return records.parse_score_facts(read.metadata[schema.SCORE_METADATA])
    except Exception as error:  # pyarrow's errors are many
        where = store.files.where(path)
        raise StoreError(f"{where} is damaged ({why(error)}); delete it, and `oodbench run` scores it again") from error


def history_table(store: Store, on_damaged: OnDamaged = None) -> pyarrow.Table:
    """Return the training curves of all runs, HISTORY_COLUMNS: the numbers that each recorded, one row each."""
    import pyarrow as pa

    kinds = {"number": pa.int64(), "epoch": pa.int64(), "value": pa.float64()}
    table = pa.schema([(name, kinds.get(name, pa.string())) for name in schema.HISTORY_COLUMNS])
    rows = []
    for key in store.keys():
        try:
            rows.append(_curve(key, store.read_history(key)))
        except StoreError as error:
            if on_damaged is None:
                raise
            on_damaged(key, error)
    return pa.concat_tables([table.empty_table(), *(pa.Table.from_pydict(each, table) for each in rows)])


def _curve(key: str, history: pandas.DataFrame) -> dict[str, list[Any]]:
    """Return one training curve: column → values. Missing values, and those that are not numbers, are left out."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    columns: dict[str, list[Any]] = {name: [] for name in schema.HISTORY_COLUMNS}
    names = [name for name in history if is_numeric_dtype(history[name]) and not is_bool_dtype(history[name])]
    for number, row in enumerate(history.to_dict("records"), 1):
        epoch, phase = row.get("epoch"), row.get("phase")
        facts = {"run": key, "number": number, "phase": None if phase is None else str(phase)}
        facts["epoch"] = int(epoch) if isinstance(epoch, int | float) and epoch == epoch else None
        for name in names:
            if name != "epoch" and row[name] == row[name]:
                for column, value in {**facts, "quantity": str(name), "value": float(row[name])}.items():
                    columns[column].append(value)
    return columns
