"""Files in object storage: few requests, transient errors tried again, lasting ones as one clear line."""

from __future__ import annotations

import errno
import os
import urllib.request
from pathlib import Path

import pytest
from botocore import exceptions

from oodbench.api import Provenance, Result, Run
from oodbench.errors import StoreError
from oodbench.store import faults
from oodbench.store.file_systems import AT_ONCE
from oodbench.store.files import Files
from oodbench.store.store import Store

PROVENANCE = Provenance(
    "0.2.0", "p", "0.1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 300}, "",
    in_images="c" * 16,
)  # fmt: skip


@pytest.fixture
def files(s3, s3_server, monkeypatch) -> Files:
    monkeypatch.setattr(faults, "FIRST_PAUSE", 0.02)
    made = Files(s3)
    made.put("warm", b"")  # connects
    s3_server.requests.clear()
    return made


def fill(store: Store, count: int, folder: Path) -> list[str]:
    """Copy runs with results to the store; their keys."""
    local = Store(str(folder))
    for seed in range(count):
        run = Run("ae", "1", "{}", "mnist", seed)
        key = run.key("c" * 16)
        local.write_fit(key, run, PROVENANCE, {}, [])
        local.write_results(key, [Result(key, "ae", "mnist", "noise", seed, "auroc", 0.5, 300, 200)])
    paths = [path for path in folder.rglob("*") if path.is_file()]
    contents = {store.where(path.relative_to(folder).as_posix()): path.read_bytes() for path in paths}
    store.files.fs.pipe(contents, batch_size=8)
    return local.keys()


def test_a_file_is_written_by_one_request_and_read_by_one(files, s3_server):
    files.write("run/weights.safetensors", b"x" * 2_000_000)
    assert files.read("run/weights.safetensors", bytes) == b"x" * 2_000_000
    files.remove_file("run/weights.safetensors")
    assert [method for method, *_ in s3_server.requests] == ["PUT", "GET", "DELETE"]


def test_results_are_read_many_at_once_and_only_what_is_needed(s3, s3_server, tmp_path):
    store = Store(s3)
    keys = fill(store, 40, tmp_path)
    store.files.write("notes.txt", b"no run")
    store.files.write(f"{keys[0][:-1]}x/checkpoint.pt", b"not finished")
    s3_server.requests.clear()
    s3_server.delay, s3_server.most_at_once = 0.3, 0
    results = store.read_results()
    assert sorted(results["run"]) == keys
    # Of each name in the store a record and results, whether or not it is a run; besides, one list of the names.
    assert len(s3_server.requests) == 1 + 2 * 42
    assert AT_ONCE / 4 < s3_server.most_at_once <= AT_ONCE, "not one after the other"


