"""The cache: whose files it knows by what, what killed writers leave, and who may read it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from oodbench import atomic
from oodbench.data import stamps
from oodbench.data.loading import Loader
from oodbench.data.names import parse
from oodbench.data.stamps import stamp
from oodbench.errors import DataError
from oodbench.plugin.registry import load_registry


@pytest.fixture
def loader(tmp_path, toys) -> Loader:
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


def save(path, seed):
    np.savez(path, images=np.random.default_rng(seed).integers(0, 256, (9, 4, 4), np.uint8))


@pytest.mark.parametrize("largest", [stamps.LARGEST_CONTENT, 0], ids=["small", "large"])
def test_another_file_of_the_same_size_and_time_is_decoded_again(tmp_path, loader, monkeypatch, largest):
    monkeypatch.setattr(stamps, "LARGEST_CONTENT", largest)
    for seed, name in enumerate(("mine", "other")):
        save(tmp_path / f"{name}.npz", seed)
        os.utime(tmp_path / f"{name}.npz", ns=(1, 1))
    first = loader.load(f"npz:{tmp_path}/mine.npz", "test").fingerprint
    other = loader.load(f"npz:{tmp_path}/other.npz", "test").fingerprint
    shutil.copy2(tmp_path / "other.npz", tmp_path / "mine.npz")
    assert (tmp_path / "mine.npz").stat().st_mtime_ns == 1
    fresh = Loader(loader.registry, loader.root, loader.cache)
    assert fresh.load(f"npz:{tmp_path}/mine.npz", "test").fingerprint == other != first


def test_a_copied_small_file_is_the_same_file(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("same")
    one, two = (stamp([tmp_path / name / "file"], tmp_path / "cache") for name in ("one", "two"))
    assert one == two
    monkeypatch.setattr(stamps, "_content", lambda paths: pytest.fail("read again"))
    assert stamp([tmp_path / "one/file"], tmp_path / "cache") == one


def test_a_renamed_file_and_a_missing_one_are_others(tmp_path):
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("other")
    before = stamp([tmp_path / "a", tmp_path / "b"], tmp_path / "cache")
    assert stamp([tmp_path / "a", tmp_path / "c"], tmp_path / "cache") != before
    (tmp_path / "b").rename(tmp_path / "c")
    assert stamp([tmp_path / "a", tmp_path / "c"], tmp_path / "cache") != before


def test_files_of_the_cache_are_as_the_umask_says(tmp_path, loader):
    before = os.umask(0o002)
    try:
        save(tmp_path / "mine.npz", 1)
        loader.load(f"npz:{tmp_path}/mine.npz", "test")
    finally:
        os.umask(before)
    found = [path for path in loader.cache.rglob("*") if not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o664}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o775}


def test_what_killed_writers_left_is_swept_when_the_cache_is_written(tmp_path, loader):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead, alive, machine = int(gone.stdout), os.getpid(), atomic.machine()
    folder = loader.cache / "datasets/any"
    folder.mkdir(parents=True)
    left = {
        "dead": folder / f".test.npy.{dead}.{machine}{'0' * 20}",
        "alive": folder / f".test.npy.{alive}.{machine}{'0' * 20}",
        "elsewhere": folder / f".test.npy.{dead}.{'f' * 12}{'0' * 20}",
        "old": folder / f".test.npy.{dead}.{'e' * 12}{'0' * 20}",
        "not ours": folder / ".keep",
    }
    for path in left.values():
        path.write_bytes(b"x")
    os.utime(left["old"], (time.time() - 2 * atomic.DAY,) * 2)
    save(tmp_path / "mine.npz", 1)
    loader.load(f"npz:{tmp_path}/mine.npz", "test")
    assert {what for what, path in left.items() if path.exists()} == {"alive", "elsewhere", "not ours"}


def test_a_killed_writer_is_known_by_its_file(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from oodbench.atomic import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), 9))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)
    (left,) = tmp_path.iterdir()
    assert atomic.is_left_behind(left.name)
    atomic.sweep(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("number", "said"), [(28, "make room, or choose another folder"), (13, "cache: choose another folder")]
)
def test_only_a_full_disk_needs_room(tmp_path, loader, monkeypatch, number, said):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("oodbench.data.cache.write_atomically", fail)
    save(tmp_path / "mine.npz", 1)
    with pytest.raises(DataError, match=f"{said} with OODBENCH_CACHE .{os.strerror(number)}"):
        loader.load(f"npz:{tmp_path}/mine.npz", "test")


@pytest.mark.parametrize("name", ["mnist:٣", "mnist:" + "9" * 5000, "mnist:0-" + "9" * 5000, "mnist:" + "x" * 100_000])
def test_classes_are_ascii_digits_and_not_too_many(name):
    with pytest.raises(DataError, match="^cannot read the classes of 'mnist:") as error:
        parse(name)
    assert len(str(error.value)) < 400


def test_leading_zeros_are_read():
    assert parse("mnist:" + "0" * 5000 + "7") == ("mnist", (7,))
