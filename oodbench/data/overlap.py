"""Finds the images that two sets have in common, by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from oodbench.api import ImageSet
from oodbench.atomic import write_atomically
from oodbench.errors import DataError

MOST_SHARED = 0.1
"""Share of out-images that are also in-images, from which on the overlap is no accident."""


def image_hashes(images: ImageSet) -> Iterator[bytes]:
    """Yield a hash of each image, in the shape it is scored in."""
    return (hashlib.sha256(image.tobytes()).digest() for chunk in images.chunks() for image in np.asarray(chunk))


def count_shared(hashes: Sequence[bytes], images: ImageSet) -> int:
    """Return how many of the images with these hashes are among ``images``; duplicates count each time."""
    shared = set(hashes).intersection(image_hashes(images))
    return sum(each in shared for each in hashes)


def check_separate(in_splits: Mapping[str, ImageSet], out_images: ImageSet, cache: Path) -> str:
    """Return a note on out-images that are also in-images; "" if there are none.

    Args:
        in_splits: the splits of the in-data.
        out_images: brought to the shape of the in-data.
        cache: the cache folder, in which the hashes of every set of images are kept.

    Raises DataError where they are a tenth of the out-images or more: they would be on both sides at once. Fewer are
    normal in published sets: a few test images of CIFAR-100 are also in its train split.
    """
    out_hashes = _kept_hashes(out_images, cache)
    shared = {split: np.isin(out_hashes, _kept_hashes(images, cache)) for split, images in in_splits.items()}
    counts = {split: int(found.sum()) for split, found in shared.items() if found.any()}
    if not counts:
        return ""
    name = next(iter(in_splits.values())).name
    where = ", ".join(f"{count:,} in its {split} split" for split, count in counts.items())
    total = int(np.logical_or.reduce(list(shared.values())).sum())
    found = f"{total:,} of the {len(out_images):,} {out_images.split} images of {out_images.name} are also in {name}"
    if total >= MOST_SHARED * len(out_images):
        raise DataError(f"{found} ({where}): no image can count twice; choose others, or take these out")
    return f"{found} ({where})"


def training_images_note(splits: Mapping[str, ImageSet], cache: Path) -> list[str]:
    """Return a note on test images of the in-data that are also training images; an empty list if there are none.

    Args:
        splits: of the in-data.
        cache: as in ``check_separate``.
    """
    train, test = splits["train"], splits["test"]
    shared = int(np.isin(_kept_hashes(test, cache), _kept_hashes(train, cache)).sum())
    if not shared:
        return []
    return [f"{shared:,} of the {len(test):,} test images of {test.name} are also in its train split"]


def _kept_hashes(images: ImageSet, cache: Path) -> np.ndarray:
    """Return a hash of each image, uint64 (n,), from the cache if it has them.

    64 bits: the chance of a false match between 10,000 images and 60,000 others is 3·10⁻¹¹.
    """
    path = cache / "hashes" / f"{images.fingerprint}.npy"
    try:
        kept = np.load(path)
        if kept.dtype == np.uint64 and kept.shape == (len(images),):
            return kept
    except (OSError, ValueError, EOFError):
        pass
    digests = (
        hashlib.blake2b(image.tobytes(), digest_size=8).digest()
        for chunk in images.chunks()
        for image in np.asarray(chunk)
    )
    hashes = np.frombuffer(b"".join(digests), np.uint64)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.save(file, hashes))
    except OSError:
        pass  # they are computed again next time
    return hashes
