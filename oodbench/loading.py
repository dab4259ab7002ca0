"""Data sets as they are named on the command line → image sets, decoded once and mapped from the cache after that."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from oodbench.api import SPLITS, Dataset, ImageSet, Shape, shape_text
from oodbench.errors import DataError
from oodbench.registry import Registry

CHUNK = 4096
CLASSES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def parse(name: str) -> tuple[str, tuple[int, ...] | None]:
    """``mnist:0,2-4`` → ``("mnist", (0, 2, 3, 4))``, the classes in order; ``mnist`` → ``("mnist", None)``."""
    base, colon, text = name.partition(":")
    if not colon:
        return base, None
    if not CLASSES.fullmatch(text):
        raise DataError(f"cannot read the classes of {name!r}: write them as in {base}:0-8 or {base}:1,7")
    classes: set[int] = set()
    for item in text.split(","):
        first, _, last = item.partition("-")
        if last and int(last) < int(first):
            raise DataError(f"cannot read the classes of {name!r}: the range {item} runs backwards")
        classes.update(range(int(first), int(last or first) + 1))
    return base, tuple(sorted(classes))


class Loader:
    """Finds, decodes, caches, selects and brings to shape.

    root: the folder of the data sets' own files. cache: where decoded arrays are kept; it may be deleted at any time.
    """

    def __init__(self, registry: Registry, root: Path, cache: Path):
        self.registry = registry
        self.root = Path(root).absolute()
        self.cache = Path(cache).absolute()

    def shape(self, name: str) -> Shape | None:
        """The shape of the data set's images; None where it is made in whatever shape is asked for."""
        return self.registry.dataset(parse(name)[0]).shape

    def check(self, name: str, split: str) -> None:
        """Refuse a data set, split or class that does not exist, without reading anything."""
        base, classes = parse(name)
        dataset = self.registry.dataset(base)
        if split not in dataset.sizes:
            other = "" if split == "test" else "; it can be named after --out only"
            raise DataError(f"{base} has no {split} split{other}")
        missing = sorted(set(classes or ()) - set(dataset.classes))
        if missing and not dataset.classes:
            raise DataError(f"{base} has no classes to choose from: name it without ':'")
        if missing:
            raise DataError(f"{base} has classes {_ranges(dataset.classes)}; there is no class {_ranges(missing)}")

    def load(self, name: str, split: str, shape: Shape | None = None) -> ImageSet:
        """One split, only the classes named, brought to ``shape`` where one is given; DataError if nothing is left."""
        self.check(name, split)
        base, classes = parse(name)
        dataset = self.registry.dataset(base)
        whole = self._whole(dataset, split, shape)
        chosen = ImageSet(name, split, whole.images, whole.labels, whole.indices)
        if classes is None or set(classes) == set(dataset.classes):
            chosen.__dict__["fingerprint"] = whole.fingerprint
        else:
            chosen = chosen.only(classes)
        if not len(chosen):
            raise DataError(f"{name} has no image in its {split} split")
        return chosen

    def notes(self, name: str) -> list[str]:
        """What a reader of the numbers must know of the data set: that it is not as large as published.

        Reads all splits, but fetches nothing: files that are not there yet say nothing.
        """
        dataset = self.registry.dataset(parse(name)[0])
        if dataset.shape is None or not self._complete(dataset):
            return []
        published = {split: dataset.sizes[split] for split in SPLITS if split in dataset.sizes}
        found = {split: len(self._whole(dataset, split, None)) for split in published}
        if found == published:
            return []
        counts = ", ".join(f"{count:,} {split}" for split, count in found.items())
        promised = ", ".join(f"{count:,}" for count in published.values())
        reduced = " (reduced)" if sum(found.values()) < sum(published.values()) else ""
        return [f"{dataset.name}: {counts} images of {promised} published{reduced}"]

    def _whole(self, dataset: Dataset, split: str, shape: Shape | None) -> ImageSet:
        """All classes of a split in the shape, from the cache where it has them."""
        if dataset.shape is None:
            return self._decoded(dataset, split, shape)
        decoded = self._decoded(dataset, split, None)
        if shape in (None, dataset.shape):
            return decoded
        folder, stem = self._folder(dataset, None), f"{split}-{'x'.join(map(str, shape))}"
        kept = _recall(folder, stem, dataset.name, split)
        if kept is not None:
            return kept
        conformed = conform(decoded.images, shape)
        made = ImageSet(dataset.name, split, conformed, decoded.labels, decoded.indices)
        return self._keep(folder, stem, made)

    def _decoded(self, dataset: Dataset, split: str, shape: Shape | None) -> ImageSet:
        folder = self._folder(dataset, shape)
        kept = _recall(folder, split, dataset.name, split)
        if kept is not None:
            return kept
        complete = self._complete(dataset)
        made = self._decode(dataset, split, shape)
        if not complete:  # decoding fetched the files that the folder is named after
            folder = self._folder(dataset, shape)
        return self._keep(folder, split, made)

    def _keep(self, folder: Path, stem: str, made: ImageSet) -> ImageSet:
        """Put it into the cache and map it from there."""
        try:
            _store(folder, stem, made)
        except OSError as error:
            where = f"choose another folder with OODBENCH_CACHE ({error.strerror})"
            raise DataError(f"cannot write to the cache folder {self.cache}: {where}") from error
        kept = _recall(folder, stem, made.name, made.split)
        return made if kept is None else kept

    def _complete(self, dataset: Dataset) -> bool:
        return all(map(os.path.exists, dataset.files(self.root)))

    def _decode(self, dataset: Dataset, split: str, shape: Shape | None) -> ImageSet:
        images = dataset.load(split, self.root, shape)
        promised = dataset.shape or shape
        if not len(images):
            raise DataError(f"{dataset.name} has no image in its {split} split")
        if promised is not None and images.shape != promised:
            raise DataError(f"{dataset.name} gave images of {shape_text(images.shape)}, not of {shape_text(promised)}")
        return images

    def _folder(self, dataset: Dataset, shape: Shape | None) -> Path:
        """Where its arrays are kept; another folder as soon as anything changes that they are made from."""
        files = [(str(path), *_stamp(path)) for path in dataset.files(self.root)]
        version = self.registry.version("data set", dataset.name)
        made_in = shape if dataset.shape is None else None
        identity = json.dumps([dataset.name, dataset.version, version, made_in, files])
        return self.cache / "datasets" / f"{dataset.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def conform(images: np.ndarray, shape: Shape) -> np.ndarray:
    """Uint8 images (n, C, H, W) → (n, *shape): grey to colour by copying, colour to grey by luminance, bilinear resize.

    Every data set goes through here, so that no resize betrays the source. Raises DataError for other channel counts.
    """
    if images.shape[1:] == shape:
        return images
    if images.shape[1] != shape[0] and {images.shape[1], shape[0]} != {1, 3}:
        raise DataError(f"cannot bring images of {shape_text(images.shape[1:])} to {shape_text(shape)}")
    conformed = np.empty((len(images), *shape), np.uint8)
    for start in range(0, len(images), CHUNK):
        conformed[start : start + CHUNK] = _conform_chunk(images[start : start + CHUNK], shape)
    return conformed


