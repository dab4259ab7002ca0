"""The data sets on this machine: their state, files, numbers of images and checksums; and how they are prepared."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from oodbench.api import SPLITS, Dataset
from oodbench.data.loading import Loader
from oodbench.errors import DataError, reason


@dataclass(frozen=True)
class DatasetStatus:
    """What is known about one data set on this machine.

    Args:
        state: ``prepared`` (decoded in the cache), ``there`` (its files exist), ``built in`` (it needs no files),
            ``to be downloaded``, ``fetch by hand``, ``faulty``, or ``name a path`` for a kind such as ``folder``.
        train, validation, test: number of images: those decoded, else those published; None if there is no such split.
        checksum: result of comparing the files with their published MD5 checksums; empty if files are missing.
        where: the file, or the folder that has all files; empty if it needs none.
        missing: required files that do not exist.
        damaged: files that differ from the published ones; found only when they are verified.
        download_instructions: which files to put where; empty unless they must be fetched by hand and are missing.
        error: the plugin's error because of which none of this is known; the state is then ``faulty``.
    """

    name: str
    state: str
    train: int | None
    validation: int | None
    test: int | None
    checksum: str
    where: str
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    download_instructions: str = ""
    error: str = ""


@dataclass(frozen=True)
class Preparation:
    """The outcome of preparing one data set: the number of images of each split, or the error as one line."""

    name: str
    train: int | None
    validation: int | None
    test: int | None
    seconds: float
    error: str = ""


def dataset_statuses(loader: Loader, verify: bool = False) -> list[DatasetStatus]:
    """Return the status of every data set that plugins offer, by name. Downloads and decodes nothing.

    Args:
        verify: compare files with their published MD5 checksums; this reads all of them.
    """
    return [dataset_status(dataset, loader, verify) for _, dataset in sorted(loader.registry.datasets.items())]


def dataset_status(dataset: Dataset, loader: Loader, verify: bool = False) -> DatasetStatus:
    """Return the status of one data set; see ``dataset_statuses``."""
    try:
        return _status(dataset, loader, verify)
    except Exception as error:  # raised by a plugin's function
        return DatasetStatus(dataset.name, "faulty", None, None, None, "", "", error=reason(error))


def _status(dataset: Dataset, loader: Loader, verify: bool) -> DatasetStatus:
    files = dataset.files(loader.root)
    missing = [str(path) for path in files if not path.exists()]
    decoded = loader.cached_counts(dataset.name) if not missing and dataset.from_path is None else {}
    checksum, damaged = ("", []) if missing else _verify(dataset, loader.root, verify)
    counts = {split: decoded.get(split, dataset.sizes.get(split)) for split in SPLITS}
    instructions = dataset.download_instructions if missing else None
    return DatasetStatus(
        name=dataset.name,
        state=_state(dataset, bool(files), bool(missing), decoded.keys() == dataset.sizes.keys()),
        train=counts["train"],
        validation=counts["validation"],
        test=counts["test"],
        checksum=checksum,
        where=os.path.commonpath(files) if files else "",
        missing=missing,
        damaged=damaged,
        download_instructions=instructions(loader.root) if instructions else "",
    )


def prepare(name: str, loader: Loader) -> Preparation:
    """Download and decode all splits of one data set into the cache. An error is returned, not raised."""
    start, error = time.monotonic(), ""
    counts: dict[str, int | None] = dict.fromkeys(SPLITS)
    try:
        counts |= _decode_splits(name, loader)
    except Exception as failure:
        error = reason(failure)
    return Preparation(name, **counts, seconds=round(time.monotonic() - start, 1), error=error)


def _decode_splits(name: str, loader: Loader) -> Iterator[tuple[str, int]]:
    dataset, _ = loader.find(name)
    if dataset.shape is None and not loader.has_files(name):
        raise DataError(_what_is_missing(dataset, loader.root))
    for split in SPLITS:
        if split in dataset.sizes:
            # a data set without a shape of its own is made when it is scored, in the shape of the in-data
            yield split, len(loader.load(name, split)) if dataset.shape else dataset.sizes[split]


def _what_is_missing(dataset: Dataset, root: Path) -> str:
    first = next(path for path in dataset.files(root) if not path.exists())
    how = dataset.download_instructions(root) if dataset.download_instructions else "it is fetched when it is scored"
    return f"{dataset.name} is not there, {first} is missing: {how}"


def _state(dataset: Dataset, has_files: bool, is_missing: bool, is_prepared: bool) -> str:
    if dataset.from_path is not None:
        return "name a path"
    if is_missing:
        return "fetch by hand" if dataset.download_instructions else "to be downloaded"
    if is_prepared:
        return "prepared"
    return "there" if has_files else "built in"


def _verify(dataset: Dataset, root: Path, verify: bool) -> tuple[str, list[str]]:
    """Compare existing files with the published MD5 checksums. Returns the outcome in words, and the damaged files."""
    if dataset.checksums is None:
        return "none published", []
    if not verify:
        return "not verified", []
    published = {root / name: md5 for name, md5 in dataset.checksums().items()}
    existing = {path: md5 for path, md5 in published.items() if path.is_file()}
    damaged = [str(path) for path, md5 in existing.items() if not _has_checksum(path, md5)]
    if damaged:
        return f"{len(damaged)} of {len(existing)} files damaged", damaged
    if existing:
        return f"{len(existing)} file{'s' if len(existing) > 1 else ''} verified", []
    return "published of no file here", []


@cache
def _has_checksum(path: Path, md5: str) -> bool:
    """Whether a file has this MD5; cached, as several data sets may be made from one file."""
    from torchvision.datasets.utils import check_md5

    return bool(check_md5(path, md5))
