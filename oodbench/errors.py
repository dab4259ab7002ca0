"""The errors that a user can fix. Each message is one line: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oodbench.text import LONGEST, shorten

LONGEST_LINE = 900


def reason(error: BaseException) -> str:
    """Return an exception as one line: the message of an OODBenchError, any other with its type."""
    text = str(error) if isinstance(error, OODBenchError) else f"{type(error).__name__}: {error}"
    return shorten(" ".join(text.split()), LONGEST_LINE)


@contextmanager
def no_exit(what: str, kind: type[Exception]) -> Iterator[None]:
    """Raise an error of this kind where the code run inside, a plugin's, calls ``sys.exit``: other work must go on."""
    try:
        yield
    except SystemExit as error:
        raise kind(f"{what} called sys.exit({error.code!r}); it must raise an error instead") from error


def line_in(error: BaseException, files: Collection[Path]) -> str:
    """Return the innermost line of these files in the error's traceback, as ``my_method.py:12``; empty for none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) in files]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


class OODBenchError(Exception):
    """An error that the command line prints as one line before it exits with 1."""


class UnknownName(OODBenchError):
    """A detector, data set, metric, preset or parameter that does not exist; the message names similar ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        self.kind, self.name = kind, name
        known = sorted(known)
        near = difflib.get_close_matches(name[:LONGEST], known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {shorten(repr(name))}; {hint}")


class WorkerDied(OODBenchError):
    """The process or the machine that worked on a task was lost before the task ended."""


class DataError(OODBenchError):
    """A data set that is missing, damaged, empty, or cannot be used as requested."""


class StoreError(OODBenchError):
    """A file of the store that cannot be read or written."""


class FitError(OODBenchError):
    """Training that cannot give a usable detector."""


class BaseNotFitted(FitError):
    """A run whose base has no fit in the store."""


class ScoreError(OODBenchError):
    """Scores that break the contract: not one finite number per image."""
