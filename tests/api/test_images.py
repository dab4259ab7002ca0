"""Sets of images: what belongs to some images is never taken for others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oodbench.api import ImageSet


def image_set(seed: int) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (5, 1, 4, 4), np.uint8)
    return ImageSet("mine", "test", images, np.zeros(5, np.int64), np.arange(5))


def test_replaced_images_are_served_and_have_a_fingerprint_of_their_own():
    one, other = image_set(1), image_set(2)
    _ = one.fingerprint, [*one.batches(5)]  # now it remembers both
    replaced = replace(one, images=other.images)
    assert replaced.fingerprint == other.fingerprint != one.fingerprint
    (batch,) = replaced.batches(5)
    np.testing.assert_array_equal((batch.numpy() * 255).round(), other.images)
