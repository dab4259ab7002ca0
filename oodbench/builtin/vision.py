"""The common image data sets, in torchvision's file layout: read from the data folder, downloaded if missing."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import socket
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os.path import isfile
from pathlib import Path
from typing import Any

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.atomic import is_abandoned, name_beside
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

SEED = 10_001  # of the random choice of validation images
TIMEOUT = 30  # seconds without a byte before a download counts as failed

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where one data set is below the data folder; ``parts`` has the files that each of its published splits needs."""

    name: str
    torchvision: str
    folder: str
    parts: Mapping[str, tuple[str, ...]]
    read: Callable[[Source, Path, str], Arrays]
    shape: Shape
    sizes: tuple[int, int, int]
    classes: int
    summary: str
    origin: str
    licence: str

    def paths(self, root: Path, part: str) -> list[Path]:
        """Return the files of a part; an idx file may also be gzipped."""
        plain = [root / self.folder / name for name in self.parts[part]]
        gzipped = [path.with_name(f"{path.name}.gz") for path in plain]
        return [
            other if self.read is read_idx and isfile(other) and not isfile(path) else path
            for path, other in zip(plain, gzipped, strict=True)
        ]

    def files(self, root: Path) -> list[Path]:
        return list(dict.fromkeys(path for part in self.parts for path in self.paths(root, part)))

    def checksums(self) -> dict[str, str]:
        """Return the published MD5 of each file; for MNIST and similar sets, that of the gzipped file."""
        class_ = self.class_()
        if self.read is read_idx:
            listed = class_.resources
        elif self.read is read_svhn:
            listed = [(name, md5) for _, name, md5 in class_.split_list.values()]
        else:
            listed = [*class_.train_list, *class_.test_list, (class_.meta["filename"], class_.meta["md5"])]
        return {str(Path(self.folder, name)): md5 for name, md5 in listed}

    def class_(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.torchvision)


