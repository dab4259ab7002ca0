"""Whether two sets of images share images, by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from oodbench.api import ImageSet


def image_hashes(images: ImageSet) -> Iterator[bytes]:
    """Yield a hash of each image, in the shape it is scored in."""
    plain = np.asarray(images.images)  # a mapped array is several times slower to go through
    return (hashlib.sha256(image.tobytes()).digest() for image in plain)


def count_shared(hashes: Sequence[bytes], images: ImageSet) -> int:
    """Return how many of the images with these hashes are among ``images``; duplicates count each time."""
    shared = set(hashes).intersection(image_hashes(images))
    return sum(each in shared for each in hashes)
