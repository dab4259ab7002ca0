"""Data sets as named on the command line → image sets, decoded once, then mapped from the cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from oodbench.api import SPLITS, Dataset, ImageSet, Progress, Shape, Stream, file_name, shape_text
from oodbench.data import cache
from oodbench.data.imaging import conform
from oodbench.data.names import canonical, parse, ranges
from oodbench.data.stamps import stamp
from oodbench.errors import DataError, UnknownName, no_exit
from oodbench.folders import cache_folder, data_folder
from oodbench.plugin.registry import Registry

ANY_SHAPE: Shape = (1, 1, 1)
"""Stands in for the shape of a data set that has none, where only its labels are read."""


def open_loader(registry: Registry, data_dir: Path | None = None, progress: Progress | None = None) -> Loader:
    """Return a loader of the data sets in ``data_dir``, else in the user's data folder, with the user's cache.

    ``progress`` shows how far the decoding of each data set is.
    """
    shown = progress or Progress()
    planned: set[str] = set()

    def on_progress(what: str, done: int, total: int) -> None:
        phase = f"decoding {what}"
        if phase not in planned:
            planned.add(phase)
            shown.plan({phase: total})
        shown.advance(phase, done / total, "", {})

    return Loader(registry, data_dir or data_folder(), cache_folder(), on_progress)


class Loader:
    """Loads data sets by name: finds, decodes and caches them, selects classes and brings images to a shape.

    Args:
        root: the folder of the data sets' own files.
        cache: where decoded arrays are kept; it may be deleted at any time.
        on_progress: called as ``on_progress(name, done, total)`` while a split of a data set is decoded.
    """

    def __init__(
        self,
        registry: Registry,
        root: Path,
        cache: Path,
        on_progress: Callable[[str, int, int], None] = lambda what, done, of: None,
    ):
        self.registry = registry
        self.root = Path(root).absolute()
        self.cache = Path(cache).absolute()
        self.on_progress = on_progress
        self._at: dict[str, Dataset] = {}

    def find(self, name: str) -> tuple[Dataset, tuple[int, ...] | None]:
        """Return the data set of that name, and the classes chosen from it, None for all.

        A path is read only once. Raises UnknownName, and DataError where the name or the path is invalid.
        """
        kind, _, path = name.partition(":")
        dataset = self.registry.dataset(kind)
        if dataset.from_path is None:
            return dataset, parse(name)[1]
        if not path:
            raise DataError(f"{kind} is named with a path: {kind}:PATH")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise DataError(f"{kind}: the path {path!r} is not UTF-8, as names must be: rename it") from None
        if name not in self._at:
            self._at[name] = dataset.from_path(path)
        found = self._at[name]
        chosen = found.location.chosen if found.location else None
        return found, None if chosen is None else tuple(chosen)

    def canonical(self, name: str) -> str:
        """Return the data set's name as runs record it, however its classes were written; a path stays as it is."""
        return canonical(name) if self.registry.dataset(name.partition(":")[0]).from_path is None else name

    def share_classes(self, one: str, other: str) -> bool:
        """Whether two names share a class of one source: the same images would be both in- and out-data.

        Raises DataError where two paths are different sources with files in common, such as nested folders.
        """
        if self._source(one) != self._source(other):
            self._check_files(one, other)
            return False
        classes, other_classes = self.find(one)[1], self.find(other)[1]
        return classes is None or other_classes is None or bool(set(classes) & set(other_classes))

    def _check_files(self, one: str, other: str) -> None:
        """Raise DataError for two paths with files in common, under any names, by links and hard links too."""
        if any(self.registry.dataset(name.partition(":")[0]).from_path is None for name in (one, other)):
            return
        files, other_files = set(self._file_ids(one)), self._file_ids(other)
        shared = sum(each in files for each in other_files)
        if shared:
            found = f"{shared:,} of the {len(other_files):,} files of {other} are files of {one} too"
            raise DataError(f"{found}: the same images cannot be in and out; choose folders that share none")

    def _file_ids(self, name: str) -> list[tuple[int, int]]:
        statuses = [path.stat() for path in self._files(name) if path.exists()]
        return [(status.st_dev, status.st_ino) for status in statuses]

    def picture_files(self, name: str, split: str) -> tuple[list[Path], np.ndarray] | None:
        """Return the picture files of a split's chosen classes, and their indices; None for other kinds of data set."""
        dataset, chosen = self.find(name)
        if dataset.location is None or dataset.location.files is None or dataset.stream is None:
            return None
        stream = dataset.stream(split, self.root, dataset.shape or ANY_SHAPE)  # none of its images is read
        wanted = np.ones(len(stream.labels), bool) if chosen is None else np.isin(stream.labels, chosen)
        every, indices = dataset.location.files(split), stream.indices[wanted]
        return [every[index] for index in indices], indices

    def _files(self, name: str) -> list[Path]:
        """Return the files of the images that a name chooses: all files, unless it chooses classes of pictures."""
        dataset, chosen = self.find(name)
        found = [self.picture_files(name, split) for split in dataset.sizes] if chosen is not None else [None]
        return [path for each in found if each for path in each[0]] or dataset.files(self.root)

    def _source(self, name: str) -> str:
        """Return what identifies the source: the same for two names of one place, however its path is written."""
        kind, _, path = name.partition(":")
        dataset = self.find(name)[0]
        if self.registry.dataset(kind).from_path is None:
            return dataset.name
        place = dataset.location.path if dataset.location else Path(path).expanduser()
        return f"{kind}:{place.resolve()}"

    def shape(self, name: str) -> Shape | None:
        """Return the shape of the data set's images; None where it has none of its own."""
        return self.find(name)[0].shape

    def check(self, name: str, split: str) -> None:
        """Raise an error for a data set, split or class that does not exist, without reading any images."""
        dataset, classes = self.find(name)
        if split not in SPLITS:
            raise UnknownName("split", str(split), SPLITS)
        if split not in dataset.sizes:
            other = "" if split == "test" else "; it can be named after --out only"
            how = f", until it has one: see `oodbench show {name.partition(':')[0]}`" if other and dataset.rules else ""
            raise DataError(f"{dataset.name} has no {split} split{other}{how}")
        missing = sorted(set(classes or ()) - set(dataset.classes))
        if missing and not dataset.classes:
            raise DataError(f"{dataset.name} has no classes to choose from: name it without ':'")
        if missing:
            there = ranges(dataset.classes)
            raise DataError(f"{dataset.name} has classes {there}; there is no class {ranges(missing)}")

    def load(self, name: str, split: str, shape: Shape | None = None) -> ImageSet:
        """Return one split, only the classes named, brought to ``shape`` if one is given.

        Raises DataError if no image is left.
        """
        self.check(name, split)
        dataset, classes = self.find(name)
        whole = self._whole(dataset, split, shape)
        chosen = ImageSet(name, split, whole.images, whole.labels, whole.indices)
        if classes is None or set(classes) == set(dataset.classes):
            chosen.remember_fingerprint(whole.fingerprint)
        else:
            chosen = chosen.select_classes(classes)
        if not len(chosen):
            raise DataError(f"{name} has no image in its {split} split")
        return chosen

    def has_files(self, name: str) -> bool:
        """Whether all files of the data set exist, so that loading it downloads nothing."""
        return self._complete(self.find(name)[0])

    def cached_counts(self, name: str) -> dict[str, int]:
        """Return the number of images of each split in the cache, without decoding or downloading anything."""
        dataset, _ = self.find(name)
        folder = self._folder(dataset, None)
        counts = {split: cache.count(folder, split) for split in SPLITS if split in dataset.sizes}
        return {split: count for split, count in counts.items() if count is not None}

    def notes(self, name: str, splits: Sequence[str] = SPLITS) -> list[str]:
        """Return what a reader of the numbers must know about the data set: that it is not as large as published.

        Reads these splits but downloads nothing: without its files there is no note.
        """
        dataset, _ = self.find(name)
        if dataset.shape is None or not self._complete(dataset):
            return []
        published = {split: dataset.sizes[split] for split in splits if split in dataset.sizes}
        found = {split: len(self._whole(dataset, split, None)) for split in published}
        if found == published:
            return []
        counts = ", ".join(f"{count:,} {split}" for split, count in found.items())
        promised = ", ".join(f"{count:,}" for count in published.values())
        reduced = " (reduced)" if sum(found.values()) < sum(published.values()) else ""
        return [f"{dataset.name}: {counts} images of {promised} published{reduced}"]

    def _whole(self, dataset: Dataset, split: str, shape: Shape | None) -> ImageSet:
        """Return all classes of a split in the shape, from the cache if it has them."""
        if dataset.shape is None:
            return self._decoded(dataset, split, shape)
        decoded = self._decoded(dataset, split, None)
        if shape in (None, dataset.shape):
            return decoded
        folder, stem = self._folder(dataset, None), f"{split}-{'x'.join(map(str, shape))}"
        kept = cache.load(folder, stem, dataset.name, split)
        if kept is not None:
            return kept
        chunks = (conform(chunk, shape) for chunk in decoded.chunks())
        return self._save(folder, stem, Stream(dataset.name, split, shape, decoded.labels, decoded.indices, chunks))

    def _decoded(self, dataset: Dataset, split: str, shape: Shape | None) -> ImageSet:
        folder = self._folder(dataset, shape)
        kept = cache.load(folder, split, dataset.name, split)
        if kept is not None:
            return kept
        complete = self._complete(dataset)
        with no_exit(f"data set {dataset.name}", DataError):
            made = self._decode(dataset, split, shape)
            if not complete:  # decoding has downloaded files, on which the folder's name depends
                folder = self._folder(dataset, shape)
            return self._save(folder, split, made)  # a stream is decoded here

    def _save(self, folder: Path, stem: str, made: Stream) -> ImageSet:
        """Write a split to the cache and return it mapped from there."""
        what, count = f"{made.name} {made.split}", len(made.labels)
        try:
            cache.save(folder, stem, made, lambda done: self.on_progress(what, done, count))
        except OSError as error:
            room = "make room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            where = f"{room}choose another folder with OODBENCH_CACHE ({error.strerror})"
            raise DataError(f"cannot write to the cache folder {self.cache}: {where}") from error
        kept = cache.load(folder, stem, made.name, made.split)
        if kept is None:
            raise DataError(f"{folder} has lost what was just written to it: leave the cache alone while in use")
        return kept

    def _complete(self, dataset: Dataset) -> bool:
        return all(map(os.path.exists, dataset.files(self.root)))

    def _decode(self, dataset: Dataset, split: str, shape: Shape | None) -> Stream:
        if dataset.stream is not None:
            made = dataset.stream(split, self.root, shape)
        else:
            whole = dataset.load(split, self.root, shape)
            if not isinstance(whole, ImageSet):
                raise DataError(f"load of {dataset.name} returned a {type(whole).__name__}, not an ImageSet")
            made = Stream(whole.name, whole.split, whole.shape, whole.labels, whole.indices, whole.chunks())
        promised = dataset.shape or shape
        if not len(made.labels):
            raise DataError(f"{dataset.name} has no image in its {split} split")
        if promised is not None and made.shape != promised:
            raise DataError(f"{dataset.name} gave images of {shape_text(made.shape)}, not of {shape_text(promised)}")
        return made

    def _folder(self, dataset: Dataset, shape: Shape | None) -> Path:
        """Return the cache folder of its arrays; it is another one when anything changes that they are made from."""
        files = stamp(dataset.files(self.root), self.cache)
        version = self.registry.code_version("data set", dataset.name.partition(":")[0])
        made_in = shape if dataset.shape is None else None
        identity = json.dumps([dataset.name, dataset.version, version, made_in, files])
        digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return self.cache / "datasets" / f"{file_name(dataset.name)}-{digest}"