def test_keys_are_one_list(s3, s3_server, tmp_path):
    store = Store(s3)
    keys = fill(store, 3, tmp_path)
    s3_server.requests.clear()
    assert store.keys() == keys
    assert len(s3_server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_for_the_moment_is_tried_again(files, s3_server, status):
    files.write("run/a", b"1")
    for act in (
        lambda: files.write("run/a", b"2"),
        lambda: files.read("run/a", bytes),
        lambda: files.names("run"),
        lambda: files.listing("run"),
        lambda: files.exists("run/a"),
        lambda: [*files.read_many(["run/a"])],
        lambda: files.create(f"run/created-{status}", b""),
        lambda: files.remove_file("run/a"),
    ):
        s3_server.faults += [status, status]
        act()
        assert s3_server.faults == [], "both faults were met"
    assert files.names("run") == [f"created-{status}"]


def test_a_lasting_error_is_told_from_one_that_passes():
    url = {"endpoint_url": "http://127.0.0.1"}
    for error in (
        exceptions.EndpointConnectionError(**url),
        exceptions.ConnectTimeoutError(**url),
        exceptions.ReadTimeoutError(**url),
        exceptions.ConnectionClosedError(**url),
        exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"),
        TimeoutError(),
        ConnectionResetError(),
        OSError(errno.EBUSY, "busy"),
    ):
        assert faults.is_transient(error), error
    for error in (
        exceptions.NoCredentialsError(),
        exceptions.ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject"),
        exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"),
        FileNotFoundError(),
        PermissionError(),
        OSError(errno.ENOSPC, "full"),
        ValueError(),
    ):
        assert not faults.is_transient(error), error


def test_it_is_not_tried_again_for_ever(files, s3_server, monkeypatch):
    monkeypatch.setattr(faults, "RETRY_SECONDS", 0.2)
    s3_server.faults += [503] * 1000
    with pytest.raises(StoreError, match=r"run/a cannot be written: .*; choose another place with --store"):
        files.write("run/a", b"1")
    assert 2 < 1000 - len(s3_server.faults) < 30


def test_a_file_that_was_created_though_the_answer_was_lost_counts_as_created(s3):
    """The second request finds the first one's file."""
    store = Store(s3)
    create, made = store.files.create, []

    def twice(path, data):
        made.append(create(path, data))
        return create(path, data)

    store.files.create = twice
    with store.claim("ae-mnist-s0-01234567", pytest.fail) as claim:
        assert claim.number == 1 and made == [True]


def test_a_bucket_that_is_not_there_is_named(s3, monkeypatch):
    monkeypatch.setattr(faults, "RETRY_SECONDS", 0.0)
    store = Store("s3://no-such-bucket/results")
    for act in (store.read_results, store.keys, store.read_failures, lambda: store.read_run("key")):
        with pytest.raises(
            StoreError, match=r"^s3://no-such-bucket/results.* cannot be read: there is no bucket of this name"
        ):
            act()
    with pytest.raises(StoreError, match="the store s3://no-such-bucket/results is not writable: there is no bucket"):
        store.check_writable()


def test_an_access_key_that_is_not_known_is_named(s3, s3_server, monkeypatch):
    def ask_for_keys(after: str) -> None:
        text = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{s3_server.url}/moto-api/reset-auth", after.encode(), text, method="POST")
        urllib.request.urlopen(request).close()

    ask_for_keys("0")
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
        store = Store(s3)
        store.files.fs.clear_instance_cache()
        store = Store(s3)
        with pytest.raises(StoreError, match="cannot be read: the access key is not known there"):
            store.read_results()
        with pytest.raises(StoreError, match="is not writable: the access key is not known there"):
            store.check_writable()
    finally:
        ask_for_keys("inf")
        store.files.fs.clear_instance_cache()


def test_without_credentials_it_says_which_to_set(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    store = Store(s3)
    store.files.fs.clear_instance_cache()
    store = Store(s3)
    with pytest.raises(StoreError, match="is not writable: there are no credentials; set AWS_PROFILE"):
        store.check_writable()
    store.files.fs.clear_instance_cache()


def test_a_folder_is_mirrored_as_this_process_changes_it(files, s3_server):
    files.write("run/a", b"1")
    files.write("run/scores/in", b"2")
    with files.mirrored("run", lambda path: path == "a"):
        s3_server.requests.clear()
        assert files.read("run/a", bytes) == b"1" and files.exists("run/scores") and not files.exists("run/b")
        assert dict(files.read_many(["run/a"])) == {"run/a": b"1"}
        assert s3_server.requests == []
        assert files.read("run/scores/in", bytes) == files.read("run/scores/in", bytes) == b"2"
        assert len(s3_server.requests) == 1
        files.write("run/b", b"3")
        files.remove("run/scores")
        assert files.exists("run/b") and not files.exists("run/scores") and not files.exists("run/scores/in")
    assert sorted(files.listing("run")) == ["run/a", "run/b"]


# ------------------------------------------------------------------------------------ a local disk


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    """Also not of ``status.json``, which may be anything where nobody works on the run."""
    store = Store(str(tmp_path))
    key = Run("ae", "1", "{}", "mnist").key("c" * 16)
    (tmp_path / key).mkdir()
    for name in ("status.json", "run.json", "results.parquet"):
        os.mkfifo(tmp_path / key / name)
    assert store.claims.holder(key) is None
    with pytest.raises(StoreError, match=r"run.json cannot be read: it is no regular file"):
        store.read_run(key)
    ((_, answer),) = store.files.read_many([f"{key}/results.parquet"])
    assert "results.parquet cannot be read: it is no regular file" in str(answer)
    with store.claim(key, pytest.fail):
        assert store.claims.holder(key) is not None


def test_a_probe_that_a_killed_process_left_on_a_shared_disk_goes_an_hour_later(tmp_path):
    store = Store(str(tmp_path))
    stale, fresh = tmp_path / f".probe-{'a' * 16}", tmp_path / f".probe-{'b' * 16}"
    stale.touch()
    fresh.touch()
    os.utime(stale, (1e9, 1e9))
    store.check_writable()
    assert [path.name for path in tmp_path.iterdir()] == [fresh.name]
