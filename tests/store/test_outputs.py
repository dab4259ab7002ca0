"""What a base computed is kept by images, fit and device; it is bounded, can be deleted, and is never another's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from oodbench.errors import OODBenchError
from oodbench.store.files import Files
from oodbench.store.outputs import StoredOutputs

HALF_MIB = {"logits": torch.arange(2**17, dtype=torch.float32)}


def outputs(tmp_path: Path, fit: str = "a" * 16, device: str = "cpu") -> StoredOutputs:
    return StoredOutputs(Files(str(tmp_path)), "base-s0/outputs", fit, device)


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "base-s0" / "outputs").glob("*"))


def test_what_is_kept_is_read_again(tmp_path):
    given = {"logits": torch.rand(5, 3), "features": torch.rand(5, 2, 2, 2)}
    outputs(tmp_path).write("images", given)
    found = outputs(tmp_path).read("images")
    assert found.keys() == given.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in given.items())


def test_it_is_not_that_of_other_images_another_fit_or_device(tmp_path):
    outputs(tmp_path).write("images", HALF_MIB)
    assert outputs(tmp_path).read("others") is None
    assert outputs(tmp_path, fit="b" * 16).read("images") is None
    assert outputs(tmp_path, device="cuda").read("images") is None


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"x", lambda data: b""])
def test_a_damaged_file_is_as_none(tmp_path, change):
    outputs(tmp_path).write("images", HALF_MIB)
    (path,) = (tmp_path / "base-s0" / "outputs").iterdir()
    path.write_bytes(change(path.read_bytes()))
    assert outputs(tmp_path).read("images") is None


def test_those_of_an_older_fit_go_with_the_next(tmp_path):
    outputs(tmp_path, fit="b" * 16).write("images", HALF_MIB)
    outputs(tmp_path).write("images", HALF_MIB)
    assert names(tmp_path) == [f"images-{'a' * 16}-cpu.safetensors"]


def test_the_oldest_go_where_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_OUTPUTS_MIB", "2")
    for age, name in enumerate(("first", "second", "third", "fourth")):
        outputs(tmp_path).write(name, HALF_MIB)
        path = tmp_path / "base-s0" / "outputs" / f"{name}-{'a' * 16}-cpu.safetensors"
        os.utime(path, (1e9 + age, 1e9 + age))
    assert [name.partition("-")[0] for name in names(tmp_path)] == ["fourth", "second", "third"]


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_OUTPUTS_MIB", "0")
    outputs(tmp_path).write("images", HALF_MIB)
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["-1", "much", "1.5"])
def test_a_limit_that_is_none_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setenv("OODBENCH_OUTPUTS_MIB", text)
    with pytest.raises(OODBenchError, match="OODBENCH_OUTPUTS_MIB is .*: give a whole number of MiB from 0"):
        outputs(tmp_path).write("images", HALF_MIB)


def test_an_object_store_keeps_them_too():
    kept = StoredOutputs(Files("memory://outputs-test"), "base/outputs", "a" * 16, "cpu")
    kept.write("images", HALF_MIB)
    kept.write("others", HALF_MIB)
    assert torch.equal(kept.read("images")["logits"], HALF_MIB["logits"])
