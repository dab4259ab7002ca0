"""OpenOOD's data sets from generated files in its layout, and image lists of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from oodbench.builtin import openood
from oodbench.builtin.image_lists import imglist_at, read_list
from oodbench.errors import DataError, OODBenchError

DATASETS = {dataset.name: dataset for dataset in openood.register_datasets()}


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Path:
    """Noise of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    channels = {"RGB": (3,), "L": ()}[mode]
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)).save(path)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """A data folder with four pictures of the set tin, of several sizes and modes."""
    lists, images = tmp_path / "benchmark_imglist/cifar10", tmp_path / "images_classic"
    lists.mkdir(parents=True)
    sizes = [((64, 64), "RGB"), ((48, 80), "RGB"), ((28, 28), "L"), ((100, 33), "RGB")]
    for number, (size, mode) in enumerate(sizes):
        picture(images / f"tin/val/images/val_{number}.png", size, mode, number)
    (lists / "test_tin.txt").write_text("".join(f"tin/val/images/val_{number}.png -1\n" for number in (3, 0, 1, 2)))
    return tmp_path


def test_pictures_are_those_of_the_list_in_its_order_made_small_as_openood_does(root):
    found = DATASETS["openood-cifar10-tin"].load("test", root, None)
    # what OpenOOD's TestStandardPreProcessor does before it normalises
    theirs = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
        ]
    )
    for image, number in zip(found.images, (3, 0, 1, 2), strict=True):
        opened = Image.open(root / f"images_classic/tin/val/images/val_{number}.png").convert("RGB")
        torch.testing.assert_close(torch.from_numpy(image.copy()) / 255, theirs(opened), rtol=0, atol=0)
    assert found.labels.tolist() == [-1] * 4
    assert found.indices.tolist() == [0, 1, 2, 3]


def test_in_data_have_their_classes(tmp_path):
    lists = tmp_path / "benchmark_imglist/cifar10"
    lists.mkdir(parents=True)
    for split in ("train", "val", "test"):
        lines = []
        for label in range(10):
            path = picture(tmp_path / f"images_classic/cifar10/{split}/{label}.png", (32, 32), seed=label)
            lines.append(f"cifar10/{split}/{path.name} {label}")
        (lists / f"{split}_cifar10.txt").write_text("\n".join(lines))
    dataset = DATASETS["openood-cifar10"]
    for split in ("train", "validation", "test"):
        found = dataset.load(split, tmp_path, None)
        assert found.labels.tolist() == [*dataset.classes]
        assert found.shape == (3, 32, 32)


def test_what_is_missing_is_named_with_what_to_do(root):
    with pytest.raises(DataError, match=r"test_cifar100.txt is missing: run OpenOOD's .* into the folder"):
        DATASETS["openood-cifar10-cifar100"].load("test", root, None)
    (root / "images_classic/tin/val/images/val_0.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 4 pictures of .*test_tin.txt are missing, first of all .*val_0.png"):
        DATASETS["openood-cifar10-tin"].load("test", root, None)


# ------------------------------------------------------------------------------------ image lists


def test_a_list_of_ones_own_is_a_test_split(tmp_path):
    for number in range(3):
        picture(tmp_path / f"a picture {number}.png", (8, 8), "L", number)
    (tmp_path / "mine.txt").write_text("a picture 2.png 7\n\na picture 0.png 3\n")
    dataset = imglist_at(str(tmp_path / "mine.txt"))
    found = dataset.load("test", tmp_path, (1, 8, 8))
    assert found.labels.tolist() == [7, 3]
    np.testing.assert_array_equal(found.images[0, 0], np.asarray(Image.open(tmp_path / "a picture 2.png")))
    assert [*dataset.sizes] == ["test"]
    assert list(dataset.classes) == [3, 7]
    assert tmp_path / "mine.txt" in dataset.required_files(tmp_path), "other classes there make other images of these"


def test_a_list_may_be_as_long_as_that_of_cifar10s_training_images(tmp_path):
    lines = [f"cifar10/train/automobile/{number:05}.png 1\n" for number in range(50_000)]
    (tmp_path / "train.txt").write_text("".join(lines))
    assert len(read_list(tmp_path / "train.txt").paths) == 50_000


def test_a_folder_of_lists_can_be_in_data(tmp_path):
    for number in range(12):
        picture(tmp_path / f"{number}.png", (8, 8), "L", number)
    (tmp_path / "train.txt").write_text("".join(f"{number}.png\n" for number in range(10)))
    (tmp_path / "test.txt").write_text("10.png\n11.png\n")
    dataset = imglist_at(str(tmp_path))
    assert dataset.shape == (1, 8, 8)
    assert dict(dataset.sizes) == {"train": 9, "validation": 1, "test": 2}
    assert len(dataset.load("validation", tmp_path, None).images) == 1
    assert not dataset.classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png one\n", "line 1 is not a path and a class: 'a.png one'"),
        ("a.png 1\nb c\n", "line 2 is not a path and a class"),
        ("a.png " + "9" * 50, "line 1 is not a path and a class"),
        ("\n\n", "is an empty image list"),
        ("a.png 0\nb.png\nc.png -1\n", "2 of the 3 pictures of"),
    ],
)
def test_what_is_no_list_is_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(DataError) as refusal:
        read_list(tmp_path / "bad.txt")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OODBenchError, match="imglist:~nosuchuser/x.txt: there is no user of that name"):
        imglist_at("~nosuchuser/x.txt")
    with pytest.raises(OODBenchError, match="there is no list"):
        imglist_at(str(tmp_path / "none.txt"))
    with pytest.raises(OODBenchError, match=r"nor a test\.txt in it"):
        imglist_at(str(tmp_path))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OODBenchError):
        imglist_at(str(tmp_path / "bytes.txt"))
