"""The inventory as a Python API; what the command prints of it is in tests/cli/test_data.py."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from oodbench.data.inventory import dataset_status, dataset_statuses, prepare
from oodbench.data.loading import Loader
from oodbench.plugin.registry import load_registry


@pytest.fixture
def loader(toys, tmp_path) -> Loader:
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


def test_statuses_are_in_the_order_of_names(loader):
    statuses = {status.name: status for status in dataset_statuses(loader)}
    assert list(statuses) == sorted(loader.registry.datasets)
    assert (statuses["bars"].state, statuses["bars"].train, statuses["bars"].where) == ("built in", 40, "")
    assert (statuses["white"].train, statuses["white"].checksum) == (None, "none published")
    assert statuses["absent"].state == "to be downloaded"
    assert statuses["absent"].missing == [str(loader.root / "absent/images.npy")]


def test_preparing_changes_the_state(loader):
    outcome = prepare("bars", loader)
    assert (outcome.train, outcome.validation, outcome.test, outcome.error) == (40, 10, 20, "")
    assert dataset_status(loader.registry.dataset("bars"), loader).state == "prepared"


def test_an_error_of_preparing_is_returned(loader):
    outcome = prepare("absent", loader)
    assert outcome.error and (outcome.train, outcome.validation, outcome.test) == (None, None, None)


def test_a_data_set_whose_code_fails_hides_no_other(loader):
    absent = loader.registry.datasets["absent"]
    loader.registry.datasets["absent"] = replace(absent, required_files=lambda root: str(root))
    statuses = {status.name: status for status in dataset_statuses(loader)}
    assert (statuses["absent"].state, statuses["bars"].state) == ("faulty", "built in")
    assert "required_files of data set absent gave no list of paths" in statuses["absent"].error


@pytest.mark.parametrize(
    ("content", "checksum", "is_damaged"),
    [(b"images", "1 file verified", False), (b"image", "1 of 1 files damaged", True)],
)
def test_checksums_are_compared_only_on_request(loader, content, checksum, is_damaged):
    path = Path(loader.root / "absent/images.npy")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    md5 = hashlib.md5(b"images").hexdigest()
    dataset = replace(loader.registry.dataset("absent"), checksums=lambda: {"absent/images.npy": md5})
    assert dataset_status(dataset, loader).checksum == "not verified"
    status = dataset_status(dataset, loader, verify=True)
    assert (status.checksum, status.damaged) == (checksum, [str(path)] if is_damaged else [])
