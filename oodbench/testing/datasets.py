"""Checks of a data set: images as declared, the same in every process, and none in two splits."""

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
"""Greatest ratio of the share of images that two splits have in common to the share of duplicates within a split."""


@dataclass
class DatasetCase:
    """A data set to be checked, whose files are in the folder ``root``."""

    dataset: Dataset
    root: Path = field(default_factory=Path.cwd)
    _kept: dict[Any, ImageSet] = field(default_factory=dict, repr=False)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes (C, H, W) to check: the data set's own, or grey and colour if it has none."""
        return (self.dataset.shape,) if self.dataset.shape else ASKED

    @property
    def splits(self) -> list[str]:
        """The splits that the data set declares."""
        return [split for split in SPLITS if split in self.dataset.sizes]

    def load(self, split: str, shape: Shape | None = None) -> ImageSet:
        """Read a split again. Raises Skip if its files are missing."""
        shape = shape or self.shapes[0]
        try:
            return self.dataset.load(split, self.root, None if self.dataset.shape else shape)
        except DataError as error:
            if all(path.exists() for path in self.dataset.files(self.root)):
                raise
            raise Skip(f"cannot be read here: {error}") from None

    def loaded(self, split: str, shape: Shape | None = None) -> ImageSet:
        """Return a split, read once; do not modify it. Raises Skip if its files are missing."""
        if (split, shape) not in self._kept:
            self._kept[split, shape] = self.load(split, shape)
        return self._kept[split, shape]


def declares_itself(case: DatasetCase) -> None:
    """Check that the data set declares valid splits with a test split, a summary and a source."""
    dataset = case.dataset
    unknown = sorted(set(dataset.sizes) - set(SPLITS))
    assert not unknown, f"sizes names {', '.join(unknown)}; the splits are {', '.join(SPLITS)}"
    assert "test" in dataset.sizes, "sizes has no test split, which is the split that is scored"
    for word in ("summary", "source"):
        assert getattr(dataset, word), (
            f"there is no {word}: a reader must know what the images are and where they come from"
        )


def has_as_many_images_as_declared(case: DatasetCase) -> None:
    """Check that each split has the declared number of images."""
    for split in case.splits:
        found, declared = len(case.loaded(split)), case.dataset.sizes[split]
        assert found == declared, (
            f"{split} has {found:,} images, but sizes declares {declared:,}: correct sizes, or the files"
        )


def images_are_of_the_declared_shape(case: DatasetCase) -> None:
    """Check shape, name and pixel range of each split; a set without its own shape must give every requested one."""
    for shape in case.shapes:
        for split in case.splits:
            images = case.loaded(split, shape)
            assert images.shape == shape, f"{split} is {shape_text(images.shape)}, not {shape_text(shape)}"
            assert images.split == split, f"load({split!r}, …) returned a set whose split is {images.split!r}"
            assert images.images.max() > images.images.min(), (
                f"every pixel of {split} is {images.images.max()}: images are bytes from 0 to 255, not fractions"
            )


def labels_are_the_declared_classes(case: DatasetCase) -> None:
    """Check that labels are int64 and that exactly the declared classes occur over all splits."""
    classes, found = set(case.dataset.classes), set()
    for split in case.splits:
        labels = case.loaded(split).labels
        assert labels.dtype == np.int64, f"the labels of {split} are {labels.dtype}, not int64"
        found |= set(labels.tolist())
    if not classes:
        assert len(found) == 1, f"there are labels {_few(found)}, but no classes are declared"
        return
    assert found <= classes, f"labels {_few(found - classes)} are not declared: correct classes or the labels"
    assert classes <= found, f"classes {_few(classes - found)} have no image: correct classes or the labels"


def indices_name_one_image_each(case: DatasetCase) -> None:
    """Check that indices are int64, not negative, and unique within each split."""
    for split in case.splits:
        indices = case.loaded(split).indices
        assert indices.dtype == np.int64, f"the indices of {split} are {indices.dtype}, not int64"
        assert len(np.unique(indices)) == len(indices), (
            f"{split} has an index twice: an index is the position of an image in its source, so that a score can be "
            "traced to the image"
        )
        assert indices.min() >= 0, f"{split} has a negative index"


def splits_share_no_image(case: DatasetCase) -> None:
    """Check that no two splits share an image, compared by bytes.

    A source with duplicates may also have some across splits, up to DUPLICATES times their share within a split, but
    not with the same index.
    """
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
    """Return the indices of each distinct image, by its bytes."""
    found: dict[bytes, set[int]] = {}
    for image, index in zip(images.images, images.indices.tolist(), strict=True):
        found.setdefault(image.tobytes(), set()).add(index)
    return found


def loads_the_same_again(case: DatasetCase) -> None:
    """Check that a second load returns the same images, without drawing from numpy's global random numbers.

    The splits are loaded in reverse order, and with another global seed.
    """
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
            f"{split} differs when loaded again: images must depend on nothing but the files, or seed and index"
        )


def an_image_depends_on_its_index_alone(case: DatasetCase) -> None:
    """Check that a generated image does not depend on its split or on the images generated before it.

    Raises Skip if the data set is read from files.
    """
    if case.dataset.shape is not None:
        raise Skip("it is read from files, not made")
    for shape in case.shapes:
        whole: dict[int, bytes] = {}
        for split in case.splits:
            images = case.loaded(split, shape)
            for image, index in zip(images.images, images.indices.tolist(), strict=True):
                assert whole.setdefault(index, image.tobytes()) == image.tobytes(), (
                    f"image {index} of {split} differs from that of another split: make it from (seed, index, shape)"
                )
        repeats = Counter(whole.values()).most_common(1)[0][1]
        assert repeats < len(whole) or len(whole) == 1, "all its images are the same"


def is_the_same_elsewhere(case: DatasetCase) -> None:
    """Check that the images have the same fingerprints in another process with another hash seed."""
    here = {split: _identity(case.loaded(split)) for split in case.splits}
    own = case.dataset.stream or case.dataset.load
    module = getattr(getattr(own, "func", own), "__module__", "")
    with tempfile.TemporaryDirectory(prefix="oodbench-check-") as name:
        folder = Path(name)
        shape = None if case.dataset.shape else case.shapes[0]
        run_in_subprocess(
            load_there, case.dataset.load, module, folder, splits=case.splits, root=str(case.root), shape=shape
        )
        there = json.loads((folder / "fingerprints.json").read_text(encoding="utf-8"))
    different = [split for split in here if here[split] != there[split]]
    assert not different, (
        f"{', '.join(different)} has a different fingerprint in another process: images must not depend on hash(), "
        "sets, clocks, the order of a folder or anything drawn without a seed"
    )


def load_there(
    load: Callable[..., ImageSet], folder: Path, splits: list[str], root: str, shape: list[int] | None
) -> None:
    """Write the fingerprints of the splits to the folder; runs in the other process."""
    found = {split: _identity(load(split, Path(root), tuple(shape) if shape else None)) for split in splits}
    (folder / "fingerprints.json").write_text(json.dumps(found), encoding="utf-8")


def _identity(images: ImageSet) -> str:
    """Return a fingerprint of images, labels and indices."""
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
