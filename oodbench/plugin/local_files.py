"""Detectors in a user's own file, for a first try without a package: ``./my_method.py:MyMethod``."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from oodbench.api import Detector
from oodbench.errors import OODBenchError, line_in, reason
from oodbench.plugin.source import forget_trees
from oodbench.text import shorten

WORD = re.compile(r"(?P<path>.+\.py)(:(?P<detector>\w*))?")


@dataclass(frozen=True)
class LocalFile:
    """A Python file that this process has imported.

    Args:
        loaded: when it was imported, in seconds since the epoch; later changes of the file are not what runs.
        stamps: module → path and content, for the file and the modules beside it that it was the first to import.
    """

    path: Path
    module: ModuleType
    loaded: float
    stamps: Mapping[str, tuple[Path, bytes]]

    @property
    def is_current(self) -> bool:
        """Whether none of these files has changed since."""
        return all(_content(path) == content for path, content in self.stamps.values())


_imported: dict[Path, LocalFile] = {}


def is_file_word(word: str) -> bool:
    """Whether the word after ``--detector`` names a file; no registered name has this form."""
    return WORD.fullmatch(word) is not None


def load_detector(word: str) -> tuple[LocalFile, type[Detector]]:
    """Import the file that the word names and return the detector class in it.

    The file may import modules that lie beside it. It is imported once, and again only after it or one of these has
    changed, such as when it is edited beside a notebook. Raises OODBenchError where there is no such file or class, the
    file cannot be imported, or it has the name of an installed module.
    """
    match = WORD.fullmatch(word)
    assert match, word
    file = _import(Path(os.path.expanduser(match["path"])).absolute())
    found = vars(file.module).get(match["detector"] or "")
    if not (isinstance(found, type) and issubclass(found, Detector)):
        raise OODBenchError(f"--detector {shorten(word)}: {_what_there_is(file, match['detector'])}")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise OODBenchError(f"{found.__name__} in {file.path.name} lacks {', '.join(missing)}")
    if not isinstance(getattr(found, "name", None), str):
        raise OODBenchError(f"{found.__name__} in {file.path.name} has no name: declare one, as in name = 'my-method'")
    return file, found


def _what_there_is(file: LocalFile, wanted: str | None) -> str:
    """Return how to name a class of the file, for a word that names none."""
    classes = [
        name
        for name, value in vars(file.module).items()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == file.module.__name__
    ]
    if not classes:
        return f"{file.path.name} defines no subclass of oodbench.Detector"
    missing = f"{file.path.name} has no detector {wanted}" if wanted else "name the class"
    return f"{missing}: " + " or ".join(f"{file.path.name}:{name}" for name in classes)


def _import(path: Path) -> LocalFile:
    """Import a file as the module of its name, once for each state of its content."""
    known = _imported.get(path)
    if known is None or not known.is_current:
        for name, (file, _) in known.stamps.items() if known else ():
            sys.modules.pop(name, None)
            _forget_compiled(file)
        _imported.pop(path, None)
        forget_trees()
        _imported[path] = _import_now(path)
    return _imported[path]


def _forget_compiled(file: Path) -> None:
    """Remove a file's compiled code: Python would take it as current after an edit within the same second."""
    with suppress(OSError, NotImplementedError):
        Path(importlib.util.cache_from_source(str(file))).unlink()


def _import_now(path: Path) -> LocalFile:
    name, where = path.stem, shorten(str(path))
    if not os.path.isfile(path):  # also False for a name that is too long
        raise OODBenchError(f"{where} is no file; write --detector PATH.py:CLASS")
    if not name.isidentifier():
        raise OODBenchError(f"{path.name} cannot be imported under this name: use letters, digits and '_' alone")
    _refuse_taken(name, path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: a file beside it must not hide an installed module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, path
    module, loaded, before = importlib.util.module_from_spec(spec), time.time(), {*sys.modules}
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = line_in(error, [path])
        raise OODBenchError(f"{where} cannot be imported: {reason(error)}{line and f' ({line})'}") from error
    return LocalFile(path, module, loaded, _stamps({*sys.modules} - before, path.parent))


def _stamps(modules: Iterable[str], folder: Path) -> dict[str, tuple[Path, bytes]]:
    """Return path and content of those modules whose files are in the folder, or in a package there."""
    stamps = {}
    for name in modules:
        file = getattr(sys.modules[name], "__file__", None)
        top = folder / name.partition(".")[0]
        if file and (Path(file) == top.with_suffix(".py") or Path(file).is_relative_to(top)):
            stamps[name] = Path(file), _content(Path(file))
    return stamps


def _content(path: Path) -> bytes:
    """Return a file's content; empty where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _refuse_taken(name: str, path: Path) -> None:
    """Raise OODBenchError where ``import name`` means another file: it would be unclear which of the two runs."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without a specification, such as __main__
        spec = None
        taken = name in sys.modules
    else:
        taken = spec is not None and not (spec.origin and Path(spec.origin).resolve() == path.resolve())
    if taken:
        there = (spec and spec.origin) or "part of Python"
        raise OODBenchError(f"{path.name} has the name of another module ({there}): rename the file")
