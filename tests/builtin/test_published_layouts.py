"""Tiny ImageNet, textures, Places365 and CIFAR-10-C from generated files in their published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from oodbench.builtin import cifar10_c, places365, textures, tiny_imagenet
from oodbench.data.imaging import conform
from oodbench.data.loading import Loader
from oodbench.errors import DataError, OODBenchError
from oodbench.plugin.registry import load_registry
from oodbench.testing import DATASET_CHECKS, DatasetCase

PLAIN = {
    dataset.name: dataset for module in (tiny_imagenet, textures, places365) for dataset in module.register_datasets()
}
FOG = cifar10_c.corrupted("fog")
WNIDS = [f"n{number:08}" for number in np.random.default_rng(0).permutation(200)]
SCENES = 365


def picture(path: Path, size: tuple[int, int], seed: int, mode: str = "RGB") -> None:
    """Noise of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], *((3,) if mode == "RGB" else ()))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_tiny_imagenet(root / "tiny-imagenet-200")
    for number in range(47):
        for index in range(2):
            size = (90, 60) if index else (50, 70)
            picture(root / f"dtd/images/kind_{number:02}/kind_{number:02}_{index:04}.jpg", size, 10 * number + index)
    lines = []
    for number, scene in enumerate(np.random.default_rng(1).permutation(SCENES), 1):
        picture(root / f"val_256/Places365_val_{number:08}.jpg", (256, 256) if number < 3 else (16, 16), number)
        lines.append(f"Places365_val_{number:08}.jpg {scene}")
    (root / "places365_val.txt").write_text("\n".join(lines) + "\n")
    make_cifar10_c(root / "CIFAR-10-C")
    return root


def make_tiny_imagenet(folder: Path) -> None:
    """One picture a class to train with, two of them grey, and one to validate with."""
    folder.mkdir()
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    lines = []
    for number, wnid in enumerate(WNIDS):
        picture(folder / f"train/{wnid}/images/{wnid}_0.JPEG", (64, 64), number, "L" if number < 2 else "RGB")
        picture(folder / f"val/images/val_{number}.JPEG", (64, 64), 1000 + number)
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))


def make_cifar10_c(folder: Path, each: int = 20) -> None:
    folder.mkdir()
    generator = np.random.default_rng(2)
    images = generator.integers(0, 256, (5 * each, 32, 32, 3), np.uint8)
    for corruption in cifar10_c.CORRUPTIONS:
        np.save(folder / f"{corruption.replace('-', '_')}.npy", images if corruption == "fog" else 255 - images)
    np.save(folder / "labels.npy", np.tile(np.arange(each) % 10, 5).astype(np.uint8))


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


# ------------------------------------------------------------------------------------ Tiny ImageNet


def test_the_validation_split_of_tiny_imagenet_is_the_test_split_with_its_classes(root):
    found = PLAIN["tin"].load("test", root, None)
    folder = root / "tiny-imagenet-200"
    names = sorted(f"val_{number}.JPEG" for number in range(200))
    of_name = {f"val_{number}.JPEG": sorted(WNIDS).index(wnid) for number, wnid in enumerate(WNIDS)}
    assert found.labels.tolist() == [of_name[name] for name in names]
    np.testing.assert_array_equal(found.images[5], read(folder / "val/images" / names[5]))


