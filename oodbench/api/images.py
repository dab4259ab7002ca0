"""Images, and the data sets they come from."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from oodbench.api.mapped import release
from oodbench.errors import DataError

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "validation", "test")
CHUNK_BYTES = 2**24

Shape = tuple[int, int, int]
"""Channels, height, width."""


def is_shape(value: object) -> bool:
    """Whether a value is a Shape: three whole numbers above 0."""
    return isinstance(value, tuple) and len(value) == 3 and all(type(size) is int and size > 0 for size in value)


def shape_text(shape: Shape) -> str:
    """``(1, 28, 28)`` → ``1×28×28``."""
    return "×".join(map(str, shape))


def check_numbers(name: str, **arrays: object) -> None:
    """Raise DataError for labels or indices that are not an array of whole numbers (n,)."""
    for what, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iu":
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
            how = "; numpy.unique(labels, return_inverse=True)[1] are such" if what == "labels" else ""
            raise DataError(f"{name}: {what} must be an array of whole numbers (n,), not {found}{how}")


def chunk_rows(shape: Shape) -> int:
    """Return how many images of the shape are read, decoded or written at once: about 16 MiB."""
    return max(1, CHUNK_BYTES // max(1, int(np.prod(shape))))


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split of one data set.

    Args:
        images: uint8 (n, C, H, W), in memory or memory-mapped.
        labels: whole numbers (n,), the classes in the source.
        indices: whole numbers (n,), the position of each image in its source, by which a score is traced to its image.

    Raises DataError where the arrays do not have these types or differ in length.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    # Not arguments, so that dataclasses.replace cannot copy what belongs to other images.
    _fingerprint: str = field(default="", init=False, repr=False)
    _on_device: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self.name, labels=self.labels, indices=self.indices)
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.name}: images must be uint8 (n, C, H, W), not {self.images.dtype} {self.images.shape}"
            )
        if not len(self.images) == len(self.labels) == len(self.indices):
            raise DataError(f"{self.name}: images, labels and indices differ in number")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> Shape:
        return tuple(self.images.shape[1:])

    @property
    def fingerprint(self) -> str:
        """Hash of the images' shape and bytes and of the labels: 16 hexadecimal digits; computed once."""
        if not self._fingerprint:
            self.remember_fingerprint(fingerprint(self.shape, self.chunks(), self.labels))
        return self._fingerprint

    def remember_fingerprint(self, fingerprint: str) -> None:
        """Take the fingerprint from a record of these images instead of computing it."""
        object.__setattr__(self, "_fingerprint", fingerprint)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the images in order, about 16 MiB at a time; mapped images do not stay in memory."""
        rows = chunk_rows(self.shape)
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield self.images[start:stop]
            release(self.images, start, stop)

    def select_classes(self, classes: Sequence[int]) -> ImageSet:
        """Return only the images of these classes."""
        chosen = np.flatnonzero(np.isin(self.labels, classes))
        return ImageSet(self.name, self.split, self.images[chosen], self.labels[chosen], self.indices[chosen])

    def with_class_indices(self, classes: Sequence[int] | np.ndarray) -> ImageSet:
        """Return the same images with labels 0 to k - 1, the positions of their classes among these k.

        A selection such as ``mnist5k:0,2-9`` keeps the labels of its source, and a network with k outputs needs
        contiguous ones. Take the classes of the training set for every split::

            classes = np.unique(train.labels)
            train, validation = train.with_class_indices(classes), validation.with_class_indices(classes)
            for images, labels in train.batches(128, context.device, generator, labels=True):
                loss = cross_entropy(model(images), labels)  # (b, C, H, W), (b,)

        Raises DataError where an image is of another class.
        """
        known = np.unique(np.asarray(classes, np.int64))
        others = np.setdiff1d(self.labels, known)
        if len(others):
            named = ", ".join(map(str, others[:5]))
            raise DataError(f"{self.name}: its {self.split} split has images of class {named}, which training lacks")
        return ImageSet(self.name, self.split, self.images, np.searchsorted(known, self.labels), self.indices)

    @overload
    def batches(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        skip: int = 0,
        labels: Literal[False] = False,
    ) -> Iterator[torch.Tensor]: ...

    @overload
    def batches(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        skip: int = 0,
        *,
        labels: Literal[True],
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...

    def batches(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        skip: int = 0,
        labels: bool = False,
    ) -> Iterator[torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """Yield float32 batches (b, C, H, W) in [0, 1] on the device.

        Args:
            generator: draws a random order; without one the images stay in order.
            skip: number of images to leave out at the beginning.
            labels: yield (images, labels) instead, with the label of each image, int64 (b,) on the device.
        """
        import torch

        stack = self._tensor(torch.device(device))
        classes = torch.from_numpy(self.labels.astype(np.int64)).to(device) if labels else None
        order = None
        if generator is not None:
            order = torch.randperm(len(self), generator=generator, device=generator.device).to(stack.device)
        for start in range(skip, len(self), batch_size):
            stop = start + batch_size
            rows = slice(start, stop) if order is None else order[start:stop]
            batch = stack[rows]
            if stack.device.type != torch.device(device).type:
                batch = batch.pin_memory()  # so that nothing waits for its copy to the device
            if classes is None:
                yield _to_floats(batch, device)
            else:
                yield _to_floats(batch, device), classes[rows if isinstance(rows, slice) else rows.to(classes.device)]
            if order is None:
                release(self.images, start, min(stop, len(self)))

    def _tensor(self, device: torch.device) -> torch.Tensor:
        """Return all images as uint8, on the device if they fit there, else on the CPU."""
        import torch

        key = str(device)
        if key not in self._on_device:
            with warnings.catch_warnings():  # that the array is read-only: nothing here writes to it
                warnings.simplefilter("ignore", UserWarning)
                stack = torch.from_numpy(self.images)
            if device.type == "cuda" and stack.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
                stack = stack.to(device)
            self._on_device[key] = stack
        return self._on_device[key]


def _to_floats(batch: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    import torch

    return batch.to(device, non_blocking=True).to(torch.float32).div_(255)


@dataclass(frozen=True, eq=False)
class Stream:
    """An image set whose images come in chunks, as they may not fit into memory.

    Args:
        chunks: uint8 (any number, C, H, W), in order; can be iterated once.
    """

    name: str
    split: str
    shape: Shape
    labels: np.ndarray
    indices: np.ndarray
    chunks: Iterable[np.ndarray]

    def __post_init__(self) -> None:
        check_numbers(self.name, labels=self.labels, indices=self.indices)

    def to_memory(self) -> ImageSet:
        """Return the image set, with all images in memory."""
        images = np.concatenate([np.empty((0, *self.shape), np.uint8), *self.chunks])
        return ImageSet(self.name, self.split, images, self.labels, self.indices)


def fingerprint(shape: Shape, chunks: Iterable[np.ndarray], labels: np.ndarray) -> str:
    """Return a hash of the images' shape and bytes and of the labels: 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((len(labels), *map(int, shape))).encode())
    for chunk in chunks:
        digest.update(chunk.tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Location:
    """Where the images are of a data set that is named with a path, and what its classes are called.

    Args:
        path: the folder or file; two names of the same place have the same path.
        chosen: classes that the name chooses; None for all.
        class_names: of the data set's classes, in their order; empty where they have none.
        counts: split → name or number of each class, chosen or not → number of its images.
        files: ``files(split)`` lists the picture files; an image's index is its position there. None where the images
            are not files.
    """

    path: Path
    chosen: Sequence[int] | None = None
    class_names: Sequence[str] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files: Callable[[str], Sequence[Path]] | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set that can be named after ``--in`` and ``--out``.

    Args:
        load: ``load(split, root, shape)`` gives one split, read from the folder ``root``; ``shape`` matters only to a
            data set whose own shape is None. Raises DataError where a file is missing or damaged.
        shape: of its images; None where they are made in, or brought to, the requested shape.
        sizes: images per split, as published. A split that is not named does not exist.
        required_files: ``required_files(root)`` are the paths that ``load`` reads; empty if it needs none.
        version: increased when the same files or seed start to give other images.
        stream: like ``load``, but in chunks, for a data set that may be larger than memory.
        from_path: for a kind that is named with a path, such as ``folder:PATH``: ``from_path(path)`` returns the data
            set at that path. The kind itself has no images.
        location: only of a data set that ``from_path`` returned.
        rules: which images become train, validation and test, and in which order.
        checksums: returns the published MD5 of each file: path below the root → MD5. None if none are published.
        download_instructions: ``download_instructions(root)`` says which files to put where, for a data set that must
            be fetched by hand.
    """

    name: str
    load: Callable[[str, Path, Shape | None], ImageSet]
    shape: Shape | None
    sizes: Mapping[str, int]
    classes: Sequence[int] = ()
    required_files: Callable[[Path], list[Path]] = lambda root: []
    summary: str = ""
    source: str = ""
    licence: str = ""
    version: int = 1
    stream: Callable[[str, Path, Shape | None], Stream] | None = None
    from_path: Callable[[str], Dataset] | None = None
    location: Location | None = None
    rules: str = ""
    checksums: Callable[[], Mapping[str, str]] | None = None
    download_instructions: Callable[[Path], str] | None = None

    def files(self, root: Path) -> list[Path]:
        """Return ``required_files`` of the folder ``root``. Raises DataError where it returns no list of paths."""
        found: object = self.required_files(root)
        if not isinstance(found, list | tuple) or not all(isinstance(path, str | Path) for path in found):
            raise DataError(f"required_files of data set {self.name} gave no list of paths: {str(found)[:80]}")
        return [Path(path) for path in found]

    @classmethod
    def streamed(cls, name: str, stream: Callable[[str, Path, Shape | None], Stream], **facts: Any) -> Dataset:
        """Return a data set that is read in chunks; its ``load`` joins all chunks in memory.

        Args:
            facts: the other fields.
        """
        return cls(name, partial(_whole, stream), stream=stream, **facts)


def _whole(
    stream: Callable[[str, Path, Shape | None], Stream], split: str, root: Path, shape: Shape | None
) -> ImageSet:
    return stream(split, root, shape).to_memory()
