"""Files that appear whole or not at all, in a folder or at any fsspec address."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from oodbench.atomic import write_atomically
from oodbench.errors import StoreError
from oodbench.reading import open_regular
from oodbench.store.faults import error_code, is_missing_bucket, is_transient, retrying, why
from oodbench.store.file_systems import AT_ONCE, Facts, facts_of, missing_bucket, open_file_system
from oodbench.text import shorten

T = TypeVar("T")
DELETE = "delete it, and "
REDO = "`oodbench run` with --force makes it again"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE = ".probe"
CHUNK = 1024
"""Number of files read into memory at the same time."""
MIRRORED_BYTES = 2**20
"""Files of a mirrored folder that are larger than this are not kept in memory."""


class Files:
    """The files below one address, each named by its path from there. Failures raise StoreError naming the file.

    On a local disk a file is written under another name in its folder and then moved; elsewhere one request writes it,
    which object storage shows whole or not at all. Transient failures there, such as those of a busy server, are
    retried for half a minute.

    Attributes:
        guards: folder → a function that raises where this process may no longer change the folder's files. It is called
            before each change; with True it must not rely on an earlier check.
    """

    def __init__(self, address: str):
        self.fs, root = open_file_system(address)
        self.address = address
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        self.guards: dict[str, Callable[[bool], None]] = {}
        self._mirrors: dict[str, dict[str, bytes | None]] = {}
        self._has_bucket = self.local

    def place(self, path: str) -> str:
        """Return the full path of a file, as its file system expects it."""
        return f"{self.root}/{path}"

    def where(self, path: str) -> str:
        """Return the full path or address of a file, for people."""
        return self.place(path) if self.local else str(self.fs.unstrip_protocol(self.place(path)))

    def check_writable(self) -> None:
        """Write a small file and remove it again. Raises StoreError where that fails."""
        try:
            self.write(PROBE, b"probe")
            self.remove_file(PROBE)
        except StoreError as error:
            cause = self._why(error.__cause__ or error)
            raise StoreError(
                f"the store {shorten(self.address)} is not writable: {cause}; choose another with --store"
            ) from error

    def guard(self, path: str, at_once: bool = False) -> None:
        """Call the guard of the path's folder, if there is one, which may raise (see ``guards``)."""
        guard = self.guards.get(path.partition("/")[0])
        if guard:
            guard(at_once)

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file."""
        self.guard(path)
        self.put(path, data)

    def put(self, path: str, data: bytes) -> None:
        """Create or replace a file without calling its guard."""
        target = self.place(path)
        mirror = self._mirror(path)
        try:
            if self.local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(target), lambda file: file.write(data))
            else:
                retrying(lambda: self.fs.pipe_file(target, data))
        except Exception as error:
            raise self.unwritable(path, error) from error
        if mirror is not None:
            mirror[path] = data if len(data) <= MIRRORED_BYTES else None

    def create(self, path: str, data: bytes) -> bool:
        """Create a file in object storage that must not exist yet; return whether this process created it.

        False also where another process created it at the same moment. A request whose answer was lost is made again,
        and then finds its own file: a caller that must know compares the content.
        """
        try:
            retrying(lambda: self.fs.pipe_file(self.place(path), data, mode="create"))
        except FileExistsError:
            return False
        except Exception as error:
            if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise self.unwritable(path, error) from error
        return True

    def facts(self, path: str) -> Facts:
        """Return size and time of a file. Raises StoreError also where it is missing."""
        try:
            self.fs.invalidate_cache()
            return facts_of(retrying(lambda: self.fs.info(self.place(path))))
        except Exception as error:
            raise self.unreadable(path, error) from error

    def read(self, path: str, parse: Callable[[bytes], T], remedy: str = REDO) -> T:
        """Return what ``parse`` returns for the file's bytes; any error that it raises means a damaged file."""
        mirror = self._mirror(path)
        data = None if mirror is None else mirror.get(path)
        if data is None:
            data = self._bytes(path, remedy)
            if mirror is not None and len(data) <= MIRRORED_BYTES:
                mirror[path] = data
        return self.parsed(path, data, parse, remedy)

    def _bytes(self, path: str, remedy: str) -> bytes:
        try:
            read = _local_bytes if self.local else self.fs.cat_file
            return bytes(retrying(lambda: read(self.place(path))))
        except FileNotFoundError as error:
            self._check_bucket(path, error)
            raise StoreError(f"{shorten(self.where(path))} is missing; {remedy.removeprefix(DELETE)}") from error
        except Exception as error:
            raise self.unreadable(path, error) from error

    def parsed(self, path: str, data: bytes, parse: Callable[[bytes], T], remedy: str = REDO) -> T:
        """Return what ``parse`` returns for a file's bytes, with the errors of ``read``."""
        try:
            return parse(data)
        except Exception as error:  # each format has errors of its own
            raise StoreError(f"{shorten(self.where(path))} is damaged ({why(error)}); {remedy}") from error

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes | StoreError | None]]:
        """Yield each path with the file's bytes, None if it is missing, or an error that says why it cannot be read.

        In object storage many are read at once.
        """
        left = list(paths)
        for first in range(0, len(left), CHUNK):
            chunk = left[first : first + CHUNK]
            mirrored = {path: (self._mirror(path) or {}).get(path) for path in chunk}
            found = {path: data for path, data in mirrored.items() if data is not None}
            asked = [path for path in chunk if path not in found]
            answers: dict[str, bytes | BaseException] = {
                **found,
                **dict(zip(asked, self._read_at_once(asked), strict=True)),
            }
            for path in chunk:
                answer = answers[path]
                if isinstance(answer, FileNotFoundError | NotADirectoryError) and not (
                    is_missing_bucket(answer) or self._without_bucket()
                ):
                    yield path, None
                elif isinstance(answer, BaseException):
                    yield path, self.unreadable(path, answer)
                else:
                    yield path, bytes(answer)

    def _read_at_once(self, paths: list[str]) -> list[bytes | BaseException]:
        targets = [self.place(path) for path in paths]
        if self.local:
            return [_bytes_or_error(target) for target in targets]
        options = {"batch_size": AT_ONCE} if self.fs.async_impl else {}
        found = self.fs.cat_ranges(targets, None, None, on_error="return", **options)
        for place, data in enumerate(found):
            if isinstance(data, BaseException) and is_transient(data):
                with suppress(Exception):  # the first error is as good as the next
                    found[place] = retrying(partial(self.fs.cat_file, targets[place]))
        return list(found)

    @contextmanager
    def mirrored(self, folder: str, wanted: Callable[[str], bool] = lambda path: False) -> Iterator[None]:
        """Inside, show a folder as it was at the beginning, with the changes that this process has made since.

        For a process that alone changes the folder, or that wants a snapshot. In object storage this saves the requests
        that check whether a file exists, and reads small files only once. On a local disk it does nothing.

        Args:
            wanted: whether a file, by its path within the folder, is read at the beginning, in one go with others.
        """
        if self.local or folder in self._mirrors:
            yield
            return
        mirror: dict[str, bytes | None] = dict.fromkeys(self.listing(folder))
        for path, data in self.read_many([path for path in mirror if wanted(path.removeprefix(f"{folder}/"))]):
            mirror[path] = data if isinstance(data, bytes) else None  # after an error, it is read again when needed
        self._mirrors[folder] = mirror
        try:
            yield
        finally:
            del self._mirrors[folder]

    def _mirror(self, path: str) -> dict[str, bytes | None] | None:
        return self._mirrors.get(path.partition("/")[0])

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all its content, if it exists."""
        self.guard(path)
        target = self.place(path)
        try:
            if self.local:
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
            else:  # one by one: a recursive removal would take [, ? and * in a name as a pattern
                for found in self._paths_at(path):
                    self.remove_file(found)
        except FileNotFoundError:
            pass
        except StoreError:
            raise
        except Exception as error:
            raise self.unwritable(path, error) from error

    def _paths_at(self, path: str) -> list[str]:
        """Return the file of this name in object storage, or the files of the folder of this name."""
        mirror = self._mirror(path)
        if mirror is not None:
            return [found for found in [*mirror] if found == path or found.startswith(f"{path}/")]
        self.fs.invalidate_cache()
        return [found[len(self.root) + 1 :] for found in retrying(lambda: self.fs.find(self.place(path)))]

    def remove_file(self, path: str) -> None:
        """Remove one file, if it exists; in object storage with one request."""
        self.guard(path)
        try:
            if self.local:
                os.unlink(self.place(path))
            else:
                retrying(lambda: self.fs.rm_file(self.place(path)))
        except FileNotFoundError:
            pass
        except Exception as error:
            raise self.unwritable(path, error) from error
        mirror = self._mirror(path)
        if mirror is not None:
            mirror.pop(path, None)

    def size(self, folder: str) -> int:
        """Return the bytes of all files in a folder and below it."""
        return sum(facts.size for facts in self.listing(folder).values())

    def listing(self, folder: str = "") -> dict[str, Facts]:
        """Return path → facts of all files in a folder and below it; in object storage a request per 1,000 files."""
        try:
            self.fs.invalidate_cache()
            place = self.place(folder).rstrip("/")
            found = retrying(lambda: self.fs.find(place, detail=True))
            if not found:
                raise FileNotFoundError(place)
        except FileNotFoundError as error:
            self._check_bucket(folder, error)
            return {}
        except Exception as error:
            raise self.unreadable(folder, error) from error
        return {name[len(self.root) + 1 :]: facts_of(facts) for name, facts in found.items() if name != place}

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        mirror = self._mirror(path)
        if mirror is not None:
            return path in mirror or any(other.startswith(f"{path}/") for other in [*mirror])
        try:
            if self.local:
                os.stat(self.place(path))
                return True
            self.fs.invalidate_cache()  # other processes write here, too
            return bool(retrying(lambda: self.fs.exists(self.place(path))))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:
            raise self.unreadable(path, error) from error

    def names(self, folder: str = "", hidden: bool = False) -> list[str]:
        """Return the names of a folder's files and folders, sorted; those that begin with a dot only if ``hidden``."""
        return [name for name in sorted(self.facts_in(folder)) if hidden or not name.startswith(".")]

    def facts_in(self, folder: str) -> dict[str, Facts]:
        """Return name → facts of a folder's files and folders, hidden or not."""
        return {facts["name"].rstrip("/").rpartition("/")[2]: facts_of(facts) for facts in self._ls(folder)}

    def sizes(self, folder: str) -> list[tuple[str, int]]:
        """Return name and bytes of each file in a folder, the newest first where the file system knows the times."""
        found = self.facts_in(folder)
        return [(name, found[name].size) for name in sorted(found, key=lambda name: -found[name].modified)]

    def _ls(self, folder: str) -> list[dict[str, Any]]:
        try:
            self.fs.invalidate_cache()
            found: list[dict[str, Any]] = retrying(lambda: self.fs.ls(self.place(folder), detail=True))
        except (FileNotFoundError, NotADirectoryError) as error:
            self._check_bucket(folder, error)
            return []
        except Exception as error:
            raise self.unreadable(folder, error) from error
        return found

    def _check_bucket(self, path: str, error: OSError) -> None:
        """Raise StoreError where the whole bucket is missing, not only the file."""
        if is_missing_bucket(error) or self._without_bucket():
            raise self.unreadable(path, error) from error

    def _without_bucket(self) -> str:
        """Return what is wrong if the whole bucket is missing, else ""; no requests are made once it was found."""
        if self._has_bucket:
            return ""
        try:
            self.fs.invalidate_cache()
            problem = missing_bucket(self.fs, self.root)
        except Exception:  # the next request that matters will say what is wrong
            return ""
        self._has_bucket = not problem
        return problem

    def _why(self, error: BaseException) -> str:
        return (isinstance(error, FileNotFoundError) and self._without_bucket()) or why(error)

    def unreadable(self, path: str, error: BaseException) -> StoreError:
        """Return the error to raise where a file or folder cannot be read."""
        return StoreError(f"{shorten(self.where(path))} cannot be read: {self._why(error)}")

    def unwritable(self, path: str, error: BaseException) -> StoreError:
        """Return the error to raise where a file cannot be written."""
        full = isinstance(error, OSError) and error.errno in FULL
        remedy = "make room or choose another place" if full else "choose another place"
        return StoreError(f"{shorten(self.where(path))} cannot be written: {self._why(error)}; {remedy} with --store")


def _local_bytes(place: str) -> bytes:
    with open_regular(place) as file:
        return file.read()


def _bytes_or_error(place: str) -> bytes | BaseException:
    try:
        return retrying(lambda: _local_bytes(place))
    except OSError as error:
        return error
