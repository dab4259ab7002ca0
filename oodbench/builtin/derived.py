"""HalfMNIST and ChimeraMNIST, and the same for every other built-in set of 28×28 grey images, from its test split.

The images keep the order, labels and indices of the split that they are made from; "even", "odd" and "next" refer to
positions in that order. In ``mnist`` such a position is the index itself; ``mnist5k`` is in a shuffled order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.builtin import characters, samples, vision
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

GREY = (1, 28, 28)
HALF = 14  # rows
SEAM = slice(11, 17)
SUPPLEMENT = "the supplement of EBAE, section 2"

Make = Callable[[ImageSet], np.ndarray]
Load = Callable[[str, Path, Shape | None], ImageSet]


def half(original: ImageSet) -> np.ndarray:
    """Return images whose upper half is black at even positions, and the lower at odd ones: uint8 (n, 1, 28, 28)."""
    images = np.array(original.images)
    images[0::2, :, :HALF] = 0
    images[1::2, :, HALF:] = 0
    return images


def chimera(original: ImageSet) -> np.ndarray:
    """Return images with the upper half of the next image of another class, and a black seam: (n, 1, 28, 28).

    After the last image comes the first. A label is that of the lower half; the upper half's follows from the order.
    """
    if (original.labels == original.labels[0]).all():
        raise DataError(f"a chimera needs images of two classes, and those of {original.name} are all of one")
    images = np.array(original.images)
    images[:, :, :HALF] = original.images[next_of_another_class(original.labels), :, :HALF]
    images[:, :, SEAM] = 0
    return images


def next_of_another_class(labels: np.ndarray) -> np.ndarray:
    """Return for each position the next one whose label differs, the first following the last: (n,).

    There must be two different labels. The result is where the next run of equal labels begins.
    """
    begins = np.flatnonzero(labels != np.roll(labels, 1))
    later = np.searchsorted(begins, np.arange(len(labels)), side="right")
    return begins[later % len(begins)]


def load(name: str, original: Load, make: Make, split: str, root: Path, shape: Shape | None) -> ImageSet:
    source = original(split, root, shape)
    return ImageSet(name, split, make(source), source.labels, source.indices)


def originals() -> list[Dataset]:
    offered = [dataset for module in (vision, samples, characters) for dataset in module.register_datasets()]
    return [dataset for dataset in offered if dataset.shape == GREY]


@hookimpl
def register_datasets() -> list[Dataset]:
    return [dataset for original in originals() for dataset in _made_from(original)]


def _made_from(original: Dataset) -> Iterator[Dataset]:
    offers: tuple[tuple[str, Make, str], ...] = (
        ("half", half, "the upper or the lower half black in turn"),
        ("chimera", chimera, "the upper half that of the next image of another class"),
    )
    for prefix, make, summary in offers:
        name = prefix + original.name
        yield Dataset(
            name=name,
            load=partial(load, name, original.load, make),
            shape=GREY,
            sizes={"test": original.sizes["test"]},
            classes=original.classes,
            required_files=original.required_files,
            summary=f"test images of {original.name}, {summary}",
            source=f"{original.source}; {SUPPLEMENT}",
            licence=original.licence,
            checksums=original.checksums,
            download_instructions=original.download_instructions,
            version=original.version,
        )
