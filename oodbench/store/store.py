"""Step 4: runs, scores and results ↔ files; the only file that knows their names and columns.

A store is a folder or any fsspec address, with one sub-folder a run::

    <run key>/run.json              Run and Provenance; written last of the fit, so its presence means "fitted"
              weights.safetensors   what was learnt
              history.parquet       the training curve
              scores/in.parquet     the score of every image of the in-data's test split
              scores/<out>.parquet  the same of each out-data set
              scores/validation/…   the same of validation splits, for ``oodbench tune``; never a result
              results.parquet       metrics of these scores
              checkpoint.pt         only while the fit is under way
              .lock                 held by the process that works on the run
    failures/<combination>.json     combinations that failed, with their error
    tunings/<tuning key>.json       what ``oodbench tune`` chose, and why

Each file appears whole or not at all; names that begin with a dot are never read (see ``files``).
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from oodbench.api import Provenance, Result, Run, Scores, file_name
from oodbench.errors import StoreError
from oodbench.store.files import DELETE, Files

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import torch

FAILURES = "failures"
TUNINGS = "tunings"
LOCK = ".lock"
META = b"oodbench"
"""Key of the Parquet schema's metadata that holds the scalar fields of Scores as JSON."""
ARRAYS = {"index": ("indices", "int64"), "label": ("labels", "int64"), "score": ("values", "float64")}
"""Column of a score file → field of Scores and its type."""
SCALARS = ("dataset", "split", "fingerprint", "images_per_second", "device")
KINDS = {"str": "string", "int": "int64", "float": "float64"}
RESULT_COLUMNS = {field.name: KINDS[str(field.type)] for field in dataclasses.fields(Result)}
RUN_COLUMNS = (
    "preset", "precision", "plugin_version", "params", "device", "fit_seconds", "parameters", "notes", "n_train",
    "in_images",
)  # fmt: skip
"""Facts of a run that ``read_results`` puts beside each of its results."""


