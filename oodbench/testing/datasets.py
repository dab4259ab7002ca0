"""The contract of a data set: the same images every time and everywhere, as declared, and no image in two splits."""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oodbench.api import SPLITS, Dataset, ImageSet, Shape, shape_text
from oodbench.errors import DataError
from oodbench.testing.results import Skip
from oodbench.testing.subprocesses import run_in_subprocess

ASKED: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32))
DUPLICATES = 3
"""How many times as common images may be that two splits share as images that a split has twice."""


@dataclass
class DatasetCase:
    """A data set to be checked, read from the folder ``root``."""

    dataset: Dataset
    root: Path = field(default_factory=Path.cwd)
    _kept: dict[Any, ImageSet] = field(default_factory=dict, repr=False)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.dataset.shape,) if self.dataset.shape else ASKED

    @property
    def splits(self) -> list[str]:
        return [split for split in SPLITS if split in self.dataset.sizes]

    def load(self, split: str, shape: Shape | None = None) -> ImageSet:
        """Read it anew. Skip where its files are missing."""
        shape = shape or self.shapes[0]
        try:
            return self.dataset.load(split, self.root, None if self.dataset.shape else shape)
        except DataError as error:
            if all(path.exists() for path in self.dataset.required_files(self.root)):
                raise
            raise Skip(f"cannot be read here: {error}") from None

    def loaded(self, split: str, shape: Shape | None = None) -> ImageSet:
        """Read once, and only to be looked at."""
        if (split, shape) not in self._kept:
            self._kept[split, shape] = self.load(split, shape)
        return self._kept[split, shape]


def declares_itself(case: DatasetCase) -> None:
    dataset = case.dataset
    unknown = sorted(set(dataset.sizes) - set(SPLITS))
    assert not unknown, f"sizes names {', '.join(unknown)}; the splits are {', '.join(SPLITS)}"
    assert "test" in dataset.sizes, "sizes has no test split, which is what is scored"
    for word in ("summary", "source"):
        assert getattr(dataset, word), (
            f"there is no {word}: a reader must know what the images are and where they are from"
        )


def has_as_many_images_as_declared(case: DatasetCase) -> None:
    for split in case.splits:
        found, declared = len(case.loaded(split)), case.dataset.sizes[split]
        assert found == declared, (
            f"{split} has {found:,} images, declared are {declared:,}: correct sizes, or the files"
        )


def images_are_of_the_declared_shape(case: DatasetCase) -> None:
    """Also a set without a shape of its own gives what it is asked for."""
    for shape in case.shapes:
        for split in case.splits:
            images = case.loaded(split, shape)
            assert images.shape == shape, f"{split} is {shape_text(images.shape)}, not {shape_text(shape)}"
            assert images.split == split, f"load({split!r}, …) gave a set that calls itself {images.split!r}"
            assert images.images.max() > images.images.min(), (
                f"every pixel of {split} is {images.images.max()}: images are bytes from 0 to 255, not fractions"
            )


def labels_are_the_declared_classes(case: DatasetCase) -> None:
    classes, found = set(case.dataset.classes), set()
    for split in case.splits:
        labels = case.loaded(split).labels
        assert labels.dtype == np.int64, f"the labels of {split} are {labels.dtype}, not int64"
        found |= set(labels.tolist())
    if not classes:
        assert len(found) == 1, f"there are labels {_few(found)}, but no classes are declared"
        return
    assert found <= classes, f"labels {_few(found - classes)} are no declared classes: correct classes or the labels"
    assert classes <= found, f"classes {_few(classes - found)} have no image: correct classes or the labels"


def indices_name_one_image_each(case: DatasetCase) -> None:
    for split in case.splits:
        indices = case.loaded(split).indices
        assert indices.dtype == np.int64, f"the indices of {split} are {indices.dtype}, not int64"
        assert len(np.unique(indices)) == len(indices), (
            f"{split} has one index twice: an index says where an image stands in its source, so that a score can be "
            "traced to it"
        )
        assert indices.min() >= 0, f"{split} has a negative index"


