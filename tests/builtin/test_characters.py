"""Omniglot and notMNIST from generated files in their own layouts."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from oodbench.builtin import characters, pictures
from oodbench.data.imaging import conform
from oodbench.errors import DataError
from oodbench.testing import DATASET_CHECKS, DatasetCase

DATASETS = {dataset.name: dataset for dataset in characters.register_datasets()}
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")


# --------------------------------------------------------------------------------------- Omniglot


def write_omniglot(folder: Path, alphabets: int = 2, each: int = 3, drawers: int = 4) -> None:
    """Black strokes on white, 105×105 of one bit, as published."""
    for alphabet in range(alphabets):
        for character in range(1, each + 1):
            where = folder / f"Alphabet_{alphabet}/character{character:02}"
            where.mkdir(parents=True)
            for drawer in range(1, drawers + 1):
                seed = 1000 * alphabet + 100 * character + drawer
                strokes = np.random.default_rng(seed).random((15, 15)) > 0.1
                bits = np.kron(strokes, np.ones((7, 7), bool)).astype(np.uint8) * 255
                Image.fromarray(bits).convert("1").save(where / f"{seed:04}_{drawer:02}.png")


@pytest.fixture
def omniglot(tmp_path) -> Path:
    write_omniglot(tmp_path / "omniglot-py/images_evaluation")
    return tmp_path


def test_omniglot_is_inverted_and_made_small(omniglot):
    found = DATASETS["omniglot"].load("test", omniglot, None)
    assert found.images.shape == (24, 1, 28, 28)
    paths = sorted(omniglot.rglob("*.png"))
    for image, path in zip(found.images, paths, strict=True):
        drawn = 255 - np.asarray(Image.open(path).convert("L"))
        np.testing.assert_array_equal(image, conform(drawn[None, None], (1, 28, 28))[0])
    assert found.images.mean() < 64  # strokes are bright, the ground is black


def test_omniglot_labels_number_the_characters(omniglot):
    found = DATASETS["omniglot"].load("test", omniglot, None)
    assert found.labels.tolist() == [character for character in range(6) for _ in range(4)]
    assert found.indices.tolist() == list(range(24))


def test_omniglot_without_a_network_says_what_to_put_where(tmp_path):
    with pytest.raises(DataError, match=r"^omniglot is not there and could not be downloaded \(OSError: ") as error:
        DATASETS["omniglot"].load("test", tmp_path, None)
    assert str(error.value).endswith(f"unpacked, into the folder {tmp_path}/omniglot-py")
    assert not [*tmp_path.iterdir()]


def test_omniglot_is_downloaded_where_it_is_missing(tmp_path, monkeypatch, capfd):
    served = tmp_path / "served"
    write_omniglot(served / "images_evaluation")
    shutil.make_archive(str(served / "images_evaluation"), "zip", served, "images_evaluation")
    md5 = hashlib.md5((served / "images_evaluation.zip").read_bytes()).hexdigest()
    class_ = torchvision.datasets.Omniglot
    monkeypatch.setattr(class_, "zips_md5", {"images_evaluation": md5})
    monkeypatch.delenv("OODBENCH_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(class_, "download_url_prefix", f"http://127.0.0.1:{server.server_address[1]}")
        try:
            found = DATASETS["omniglot"].load("test", tmp_path / "data", None)
        finally:
            server.shutdown()
            thread.join()
    assert len(found) == 24
    assert [path.name for path in (tmp_path / "data/omniglot-py").iterdir()] == ["images_evaluation"]
    assert capfd.readouterr().out == ""


def test_omniglot_is_declared_as_published():
    assert DATASETS["omniglot"].sizes == {"test": 13_180}  # 659 characters by 20 people
    assert len(DATASETS["omniglot"].classes) * 20 == 13_180


# --------------------------------------------------------------------------------------- notMNIST


def write_notmnist(root: Path, each: int = 8) -> None:
    """The letters' folders, with the two files that cannot be read."""
    for number, letter in enumerate("ABCDEFGHIJ"):
        folder = root / "notMNIST_small" / letter
        folder.mkdir(parents=True)
        for picture in range(each):
            pixels = np.random.default_rng(100 * number + picture).integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / f"{picture:03}.png")
    for name in characters.BROKEN:
        (root / "notMNIST_small" / name).write_bytes(b"")


