"""The data set made from what was found at a path, for picture files and arrays alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oodbench.api import SPLITS, Dataset, Location, Shape, Stream
from oodbench.builtin.vision import choose
from oodbench.errors import DataError

VALIDATION_RATIO = (9, 1, 0)


@dataclass(frozen=True)
class UserDataset:
    """What was found at a path.

    Args:
        labels: split → int64 (n,), the labels of all images found for it.
        name: with the shape that images are brought to, and without the chosen classes.
        path: the folder or file.
        chosen: the chosen classes; None for all.
        class_names: of the classes, in their order; empty where they have none.
        classes: the values of the labels; empty where there are none.
        shape: of the images; None where they differ.
        read: ``read(split, places, shape)`` yields the images at these positions of a split, in chunks.
    """

    name: str
    labels: Mapping[str, np.ndarray]
    classes: list[int]
    shape: Shape | None
    read: Callable[[str, np.ndarray, Shape], Iterator[np.ndarray]]
    files: list[Path]
    path: Path
    chosen: tuple[int, ...] | None = None
    class_names: Sequence[str] = ()
    split_files: Mapping[str, list[Path]] | None = None
    rules: str = ""

    def dataset(self) -> Dataset:
        if "test" not in self.labels:
            raise DataError(f"{self.name} has no test split: add images to it as 'test'")
        drawn = "train" in self.labels and "validation" not in self.labels
        splits = [split for split in SPLITS if split in self.labels or (split == "validation" and drawn)]
        return Dataset.streamed(
            name=self.name,
            stream=self.stream,
            shape=self.shape,
            sizes={split: len(self.indices(split)) for split in splits},
            classes=self.classes,
            required_files=lambda root: self.files,
            summary="your own images",
            source=str(self.path),
            version=2,  # 2: pictures are turned as their EXIF orientation says
            location=self._location(splits),
            rules=self.rules,
        )

    def _location(self, splits: Sequence[str]) -> Location:
        named = dict(zip(self.classes, self.class_names or map(str, self.classes), strict=True))
        counts: dict[str, dict[str, int]] = {split: {} for split in splits}
        for split in splits if self.classes else ():
            labels = self.labels[self.source_split(split)][self.indices(split)]
            counts[split] = {name: int(np.count_nonzero(labels == label)) for label, name in named.items()}
        files = self.split_files
        of_split = (lambda split: files[self.source_split(split)]) if files is not None else None
        return Location(self.path, self.chosen, self.class_names, counts, of_split)

    def stream(self, split: str, root: Path, shape: Shape | None) -> Stream:
        """Return a split.

        An index is a position among the images found for the split, or for train if validation is drawn from it.
        """
        wanted = self.shape or shape
        if wanted is None:
            either = (
                f"bring it to one, as in {self.name}@28x28x1, or name it after --out, which brings it to that of --in"
            )
            raise DataError(f"{self.name} has no one shape: {either}")
        part, places = self.source_split(split), self.indices(split)
        return Stream(self.name, split, wanted, self.labels[part][places], places, self.read(part, places, wanted))

    def source_split(self, split: str) -> str:
        """Return the split whose found images this one is taken from."""
        return split if split in self.labels else "train"

    def indices(self, split: str) -> np.ndarray:
        """Return which of the images found make up the split, in order."""
        count = len(self.labels[self.source_split(split)])
        if split == "test" or "validation" in self.labels:
            return np.arange(count)
        return choose(split, count, VALIDATION_RATIO)
