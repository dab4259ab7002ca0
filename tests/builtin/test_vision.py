from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import pickle
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision

from oodbench.builtin import vision
from oodbench.errors import DataError

DATASETS = {dataset.name: dataset for dataset in vision.register_datasets()}
FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")


def random_images(count, shape):
    generator = np.random.default_rng(count)
    return generator.integers(0, 256, (count, *shape), np.uint8), generator.integers(0, 10, count)


def idx_bytes(array):
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_mnist(folder, train=200, test=50):
    """The four files of MNIST in their own format; gives the images and labels put into them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        images, labels = written[part] = random_images(count, (28, 28))
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return written


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar(root, name, monkeypatch):
    """Small files in CIFAR's own format, and torchvision told of their checksums."""
    class_ = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    folder = root / class_.base_folder
    folder.mkdir(parents=True)
    written = {}
    for part, table in (("train", "train_list"), ("test", "test_list")):
        files = [file for file, _ in getattr(class_, table)]
        images, labels = written[part] = random_images(20 * len(files), (3, 32, 32))
        for i, file in enumerate(files):
            rows = slice(20 * i, 20 * i + 20)
            key = "labels" if name == "cifar10" else "fine_labels"
            batch = {"data": images[rows].reshape(20, -1), key: labels[rows].tolist()}
            (folder / file).write_bytes(pickle.dumps(batch))
        monkeypatch.setattr(class_, table, [[file, md5(folder / file)] for file in files])
    meta = folder / class_.meta["filename"]
    meta.write_bytes(pickle.dumps({class_.meta["key"]: []}))
    monkeypatch.setattr(class_, "meta", {**class_.meta, "md5": md5(meta)})
    return written


def write_svhn(root, monkeypatch):
    written, table = {}, {}
    for part, count in (("train", 60), ("test", 20)):
        images, labels = written[part] = random_images(count, (3, 32, 32))
        path = root / f"{part}_32x32.mat"
        in_file = np.where(labels == 0, 10, labels)  # SVHN calls the digit 0 ten
        scipy.io.savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": in_file[:, None].astype(np.uint8)})
        table[part] = ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", table)
    return written


def assert_splits(dataset, root, written):
    """All images of the source are there, once, with their own labels."""
    train, validation, test = (dataset.load(split, root, None) for split in ("train", "validation", "test"))
    for image_set, part in ((train, "train"), (validation, "train"), (test, "test")):
        images, labels = written[part]
        assert image_set.images.flags.c_contiguous
        assert image_set.shape == dataset.shape
        np.testing.assert_array_equal(image_set.images, images.reshape(-1, *dataset.shape)[image_set.indices])
        np.testing.assert_array_equal(image_set.labels, labels[image_set.indices])
    both = np.concatenate([train.indices, validation.indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(written["train"][0])))
    assert len(validation) == round(len(both) / 10)
    np.testing.assert_array_equal(test.indices, np.arange(len(written["test"][0])))


# --------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_idx_files_are_read(name, folder, tmp_path):
    assert_splits(DATASETS[name], tmp_path, write_mnist(tmp_path / folder / "raw"))
    assert all(path.is_file() for path in DATASETS[name].required_files(tmp_path))


def test_idx_files_may_be_gzipped(tmp_path):
    folder = tmp_path / "MNIST/raw"
    written = write_mnist(folder)
    for name in FILES[::2]:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert_splits(DATASETS["mnist"], tmp_path, written)
    assert all(path.is_file() for path in DATASETS["mnist"].required_files(tmp_path))


def test_idx_images_are_those_torchvision_reads(tmp_path):
    write_mnist(tmp_path / "MNIST/raw")
    theirs = torchvision.datasets.MNIST(tmp_path, train=False)
    ours = DATASETS["mnist"].load("test", tmp_path, None)
    np.testing.assert_array_equal(ours.images[:, 0], theirs.data)
    np.testing.assert_array_equal(ours.labels, theirs.targets)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read(name, tmp_path, monkeypatch):
    assert_splits(DATASETS[name], tmp_path, write_cifar(tmp_path, name, monkeypatch))


def test_svhn_is_read_and_its_ten_is_the_digit_zero(tmp_path, monkeypatch):
    assert_splits(DATASETS["svhn"], tmp_path, write_svhn(tmp_path, monkeypatch))


def test_svhn_needs_only_the_file_of_the_split(tmp_path, monkeypatch):
    write_svhn(tmp_path, monkeypatch)
    (tmp_path / "train_32x32.mat").unlink()
    assert len(DATASETS["svhn"].load("test", tmp_path, None)) == 20


@pytest.mark.parametrize(
    ("count", "sizes", "validation"),
    [
        (60_000, (54_000, 6_000, 10_000), 6_000),
        (8_000, (54_000, 6_000, 10_000), 800),
        (73_257, (65_930, 7_327, 26_032), 7_327),
        (50_000, (45_000, 5_000, 10_000), 5_000),
    ],
)
def test_split_sizes_are_as_published_and_scale_with_a_reduced_source(count, sizes, validation):
    held_out, kept = vision.choose("validation", count, sizes), vision.choose("train", count, sizes)
    assert (len(held_out), len(kept)) == (validation, count - validation)
    assert not np.intersect1d(held_out, kept).size
    assert abs(held_out.mean() / count - 0.5) < 0.05  # from all over the source
    published = [tuple(dataset.sizes.values()) for dataset in DATASETS.values()]
    assert sizes in published


def test_the_choice_of_validation_images_never_changes():
    assert vision.choose("validation", 60_000, (54_000, 6_000, 10_000))[:3].tolist() == [25, 26, 28]