def pack(root: Path) -> Path:
    """The folder as the archive that is published, instead of it."""
    path = root / "notMNIST_small.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / "notMNIST_small", "notMNIST_small")
    shutil.rmtree(root / "notMNIST_small")
    return path


@pytest.fixture
def notmnist(tmp_path) -> Path:
    write_notmnist(tmp_path)
    return tmp_path


def test_the_published_number_splits_as_others_split_it():
    sizes = characters.NOTMNIST_SIZES
    chosen = {split: pictures.three_ways(split, 18_724, sizes, characters.SEED) for split in SPLITS}
    assert {split: len(indices) for split, indices in chosen.items()} == sizes
    assert sizes == {"train": 14_979, "validation": 1_872, "test": 1_873}
    np.testing.assert_array_equal(np.sort(np.concatenate([*chosen.values()])), np.arange(18_724))


def test_notmnist_has_each_readable_picture_once(notmnist):
    sets = [DATASETS["notmnist"].load(split, notmnist, None) for split in SPLITS]
    assert [len(images) for images in sets] == [64, 8, 8]
    assert sorted(np.concatenate([images.indices for images in sets])) == list(range(80))
    for images in sets:
        for image, label, index in zip(images.images, images.labels, images.indices, strict=True):
            assert label == index // 8
            path = notmnist / f"notMNIST_small/{'ABCDEFGHIJ'[label]}/{index % 8:03}.png"
            np.testing.assert_array_equal(image[0], np.asarray(Image.open(path)))


def test_notmnist_says_that_it_leaves_two_files_out():
    assert "two broken files left out" in DATASETS["notmnist"].summary


@pytest.mark.parametrize("broken", ["kept", "removed"])
def test_the_archive_and_a_folder_without_the_broken_files_give_the_same(notmnist, broken):
    first = [DATASETS["notmnist"].load(split, notmnist, None).fingerprint for split in SPLITS]
    if broken == "removed":
        for name in characters.BROKEN:
            (notmnist / "notMNIST_small" / name).unlink()
    else:
        pack(notmnist)
    assert [DATASETS["notmnist"].load(split, notmnist, None).fingerprint for split in SPLITS] == first


@pytest.mark.parametrize("packed", [False, True])
def test_another_broken_picture_is_named(notmnist, packed):
    (notmnist / "notMNIST_small/B/004.png").write_bytes(b"")
    if packed:
        pack(notmnist)
    with pytest.raises(DataError, match=r"notMNIST_small/B/004.png is damaged or no picture"):
        DATASETS["notmnist"].load("test", notmnist, None)


def test_a_damaged_archive_is_named(notmnist):
    path = pack(notmnist)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"notMNIST_small.tar.gz is damaged .*: delete it and fetch it again"):
        DATASETS["notmnist"].load("test", notmnist, None)


def test_pictures_of_another_size_are_refused(notmnist):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(notmnist / "notMNIST_small/C/000.png")
    with pytest.raises(DataError, match="a picture of notmnist has 32×32 pixels: these are not those of 28×28"):
        DATASETS["notmnist"].load("test", notmnist, None)


def test_notmnist_must_be_fetched_by_hand(tmp_path):
    with pytest.raises(DataError, match="^notmnist is not there: put notMNIST_small.tar.gz from http") as error:
        DATASETS["notmnist"].load("test", tmp_path, None)
    assert f"into the folder {tmp_path}, as it is or unpacked" in str(error.value)


def test_files_that_are_no_letters_are_left_alone(notmnist):
    first = DATASETS["notmnist"].load("test", notmnist, None).fingerprint
    (notmnist / "notMNIST_small/A/._000.png").write_bytes(b"of a Mac")
    (notmnist / "notMNIST_small/README.txt").write_bytes(b"words")
    path = pack(notmnist)
    with tarfile.open(path) as archive:
        assert any(name.endswith("._000.png") for name in archive.getnames())
    assert DATASETS["notmnist"].load("test", notmnist, None).fingerprint == first


# --------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("check", [check for check in DATASET_CHECKS if "declared" not in check.__name__])
def test_contract(check, name, tmp_path):
    """But for the number of images and of classes, which are those of the whole source."""
    write_omniglot(tmp_path / "omniglot-py/images_evaluation")
    write_notmnist(tmp_path)
    check(DatasetCase(DATASETS[name], tmp_path))
