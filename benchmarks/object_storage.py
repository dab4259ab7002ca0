"""The cost of a store in object storage: requests per run and per listing, counted by an S3 server on this machine.

python -m benchmarks.object_storage
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.statistics import fill
from oodbench.errors import OODBenchError
from oodbench.plan.requests import RunRequest
from oodbench.plugin.registry import load_registry
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.runs.states import store_states
from oodbench.store.store import Store
from oodbench.store.tables import results_and_failures

SIZES = (100, 300)
PAGE = 1000
"""Files that a server lists per request."""
LARGE = 10_000
ROUND_SECONDS = 0.05
"""Typical duration of a request to a bucket in the same region."""
DELAY = 2.0
"""Seconds before a file of a store is sent: far longer than this server takes, so that concurrent requests are seen."""
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ENVIRONMENT |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
REQUEST = RunRequest(
    ("ae",),
    ("mnist5k:0-2",),
    ("mnist5k:3", "constant", "noise"),
    preset="quick",
    sets=("training.epochs=1", "width=0.1"),
)


@dataclass
class Counted:
    """The requests that a server has answered.

    Args:
        spans: start and end of each.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.spans)

    @property
    def rounds(self) -> int:
        """The largest number of requests of which each started after the one before had ended."""
        count, last_end = 0, 0.0
        for end, start in sorted((end, start) for start, end in self.spans):
            if start >= last_end:
                count, last_end = count + 1, end
        return count


@contextmanager
def counting_server() -> Iterator[Callable[[], Counted]]:
    """Return a context that serves S3 and yields a function that returns the requests since its last call."""
    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application, counted, lock = DomainDispatcherApplication(create_backend_app), Counted(), threading.Lock()

    def count(environ: dict[str, Any], start_response: Any) -> Any:
        start = time.perf_counter()
        if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].startswith("/bucket/store-"):
            time.sleep(DELAY)
        answer = application(environ, start_response)
        is_listing = "list-type" in environ.get("QUERY_STRING", "")
        with lock:
            counted.kinds["LIST" if is_listing else environ["REQUEST_METHOD"]] += 1
            counted.spans.append((start, time.perf_counter()))
        return answer

    def take() -> Counted:
        nonlocal counted
        with lock:
            taken, counted = counted, Counted()
        return taken

    server = make_server("127.0.0.1", 0, count, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"})
    try:
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        yield take
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.shutdown()


def measure() -> str:
    """Return a section of the page."""
    with counting_server() as take:
        of_a_run, files = _of_a_run(take)
        return f"### Object storage\n\n{of_a_run}\n\n{_of_a_store(take, files)}"


def _of_a_run(take: Callable[[], Counted]) -> tuple[str, int]:
    """Return a table, and the number of files of a run."""
    registry, options = load_registry(), ExecutionOptions("s3://bucket/run", device="cpu")
    rows = []
    run(REQUEST, options=ExecutionOptions("s3://bucket/warm", device="cpu"), registry=registry)
    take()
    for name in ("a run, from nothing to its results", "the same again: finished already"):
        run(REQUEST, options=options, registry=registry)
        rows.append((name, take()))
    kinds = ("PUT", "GET", "HEAD", "LIST", "DELETE")
    lines = [f"| | requests | {' | '.join(kinds)} | one after the other |", "|---" * (len(kinds) + 3) + "|"]
    lines += [
        f"| {name} | {counted.requests} | {' | '.join(str(counted.kinds[kind]) for kind in kinds)} | {counted.rounds} |"
        for name, counted in rows
    ]
    files = len(Store(options.store).files.listing())
    take()
    head = f"One run of AE on three out-data sets, from opening the store to reading its results; it has {files} files."
    return head + "\n\n" + "\n".join(lines), files


def _of_a_store(take: Callable[[], Counted], files: int) -> str:
    metrics = list(load_registry().metrics)
    counts: list[Counted] = []
    for size in SIZES:
        store = _filled(f"s3://bucket/store-{size}", size, metrics)
        take()
        results_and_failures(store)
        counts.append(take())
    requests, rounds = [each.requests for each in counts], [each.rounds for each in counts]
    store_states(store)
    Store.keys(store)
    if (listings := take()).kinds["LIST"] != listings.requests:
        raise OODBenchError(f"states and keys are read from lists alone, not with {dict(listings.kinds)}")
    pages = [math.ceil(files * size / PAGE) for size in (*SIZES, LARGE)]
    rows = [
        ("all results, as `leaderboard` reads them", requests, _extrapolated(requests), _extrapolated(rounds)),
        ("all states or keys, as `status` reads them", pages[:2], pages[2], pages[2]),
    ]
    lines = [
        f"| | {' | '.join(f'{size} runs' for size in SIZES)} | {LARGE:,} runs | of them one after the other | at "
        f"{ROUND_SECONDS * 1000:.0f} ms each, s |",
        "|---" * (len(SIZES) + 4) + "|",
    ]
    lines += [
        f"| {name} | {' | '.join(map(str, few))} | {many:,} | {large:,} | {large * ROUND_SECONDS:.0f} |"
        for name, few, many, large in rows
    ]
    head = (
        f"Stores of runs with five out-data sets. Results of {LARGE:,} runs are on the line through the two sizes "
        f"measured; a list is {files} files a run, {PAGE:,} a request. Seconds are those of waiting alone."
    )
    return head + "\n\n" + "\n".join(lines)


def _filled(address: str, size: int, metrics: list[str]) -> Store:
    """Return a store of small runs, made on the disk and then copied."""
    store = Store(address)
    with tempfile.TemporaryDirectory() as folder:
        fill(Store(folder), size, metrics)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        names = {path: path.relative_to(folder).as_posix() for path in files}
        contents = {store.files.where(name): path.read_bytes() for path, name in names.items()}
        store.files.fs.pipe(contents, batch_size=8)
    return store


def _extrapolated(counts: list[int]) -> int:
    """Return the count at LARGE, on the line through those at SIZES."""
    slope = (counts[1] - counts[0]) / (SIZES[1] - SIZES[0])
    return round(counts[1] + slope * (LARGE - SIZES[1]))


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