def load(source: Source, split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Return one split; validation is drawn at random from the source's train split.

    Indices are positions in the source.
    """
    part = "test" if split == "test" else "train"
    try:
        if not all(map(isfile, source.paths(root, part))):
            # fetch the test split with the train split: fetched later, it would make the cache decode all again
            for each in source.parts if part == "train" else [part]:
                if not all(map(isfile, source.paths(root, each))):
                    download(source, root, each)
        images, labels = source.read(source, root, part)
    except OSError as error:
        raise DataError(f"{source.name} cannot be read: {error}") from error
    chosen = choose(split, len(labels), source.sizes)
    return ImageSet(source.name, split, images[chosen], labels[chosen], chosen)


def choose(split: str, count: int, sizes: tuple[int, int, int]) -> np.ndarray:
    """Return which images of the source's ``count`` make up the split, in the source's order.

    ``sizes`` are as published.
    """
    if split == "test":
        return np.arange(count)
    train, validation, _ = sizes
    held_out = round(count * validation / (train + validation))
    # numpy promises never to change the raw stream of Philox, but not so for `permutation`
    order = np.argsort(np.random.Philox(key=SEED).random_raw(count), kind="stable")
    return np.sort(order[:held_out] if split == "validation" else order[held_out:])


# ---------------------------------------------------------------------------------------- reading


def read_idx(source: Source, root: Path, part: str) -> Arrays:
    image_file, label_file = source.paths(root, part)
    images, labels = _idx(image_file, 3), _idx(label_file, 1)
    if images.shape[1:] != source.shape[1:]:
        raise _damaged(image_file, f"its images are {images.shape[1:]}, not {source.shape[1:]}")
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images in {image_file}, {len(labels)} labels in {label_file}: fetch both again")
    return images[:, None], labels.astype(np.int64)


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Read MNIST's format, gzipped or not: bytes 0, 0, 8, number of dimensions; big-endian int32 sizes; uint8 data."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(path, str(error)) from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, 8, dimensions]):
        raise _damaged(path, f"it does not begin as an idx file of {dimensions} dimensions")
    shape = tuple(map(int, np.frombuffer(content, ">u4", dimensions, offset=4)))
    if len(content) - start != int(np.prod(shape)):
        raise _damaged(path, f"{len(content):,} bytes, where its header says {start + int(np.prod(shape)):,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar(source: Source, root: Path, part: str) -> Arrays:
    _check(source, root, part)
    data = source.class_()(root, train=part == "train")
    return np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.array(data.targets, np.int64)


def read_svhn(source: Source, root: Path, part: str) -> Arrays:
    _check(source, root, part)
    data = source.class_()(root, split=part)
    return np.ascontiguousarray(data.data), data.labels


def _check(source: Source, root: Path, part: str) -> None:
    """Raise DataError for a file with another checksum; torchvision refuses it too, but does not say which it is."""
    from torchvision.datasets.utils import check_integrity

    published = source.checksums()
    for path in source.paths(root, part):
        if not check_integrity(path, published[str(path.relative_to(root))]):
            raise _damaged(path, "its MD5 checksum is not the published one")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged ({why}): delete it and fetch it again")


# ------------------------------------------------------------------------------------ downloading


def download(source: Source, root: Path, part: str) -> None:
    """Let torchvision download to a temporary folder, then move missing files: a broken download leaves nothing."""
    missing = [path for path in source.paths(root, part) if not isfile(path)]
    try:
        with beside(root) as folder:
            choice = {"split": part} if source.read is read_svhn else {"train": part == "train"}
            source.class_()(folder, download=True, **choice)
            for path in source.files(root):
                fetched = folder / path.relative_to(root)
                if isfile(fetched) and not isfile(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    fetched.rename(path)
    except Exception as error:  # whatever it was, the remedy is the same
        raise DataError(_how_to_get(source, missing, error)) from error


@contextlib.contextmanager
def beside(root: Path) -> Iterator[Path]:
    """Yield a temporary folder on the root's disk to download into. Raises OSError where downloads are not wanted."""
    if os.environ.get("OODBENCH_OFFLINE", "0") not in ("", "0"):
        raise OSError("OODBENCH_OFFLINE is set")
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(".download.*"):
        with contextlib.suppress(OSError):
            if is_abandoned(left):
                shutil.rmtree(left)
    folder = name_beside(root / "download")
    folder.mkdir()
    try:
        with _quiet():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send torchvision's prints to standard error, as standard output is for tables; let dead connections time out."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _how_to_get(source: Source, missing: list[Path], error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    names = ", ".join(path.name for path in missing)
    gzipped = " (each may be gzipped, .gz)" if source.read is read_idx else ""
    return (
        f"{source.name} is not there and could not be downloaded ({reason}): "
        f"put {names}{gzipped} from {source.origin} into the folder {missing[0].parent}"
    )


# ------------------------------------------------------------------------------------ what there is

IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# torchvision opens none of these files without all of them
CIFAR10 = dict.fromkeys(IDX, (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"))
CIFAR100 = dict.fromkeys(IDX, ("train", "test", "meta"))
SVHN = {"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)}

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
TENTHS = (54_000, 6_000, 10_000)
SOURCES = (
    Source(
        "mnist", "MNIST", "MNIST/raw", IDX, read_idx, GREY, TENTHS, 10,
        "handwritten digits", "https://ossci-datasets.s3.amazonaws.com/mnist/", "CC BY-SA 3.0",
    ),
    Source(
        "fashionmnist", "FashionMNIST", "FashionMNIST/raw", IDX, read_idx, GREY, TENTHS, 10,
        "grey pictures of clothes", "https://github.com/zalandoresearch/fashion-mnist", "MIT",
    ),
    Source(
        "kmnist", "KMNIST", "KMNIST/raw", IDX, read_idx, GREY, TENTHS, 10,
        "handwritten Japanese characters", "http://codh.rois.ac.jp/kmnist/", "CC BY-SA 4.0",
    ),
    Source(
        "cifar10", "CIFAR10", "cifar-10-batches-py", CIFAR10, read_cifar, COLOUR, (45_000, 5_000, 10_000), 10,
        "colour pictures of animals and vehicles", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "not stated",
    ),
    Source(
        "cifar100", "CIFAR100", "cifar-100-python", CIFAR100, read_cifar, COLOUR, (45_000, 5_000, 10_000), 100,
        "colour pictures of 100 kinds of thing", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "not stated",
    ),
    # The supplement of EBAE prints 20,632 test images, a swap of digits: the published file has 26,032.
    Source(
        "svhn", "SVHN", "", SVHN, read_svhn, COLOUR, (65_930, 7_327, 26_032), 10,
        "colour pictures of house numbers", "http://ufldl.stanford.edu/housenumbers/", "non-commercial use only",
    ),
)  # fmt: skip


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset(
            name=source.name,
            load=partial(load, source),
            shape=source.shape,
            sizes=dict(zip(("train", "validation", "test"), source.sizes, strict=True)),
            classes=range(source.classes),
            required_files=source.files,
            summary=source.summary,
            source=source.origin,
            licence=source.licence,
            checksums=source.checksums,
        )
        for source in SOURCES
    ]
