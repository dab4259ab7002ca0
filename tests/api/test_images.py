"""Sets of images: what belongs to some images is never taken for others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from oodbench.api import ImageSet
from oodbench.errors import DataError


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


def numbered(labels: list[int]) -> ImageSet:
    """Image i is of grey i."""
    images = np.repeat(np.arange(len(labels), dtype=np.uint8), 16).reshape(-1, 1, 4, 4)
    return ImageSet("numbered", "train", images, np.array(labels, np.int64), np.arange(len(labels)))


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("skip", [0, 3, 4])
def test_labels_come_with_their_images_shuffled_too(seed, skip):
    labels = [7, 2, 2, 9, 0, 7, 4, 4, 1]
    images = numbered(labels)

    def order() -> torch.Generator | None:
        return None if seed is None else torch.Generator().manual_seed(seed)

    seen = [*images.batches(4, generator=order(), skip=skip, labels=True)]
    plain = [*images.batches(4, generator=order(), skip=skip)]
    assert all(torch.equal(batch, alone) for (batch, _), alone in zip(seen, plain, strict=True))
    assert all(classes.dtype == torch.int64 for _, classes in seen)
    grey = [round(value * 255) for batch, _ in seen for value in batch[:, 0, 0, 0].tolist()]
    assert [labels[index] for index in grey] == [label for _, classes in seen for label in classes.tolist()]
    assert len(grey) == len(labels) - skip
    assert seed is None or grey != sorted(grey)


def test_class_indices_are_contiguous_and_those_of_the_training_set():
    train = numbered([0, 2, 9, 5, 2])
    classes = np.unique(train.labels)
    assert train.with_class_indices(classes).labels.tolist() == [0, 1, 3, 2, 1]
    assert numbered([9, 5]).with_class_indices(classes).labels.tolist() == [3, 2]
    assert train.with_class_indices(classes).images is train.images
    assert train.labels.tolist() == [0, 2, 9, 5, 2]
    with pytest.raises(DataError, match="numbered: its train split has images of class 1, which training lacks"):
        numbered([9, 1]).with_class_indices(classes)
