"""``oodbench data`` and ``oodbench data prepare``: what is there, what is not, and how to have it."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from click.testing import CliRunner, Result
from PIL import Image

from oodbench.cli import main

FILES = {
    "train-images-idx3-ubyte": (200, 28, 28),
    "train-labels-idx1-ubyte": (200,),
    "t10k-images-idx3-ubyte": (50, 28, 28),
    "t10k-labels-idx1-ubyte": (50,),
}


@pytest.fixture
def data(tmp_path, no_traces, monkeypatch) -> Path:
    monkeypatch.setenv("OODBENCH_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def mnist(data, monkeypatch) -> Path:
    """A small MNIST, gzipped, whose checksums torchvision takes for the published ones."""
    folder = data / "MNIST/raw"
    folder.mkdir(parents=True)
    published = []
    for name, shape in FILES.items():
        values = np.random.default_rng(len(shape)).integers(0, 10, shape, np.uint8)
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        content = gzip.compress(header + values.tobytes())
        (folder / f"{name}.gz").write_bytes(content)
        published.append((f"{name}.gz", hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", published)
    return folder


def invoke(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["data", *words])
    assert result.exit_code == code, result.output
    return result


def rows(*words: str, code: int = 0) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(invoke(*words, "--json", code=code).stdout)}


def test_every_data_set_is_listed_with_its_state(data):
    found = rows()
    states = {"mnist5k": "built in", "noise": "built in", "mnist": "to be downloaded", "halfmnist": "to be downloaded"}
    states |= {"celeba": "fetch by hand", "imagenet32": "fetch by hand", "notmnist": "fetch by hand"}
    states |= {"tin": "fetch by hand", "textures": "fetch by hand", "places365": "fetch by hand"}
    states |= {"folder": "name a path", "npz": "name a path", "cifar10-c": "name a path"}
    assert {name: found[name]["state"] for name in states} == states
    assert found["celeba"]["where"] == str(data / "celeba/img_align_celeba")
    assert [found["imagenet32"][split] for split in ("train", "validation", "test")] == [1_024_919, 256_230, 49_999]
    assert len(found["mnist"]["missing"]) == 4
    assert {row["checksum"] for row in found.values() if row["missing"]} == {""}


def test_what_to_fetch_by_hand_is_said_once_for_all_sets_made_from_it(data):
    printed = invoke().stdout
    assert printed.count("put notMNIST_small.tar.gz") == 1
    assert "\n  notmnist: put notMNIST_small.tar.gz" in printed
    assert f"{data}/celeba/img_align_celeba/000001.jpg" in printed


def test_a_data_set_that_is_there_is_prepared_and_its_images_are_counted(mnist):
    before = rows()["mnist"]
    assert (before["state"], before["train"], before["checksum"]) == ("there", 54_000, "not verified")
    assert before["where"] == str(mnist)
    made = rows("prepare", "mnist", "-q")["mnist"]
    assert {split: made[split] for split in ("train", "validation", "test")} == {
        "train": 180,
        "validation": 20,
        "test": 50,
    }
    after = rows()["mnist"]
    assert (after["state"], after["train"], after["validation"], after["test"]) == ("prepared", 180, 20, 50)


def test_preparing_says_how_far_it_is_but_not_on_standard_output(mnist):
    done = invoke("prepare", "mnist")
    assert done.stderr.splitlines() == [
        "mnist train: 180 of 180 images",
        "mnist validation: 20 of 20 images",
        "mnist test: 50 of 50 images",
    ]
    assert len(done.stdout.splitlines()) == 3
    assert invoke("prepare", "mnist", "halfmnist", "-q").stderr == ""


def test_what_cannot_be_had_is_one_line_and_the_others_go_on(mnist):
    done = invoke("prepare", "svhn", "mnist", "celeba", "nonsens", "-q", code=1)
    failed = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in failed] == ["svhn", "celeba", "nonsens"]
    assert "could not be downloaded" in failed[0]
    assert "fetch img_align_celeba.zip" in failed[1]
    assert "unknown data set 'nonsens'" in failed[2]
    assert "mnist" in done.stdout
    assert rows()["mnist"]["state"] == "prepared"


def test_an_option_before_the_word_is_refused_and_not_passed_over(mnist):
    done = CliRunner().invoke(main, ["data", "--json", "prepare", "mnist"])
    assert done.exit_code == 2 and "put options after the word prepare" in done.stderr


def test_failures_are_in_the_json_too(data):
    found = rows("prepare", "celeba", "constant", "-q", code=1)
    assert found["celeba"]["error"].startswith("celeba is not there")
    assert (found["constant"]["error"], found["constant"]["test"]) == ("", 4_000)


def test_what_is_decoded_only_when_scored_is_not_prepared_without_its_files(data):
    found = rows("prepare", "textures", "places365", "constant", "-q", code=1)
    folder = data / "dtd" / "images"
    assert found["textures"]["error"].startswith(f"textures is not there, {folder} is missing: fetch https://")
    assert found["places365"]["error"].startswith("places365 is not there, ") and not found["constant"]["error"]
    (folder / "banded").mkdir(parents=True)
    assert rows("prepare", "textures", "-q")["textures"]["test"] == 5_640


def test_files_are_verified_only_when_they_were(mnist):
    assert rows()["mnist"]["checksum"] == "not verified"
    found = rows("--verify")
    assert found["mnist"]["checksum"] == found["halfmnist"]["checksum"] == "4 files verified"
    assert found["mnist5k"]["checksum"] == "none published"


def test_unpacked_files_have_no_published_checksum(mnist):
    for path in mnist.iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert rows("--verify")["mnist"]["checksum"] == "published of no file here"


def test_a_file_of_another_checksum_is_named(mnist):
    path = mnist / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    done = invoke("--verify", code=1)
    assert done.stderr.splitlines() == [f"{path} differs from the published file: delete it and fetch it again"]
    assert "1 of 4 files damaged" in done.stdout


def test_a_folder_of_ones_own_is_prepared(data, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "mine" / split).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "mine" / split / f"{number}.png")
    name = f"folder:{tmp_path}/mine"
    made = rows("prepare", name, "-q")[name]
    assert [made[split] for split in ("train", "validation", "test")] == [9, 1, 10]


def test_a_name_is_needed(data):
    assert "Missing argument 'NAME...'" in invoke("prepare", code=2).stderr