def test_the_train_split_of_tiny_imagenet_has_the_classes_that_torchvision_gives_its_folders(root):
    train, validation = (PLAIN["tin"].load(split, root, None) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (180, 20)
    theirs = torchvision_datasets.ImageFolder(root / "tiny-imagenet-200/train")
    for part in (train, validation):
        for image, label, index in zip(part.images, part.labels, part.indices, strict=True):
            path, expected = theirs.samples[index]
            assert label == expected
            np.testing.assert_array_equal(image, read(Path(path)))


# ----------------------------------------------------------------------------------------- textures


def test_textures_are_torchvisions_three_splits_together(root, tmp_path):
    found = PLAIN["textures"].load("test", root, (3, 32, 32))
    assert len(found) == 94
    assert np.bincount(found.labels).tolist() == [2] * 47
    picture_file = root / "dtd/images/kind_03/kind_03_0001.jpg"
    middle = read(picture_file)[:, :, 15:75]
    np.testing.assert_array_equal(found.images[7], conform(middle[None], (3, 32, 32))[0])
    (tmp_path / "dtd").mkdir()
    (tmp_path / "dtd/dtd").symlink_to(root / "dtd")
    nested = PLAIN["textures"].load("test", tmp_path, (3, 32, 32))
    assert nested.fingerprint == found.fingerprint, "where torchvision unpacks them"


def test_a_part_of_textures_is_refused(tmp_path):
    picture(tmp_path / "dtd/images/banded/banded_0001.jpg", (40, 40), 0)
    with pytest.raises(DataError, match="has 1 folders, and textures are of 47 kinds"):
        PLAIN["textures"].load("test", tmp_path, (3, 32, 32))


# ---------------------------------------------------------------------------------------- Places365


def test_places365_is_in_the_order_of_its_list(root):
    found = PLAIN["places365"].load("test", root, (3, 16, 16))
    theirs = [line.split() for line in (root / "places365_val.txt").read_text().splitlines()]
    assert found.labels.tolist() == [int(scene) for _, scene in theirs]
    np.testing.assert_array_equal(found.images[10], read(root / "val_256" / theirs[10][0]))


def test_a_picture_of_places365_that_is_missing_and_a_class_that_is_none_are_named(tmp_path):
    picture(tmp_path / "val_256/Places365_val_00000001.jpg", (16, 16), 0)
    (tmp_path / "places365_val.txt").write_text("Places365_val_00000001.jpg 7\nPlaces365_val_00000002.jpg 3\n")
    with pytest.raises(DataError, match=r"1 of the 2 pictures of .*Places365_val_00000002.jpg"):
        PLAIN["places365"].load("test", tmp_path, (3, 16, 16))
    (tmp_path / "places365_val.txt").write_text("Places365_val_00000001.jpg 365\n")
    with pytest.raises(DataError, match="has class 365, and there are 0 to 364"):
        PLAIN["places365"].load("test", tmp_path, (3, 16, 16))


# --------------------------------------------------------------------------------------- CIFAR-10-C


def test_a_severity_of_a_corruption_is_its_part_of_the_published_array(root):
    published, labels = np.load(root / "CIFAR-10-C/fog.npy"), np.load(root / "CIFAR-10-C/labels.npy")
    for severity in range(1, 6):
        found = cifar10_c.corrupted(f"fog-{severity}").load("test", root, None)
        rows = slice(20 * (severity - 1), 20 * severity)
        np.testing.assert_array_equal(found.images, published[rows].transpose(0, 3, 1, 2))
        assert found.labels.tolist() == labels[rows].tolist()
        assert found.indices.tolist() == [*range(rows.start, rows.stop)]
    whole = FOG.load("test", root, None)
    np.testing.assert_array_equal(whole.images, published.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("corruption", cifar10_c.CORRUPTIONS)
def test_every_corruption_has_its_file(root, corruption):
    assert len(cifar10_c.corrupted(f"{corruption}-5").load("test", root, None)) == 20


def test_a_corruption_is_named_as_any_data_set_is(root, tmp_path):
    loader = Loader(load_registry(), root, tmp_path)
    found = loader.load("cifar10-c:gaussian-noise-2", "test")
    assert (found.name, len(found), found.shape) == ("cifar10-c:gaussian-noise-2", 20, (3, 32, 32))
    assert not loader.share_classes("cifar10", "cifar10-c:fog")
    again = Loader(load_registry(), root, tmp_path).load("cifar10-c:gaussian-noise-2", "test")
    assert again.fingerprint == found.fingerprint


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cifar10-c", "cifar10-c is named with a path"),
        ("cifar10-c:fgo", "unknown corruption of cifar10-c 'fgo'; did you mean fog"),
        ("cifar10-c:fog-6", "has severities 1 to 5, and no 6"),
        ("cifar10-c:fog-0", "has severities 1 to 5, and no 0"),
        ("cifar10-c:-3", "unknown corruption of cifar10-c"),
    ],
)
def test_what_is_no_corruption_is_one_line(root, tmp_path, name, why):
    with pytest.raises(OODBenchError, match=why) as refusal:
        Loader(load_registry(), root, tmp_path).load(name, "test")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (np.zeros((10, 32, 32, 3), np.float32), np.zeros(10, np.uint8), "float32 .* not uint8"),
        (np.zeros((11, 32, 32, 3), np.uint8), np.zeros(11, np.uint8), "not uint8"),
        (np.zeros((10, 32, 32, 3), np.uint8), np.zeros(9, np.uint8), "not a class for each image"),
        (np.zeros((10, 32, 32, 3), np.uint8), np.zeros(10), "not a class for each image"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, images, labels, why):
    (tmp_path / "CIFAR-10-C").mkdir()
    np.save(tmp_path / "CIFAR-10-C/fog.npy", images)
    np.save(tmp_path / "CIFAR-10-C/labels.npy", labels)
    with pytest.raises(DataError, match=why):
        FOG.load("test", tmp_path, None)


def test_a_truncated_array_is_named(root, tmp_path):
    (tmp_path / "CIFAR-10-C").mkdir()
    (tmp_path / "CIFAR-10-C/labels.npy").write_bytes((root / "CIFAR-10-C/labels.npy").read_bytes())
    (tmp_path / "CIFAR-10-C/fog.npy").write_bytes((root / "CIFAR-10-C/fog.npy").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"fog.npy is damaged or no array .*: fetch it again"):
        FOG.load("test", tmp_path, None)


# ----------------------------------------------------------------------------------------- all four


@pytest.mark.parametrize("dataset", [*PLAIN.values(), FOG], ids=lambda dataset: dataset.name)
def test_what_is_missing_must_be_fetched_by_hand(dataset, tmp_path):
    with pytest.raises(DataError, match=rf"^{dataset.name} is not there, {tmp_path}.* missing.*: fetch .*") as error:
        dataset.load("test", tmp_path, None)
    assert "\n" not in str(error.value) and "http" in str(error.value)


def test_annotations_that_cannot_be_are_refused_with_the_line(tmp_path):
    make_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    annotations = tmp_path / "tiny-imagenet-200/val/val_annotations.txt"
    text = annotations.read_text()
    annotations.write_text(text.replace(WNIDS[1], "n99999999", 1))
    with pytest.raises(DataError, match="line 2 is no picture and class"):
        PLAIN["tin"].load("test", tmp_path, None)
    annotations.write_text(text.partition("\n")[2])
    with pytest.raises(DataError, match="val_0.JPEG is not among the pictures of"):
        PLAIN["tin"].load("test", tmp_path, None)


@pytest.mark.parametrize("dataset", [*PLAIN.values(), FOG], ids=lambda dataset: dataset.name)
@pytest.mark.parametrize("check", [check for check in DATASET_CHECKS if "as_declared" not in check.__name__])
def test_contract(check, dataset, root):
    """But for the number of images, which is that of the whole source."""
    check(DatasetCase(dataset, root))