# --------------------------------------------------------------------------------------- damaged


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: content[:5], lambda content: b"<html>"]
)
def test_a_damaged_idx_file_is_named(name, damage, tmp_path):
    write_mnist(tmp_path / "MNIST/raw")
    path = tmp_path / "MNIST/raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"{name} is damaged .*: delete it and fetch it again") as error:
        DATASETS["mnist"].load("train" if name.startswith("train") else "test", tmp_path, None)
    assert "\n" not in str(error.value)


def test_a_truncated_gzip_file_is_named(tmp_path):
    folder = tmp_path / "MNIST/raw"
    write_mnist(folder)
    content = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).unlink()
    (folder / f"{FILES[0]}.gz").write_bytes(gzip.compress(content)[:-100])
    with pytest.raises(DataError, match=f"{FILES[0]}.gz is damaged"):
        DATASETS["mnist"].load("train", tmp_path, None)


def test_images_and_labels_of_two_downloads_are_refused(tmp_path):
    folder = tmp_path / "MNIST/raw"
    write_mnist(folder)
    (folder / FILES[1]).write_bytes(idx_bytes(np.zeros(199)))
    with pytest.raises(DataError, match=r"200 images in .*, 199 labels in"):
        DATASETS["mnist"].load("train", tmp_path, None)


def test_images_of_another_size_are_refused(tmp_path):
    folder = tmp_path / "MNIST/raw"
    write_mnist(folder)
    (folder / FILES[0]).write_bytes(idx_bytes(np.zeros((200, 32, 32))))
    with pytest.raises(DataError, match=r"its images are \(32, 32\), not \(28, 28\)"):
        DATASETS["mnist"].load("train", tmp_path, None)


def test_a_damaged_cifar_or_svhn_file_is_named(tmp_path, monkeypatch):
    write_cifar(tmp_path, "cifar10", monkeypatch)
    write_svhn(tmp_path, monkeypatch)
    for name, file in (("cifar10", "cifar-10-batches-py/data_batch_3"), ("svhn", "train_32x32.mat")):
        path = tmp_path / file
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(DataError, match=f"{path} is damaged .*: delete it and fetch it again"):
            DATASETS[name].load("train", tmp_path, None)


# --------------------------------------------------------------------------------------- missing


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("mnist", "MNIST/raw", FILES[2:]),
        ("fashionmnist", "FashionMNIST/raw", FILES[2:]),
        ("kmnist", "KMNIST/raw", FILES[2:]),
        ("cifar10", "cifar-10-batches-py", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"]),
        ("cifar100", "cifar-100-python", ["train", "test", "meta"]),
        ("svhn", "", ["test_32x32.mat"]),
    ],
)
def test_without_a_network_the_message_names_files_and_folder(name, folder, files, tmp_path):
    with pytest.raises(DataError, match=f"^{name} is not there and could not be downloaded") as error:
        DATASETS[name].load("test", tmp_path, None)
    message = str(error.value)
    assert all(file in message for file in files)
    assert message.endswith(f"into the folder {tmp_path / folder}")
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_only_the_missing_files_are_asked_for(tmp_path):
    write_mnist(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw" / FILES[0]).unlink()
    with pytest.raises(DataError, match=f": put {FILES[0]} ") as error:
        DATASETS["mnist"].load("train", tmp_path, None)
    assert FILES[1] not in str(error.value)


def test_a_dead_server_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    direct(monkeypatch, f"http://127.0.0.1:{port}/")
    with pytest.raises(DataError, match=r"could not be downloaded .*refused") as error:
        DATASETS["mnist"].load("test", tmp_path, None)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_download_fills_the_folder_and_prints_nothing_on_standard_output(tmp_path, monkeypatch, capfd):
    served = tmp_path / "served"
    written = write_mnist(served)
    for name in FILES:
        (served / f"{name}.gz").write_bytes(gzip.compress((served / name).read_bytes()))
    sums = [(f"{name}.gz", md5(served / f"{name}.gz")) for name in FILES]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", sums)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        direct(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}/")
        try:
            DATASETS["mnist"].load("test", tmp_path / "data", None)
        finally:
            server.shutdown()
            thread.join()
    assert sorted(path.name for path in (tmp_path / "data").rglob("*") if path.is_file()) == sorted(FILES)
    assert_splits(DATASETS["mnist"], tmp_path / "data", written)
    assert capfd.readouterr().out == ""


def test_a_data_set_in_two_files_is_fetched_whole_unless_only_its_test_split_is_wanted(tmp_path, monkeypatch):
    """Else the second file changes what the cache is named after, and the splits of the first are decoded again."""
    fetched = []

    def download(source, root, part):
        fetched.append(part)
        (root / source.parts[part][0]).touch()

    monkeypatch.setattr(vision, "download", download)
    for first, parts in (("validation", ["train", "test"]), ("test", ["test"])):
        (tmp_path / first).mkdir()
        with pytest.raises(DataError, match="is damaged"):
            DATASETS["svhn"].load(first, tmp_path / first, None)
        assert fetched == parts
        fetched.clear()


def test_what_a_killed_download_left_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.delenv("OODBENCH_OFFLINE")
    code = "import os, signal, sys, pathlib\nfrom oodbench.builtin.vision import beside\n"
    code += "with beside(pathlib.Path(sys.argv[1])) as folder: (folder / 'part').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    with vision.beside(tmp_path) as one:
        assert not left.exists()
        with vision.beside(tmp_path) as other:
            assert {*tmp_path.iterdir()} == {one, other}
    assert not [*tmp_path.iterdir()]


def direct(monkeypatch, mirror):
    monkeypatch.delenv("OODBENCH_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror])


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("OODBENCH_OFFLINE")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"could not be downloaded .*Not a directory"):
        DATASETS["mnist"].load("test", Path(tmp_path / "file" / "data"), None)
