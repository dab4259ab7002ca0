"""Detectors in a file of one's own, for a first try without a package: ``./my_method.py:MyMethod``."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from oodbench.api import Detector
from oodbench.errors import OODBenchError, line_in, reason
from oodbench.text import shorten

WORD = re.compile(r"(?P<path>.+\.py)(:(?P<detector>\w*))?")


@dataclass(frozen=True)
class LocalFile:
    """A Python file that this process has imported.

    Args:
        loaded: when, in seconds since the epoch: what is changed later is not what runs.
    """

    path: Path
    module: ModuleType
    loaded: float


def is_file_word(word: str) -> bool:
    """Whether the word after ``--detector`` names a file, which no registered name can."""
    return WORD.fullmatch(word) is not None


def load_detector(word: str) -> tuple[LocalFile, type[Detector]]:
    """Import the file that the word names and return the detector class in it.

    The file may import modules that lie beside it. Raises OODBenchError where there is no such file or class, the file
    cannot be imported, or it has the name of an installed module.
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
    """Say how to name a class of the file, for a word that names none."""
    classes = [
        name
        for name, value in vars(file.module).items()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == file.module.__name__
    ]
    if not classes:
        return f"{file.path.name} defines no subclass of oodbench.Detector"
    missing = f"{file.path.name} has no detector {wanted}" if wanted else "name the class"
    return f"{missing}: " + " or ".join(f"{file.path.name}:{name}" for name in classes)


@cache
def _import(path: Path) -> LocalFile:
    """Import a file as the module of its name, once per process."""
    name, where = path.stem, shorten(str(path))
    if not os.path.isfile(path):  # False also of a name that is too long
        raise OODBenchError(f"{where} is no file; write --detector PATH.py:CLASS")
    if not name.isidentifier():
        raise OODBenchError(f"{path.name} cannot be imported under this name: use letters, digits and '_' alone")
    _refuse_taken(name, path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # behind all others: a file beside it must not hide an installed module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, path
    module, loaded = importlib.util.module_from_spec(spec), time.time()
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = line_in(error, [path])
        raise OODBenchError(f"{where} cannot be imported: {reason(error)}{line and f' ({line})'}") from error
    return LocalFile(path, module, loaded)


def _refuse_taken(name: str, path: Path) -> None:
    """Raise OODBenchError where ``import name`` means another file: which of the two runs must not be a question."""
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
