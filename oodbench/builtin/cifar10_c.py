"""CIFAR-10-C: the test images of CIFAR-10, corrupted in nineteen ways at five severities.

``cifar10-c:fog-3`` is fog at severity 3, 10,000 images; ``cifar10-c:fog`` all five severities. The published arrays are
read from ``CIFAR-10-C`` in the data folder. Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations (ICLR 2019), arXiv:1903.12261.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape, Stream, chunk_rows
from oodbench.data.imaging import file_error
from oodbench.errors import DataError, UnknownName
from oodbench.plugin.hookspecs import hookimpl

KIND, FOLDER, LABELS = "cifar10-c", "CIFAR-10-C", "labels.npy"
URL = "https://zenodo.org/records/2535967"
SHAPE = (3, 32, 32)
SEVERITIES = 5
EACH = 10_000  # images of one severity
CORRUPTIONS = (
    "brightness", "contrast", "defocus-blur", "elastic-transform", "fog", "frost", "gaussian-blur", "gaussian-noise",
    "glass-blur", "impulse-noise", "jpeg-compression", "motion-blur", "pixelate", "saturate", "shot-noise", "snow",
    "spatter", "speckle-noise", "zoom-blur",
)  # fmt: skip
RULES = f"a test split of a corruption, {', '.join(CORRUPTIONS)}; behind it -1 to -5 for one severity"


def corrupted(text: str) -> Dataset:
    """Return the data set of a corruption, ``fog``, or of one of its severities, ``fog-3``.

    Raises UnknownName, or DataError for a severity that does not exist.
    """
    corruption, dash, severity = text.rpartition("-")
    if not (dash and severity.isdecimal()):
        corruption, severity = text, ""
    if corruption not in CORRUPTIONS:
        raise UnknownName(f"corruption of {KIND}", corruption, CORRUPTIONS)
    if severity and severity not in map(str, range(1, SEVERITIES + 1)):
        raise DataError(f"{KIND}:{corruption} has severities 1 to {SEVERITIES}, and no {severity}")
    read = partial(stream, text, corruption, int(severity or 0))
    return Dataset.streamed(
        name=f"{KIND}:{text}",
        stream=read,
        shape=SHAPE,
        sizes={"test": EACH if severity else EACH * SEVERITIES},
        classes=range(10),
        required_files=lambda root: files(root, corruption),
        summary=f"test images of CIFAR-10 with {corruption}",
        source=URL,
        licence="CC BY 4.0",
        rules=RULES,
        download_instructions=download_instructions,
    )


def stream(text: str, corruption: str, severity: int, split: str, root: Path, shape: Shape | None) -> Stream:
    """Return the images of one severity, or of all five if it is 0; an index is a position in the published array."""
    name, (images_file, labels_file) = f"{KIND}:{text}", files(root, corruption)
    for path in (images_file, labels_file):
        if not path.exists():
            raise DataError(f"{name} is not there, {path} is missing: {download_instructions(root)}")
    images, labels = _array(images_file), _array(labels_file)
    channels, height, width = SHAPE
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels) or len(images) % SEVERITIES:
        raise DataError(f"{images_file} is {images.dtype} {images.shape}, not uint8 (50000, 32, 32, 3): fetch it again")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(f"{labels_file} is {labels.dtype} {labels.shape}, not a class for each image: fetch it again")
    each = len(images) // SEVERITIES
    chosen = np.arange((severity - 1) * each, severity * each) if severity else np.arange(len(images))
    return Stream(name, split, SHAPE, labels[chosen].astype(np.int64), chosen, _rows(images, chosen))


def _array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises errors of several types for damage
        raise DataError(f"{file_error(path, error, 'array')}: fetch it again") from error
    return array


def _rows(images: np.ndarray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    rows = chunk_rows(SHAPE)
    for start in range(0, len(chosen), rows):
        some = images[chosen[start : start + rows]]
        yield np.ascontiguousarray(some.transpose(0, 3, 1, 2))


def files(root: Path, corruption: str) -> list[Path]:
    """Return the published arrays: images and classes."""
    return [root / FOLDER / f"{corruption.replace('-', '_')}.npy", root / FOLDER / LABELS]


def download_instructions(root: Path) -> str:
    return f"fetch CIFAR-10-C.tar from {URL} and unpack it, so that there is {root / FOLDER / LABELS}"


def _without_name(split: str, root: Path, shape: Shape | None) -> ImageSet:
    raise DataError(f"{KIND} is named with a corruption: {KIND}:fog-3")


@hookimpl
def register_datasets() -> list[Dataset]:
    summary = f"changed test images of CIFAR-10, named as {KIND}:fog or {KIND}:fog-3"
    return [
        Dataset(
            KIND, _without_name, shape=None, sizes={}, from_path=corrupted, summary=summary, source=URL, rules=RULES
        )
    ]
