"""Files that appear whole or not at all, in a folder or at any fsspec address."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import filelock
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from oodbench.atomic import is_left_behind, write_atomically
from oodbench.errors import StoreError
from oodbench.text import shorten

T = TypeVar("T")
DELETE = "delete it, and "
REDO = "`oodbench run` with --force makes it again"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE = ".probe"


class Files:
    """The files below one address, each named by its path from there. What fails raises StoreError naming the file.

    On a local disk a file is written beside its place and then moved there; elsewhere one request writes it, which
    object storage shows whole or not at all.
    """

    def __init__(self, address: str):
        if not address or "::" in address:
            raise StoreError(f"the store {address!r} is no folder and no address: name one with --store")
        try:
            self.fs, root = fsspec.core.url_to_fs(address)
        except TypeError as error:  # raised for what it must be given besides an address
            raise StoreError(
                f"the store {shorten(address)} is of a kind that cannot be one: name a folder, or an "
                "address such as s3://bucket/name, with --store"
            ) from error
        except Exception as error:  # each file system has errors of its own
            raise StoreError(
                f"the store {shorten(address)} cannot be used: {why(error)}; choose another with --store"
            ) from error
        self.address = address
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def where(self, path: str) -> str:
        """Return the full path or address of a file."""
        return f"{self.root}/{path}"

    def check_writable(self) -> None:
        """Write a small file and remove it again; StoreError where that fails."""
        try:
            self.write(PROBE, b"probe")
            self.remove(PROBE)
        except StoreError as error:
            cause = why(error.__cause__ or error)
            raise StoreError(
                f"the store {shorten(self.address)} is not writable: {cause}; choose another with --store"
            ) from error

    @contextmanager
    def lock(self, path: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold a lock file; calls ``on_wait`` once if it must wait. On a local file system only: no lock elsewhere.

        A folder that has nothing but the lock file at the end is removed with it.
        """
        if not self.local:
            yield
            return
        lock = filelock.FileLock(self.where(path), mode=0o666 & ~_umask())  # as of any new file of the user
        folder = Path(lock.lock_file).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
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
            with suppress(OSError):
                if [entry.name for entry in os.scandir(folder)] == [Path(path).name]:
                    os.unlink(lock.lock_file)  # still held: who waits for it notices, and makes another
                    folder.rmdir()
            lock.release()

    def sweep(self, folder: str, older_than: float = 0.0) -> None:
        """Remove what killed processes left half-written in a folder and below it, if it is older than these seconds.

        For who holds the lock of the folder, or with an age at which nobody is still writing.
        """
        if not self.local:
            return
        for place in (Path(self.where(folder), part) for part in ("", "scores", "outputs")):
            with suppress(OSError):
                for entry in os.scandir(place):
                    if is_left_behind(entry.name) and time.time() - entry.stat().st_mtime >= older_than:
                        os.unlink(entry.path)

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file."""
        target = self.where(path)
        try:
            if self.local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(target), lambda file: file.write(data))
            else:
                self.fs.pipe_file(target, data)
        except Exception as error:
            raise self._unwritable(path, error) from error

    def read(self, path: str, parse: Callable[[bytes], T], remedy: str = REDO) -> T:
        """Return what ``parse`` makes of the file's bytes; whatever it raises means that the file is damaged."""
        where = shorten(self.where(path))
        try:
            data = self.fs.cat_file(self.where(path))
        except FileNotFoundError as error:
            raise StoreError(f"{where} is missing; {remedy.removeprefix(DELETE)}") from error
        except Exception as error:
            raise StoreError(f"{where} cannot be read: {why(error)}") from error
        try:
            return parse(data)
        except Exception as error:  # each format has errors of its own
            raise StoreError(f"{where} is damaged ({why(error)}); {remedy}") from error

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        target = self.where(path)
        try:
            if self.local:
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
            else:  # one by one: a recursive removal takes [, ? and * in a name for a pattern
                for found in self.fs.find(target) or [target]:
                    self.fs.rm_file(found)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise self._unwritable(path, error) from error

    def size(self, folder: str) -> int:
        """Return the bytes of all files in a folder and below it."""
        try:
            self.fs.invalidate_cache()
            return sum(int(facts["size"] or 0) for facts in self.fs.find(self.where(folder), detail=True).values())
        except Exception as error:
            raise StoreError(f"{shorten(self.where(folder))} cannot be read: {why(error)}") from error

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        try:
            if self.local:
                os.stat(self.where(path))
                return True
            self.fs.invalidate_cache()  # other processes write here, too
            return bool(self.fs.exists(self.where(path)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:
            raise StoreError(f"{shorten(self.where(path))} cannot be read: {why(error)}") from error

    def names(self, folder: str = "", hidden: bool = False) -> list[str]:
        """Return the names of what is in a folder, sorted; those that begin with a dot only if ``hidden``."""
        try:
            self.fs.invalidate_cache()
            paths = self.fs.ls(self.where(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise StoreError(f"{shorten(self.where(folder))} cannot be read: {why(error)}") from error
        names = sorted(path.rstrip("/").rpartition("/")[2] for path in paths)
        return [name for name in names if hidden or not name.startswith(".")]

    def sizes(self, folder: str) -> list[tuple[str, int]]:
        """Return name and bytes of each file in a folder, the newest first where the file system knows the times."""
        try:
            self.fs.invalidate_cache()
            found = self.fs.ls(self.where(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise StoreError(f"{shorten(self.where(folder))} cannot be read: {why(error)}") from error
        newest_first = sorted(found, key=lambda facts: str(facts.get("mtime") or facts.get("LastModified", "")))[::-1]
        return [(facts["name"].rpartition("/")[2], facts["size"] or 0) for facts in newest_first]

    def _unwritable(self, path: str, error: BaseException) -> StoreError:
        full = isinstance(error, OSError) and error.errno in FULL
        remedy = "make room or choose another place" if full else "choose another place"
        return StoreError(f"{shorten(self.where(path))} cannot be written: {why(error)}; {remedy} with --store")


def _umask() -> int:
    """Return the umask, the permissions that new files must not have; to read it, it must be set."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def why(error: BaseException) -> str:
    """Return the reason in an error on one line, without the name of its class where it has words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shorten(" ".join(text.split()) or type(error).__name__, 500)
