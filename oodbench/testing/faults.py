"""Faults in a detector's own code, found so that each is reported only once, an exception with its line."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

METHODS = ("fit", "score_outputs", "score", "load_state", "state")


@dataclass(frozen=True)
class Fault:
    """A fault of a detector's code that any check may meet.

    Args:
        what: as in ``fit raises ValueError at my_method.py:12``.
        where: as in ``my_method.py:12, in fit``; empty where no line is known.
    """

    what: str
    where: str = ""


class NotFinite(AssertionError):
    """A fit left a state and scores that are not finite, so that they cannot be checked further."""


def fault_of(error: BaseException, detector: type) -> Fault | None:
    """Return the fault in the detector's own code that an exception, or a cause of it, shows.

    None where the detector did not raise it.
    """
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, NotFinite):
            return Fault("fit leaves a state that is not finite")
        frames = list(traceback.walk_tb(each.__traceback__))
        methods = [name for frame, _ in frames if (name := _codes(detector).get(frame.f_code))]
        if methods:
            own = [(frame, line) for frame, line in frames if is_own(frame, detector)] or frames
            line = line_text(*own[-1])
            return Fault(f"{methods[0]} raises {type(each).__name__} at {line}", f"{line}, in {methods[0]}")
        each = each.__cause__
    return None


def line_text(frame: FrameType, line: int) -> str:
    """Return a line's place as text: ``my_method.py:12``."""
    return f"{Path(frame.f_code.co_filename).name}:{line}"


def is_own(frame: FrameType, detector: type) -> bool:
    """Whether a frame is of the detector's package, or of the file that defines it."""
    file = Path(frame.f_code.co_filename)
    return any(file == place or place in file.parents for place in _places(detector))


def _places(detector: type) -> Iterator[Path]:
    """Yield the file of the detector's module, and the folder of its package if it is in one."""
    package = detector.__module__.partition(".")[0]
    for name in {detector.__module__, package}:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file:
            yield Path(file).parent if Path(file).name == "__init__.py" else Path(file)


def _codes(detector: type) -> dict[CodeType, str]:
    """Return the code of the methods that the detector and its base classes define → the method's name."""
    found = {}
    for name in METHODS:
        for each in detector.__mro__:
            code = getattr(inspect.unwrap(vars(each)[name]), "__code__", None) if name in vars(each) else None
            if code is not None:
                found[code] = name
    return found
