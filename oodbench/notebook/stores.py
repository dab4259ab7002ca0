"""A store as tables, arrays and detectors."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from oodbench.api import Context, ImageSet, Shape
from oodbench.builtin.own_names import LARGEST_IMAGE
from oodbench.data.loading import Loader, open_loader
from oodbench.errors import DataError, StoreError, UnknownName
from oodbench.notebook.arrays import CHANNELS
from oodbench.notebook.scorers import ArrayScorer
from oodbench.plugin.registry import load_registry
from oodbench.runs.devices import find_device
from oodbench.runs.stored import image_shape, open_detector
from oodbench.store.records import FitFacts
from oodbench.store.schema import SCORE_ARRAYS, SCORE_COLUMNS
from oodbench.store.selection import find_run
from oodbench.store.store import Store
from oodbench.store.tables import results_and_failures
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd


SCORED_SPLITS = ("test", "validation")


def open_store(address: str | os.PathLike[str] = "results", *, data_dir: str | Path | None = None) -> StoreReader:
    """Open a store for reading. Nothing is written to it.

    Args:
        address: folder or fsspec address.
        data_dir: folder of the data sets' files; None for the user's data folder.

    Raises StoreError where there is no such folder.
    """
    text = os.fspath(address)
    store = Store(text)
    if store.is_missing():
        raise StoreError(f"there is no store {shorten(text)}: oodbench.run makes one, or name another folder")
    return StoreReader(store, Path(data_dir) if data_dir else None)


def load_dataset(
    name: str, split: str = "test", *, shape: Sequence[SupportsIndex] | None = None, data_dir: str | Path | None = None
) -> ImageSet:
    """Return one split of a data set: ``images`` uint8 (n, C, H, W), ``labels`` and ``indices`` int64 (n,).

    Args:
        name: as after ``--in`` and ``--out``: ``mnist5k:0,2-9``, ``noise``, ``folder:PATH``.
        split: ``train``, ``validation`` or ``test``.
        shape: (C, H, W) to convert the images to; None for their own, where they have one.
        data_dir: folder of the data sets' files; None for the user's data folder.

    Raises UnknownName and DataError where there is no such data set, split or class, or its files are missing.
    """
    loader = open_loader(load_registry(), Path(data_dir) if data_dir else None)
    return loader.load(name, split, None if shape is None else _checked_shape(shape))


def _checked_shape(shape: Sequence[SupportsIndex]) -> Shape:
    """Return (C, H, W) as Python ints. Raises DataError where images cannot have that shape."""
    try:
        channels, height, width = map(operator.index, shape)
    except (TypeError, ValueError):
        channels = height = width = 0
    if channels not in CHANNELS or not 0 < height * width <= LARGEST_IMAGE // 3 or height < 1:
        raise DataError(f"shape is (channels, height, width), 1 or 3 channels, not {shorten(repr(shape))}")
    return channels, height, width


class StoreReader:
    """The runs of a store. A method that takes a run accepts its key, or a unique prefix of it."""

    def __init__(self, store: Store, data_dir: Path | None):
        self._store, self._data_dir = store, data_dir

    @property
    def address(self) -> str:
        """Folder or address of the store."""
        return self._store.address

    def runs(self) -> list[str]:
        """Return the keys of the finished runs, sorted."""
        return self._store.keys()

    def results(self) -> pd.DataFrame:
        """Return one row per run, out-data set and metric, and one per combination that failed.

        The columns are those of ``docs/columns.md``, except for the three that only published results have.
        """
        return results_and_failures(self._store)

    def scores(self, run: str, dataset: str | None = None, split: str = "test") -> pd.DataFrame:
        """Return one row per image of a data set that the run has scored.

        Args:
            dataset: an out-data set; None, or its own name, for the in-data.
            split: ``test``; ``validation`` where ``oodbench tune`` scored it.

        Returns the columns ``run``, ``dataset``, ``split``, ``index`` (the image's position in its source), ``label``
        (its class there) and ``score`` (higher is more out-of-distribution).

        Raises UnknownName where the run has no scores of that data set, or there is no such split.
        """
        import pandas

        if split not in SCORED_SPLITS:
            raise UnknownName("split with scores", str(split), SCORED_SPLITS)
        key = find_run(self._store, run)
        stored = self._store.read_scores(key, self._out_dataset(key, dataset, split), split)
        columns = {column: getattr(stored, field) for column, field in SCORE_ARRAYS.items()}
        facts = {"run": key, "dataset": stored.dataset, "split": stored.split}
        return pandas.DataFrame({**facts, **columns}, columns=list(SCORE_COLUMNS))

    def images(self, rows: pd.DataFrame | pd.Series) -> np.ndarray:
        """Return the images of rows that ``scores`` returned, in their order: uint8 (k, C, H, W), as they were scored.

        Example::

            scores = store.scores(run, "noise")
            most_unusual = store.images(scores.nlargest(8, "score"))

        Args:
            rows: of one run and one data set; one row alone gives k = 1.

        Raises DataError for any other rows, StoreError where the images are no longer those that were scored.
        """
        table = _as_table(rows)
        key, dataset, split = (_one_value(table, name) for name in ("run", "dataset", "split"))
        run, _ = self._store.read_run(key)
        registry, loader = load_registry(), self._loader()
        is_in = dataset == run.in_dataset
        shape = None if is_in else image_shape(key, self._store, registry, loader)
        found = loader.load(dataset, split, shape)
        stored = self._store.read_scores(key, None if is_in else dataset, split)
        if found.fingerprint != stored.fingerprint:
            raise StoreError(f"the images of {dataset} are no longer those that were scored: run {key} on them again")
        chosen: np.ndarray = found.images[_places(found.indices, table["index"].to_numpy(np.int64))]
        return chosen

    def files(self, rows: pd.DataFrame | pd.Series) -> list[Path]:
        """Return the picture files of rows of ``scores``, of a data set such as ``folder:PATH``, in their order.

        Raises DataError where its images are not files, StoreError where the files are not those that were scored.
        """
        table = _as_table(rows)
        self.images(table)  # raises if the images have changed
        dataset, split = (_one_value(table, name) for name in ("dataset", "split"))
        location = self._loader().find(dataset)[0].location
        if location is None or location.files is None:
            raise DataError(f"the images of {dataset} are no picture files; images(rows) gives them")
        files = location.files(split)
        return [files[index] for index in table["index"]]

    def history(self, run: str) -> pd.DataFrame:
        """Return a run's training curve: one row per epoch, as its detector recorded it; empty if it recorded none."""
        return self._store.read_history(find_run(self._store, run))

    def detector(self, run: str, *, file: str = "", device: str = "auto", quiet: bool = False) -> ArrayScorer:
        """Return the fitted detector of a run, to score other images with. Its in-data is not needed.

        Args:
            file: file and class of a detector in a user's own file: ``./my_method.py:MyMethod``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
            quiet: show no progress.

        Raises OODBenchError where the installed code is not the run's.
        """
        key = find_run(self._store, run)
        words, provenance = self._store.read_run(key)
        context = Context(find_device(device), words.seed, words.precision)
        registry = load_registry(files=[file] if file else ())
        fitted = open_detector(key, self._store, registry, self._loader(), context)
        software = {name: getattr(provenance, name) for name in ("oodbench", "torch", "python")}
        facts = FitFacts(words, fitted.shape, software, provenance.notes)
        return ArrayScorer(words.detector, context.device, words.seed, words.precision, quiet, fitted, facts)

    def _out_dataset(self, key: str, dataset: str | None, split: str) -> str | None:
        """Return the name that scores are stored under; None for the in-data."""
        run, _ = self._store.read_run(key)
        if dataset in (None, run.in_dataset):
            return None
        known = self._store.out_datasets(key)
        if split == "test" and dataset not in known:
            raise UnknownName(f"data set with scores of {key}", str(dataset), [run.in_dataset, *known])
        return dataset

    def _loader(self) -> Loader:
        return open_loader(load_registry(), self._data_dir)

    def __repr__(self) -> str:
        return f"<store {self.address}, {len(self.runs())} runs>"


def _as_table(rows: pd.DataFrame | pd.Series) -> pd.DataFrame:
    import pandas

    return rows.to_frame().T if isinstance(rows, pandas.Series) else rows


def _one_value(table: pd.DataFrame, column: str) -> str:
    if not {column, "index"} <= set(table.columns):
        raise DataError(f"the rows have no column {column!r} or 'index': give rows of what scores() returned")
    values = table[column].unique()
    if len(values) != 1:
        raise DataError(f"the rows have {len(values)} values of {column!r}: give those of one run and data set")
    return str(values[0])


def _places(indices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions of the wanted indices among the set's."""
    order = np.argsort(indices, kind="stable")
    found = np.searchsorted(indices[order], wanted)
    inside = found < len(indices)
    if not inside.all() or (indices[order][found] != wanted).any():
        raise DataError("the rows have an index that the data set has no image of")
    return np.asarray(order[found])
