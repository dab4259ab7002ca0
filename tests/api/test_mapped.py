"""Mapped images: what was read does not stay in memory, and reads the same again."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from oodbench.api import ImageSet
from oodbench.api.mapped import release

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def resident_kib() -> int:
    """Of files: other tests leave threads behind, whose own memory comes and goes meanwhile."""
    with open("/proc/self/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith(("RssFile:", "RssShmem:")))


@pytest.fixture
def mapped(tmp_path) -> ImageSet:
    """64 MiB of images."""
    rows = np.random.default_rng(0).integers(0, 256, (512, 1, 64, 64), np.uint8)
    file = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (2**14, 1, 64, 64))
    for start in range(0, len(file), len(rows)):
        file[start : start + len(rows)] = np.roll(rows, start // 512, 3)
    del file
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    return ImageSet("mapped", "test", images, np.zeros(len(images), np.int64), np.arange(len(images)))


@linux
@pytest.mark.parametrize("read", [lambda images: images.batches(512), ImageSet.chunks], ids=["batches", "chunks"])
def test_a_pass_over_mapped_images_does_not_leave_them_in_memory(mapped, read):
    few = ImageSet("few", "test", np.zeros((512, 1, 64, 64), np.uint8), np.zeros(512, np.int64), np.arange(512))
    for part in read(few):
        part.sum()  # the libraries that this needs are files, too
    before = highest = resident_kib()
    for part in read(mapped):
        part.sum()
        highest = max(highest, resident_kib())
    assert highest - before < 40 * 1024


def test_released_rows_read_the_same_again(mapped):
    before = np.array(mapped.images)
    for start, stop in ((0, 5), (3, 4000), (16_000, 16_384), (7, 7)):
        release(mapped.images, start, stop)
    np.testing.assert_array_equal(mapped.images, before)


def test_batches_of_a_mapped_set_are_those_of_one_in_memory(mapped):
    copy = ImageSet("copy", "test", np.array(mapped.images), mapped.labels, mapped.indices)
    for one, other in zip(mapped.batches(1000), copy.batches(1000), strict=True):
        assert bool((one == other).all())
    assert copy.fingerprint == mapped.fingerprint


def test_what_can_be_written_to_is_never_released(tmp_path):
    """Its changes would be lost."""
    np.save(tmp_path / "images.npy", np.zeros((4096, 1, 8, 8), np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="c")
    images[:] = 7
    release(images, 0, 4096)
    assert (images == 7).all()


def test_an_array_in_memory_is_left_alone():
    array = np.arange(10_000)
    release(array, 0, 10_000)
    np.testing.assert_array_equal(array, np.arange(10_000))
