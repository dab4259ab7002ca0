"""Scores of new images from a finished run, with p-values from the scores of the run's own test images.

The p-value of an image is its rank among the scores of the in-data's test split, which the detector was not fitted to:
p = (1 + number of these scores that are at least as high) / (1 + number of these scores). Of images that are like the
in-data, at most a share α has p ≤ α (Vovk et al., Algorithmic Learning in a Random World, 2005, conformal p-values).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Context, Detector, ImageSet, Progress
from oodbench.errors import DataError, OODBenchError
from oodbench.runs.new_images import NewImages, Part, open_images
from oodbench.runs.scoring import score
from oodbench.runs.stored import image_shape, open_detector
from oodbench.store.selection import RunWords, find_run
from oodbench.text import shorten
from oodbench.writing import write_file

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from oodbench.data.loading import Loader
    from oodbench.store.store import Store

SHOWN = 5
"""The most damaged pictures that an error lists; all are listed where they are skipped."""
COLUMNS = ("path", "index", "score", "p_value", "flagged")
ENDINGS = (".csv", ".parquet")
SHEET_ENDINGS = (".png", ".svg", ".pdf")
METADATA = b"oodbench"
LEAST_RATE = 1e-9


@dataclass(frozen=True)
class ScoringOptions:
    """Options for scoring new images.

    Args:
        split: of a data set.
        fpr: share of in-images that may be flagged by mistake.
        most: number of images to keep, those with the highest scores.
        skip_damaged: skip pictures that cannot be read, instead of refusing all.
    """

    split: str = "test"
    fpr: float = 0.05
    most: int = 20
    skip_damaged: bool = False


@dataclass(frozen=True)
class NewScores:
    """The scores of new images.

    Args:
        run: key of the run.
        fpr: share of in-images that may be flagged by mistake.
        in_count: number of in-scores that the p-values are based on.
        table: one row per image, COLUMNS.
        most: positions in the table of the highest scores, the highest first.
        most_images: uint8 (k, C, H, W), the images of these rows as they were scored.
        damaged: one line for each picture that was skipped, with the reason.
    """

    run: str
    fpr: float
    in_count: int
    table: pd.DataFrame
    most: np.ndarray
    most_images: np.ndarray
    damaged: Sequence[str]


def p_values(scores: np.ndarray, in_scores: np.ndarray) -> np.ndarray:
    """Return the p-value of each score (n,) by its rank among the in-scores (m,): (n,), from 1 / (1 + m) to 1."""
    at_least = len(in_scores) - np.searchsorted(np.sort(in_scores), scores, side="left")
    return np.asarray((1 + at_least) / (1 + len(in_scores)))


def check_rate(fpr: float, in_count: int) -> None:
    """Raise OODBenchError unless ``fpr`` is a rate, and large enough that ``in_count`` in-scores can flag an image."""
    if not LEAST_RATE <= fpr < 1:
        raise OODBenchError(f"--fpr {fpr:g}: a false-positive rate is between 0 and 1, as 0.05")
    if fpr < 1 / (1 + in_count):
        needed = math.ceil(1 / fpr) - 1
        raise OODBenchError(
            f"--fpr {fpr:g} needs {needed:,} scores of in-images, and the run has {in_count:,}: none could be flagged"
        )


def score_new(
    words: str | RunWords,
    images: Sequence[str],
    store: Store,
    loader: Loader,
    device: torch.device,
    progress: Progress,
    options: ScoringOptions,
) -> NewScores:
    """Score images with a finished run, and flag those whose p-value is at most ``options.fpr``.

    Neither the run's in-data nor its out-data are needed, and nothing is written to the store.

    Args:
        words: which run (see ``find_run``).
        images: picture files and folders, or a data set (see ``open_images``).

    Raises OODBenchError where the words match no run or several, its code is not installed, a path does not exist, or
    ``fpr`` is too small; DataError where pictures cannot be read, unless they are to be skipped.
    """
    key = find_run(store, words)
    run, _ = store.read_run(key)
    in_scores = store.read_scores(key, None).values
    check_rate(options.fpr, len(in_scores))
    found = open_images(images, image_shape(key, store, loader.registry, loader), loader, options.split)
    context = Context(device, run.seed, run.precision, progress)
    detector = open_detector(key, store, loader.registry, loader, context)
    best, parts, scores = _score_parts(detector, found, context, options)
    table = _table(parts, scores, in_scores, options.fpr)
    return NewScores(key, options.fpr, len(in_scores), table, best.places, best.images(detector.shape), found.damaged)


def _score_parts(
    detector: Detector, images: NewImages, context: Context, options: ScoringOptions
) -> tuple[_Highest, list[Part], np.ndarray]:
    """Score part by part. Returns the highest-scoring images, the parts without their images, and all scores."""
    best, parts, scores, readable = _Highest(options.most), list[Part](), [np.empty(0)], 0
    context.progress.plan({"scoring": len(images)})
    for part in images.parts(detector.shape):
        readable += len(part.images)
        if len(part.images) and (options.skip_damaged or not images.damaged):
            values = _scores(detector, part, context)
            best.add(values, part.images)
            scores.append(values)
            parts.append(replace(part, images=part.images[:0].copy()))
        context.progress.advance("scoring", min(1.0, (readable + len(images.damaged)) / max(len(images), 1)), "", {})
    _check_damaged(images, options.skip_damaged, readable)
    return best, parts, np.concatenate(scores)


def _scores(detector: Detector, part: Part, context: Context) -> np.ndarray:
    labels = np.zeros(len(part.images), np.int64)
    given = ImageSet("the new images", "test", part.images, labels, part.indices)
    return score(detector, given, replace(context, progress=Progress())).values


def _check_damaged(images: NewImages, skip_damaged: bool, readable: int) -> None:
    damaged = images.damaged
    if not damaged or (skip_damaged and readable):
        return
    more = f"; and {len(damaged) - SHOWN:,} more" if len(damaged) > SHOWN else ""
    named = "; ".join(shorten(text) for text in damaged[:SHOWN]) + more
    if not readable:
        raise DataError(f"no picture can be read: {named}")
    raise DataError(f"{len(damaged):,} of {len(damaged) + readable:,} pictures cannot be read, --damaged skip leaves "
                    f"them out: {named}")  # fmt: skip


def _table(parts: Sequence[Part], scores: np.ndarray, in_scores: np.ndarray, fpr: float) -> pd.DataFrame:
    import pandas

    p = p_values(scores, in_scores)
    columns = {
        "path": [path for part in parts for path in part.paths],
        "index": np.concatenate([np.empty(0, np.int64), *(part.indices for part in parts)]),
        "score": scores,
        "p_value": p,
        "flagged": p <= fpr,
    }
    return pandas.DataFrame(columns, columns=list(COLUMNS))


class _Highest:
    """The images with the highest scores so far, in memory that does not grow."""

    def __init__(self, count: int):
        self.count, self.seen = count, 0
        self.places, self.values = np.empty(0, np.int64), np.empty(0)
        self.kept: list[np.ndarray] = []

    def add(self, values: np.ndarray, images: np.ndarray) -> None:
        every = np.concatenate([self.values, values])
        places = np.concatenate([self.places, self.seen + np.arange(len(values))])
        order = np.argsort(-every, kind="stable")[: self.count]
        before = len(self.values)
        self.kept = [self.kept[place] if place < before else images[place - before].copy() for place in order]
        self.places, self.values = places[order], every[order]
        self.seen += len(values)

    def images(self, shape: tuple[int, int, int]) -> np.ndarray:
        return np.stack(self.kept) if self.kept else np.empty((0, *shape), np.uint8)


def check_target(path: Path, endings: Sequence[str]) -> None:
    """Raise OODBenchError where a file of this name could not be written; called before anything is scored."""
    if path.suffix.lower() not in endings:
        able = " or ".join(endings)
        raise OODBenchError(f"{shorten(str(path))} is not a supported format: end it with {able}")
    if not path.parent.is_dir():
        raise OODBenchError(f"there is no folder {shorten(str(path.parent))} to write {path.name} to: make it first")


def write_scores(found: NewScores, path: Path) -> None:
    """Write the table as CSV or Parquet, by the suffix; Parquet metadata name the run. Raises OODBenchError."""
    if path.suffix.lower() == ".csv":
        data = found.table.to_csv(index=False, lineterminator="\n").encode()
    else:
        import pyarrow as pa
        from pyarrow import parquet

        facts: dict[str, Any] = {"run": found.run, "fpr": found.fpr, "in_images": found.in_count}
        table, sink = pa.Table.from_pandas(found.table, preserve_index=False), io.BytesIO()
        parquet.write_table(table.replace_schema_metadata({METADATA: json.dumps(facts)}), sink, compression="zstd")
        data = sink.getvalue()
    write_file(path, data, f"the scores {shorten(str(path))}")
