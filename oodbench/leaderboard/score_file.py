"""The scores of all published runs ↔ one Parquet file: exact, small, and checked when read.

One row per run, data set and image: run, dataset, split, index, label, score. Bytes of equal significance are grouped
(byte-stream split) before compression, so that a score that fits a float32 takes only the room of one: about 3.5 bytes.
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api.full_spectrum import covariate_sets, joined
from oodbench.errors import OODBenchError, reason
from oodbench.reading import read_bytes
from oodbench.store import schema
from oodbench.text import shorten

if TYPE_CHECKING:
    import pyarrow

NAMES = ("run", "dataset", "split")
LARGEST_FILE = 2**31  # bytes
LARGEST_COUNT = 2**28  # scores; 2 GiB of them
FORMAT = 1


@dataclass(frozen=True, eq=False)
class ImageScores:
    """The scores of one run on one split of one data set: indices, labels (n,) int64, values (n,) float64."""

    run: str
    dataset: str
    split: str
    indices: np.ndarray
    labels: np.ndarray
    values: np.ndarray


ScoreTable = dict[tuple[str, str], ImageScores]
"""(run, data set) → scores of its test split."""


def in_scores(scores: ScoreTable, run: str, in_dataset: str, covariate: str = "") -> ImageScores | None:
    """Return a run's scores that count as in-distribution: of its in-data and, in full spectrum, of the shifted sets.

    Return None where some are missing.

    Args:
        covariate: the covariate-shifted sets, as recorded in a result (see ``full_spectrum.covariate_text``).
    """
    parts = [scores.get((run, name)) for name in (in_dataset, *covariate_sets(covariate))]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    whole: ImageScores = found[0] if len(found) == 1 else joined(found)
    return whole


def scores_file(scores: ScoreTable) -> bytes:
    """Return the scores as a Parquet file, sorted by run and data set, the images in their order."""
    import pyarrow as pa
    from pyarrow import parquet

    parts = [scores[place] for place in sorted(scores)]
    lengths = [len(part.values) for part in parts]
    columns: dict[str, pa.Array] = {}
    for name in NAMES:
        texts = [getattr(part, name) for part in parts]
        values = sorted(set(texts))
        codes = np.repeat([values.index(text) for text in texts], lengths).astype(np.int32)
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))
    for column, field in schema.SCORE_ARRAYS.items():
        kind = np.float64 if column == "score" else np.int64
        arrays = [getattr(part, field) for part in parts]
        columns[column] = pa.array(np.concatenate(arrays).astype(kind) if parts else np.empty(0, kind))
    table = pa.table(columns).replace_schema_metadata({schema.SCORE_METADATA: json.dumps({"format": FORMAT})})
    sink = io.BytesIO()
    parquet.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=19,
        write_page_checksum=True,
        use_dictionary=[*NAMES, "label"],
        column_encoding={"index": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"},
    )
    return sink.getvalue()


def load_scores(path: Path) -> ScoreTable:
    """Return what ``scores_file`` wrote to this file. Raises OODBenchError as ``parse_scores`` does."""
    return parse_scores(read_bytes(path, LARGEST_FILE), str(path))


def parse_scores(data: bytes, where: str) -> ScoreTable:
    """Return the scores in a file's bytes.

    Raises OODBenchError where the file has no scores, or has invalid ones: of a wrong type, not finite, too many, of
    another split than test, a test split in two pieces, or an image twice.
    """
    return _checked(data, where, lambda table: {(part.run, part.dataset): part for part in _parts(table)})


def load_score_table(path: Path) -> pyarrow.Table:
    """Return the rows of a file as a table. Raises OODBenchError as ``parse_scores`` does."""

    def check(table: pyarrow.Table) -> pyarrow.Table:
        deque(_parts(table), maxlen=0)
        return table

    return _checked(read_bytes(path, LARGEST_FILE), str(path), check)


def _checked(data: bytes, where: str, parse: Callable[[pyarrow.Table], Any]) -> Any:
    try:
        return parse(_table(data))
    except Exception as error:  # pyarrow raises many kinds
        why = shorten(str(error) if isinstance(error, ValueError | OSError) else reason(error))
        raise OODBenchError(f"{where} holds no scores ({why}); `oodbench publish` writes them") from None


def _table(data: bytes) -> pyarrow.Table:
    """Return the columns, each of its type. The number of rows is checked before anything is unpacked."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {name: pa.dictionary(pa.int32(), pa.string()) for name in NAMES}
    kinds |= {"index": pa.int64(), "label": pa.int64(), "score": pa.float64()}
    missing = [name for name in kinds if name not in parquet.read_schema(pa.BufferReader(data)).names]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    file = parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, read_dictionary=[*NAMES])
    if file.metadata.num_rows > LARGEST_COUNT:
        raise ValueError(f"it has more than {LARGEST_COUNT:,} scores")
    about = json.loads((file.schema_arrow.metadata or {}).get(schema.SCORE_METADATA, b"{}"))
    if not isinstance(about, dict) or not isinstance(about.get("format", 0), int):
        raise ValueError("its metadata are not those of scores")
    if about.get("format", 0) > FORMAT:
        raise ValueError("a newer oodbench wrote it; `pip install --upgrade oodbench`")
    table = file.read(columns=[*kinds])
    for name, kind in kinds.items():
        if table[name].type != kind:
            raise ValueError(f"its column {name} is {table[name].type}")
        if table[name].null_count:
            raise ValueError(f"its column {name} lacks values")
    return table.unify_dictionaries().combine_chunks()


def _parts(table: pyarrow.Table) -> Iterable[ImageScores]:
    """Yield one piece per run, data set and split. Raises ValueError for invalid scores."""
    if not table.num_rows:
        return
    names = {name: table[name].combine_chunks() for name in NAMES}
    codes = np.stack([names[name].indices.to_numpy() for name in NAMES])
    texts = {name: names[name].dictionary.to_pylist() for name in NAMES}
    arrays = {field: table[column].to_numpy() for column, field in schema.SCORE_ARRAYS.items()}
    if not np.isfinite(arrays["values"]).all():
        raise ValueError("it has scores that are not finite")
    starts = np.flatnonzero(np.r_[True, (codes[:, 1:] != codes[:, :-1]).any(axis=0)])
    seen = set[tuple[str, str]]()
    for start, end in zip(starts, [*starts[1:], table.num_rows], strict=True):
        run, dataset, split = (texts[name][code] for name, code in zip(NAMES, codes[:, start], strict=True))
        piece = {field: array[start:end] for field, array in arrays.items()}
        if split != "test" or (run, dataset) in seen:
            raise ValueError(f"it has the scores of {run} on {dataset} twice, or of another split than test")
        if len(np.unique(piece["indices"])) < end - start:
            raise ValueError(f"it has two scores of one image of {dataset} by {run}")
        seen.add((run, dataset))
        yield ImageScores(run, dataset, split, **piece)
