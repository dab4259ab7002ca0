"""Plugins that are found as installed packages are, and folders that belong to one test alone."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOYS = Path(__file__).parent / "toys"

LONGEST = (
    "test_docs.py", "test_end_to_end.py", "test_leaderboards.py", "test_slurm.py", "test_package.py",
    "test_many_machines.py", "oodbench-ebae/tests/test_contract.py", "test_local_detector.py", "test_notebooks.py",
)  # fmt: skip
"""Files that take half a minute or more. They come first, so that no process has one left when the others are done."""

Install = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        return min((place for name, place in places.items() if str(item.path).endswith(name)), default=len(LONGEST))

    items.sort(key=place)


@pytest.fixture
def no_traces(tmp_path, monkeypatch):
    """Nothing is read from or written to the user's own folders, and no installed plugin takes part."""
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OODBENCH_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("OODBENCH_PLUGINS", "")
    monkeypatch.delenv("OODBENCH_STORE", raising=False)
    monkeypatch.delenv("OODBENCH_DEBUG", raising=False)


@pytest.fixture
def install(tmp_path, monkeypatch, no_traces) -> Iterator[Install]:
    """``install(name, module, source)`` makes a plugin findable: a module with its metadata on ``sys.path``."""
    installed: list[tuple[str, str]] = []

    def install(name: str, module: str, source: str | None = None, version: str = "1.0") -> Path:
        site = tmp_path / "site"
        info = site / f"oodbench_{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oodbench-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[oodbench]\n{name} = {module}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        installed.append((name, module))
        monkeypatch.setenv("OODBENCH_PLUGINS", ",".join(name for name, _ in installed))
        return site

    yield install
    for _, module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def toys(install, monkeypatch) -> ModuleType:
    """The plugin of ``tests/toys``, installed; ``toys.calls`` is what its detectors were asked to do."""
    monkeypatch.syspath_prepend(TOYS)
    install("toys", "oodbench_toys", version="1.2")
    return importlib.import_module("oodbench_toys")


@pytest.fixture
def standing(toys, install, tmp_path, monkeypatch) -> Callable[[], list[str]]:
    """The plugin of ``tests/toys/oodbench_standing.py``; ``standing()`` is what was done, and forgets it."""
    file = tmp_path / "done"
    monkeypatch.setenv("STANDING_LOG", str(file))
    install("standing", "oodbench_standing")

    def done() -> list[str]:
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    return done


# ---------------------------------------------------------------------------------- object storage

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


class S3Server:
    """An S3 server on this machine: what it was asked, and what it is to answer instead.

    Attributes:
        requests: method, path and query of each request.
        faults: HTTP statuses to answer the next requests with.
        delay: seconds before each answer.
        most_at_once: the most requests that were under way at one moment.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line per request
        self.requests: list[tuple[str, str, str]] = []
        self.faults: list[int] = []
        self.delay = 0.0
        self.most_at_once = self.under_way = 0
        self.counting = threading.Lock()
        self.application = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, environ, start_response):
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
        with self.counting:
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        time.sleep(self.delay)
        with self.counting:
            self.under_way -= 1
        if self.faults:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status = self.faults.pop(0)
            start_response(f"{status} Fault", [("Content-Type", "application/xml"), ("Content-Length", "0")])
            return [b""]
        return self.application(environ, start_response)


@pytest.fixture(scope="session")
def session_s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.server.shutdown()


@pytest.fixture
def s3_server(session_s3_server) -> Iterator[S3Server]:
    """The server that ``s3`` is on."""
    session_s3_server.requests.clear()
    yield session_s3_server
    session_s3_server.faults.clear()
    session_s3_server.delay = 0.0


@pytest.fixture
def s3(s3_server, monkeypatch) -> str:
    """The address of an empty store on it, for this process and those that it starts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("AWS_PROFILE") or name == "AWS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}/store"
