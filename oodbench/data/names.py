"""Names of data sets as people write them: ``mnist``, and with classes ``mnist:0,2-4``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oodbench.errors import DataError
from oodbench.text import shorten

LARGEST_CLASS = 99_999
CLASSES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)


def parse(name: str) -> tuple[str, tuple[int, ...] | None]:
    """Parse ``mnist:0,2-4`` → ``("mnist", (0, 2, 3, 4))``, the classes in order; ``mnist`` → ``("mnist", None)``.

    Raises DataError where the classes cannot be read.
    """
    base, colon, text = name.partition(":")
    if not colon:
        return base, None
    unreadable = f"cannot read the classes of {shorten(repr(name))}"
    if not CLASSES.fullmatch(text):
        raise DataError(f"{unreadable}: write them as in {base}:0-8 or {base}:1,7")
    classes: set[int] = set()
    for item in text.split(","):
        ends = [number.lstrip("0") for number in item.split("-")]
        if any(len(number) > len(str(LARGEST_CLASS)) for number in ends):
            raise DataError(f"{unreadable}: no class is above {LARGEST_CLASS}")
        first, last = int(ends[0] or 0), int(ends[-1] or 0)
        if last < first:
            raise DataError(f"{unreadable}: the range {shorten(item)} runs backwards")
        classes.update(range(first, last + 1))
    return base, tuple(sorted(classes))


def canonical(name: str) -> str:
    """Return the canonical form of a name, its classes as ranges in order: ``mnist:1,0`` → ``mnist:0-1``.

    Raises DataError where the classes cannot be read.
    """
    base, _, text = name.partition(":")
    return f"{base}:{ranges(parse(name)[1] or (), ',')}" if CLASSES.fullmatch(text) else name


def ranges(classes: Sequence[int], comma: str = ", ") -> str:
    """Return classes as text: (0, 1, 2, 5) → ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(classes):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return comma.join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