def _conform_chunk(images: np.ndarray, shape: Shape) -> np.ndarray:
    import torch
    from torchvision.transforms.v2 import functional

    stack = torch.from_numpy(np.array(images))  # (b, C, H, W); a copy, as torch wants it writable
    if shape[0] == 1 and stack.shape[1] == 3:
        # In float and rounded: torchvision truncates uint8, and its weights sum to 0.9999, so white would turn grey.
        stack = functional.rgb_to_grayscale(stack.float()).round_().to(torch.uint8)
    if stack.shape[2:] != shape[1:]:
        stack = functional.resize(stack, list(shape[1:]), functional.InterpolationMode.BILINEAR, antialias=True)
    return stack.expand(-1, shape[0], -1, -1).numpy()


# ------------------------------------------------------------------------------------------ cache


def _recall(folder: Path, stem: str, name: str, split: str) -> ImageSet | None:
    """What the cache has, the images mapped copy-on-write; None if that is nothing, or damaged."""
    try:
        record = json.loads((folder / f"{stem}.json").read_text())
        images = np.load(folder / f"{stem}.npy", mmap_mode="c")
        labels = np.load(folder / f"{stem}-labels.npy")
        indices = np.load(folder / f"{stem}-indices.npy")
        if list(images.shape) != record["shape"]:
            return None
        image_set = ImageSet(name, split, images, labels, indices)
        image_set.__dict__["fingerprint"] = record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, DataError):
        return None
    return image_set


def _store(folder: Path, stem: str, image_set: ImageSet) -> None:
    """Each file appears whole or not at all, and the record last, so that two processes may do this at once."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"shape": list(image_set.images.shape), "fingerprint": image_set.fingerprint}
    _write(folder / f"{stem}.npy", lambda file: np.save(file, image_set.images))
    _write(folder / f"{stem}-labels.npy", lambda file: np.save(file, np.asarray(image_set.labels, np.int64)))
    _write(folder / f"{stem}-indices.npy", lambda file: np.save(file, np.asarray(image_set.indices, np.int64)))
    _write(folder / f"{stem}.json", lambda file: file.write(json.dumps(record).encode()))


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, beside = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: enough to see that a source file is another one, without reading it."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _ranges(classes: Sequence[int]) -> str:
    """(0, 1, 2, 5) → 0-2, 5."""
    runs: list[list[int]] = []
    for number in sorted(classes):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