def splits_share_no_image(case: DatasetCase) -> None:
    """By their bytes. A source with duplicates of its own may have some across splits too, but not the same index."""
    hashes = {split: _by_bytes(case.loaded(split)) for split in case.splits}
    own = max(1 - len(found) / max(1, len(case.loaded(split))) for split, found in hashes.items())
    for number, split in enumerate(case.splits):
        for other in case.splits[number + 1 :]:
            shared = hashes[split].keys() & hashes[other].keys()
            same_place = [key for key in shared if hashes[split][key] & hashes[other][key]]
            assert not same_place, f"{len(same_place):,} images are in {split} and in {other}, with the same index"
            smaller = min(len(hashes[split]), len(hashes[other]))
            assert len(shared) <= DUPLICATES * own * smaller or own > 0.5, (
                f"{len(shared):,} images of {split} are in {other} too, though images within a split differ: "
                "make the splits disjoint"
            )


def _by_bytes(images: ImageSet) -> dict[bytes, set[int]]:
    """Each distinct image with its indices."""
    found: dict[bytes, set[int]] = {}
    for image, index in zip(images.images, images.indices.tolist(), strict=True):
        found.setdefault(image.tobytes(), set()).add(index)
    return found


def loads_the_same_again(case: DatasetCase) -> None:
    """In the other order of splits, with the world's random numbers elsewhere; and it draws none of them."""
    state = np.random.get_state()
    try:
        np.random.seed(1)
        before = pickle.dumps(np.random.get_state())
        again = {split: case.load(split) for split in reversed(case.splits)}
        assert pickle.dumps(np.random.get_state()) == before, (
            "load draws from numpy's global random numbers: use a seed"
        )
    finally:
        np.random.set_state(state)
    for split, images in again.items():
        assert _identity(images) == _identity(case.loaded(split)), (
            f"{split} loaded again is another: images must depend on the files, or on seed and index, alone"
        )


def an_image_depends_on_its_index_alone(case: DatasetCase) -> None:
    """Of a set that is made, not read: not on the split it was made for, nor on those made before it."""
    if case.dataset.shape is not None:
        raise Skip("it is read from files, not made")
    for shape in case.shapes:
        whole: dict[int, bytes] = {}
        for split in case.splits:
            images = case.loaded(split, shape)
            for image, index in zip(images.images, images.indices.tolist(), strict=True):
                assert whole.setdefault(index, image.tobytes()) == image.tobytes(), (
                    f"image {index} of {split} is another than in another split: make it from (seed, index, shape)"
                )
        repeats = Counter(whole.values()).most_common(1)[0][1]
        assert repeats < len(whole) or len(whole) == 1, "all its images are the same"


def is_the_same_elsewhere(case: DatasetCase) -> None:
    """The fingerprints in another process, with another hash seed."""
    here = {split: _identity(case.loaded(split)) for split in case.splits}
    module = getattr(getattr(case.dataset.load, "func", case.dataset.load), "__module__", "")
    with tempfile.TemporaryDirectory(prefix="oodbench-check-") as name:
        folder = Path(name)
        shape = None if case.dataset.shape else case.shapes[0]
        run_in_subprocess(
            load_there, case.dataset.load, module, folder, splits=case.splits, root=str(case.root), shape=shape
        )
        there = json.loads((folder / "fingerprints.json").read_text(encoding="utf-8"))
    different = [split for split in here if here[split] != there[split]]
    assert not different, (
        f"{', '.join(different)} has another fingerprint in another process: images must not depend on hash(), sets, "
        "clocks, folders' order or anything drawn without a seed"
    )


def load_there(
    load: Callable[..., ImageSet], folder: Path, splits: list[str], root: str, shape: list[int] | None
) -> None:
    """The other process's part."""
    found = {split: _identity(load(split, Path(root), tuple(shape) if shape else None)) for split in splits}
    (folder / "fingerprints.json").write_text(json.dumps(found), encoding="utf-8")


def _identity(images: ImageSet) -> str:
    """Of images, labels and indices."""
    return f"{images.fingerprint} {hashlib.sha256(images.indices.astype('<i8').tobytes()).hexdigest()}"


def _few(numbers: set[int]) -> str:
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:5])) + ("…" if len(listed) > 5 else "")


DATASET_CHECKS: list[Callable[[DatasetCase], None]] = [
    declares_itself,
    has_as_many_images_as_declared,
    images_are_of_the_declared_shape,
    labels_are_the_declared_classes,
    indices_name_one_image_each,
    splits_share_no_image,
    loads_the_same_again,
    an_image_depends_on_its_index_alone,
    is_the_same_elsewhere,
]
