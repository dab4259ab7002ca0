"""Where in a detector's own code an exception was raised, so that one fault is told once and with its line."""

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
    """An exception in a detector's code: the method that was called, the line that raised it, and its type."""

    method: str
    line: str
    error: str


def fault_of(error: BaseException, detector: type) -> Fault | None:
    """Return where the detector raised this exception, or the one that it was made from; None if it did not."""
    each: BaseException | None = error
    while each is not None:
        frames = list(traceback.walk_tb(each.__traceback__))
        methods = [name for frame, _ in frames if (name := _codes(detector).get(frame.f_code))]
        if methods:
            own = [(frame, line) for frame, line in frames if is_own(frame, detector)] or frames
            return Fault(methods[0], line_text(*own[-1]), type(each).__name__)
        each = each.__cause__
    return None


def line_text(frame: FrameType, line: int) -> str:
    """Return ``my_method.py:12``."""
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
