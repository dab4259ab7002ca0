"""CelebA from generated pictures in its own layout: splits, crops and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.builtin import celeba, pictures
from oodbench.data.imaging import conform
from oodbench.errors import DataError
from oodbench.testing import DATASET_CHECKS, DatasetCase

DATASETS = {dataset.name: dataset for dataset in celeba.register_datasets()}
SPLITS = ("train", "validation", "test")
COUNT = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    folder = root / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    for number in range(1, COUNT + 1):
        face = np.random.default_rng(number).integers(0, 256, (8, 7, 3), np.uint8)
        Image.fromarray(face).resize((178, 218)).save(folder / f"{number:06}.jpg")
    return root


def test_the_published_number_splits_as_the_supplement_says():
    chosen = {split: pictures.three_ways(split, 202_599, celeba.SIZES, celeba.SEED) for split in SPLITS}
    assert {split: len(indices) for split, indices in chosen.items()} == celeba.SIZES
    assert celeba.SIZES == {"train": 162_079, "validation": 20_260, "test": 20_260}
    np.testing.assert_array_equal(np.sort(np.concatenate([*chosen.values()])), np.arange(202_599))
    assert abs(chosen["test"].mean() / 202_599 - 0.5) < 0.01  # from all over the source


def test_the_choice_of_images_never_changes():
    assert pictures.three_ways("test", 202_599, celeba.SIZES, celeba.SEED)[:3].tolist() == [0, 8, 11]


@pytest.mark.parametrize(("name", "crop"), [("celeba", 160), ("celeba-crop140", 140)])
def test_the_middle_of_the_picture_is_made_small(root, name, crop):
    found = DATASETS[name].load("test", root, None)
    assert found.images.shape == (4, 3, 32, 32)
    for image, index in zip(found.images, found.indices, strict=True):
        picture = Image.open(root / f"celeba/img_align_celeba/{index + 1:06}.jpg")
        left, top = (178 - crop) / 2, (218 - crop) / 2
        middle = np.asarray(picture.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, conform(middle[None], (3, 32, 32))[0])


def test_the_crops_differ(root):
    one, other = (DATASETS[name].load("test", root, None) for name in ("celeba", "celeba-crop140"))
    np.testing.assert_array_equal(one.indices, other.indices)
    assert one.fingerprint != other.fingerprint


def test_what_is_missing_must_be_fetched_by_hand(tmp_path):
    with pytest.raises(DataError, match="^celeba is not there: fetch img_align_celeba.zip from") as error:
        DATASETS["celeba"].load("test", tmp_path, None)
    assert f"{tmp_path}/celeba/img_align_celeba/000001.jpg" in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_of_another_size_are_refused(tmp_path):
    folder = tmp_path / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / f"{number:06}.jpg")
    with pytest.raises(DataError, match="a picture of celeba has 64×64 pixels: these are not the aligned ones"):
        DATASETS["celeba"].load("test", tmp_path, None)


def test_a_damaged_picture_is_named(tmp_path):
    folder = tmp_path / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    for number in range(10):
        (folder / f"{number:06}.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(DataError, match=r"00000\d.jpg is damaged or no picture .*: fetch it again or delete it"):
        DATASETS["celeba"].load("test", tmp_path, None)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("check", [check for check in DATASET_CHECKS if "as_declared" not in check.__name__])
def test_contract(check, name, root):
    """But for the number of images, which is that of the whole source."""
    check(DatasetCase(DATASETS[name], root))
