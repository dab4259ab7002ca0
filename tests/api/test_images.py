"""Sets of images: what belongs to some images is never taken for others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oodbench.api import Dataset, ImageSet, Stream
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


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([0.5, 1, 2, 3, 4]), r"float64 \(5,\)"),
        (np.array(list("abcde")), r"<U1 \(5,\)"),
        (np.zeros((5, 2), np.int64), r"int64 \(5, 2\)"),
        ([0, 1, 2, 3, 4], "a list"),
    ],
)
@pytest.mark.parametrize("which", ["labels", "indices"])
def test_labels_and_indices_are_whole_numbers(which, labels, found):
    """Else halves would become the class below, unseen."""
    with pytest.raises(DataError, match=rf"mine: {which} must be an array of whole numbers \(n,\), not {found}"):
        replace(image_set(0), **{which: labels})
    arrays = {"labels": np.arange(5), "indices": np.arange(5), which: labels}
    with pytest.raises(DataError, match=f"{which} must be an array of whole numbers"):
        Stream("mine", "test", (1, 4, 4), chunks=[], **arrays)


def test_a_data_set_s_files_are_a_list_of_paths():
    dataset = Dataset(
        "mine", lambda *_: image_set(0), (1, 4, 4), {"test": 5}, required_files=lambda root: [f"{root}/x"]
    )
    assert dataset.files(Path("a")) == [Path("a/x")]
    for found in ("a/x", None, Path("a/x"), [3]):
        with pytest.raises(DataError, match="required_files of data set mine gave no list of paths"):
            replace(dataset, required_files=lambda root, found=found: found).files(Path("a"))


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
