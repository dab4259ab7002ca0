"""The folder of a suite: what to run, what came out, what others reported, and the page of it all.

suite.toml        what to run
results.parquet   what came out: the results that the page shows
reported.toml     figures that others reported (see ``reported``); may be missing
notes.md          what a person has to say about it, at the head of the page; may be missing
README.md         the page, generated from the others, so that anyone can verify it
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Run
from oodbench.data.loading import Loader
from oodbench.errors import OODBenchError
from oodbench.folders import cache_folder, data_folder
from oodbench.leaderboard import tables
from oodbench.leaderboard.reported import LiteratureResult, compare, read_reported
from oodbench.plan.requests import RunRequest
from oodbench.plan.suite_files import read_suite
from oodbench.plan.tasks import plan
from oodbench.store.schema import IDENTITY_COLUMNS, LATER_COLUMNS, RESULT_COLUMNS, RUN_COLUMNS
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.api import Metric
    from oodbench.plugin.registry import Registry

MADE_BY = (
    "In this folder, `oodbench run suite.toml` makes them, and "
    "`oodbench leaderboard suite.toml --save results.parquet --output README.md` puts them here."
)
IDENTITY = list(IDENTITY_COLUMNS)
COLUMNS = [*RESULT_COLUMNS, *RUN_COLUMNS]


@dataclass(frozen=True)
class Suite:
    """What a suite's folder says. ``words`` are empty for no suite: all results are meant. ``reported`` is None where
    there is no such file.
    """

    words: Sequence[RunRequest] = ()
    reported: Sequence[LiteratureResult] | None = None
    notes: str = ""

    @property
    def title(self) -> str:
        return next((words.title for words in self.words if words.title), "")


def open_suite(path: Path) -> Suite:
    """The suite of this file, or in this folder, with what lies beside the file."""
    folder = path if path.is_dir() else path.parent
    reported, notes = folder / "reported.toml", folder / "notes.md"
    return Suite(
        read_suite(path),
        read_reported(reported) if reported.exists() else None,
        _read(notes).decode().strip() if notes.exists() else "",
    )


# ---------------------------------------------------------------------------------------- results


def stored_results(suite: Suite, store: str, registry: Registry) -> tuple[pd.DataFrame, int]:
    """The results of the suite that a store has, and how many of the suite's runs have none.

    A result is the suite's where its detector, plugin version, parameters, in-data set, seed, precision and out-data
    set are. The data need not be there.
    """
    results = Store(store).read_results()
    if not suite.words:
        return results, 0
    tasks = plan(suite.words, registry, Loader(registry, data_folder(), cache_folder()))
    out_datasets_by_run = {_identity(task.run): task.out_datasets for task in tasks}
    identities = results[IDENTITY].itertuples(index=False, name=None)
    pairs = zip(identities, results["out_dataset"], strict=True)
    found = _only(results, [out in out_datasets_by_run.get(identity, ()) for identity, out in pairs])
    return found, len(tasks) - len(found[IDENTITY].drop_duplicates())


def _identity(run: Run) -> tuple[str | int, ...]:
    """What makes a run, in the order of IDENTITY, but for the images, which need not be here."""
    return run.detector, run.version, run.distribution, run.params, run.in_dataset, run.seed, run.precision


def results_from_file(suite: Suite, path: Path) -> pd.DataFrame:
    """The results of the suite in a file that ``as_file`` made.

    They are recognised by the suite's names and seeds alone: what was published stays a record of what was run then,
    also when a preset or a plugin's version has changed since.
    """
    results = load_results(path)
    if not suite.words:
        return results
    rows = zip(*(results[name] for name in ("detector", "in_dataset", "out_dataset", "seed")), strict=True)
    return _only(results, [any(_names(words, *row) for words in suite.words) for row in rows])


def _names(words: RunRequest, detector: str, in_dataset: str, out_dataset: str, seed: int) -> bool:
    named = detector in words.detectors and in_dataset in words.in_datasets and out_dataset in words.out_datasets
    return named and seed in (words.seeds or (0,))


def _only(results: pd.DataFrame, keep: Sequence[bool]) -> pd.DataFrame:
    """Some of the rows, in an order that does not depend on where they were read from."""
    order = ["in_dataset", "detector", "run", "out_dataset", "metric"]
    return results[np.array(keep, dtype=bool)].sort_values(order, ignore_index=True)


def load_results(path: Path) -> pd.DataFrame:
    """Rows as ``Store.read_results`` gives them, from a file that ``as_file`` made."""
    import pandas as pd

    data = io.BytesIO(_read(path))
    try:
        results = pd.read_parquet(data)
        known = dict.fromkeys(LATER_COLUMNS, "") | {name: results[name] for name in results}
        return pd.DataFrame(known)[COLUMNS]
    except Exception as error:  # pyarrow's errors are many
        why = " ".join(str(error).split())
        raise OODBenchError(f"{path} holds no results ({why}); `oodbench leaderboard --save` writes them") from None


def as_file(results: pd.DataFrame) -> bytes:
    """The results that a page shows, as the Parquet file beside it: small, and enough to verify the page."""
    file = io.BytesIO()
    results[COLUMNS].to_parquet(file, index=False, compression="zstd")
    return file.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OODBenchError(f"{path} cannot be read: {error.strerror}") from None


# ------------------------------------------------------------------------------------------ views


def page(suite: Suite, results: pd.DataFrame, metrics: Iterable[Metric], title: str = "") -> str:
    """The suite's page in Markdown. Raises OODBenchError where neither we nor others have any results."""
    to_do = "" if len(results) else f"There are no results of ours here yet. {MADE_BY}"
    introduction = "\n\n".join(filter(None, [suite.notes, to_do]))
    return tables.render(results, metrics, title or suite.title, suite.reported, introduction)


def records(suite: Suite, results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Our cells as ``tables.records`` gives them; none where only reported figures are there."""
    if results.empty and suite.reported is not None:
        return []
    return tables.records(results, metrics)


def comparison(suite: Suite, results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Every reported figure of these metrics beside ours (see ``reported.compare``)."""
    metrics = list(metrics)
    names = {metric.name for metric in metrics}
    figures = [figure for figure in suite.reported or () if figure.metric in names]
    if not figures:
        raise OODBenchError("the suite has no reported figures; they stand in a file reported.toml beside it")
    return compare(records(suite, results, metrics), figures)
