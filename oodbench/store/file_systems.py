"""File systems by address: this machine's disks, and object storage through fsspec."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fsspec.core

from oodbench.errors import StoreError
from oodbench.store.faults import CHECK_AZURE, NO_BUCKET, NO_CONTAINER, retrying, why
from oodbench.text import shorten

AT_ONCE = 64
"""Number of requests under way at the same time."""
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "max_concurrency": 1,  # a file is read without a request for its size first
        "use_listings_cache": False,  # it would hide what other processes write
        "config_kwargs": {
            "max_pool_connections": AT_ONCE,
            "retries": {"total_max_attempts": 1},  # see ``retrying``: both together take minutes to give up
        },
    }
}
"""Options of file systems, by the address's protocol."""
LOGGERS = ("gcsfs", "adlfs", "azure")
"""Loggers of packages that also log what they raise: the traceback would be printed beside our one line."""
AZURE = ("abfs", "abfss", "az")
QUIET = logging.NullHandler()
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
"""Names that file systems have for the time at which a file was written."""


@dataclass(frozen=True)
class Facts:
    """A file's size in bytes, and when it was written, in seconds since 1970 by the store's clock; 0 if unknown."""

    size: int
    modified: float


def open_file_system(address: str) -> tuple[Any, str]:
    """Return the file system of a store's address, and the store's path there.

    Raises StoreError where the address cannot be used.
    """
    if not address or "::" in address:
        raise StoreError(f"the store {address!r} is no folder and no address: name one with --store")
    for name in LOGGERS:
        logging.getLogger(name).addHandler(QUIET)
    protocol = address.partition("://")[0]
    try:
        fs, root = fsspec.core.url_to_fs(address, **OPTIONS.get(protocol, {}))
    except TypeError as error:  # raised where it needs more than an address
        raise StoreError(
            f"the store {shorten(address)} is of a kind that cannot be one: name a folder, or an "
            "address such as s3://bucket/name, with --store"
        ) from error
    except Exception as error:  # each file system has errors of its own
        is_ours = isinstance(error, ValueError) and protocol in AZURE
        remedy = CHECK_AZURE if is_ours else "choose another with --store"
        raise StoreError(f"the store {shorten(address)} cannot be used: {why(error)}; {remedy}") from error
    if isinstance(getattr(fs, "retries", None), int):
        fs.retries = 1  # s3fs has retries of its own, besides its client's
    return fs, root


def missing_bucket(fs: Any, root: str) -> str:
    """Return what is wrong if the bucket of a store's path is missing, else ""; checked only at Google and Azure.

    Without the bucket, these only report each file and folder as missing. Raises what the file system raises.
    """
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "gs" in protocols:  # listing fails then, and only then: all users of a store may list it
        try:
            retrying(lambda: fs.find(root, prefix=".probe"))
        except FileNotFoundError:
            return NO_BUCKET
    if "abfs" in protocols and not retrying(lambda: fs.exists(root.partition("/")[0])):
        return NO_CONTAINER
    return ""


def facts_of(found: Mapping[str, Any]) -> Facts:
    """Return the facts in a file system's description of a file."""
    time_ = next((found[name] for name in TIMES if found.get(name) is not None), 0.0)
    return Facts(int(found.get("size") or 0), time_.timestamp() if isinstance(time_, datetime) else float(time_))
