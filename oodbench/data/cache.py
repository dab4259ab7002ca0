"""The cache of decoded images: each split is an array, written in chunks and memory-mapped, never loaded whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from oodbench.api import ImageSet, Stream, fingerprint, shape_text
from oodbench.atomic import sweep, write_atomically
from oodbench.errors import DataError


def load(folder: Path, stem: str, name: str, split: str) -> ImageSet | None:
    """Return the cached split, its images mapped read-only; None if it is missing or damaged."""
    try:
        record = json.loads((folder / f"{stem}.json").read_text())
        images = np.load(folder / f"{stem}.npy", mmap_mode="r")
        labels = np.load(folder / f"{stem}-labels.npy")
        indices = np.load(folder / f"{stem}-indices.npy")
        if list(images.shape) != record["shape"]:
            return None
        image_set = ImageSet(name, split, images, labels, indices)
        image_set.remember_fingerprint(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, DataError):
        return None
    return image_set


def count(folder: Path, stem: str) -> int | None:
    """Return the number of images cached under this stem; None if there are none or they cannot be read."""
    try:
        return int(json.loads((folder / f"{stem}.json").read_text())["shape"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def save(folder: Path, stem: str, stream: Stream, on_progress: Callable[[int], None]) -> None:
    """Write a split; each file appears whole or not at all, the record last, so that several processes may write it.

    Files that killed processes left in the folders of the cache are deleted.

    ``on_progress`` is called with the number of images written so far, after every chunk. Raises DataError if the
    chunks are not what the stream promised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.parent.iterdir():
        sweep(each)
    record: dict[str, object] = {"shape": [len(stream.labels), *stream.shape]}

    def write_images(file: BinaryIO) -> None:
        record["fingerprint"] = fingerprint(stream.shape, _written(file, stream, on_progress), stream.labels)

    write_atomically(folder / f"{stem}.npy", write_images)
    write_atomically(folder / f"{stem}-labels.npy", lambda file: np.save(file, np.asarray(stream.labels, np.int64)))
    write_atomically(folder / f"{stem}-indices.npy", lambda file: np.save(file, np.asarray(stream.indices, np.int64)))
    write_atomically(folder / f"{stem}.json", lambda file: file.write(json.dumps(record).encode()))


def _written(file: BinaryIO, stream: Stream, on_progress: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Yield the chunks of the stream, each after writing it to the .npy file."""
    expected = len(stream.labels)
    header = {"descr": "|u1", "fortran_order": False, "shape": (expected, *stream.shape)}
    np.lib.format.write_array_header_1_0(file, header)
    done = 0
    for chunk in stream.chunks:
        if chunk.dtype != np.uint8 or chunk.shape[1:] != stream.shape:
            promised = f"uint8 (n, C, H, W) of {shape_text(stream.shape)}"
            raise DataError(f"{stream.name}: images must be {promised}, not {chunk.dtype} {chunk.shape}")
        file.write(np.ascontiguousarray(chunk).data)
        done += len(chunk)
        on_progress(done)
        yield chunk
    if done != expected:
        raise DataError(f"{stream.name}: {done:,} images in its {stream.split} split, but {expected:,} labels")
