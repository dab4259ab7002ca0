"""Files that appear whole or not at all, in a folder or at any fsspec address."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import filelock
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from oodbench.errors import StoreError

T = TypeVar("T")
DELETE = "delete it, and "
REDO = "`oodbench run` with --force makes it again"


class Files:
    """The files below one address, each named by its path from there. What fails raises StoreError naming the file.

    A file is written beside its place, under a name that begins with a dot, and then moved there.
    """

    def __init__(self, address: str):
        try:
            self.fs, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"the store {address} cannot be used: {line(error)}; choose another with --store"
            ) from error
        self.address = address
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def where(self, path: str) -> str:
        return f"{self.root}/{path}"

    def check_writable(self) -> None:
        """Write a small file and remove it again."""
        probe = self.where(f".probe.{uuid.uuid4().hex}")
        try:
            self.fs.makedirs(self.root, exist_ok=True)
            self.fs.pipe_file(probe, b"probe")
            self.fs.rm_file(probe)
        except OSError as error:
            why = line(error)
            raise StoreError(f"the store {self.address} is not writable: {why}; choose another with --store") from error

    @contextmanager
    def lock(self, path: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold a lock file; calls ``on_wait`` once if it must wait. On a local file system only: no lock elsewhere."""
        if not self.local:
            yield
            return
        lock = filelock.FileLock(self.where(path))
        try:
            self.fs.makedirs(os.path.dirname(lock.lock_file), exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                on_wait()
                lock.acquire(poll_interval=0.2)
        except OSError as error:
            raise self._unwritable(path, error) from error
        try:
            yield
        finally:
            lock.release()

    def write(self, path: str, data: bytes) -> None:
        target = self.where(path)
        folder, _, name = target.rpartition("/")
        beside = f"{folder}/.{name}.{uuid.uuid4().hex}"
        try:
            self.fs.makedirs(folder, exist_ok=True)
            try:
                self.fs.pipe_file(beside, data)
                self._move(beside, target)
            except BaseException:
                with suppress(OSError):
                    self.fs.rm_file(beside)
                raise
        except OSError as error:
            raise self._unwritable(path, error) from error

    def _move(self, source: str, target: str) -> None:
        if self.local:
            os.replace(source, target)  # atomic, unlike a move through fsspec
        else:
            self.fs.mv(source, target)

    def read(self, path: str, parse: Callable[[bytes], T], remedy: str = REDO) -> T:
        """What ``parse`` makes of the file's bytes; whatever it raises means that the file is damaged."""
        try:
            data = self.fs.cat_file(self.where(path))
        except FileNotFoundError as error:
            raise StoreError(f"{self.where(path)} is missing; {remedy.removeprefix(DELETE)}") from error
        except OSError as error:
            raise StoreError(f"{self.where(path)} cannot be read: {line(error)}") from error
        try:
            return parse(data)
        except Exception as error:  # each format has errors of its own
            raise StoreError(f"{self.where(path)} is damaged ({line(error)}); {remedy}") from error

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        try:
            self.fs.rm(self.where(path), recursive=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unwritable(path, error) from error

    def exists(self, path: str) -> bool:
        self.fs.invalidate_cache()  # other processes write here, too
        return bool(self.fs.exists(self.where(path)))

    def names(self, folder: str = "", hidden: bool = False) -> list[str]:
        """The names of what is in a folder, sorted; those that begin with a dot only if ``hidden``."""
        self.fs.invalidate_cache()
        try:
            paths = self.fs.ls(self.where(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = sorted(path.rstrip("/").rpartition("/")[2] for path in paths)
        return [name for name in names if hidden or not name.startswith(".")]

    def _unwritable(self, path: str, error: OSError) -> StoreError:
        where, why = self.where(path), line(error)
        return StoreError(f"{where} cannot be written: {why}; make room or choose another place with --store")


def line(error: BaseException) -> str:
    """Why, on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
