"""New images for a finished run: picture files, folders or a data set, converted to the run's shape part by part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import ImageSet, Shape, chunk_rows
from oodbench.builtin.pictures import pictures_below
from oodbench.data.imaging import conform, read_picture
from oodbench.errors import DataError, OODBenchError
from oodbench.text import shorten

if TYPE_CHECKING:
    from oodbench.data.loading import Loader


PART = 512
"""The most pictures that are read at once: large ones take seconds, and progress is shown after each part."""


@dataclass(frozen=True)
class Part:
    """Some of the images, in order.

    Args:
        images: uint8 (k, C, H, W).
        indices: int64 (k,), the position of each among all images, or in its source.
        paths: of the picture files; empty strings where the images are not files.
    """

    images: np.ndarray
    indices: np.ndarray
    paths: Sequence[str]


@dataclass(frozen=True)
class PictureFiles:
    """Picture files of any size and mode, rotated to their EXIF orientation.

    Args:
        files: to be read.
        paths: name of each file in the results.
        indices: int64, one per file.
        damaged: one line for each file that could not be read, with the reason; grows while the parts are read.
        own_shape: shape that the pictures are first converted to, as for ``folder:PATH@28x28x1``; None for none.
    """

    files: Sequence[Path]
    paths: Sequence[str]
    indices: np.ndarray
    damaged: list[str] = field(default_factory=list)
    own_shape: Shape | None = None

    def __len__(self) -> int:
        return len(self.files)

    def parts(self, shape: Shape) -> Iterator[Part]:
        """Yield the pictures that can be read, converted to the shape. A part may be empty."""
        rows = min(PART, chunk_rows(shape))
        for start in range(0, len(self), rows):
            images, places = np.empty((rows, *shape), np.uint8), list[int]()
            for place in range(start, min(start + rows, len(self))):
                try:
                    picture = read_picture(self.files[place])[None]
                    images[len(places)] = conform(conform(picture, self.own_shape or shape), shape)[0]
                except DataError as error:
                    self.damaged.append(str(error))
                else:
                    places.append(place)
            yield Part(images[: len(places)], self.indices[places], [self.paths[place] for place in places])


@dataclass(frozen=True)
class SetOfImages:
    """A split of a data set whose images are not files. None of them is damaged: loading would have failed."""

    images: ImageSet
    damaged: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, shape: Shape) -> Iterator[Part]:
        """Yield the images, which were converted to the shape when they were loaded."""
        start = 0
        for chunk in self.images.chunks():
            yield Part(np.asarray(chunk), self.images.indices[start : start + len(chunk)], [""] * len(chunk))
            start += len(chunk)


NewImages = PictureFiles | SetOfImages


def open_images(words: Sequence[str], shape: Shape, loader: Loader, split: str = "test") -> NewImages:
    """Return the images that the words name.

    Args:
        words: paths of picture files and of folders, which are searched with all folders below; or the name of one data
            set, such as ``folder:PATH``, ``npz:PATH`` or ``noise``. A word that exists as a path is taken as a path.
        shape: shape that the images of a data set are converted to.
        split: of a data set.

    Raises OODBenchError where a word is neither a path nor a data set, and DataError where there is no picture.
    """
    names = [word for word in words if not os.path.lexists(os.path.expanduser(word))]
    if not names:
        return _picture_files(words)
    for name in names:
        if name.partition(":")[0] not in loader.registry.datasets:
            raise OODBenchError(f"{shorten(name)} is not a picture, a folder or a data set: nothing is there")
    if len(words) > 1:
        raise OODBenchError(f"{shorten(names[0])} is a data set: score it alone, and pictures with another command")
    loader.check(words[0], split)
    return _files_of(words[0], split, loader) or SetOfImages(loader.load(words[0], split, shape))


def _picture_files(words: Iterable[str]) -> PictureFiles:
    files: list[Path] = []
    paths: list[str] = []
    damaged: list[str] = []
    for word in words:
        place = Path(os.path.expanduser(word))
        found = [*pictures_below(place, on_fault=damaged.append)] if place.is_dir() else [place]
        if not found and not damaged:
            raise DataError(f"there is no picture in {shorten(word)}")
        files += found
        paths += [_text(path) for path in found]
    return PictureFiles(files, paths, np.arange(len(files)), damaged)


def _files_of(name: str, split: str, loader: Loader) -> PictureFiles | None:
    """Return the picture files of a split, named by their paths in the folder; None if its images are not files."""
    dataset, _ = loader.find(name)
    found = loader.picture_files(name, split)
    if found is None or dataset.location is None:
        return None
    files, indices = found
    if not files:
        raise DataError(f"{dataset.name} has no image of these classes in its {split} split")
    place = dataset.location.path
    top = place if place.is_dir() else place.parent
    paths = [path.relative_to(top) if path.is_relative_to(top) else path for path in files]
    return PictureFiles(files, list(map(_text, paths)), indices, own_shape=dataset.shape)


def _text(path: Path) -> str:
    """Return a path as text that is valid UTF-8, even if the file's name is not."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