class Store:
    """All files of one store. Reading and writing raise StoreError naming the file."""

    def __init__(self, address: str):
        self.address = address
        self.files = Files(address)

    def check_writable(self) -> None:
        """StoreError if nothing can be written; the store's folder is made if there is none."""
        self.files.check_writable()

    def claim(self, key: str, on_wait: Callable[[str], None] | None = None) -> AbstractContextManager[None]:
        """Work on a run while no other process does; waits, after telling ``on_wait`` once, if one does already.

        The claim of a process that is killed vanishes with it. Only a local file system has such locks: elsewhere this
        does nothing, and two processes on one store may fit the same run twice.
        """
        waiting = f"waiting for another process that works on {key}"
        return self.files.lock(f"{key}/{LOCK}", lambda: on_wait(waiting) if on_wait else None)

    def where(self, key: str) -> str:
        """The folder of a run."""
        return self.files.where(key)

    # ------------------------------------------------------------------------------------ fits

    def keys(self) -> list[str]:
        """The finished runs, sorted."""
        return [key for key in self.files.names() if self.is_fitted(key)]

    def is_fitted(self, key: str) -> bool:
        return self.files.exists(f"{key}/run.json")

    def write_fit(
        self,
        key: str,
        run: Run,
        provenance: Provenance,
        weights: dict[str, torch.Tensor],
        history: list[dict[str, Any]],
    ) -> None:
        """Keep a finished fit. Its checkpoint goes, and what an earlier one left whose ``clear`` was cut short."""
        import pandas
        import pyarrow
        from safetensors.torch import save

        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
        self.files.write(f"{key}/weights.safetensors", save(plain))
        curve = pyarrow.Table.from_pandas(pandas.DataFrame(history), preserve_index=False)
        self.files.write(f"{key}/history.parquet", _parquet(curve))
        for stale in ("results.parquet", "scores"):
            self.files.remove(f"{key}/{stale}")
        record = {"run": vars(run), "provenance": vars(provenance)}
        self.files.write(f"{key}/run.json", _json(record))
        self.files.remove(f"{key}/checkpoint.pt")

    def read_run(self, key: str) -> tuple[Run, Provenance]:
        def parse(data: bytes) -> tuple[Run, Provenance]:
            record = json.loads(data)
            notes = tuple(record["provenance"].pop("notes"))
            return Run(**record["run"]), Provenance(**record["provenance"], notes=notes)

        return self.files.read(f"{key}/run.json", parse)

    def read_weights(self, key: str, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        from safetensors.torch import load

        weights = self.files.read(f"{key}/weights.safetensors", load)
        return {name: tensor.to(device) for name, tensor in weights.items()}

    def read_history(self, key: str) -> pandas.DataFrame:
        """One row an epoch, as the detector wrote them; a value that an epoch lacks is NaN."""
        return self.files.read(f"{key}/history.parquet", lambda data: _table(data).to_pandas())

    def checkpoints(self, key: str) -> StoreCheckpoints:
        return StoreCheckpoints(self.files, f"{key}/checkpoint.pt")

    def clear(self, key: str) -> None:
        """Remove all of a run but its lock; what makes it count as finished goes first. For ``--force``."""
        for name in ["run.json", *self.files.names(key, hidden=True)]:
            if name != LOCK:
                self.files.remove(f"{key}/{name}")

    # ------------------------------------------------------------------------ scores and results

    def write_scores(self, key: str, scores: Scores, out: bool) -> None:
        """Keep the scores of an out-data set, or of the in-data. Results of older test scores are dropped."""
        import pyarrow

        results = self._results(key) if scores.split == "test" else []
        kept = [row for row in results if out and row["out_dataset"] != scores.dataset]
        if len(kept) < len(results):
            self._write_results(key, kept)
        columns = {name: pyarrow.array(getattr(scores, of), kind) for name, (of, kind) in ARRAYS.items()}
        facts = json.dumps({name: getattr(scores, name) for name in SCALARS})
        table = pyarrow.table(columns).replace_schema_metadata({META: facts})
        self.files.write(self._scores_path(key, scores.dataset if out else None, scores.split), _parquet(table))

    def read_scores(self, key: str, dataset: str | None, split: str = "test") -> Scores:
        """The scores of an out-data set; of the in-data where ``dataset`` is None."""
        return self._read_scores(self._scores_path(key, dataset, split))

    def has_scores(self, key: str, dataset: str | None, fingerprint: str, split: str = "test") -> bool:
        """Whether the scores of just these images are there; StoreError if the file is damaged."""
        path = self._scores_path(key, dataset, split)
        return self.files.exists(path) and self._read_scores(path).fingerprint == fingerprint

    def out_datasets(self, key: str) -> list[str]:
        """The out-data sets whose test splits have scores, sorted."""
        names = [name for name in self.files.names(f"{key}/scores") if name.endswith(".parquet")]
        paths = [f"{key}/scores/{name}" for name in names if name != "in.parquet"]
        return sorted(self._read_scores(path).dataset for path in paths)

    def write_results(self, key: str, results: Iterable[Result]) -> None:
        """Add results to a run's; those of the same out-data set and metric are replaced."""
        new = {(result.out_dataset, result.metric): vars(result) for result in results}
        kept = [row for row in self._results(key) if (row["out_dataset"], row["metric"]) not in new]
        self._write_results(key, [*kept, *new.values()])

    def read_results(self, keys: Sequence[str] | None = None) -> pandas.DataFrame:
        """One row a result of these runs, or of all finished ones: the fields of Result, then RUN_COLUMNS."""
        import pandas

        rows = []
        for key in self.keys() if keys is None else keys:
            run, provenance = self.read_run(key)
            facts = {**vars(provenance), **vars(run)}
            facts |= {"notes": "; ".join(provenance.notes), "n_train": provenance.images.get("train", 0)}
            rows += [{**row, **{name: facts[name] for name in RUN_COLUMNS}} for row in self._results(key)]
        return pandas.DataFrame(rows, columns=[*RESULT_COLUMNS, *RUN_COLUMNS])

    def _read_scores(self, path: str) -> Scores:
        return self.files.read(path, _scores, f"{DELETE}`oodbench run` or `tune` scores these images again")

    def _scores_path(self, key: str, dataset: str | None, split: str) -> str:
        if dataset == "in":
            raise StoreError(
                "a data set cannot be called 'in': its scores would replace those of the in-data; rename it"
            )
        folder = f"{key}/scores" if split == "test" else f"{key}/scores/{split}"
        return f"{folder}/{'in' if dataset is None else file_name(dataset)}.parquet"

    def _results(self, key: str) -> list[dict[str, Any]]:
        path = f"{key}/results.parquet"
        if not self.files.exists(path):
            return []
        remedy = f"{DELETE}`oodbench evaluate` makes it again"
        return self.files.read(path, lambda data: [vars(Result(**row)) for row in _table(data).to_pylist()], remedy)

    def _write_results(self, key: str, rows: list[dict[str, Any]]) -> None:
        import pyarrow

        schema = pyarrow.schema([pyarrow.field(name, kind) for name, kind in RESULT_COLUMNS.items()])
        self.files.write(f"{key}/results.parquet", _parquet(pyarrow.Table.from_pylist(rows, schema)))

    # --------------------------------------------------------------------------------- failures

    def write_failure(self, run: Run, out_dataset: str | None, error: str, traceback: str) -> None:
        """Record that a combination failed; ``out_dataset`` is None where the fit itself did."""
        record = {**vars(run), "out_dataset": out_dataset, "error": error, "traceback": traceback}
        self.files.write(_failure_path(run, out_dataset), _json(record))

    def clear_failure(self, run: Run, out_dataset: str | None) -> None:
        self.files.remove(_failure_path(run, out_dataset))

    def failures(self) -> list[dict[str, Any]]:
        """What ``write_failure`` was given, one dict a combination, sorted by combination."""
        names = [name for name in self.files.names(FAILURES) if name.endswith(".json")]
        return [self.files.read(f"{FAILURES}/{name}", json.loads, "delete it") for name in names]

    # ---------------------------------------------------------------------------------- tunings

    def write_tuning(self, key: str, record: dict[str, Any]) -> None:
        self.files.write(f"{TUNINGS}/{key}.json", _json(record))

    def read_tuning(self, key: str) -> dict[str, Any] | None:
        path = f"{TUNINGS}/{key}.json"
        return self.files.read(path, json.loads, "delete it") if self.files.exists(path) else None

    def where_tuning(self, key: str) -> str:
        return self.files.where(f"{TUNINGS}/{key}.json")


class StoreCheckpoints:
    """Where the state of one fit is kept: nested dicts and lists of tensors, strings and numbers."""

    def __init__(self, files: Files, path: str):
        self.files, self.path = files, path

    def save(self, state: dict[str, Any]) -> None:
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.files.write(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The last state, its tensors on the CPU; None where there is none or it cannot be read."""
        import torch

        if not self.files.exists(self.path):
            return None

        def parse(data: bytes) -> dict[str, Any]:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)

        with suppress(StoreError):
            return self.files.read(self.path, parse)
        return None


def _failure_path(run: Run, out_dataset: str | None) -> str:
    """Without the data's fingerprint: what failed may be the data."""
    parts = [run.key(fingerprint=""), *([file_name(out_dataset)] if out_dataset else [])]
    return f"{FAILURES}/{'.'.join(parts)}.json"


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=2, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Mappings and sequences of other kinds than JSON knows."""
    return dict(value) if hasattr(value, "keys") else list(value)


def _scores(data: bytes) -> Scores:
    table = _table(data)
    facts = json.loads(table.schema.metadata[META])
    return Scores(**facts, **{of: table[name].to_numpy() for name, (of, _) in ARRAYS.items()})


def _parquet(table: pyarrow.Table) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _table(data: bytes) -> pyarrow.Table:
    from pyarrow import BufferReader, parquet

    return parquet.ParquetFile(BufferReader(data), page_checksum_verification=True).read()
