"""What follows ``folder:`` and ``npz:``, such as ``PATH:CLASSES`` and ``PATH@28x28x1``; and the names of splits."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oodbench.data.names import parse
from oodbench.errors import DataError, UnknownName
from oodbench.text import shorten

SHAPE = re.compile(r"(?P<height>[0-9]{1,5})x(?P<width>[0-9]{1,5})(?:x(?P<channels>[13]))?", re.ASCII)
NUMBERS = re.compile(r"[0-9]+(-[0-9]+)?", re.ASCII)
LARGEST_IMAGE = 2**28  # bytes

FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""Possible name of a split's folder, or prefix of its arrays' names → the split."""
SLIPS = {"valid": "validation", "dev": "validation", "training": "train", "testing": "test", "tests": "test"}
"""Wrong name that people sometimes use, refused as it would mean something else → the split."""

SPLIT_RULES = (
    "the {0} train, validation and test of it are the splits; where there is no validation, a tenth of train is drawn "
    "at random, always the same; without any of them all is the test split, and there is nothing to fit to"
)
FOLDER_RULES = (
    f"{SPLIT_RULES.format('folders')}. Folders in a split are classes, numbered from 0 in the order of all their "
    "names. Images are in the order of their paths, folder by folder. All are of one size, or brought to one: "
    "folder:PATH@28x28x1 (height, width, channels). Classes are chosen by name or number: folder:PATH:cat,dog or "
    "folder:PATH:0-2; both: folder:PATH:cat@28x28x1"
)
NPZ_RULES = (
    f"{SPLIT_RULES.format('arrays')}: train_images, validation_images and test_images, or images alone; uint8 "
    "(n, C, H, W), (n, H, W, C) or (n, H, W). Classes are in train_labels and so on, whole numbers, and chosen as in "
    "npz:PATH:0-2. Images are in the order of their array"
)
LIST_RULES = (
    f"{SPLIT_RULES.format('lists')}. In a folder they are train.txt, validation.txt and test.txt. Classes are the "
    "numbers behind the paths, and chosen as in imglist:LIST:0-2. Images are in the order of their list, and brought "
    "to a shape as in imglist:LIST@32x32x3"
)
"""Which images become which split, and in which order, as ``oodbench show`` says it."""


@dataclass(frozen=True)
class OwnName:
    """A path, and what is chosen from it.

    Args:
        path: as it was written.
        classes: the text that chooses classes; empty for all.
        size: height and width that the images are brought to; None for their own.
        channels: 1 or 3, which they are brought to; None for their own.
    """

    path: str
    classes: str = ""
    size: tuple[int, int] | None = None
    channels: int | None = None

    @property
    def shape_suffix(self) -> str:
        """What follows the classes: ``@28x28x1``, or nothing."""
        if self.size is None:
            return ""
        return "@" + "x".join(map(str, [*self.size, *([self.channels] if self.channels else [])]))


def take_apart(kind: str, text: str) -> OwnName:
    """Return the path, the classes and the shape in a text. If all of it is an existing path, it is taken whole.

    Raises DataError where a shape cannot be read.
    """
    if _exists(text):
        return OwnName(text)
    before, _, shape = text.rpartition("@")
    chosen, shaped = _classes(text), (before, "") if _exists(before) else _classes(before)
    if chosen and not (shaped and SHAPE.fullmatch(shape)) and "@" not in chosen[1]:
        return OwnName(*chosen)
    if shaped:
        return OwnName(*shaped, *_read_shape(f"{kind}:{before}", shape))
    return OwnName(*chosen) if chosen else OwnName(text)


def _classes(text: str) -> tuple[str, str] | None:
    """Return an existing path and the classes that follow it; None where the text has no such form."""
    path, colon, classes = text.rpartition(":")
    return (path, classes) if colon and classes and _exists(path) else None


def _exists(path: str) -> bool:
    try:
        return bool(path) and os.path.exists(os.path.expanduser(path))
    except ValueError:  # a path with a zero byte
        return False


def _read_shape(name: str, text: str) -> tuple[tuple[int, int], int | None]:
    found = SHAPE.fullmatch(text)
    if not found:
        raise DataError(
            f"cannot read the shape {shorten(repr(text))} behind {shorten(name)}: write height x width x channels, as "
            "in @28x28x1 or @32x32x3; without channels, as in @64x64, they stay what they are"
        )
    height, width = int(found["height"]), int(found["width"])
    if not 0 < math.prod((height, width)) <= LARGEST_IMAGE // 3:
        raise DataError(f"{shorten(name)}@{text}: images of {height}×{width} are too {'large' if height else 'small'}")
    return (height, width), int(found["channels"]) if found["channels"] else None


def choose_classes(name: str, text: str, classes: Sequence[int], names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the classes that a text such as ``cat,dog`` or ``0,2-4`` chooses; None, for all, where it is empty.

    Args:
        names: of the classes, in their order; a name has precedence over a number.

    Raises DataError where there are no classes, UnknownName where none has that name.
    """
    if not text:
        return None
    if not classes:
        raise DataError(f"{name} has no classes to choose from, which are folders or labels: name it without ':{text}'")
    number, chosen = dict(zip(names, classes, strict=False)), set[int]()
    for item in text.split(","):
        if item in number:
            chosen.add(number[item])
        elif NUMBERS.fullmatch(item):
            chosen.update(parse(f"{name.partition(':')[0]}:{item}")[1] or ())
        else:
            raise UnknownName(f"class of {name}", item, [*names] or map(str, classes))
    missing = sorted(chosen - set(classes))
    if missing:
        raise UnknownName(f"class of {name}", str(missing[0]), map(str, classes))
    return tuple(sorted(chosen))


def split_words(name: str, words: Iterable[str]) -> dict[str, str]:
    """Return split → the word for it. Raises DataError for two words for one split, and for a misspelt one."""
    found: dict[str, str] = {}
    for word in (word for word in words if word in FOLDERS):
        if FOLDERS[word] in found:
            raise DataError(f"{name} has both {found[FOLDERS[word]]!r} and {word!r}: put them together, or delete one")
        found[FOLDERS[word]] = word
    for word in words if found else ():
        if word.lower() in {*SLIPS, *FOLDERS} and word not in FOLDERS:
            meant = SLIPS.get(word.lower()) or FOLDERS[word.lower()]
            raise DataError(f"{name}: {word!r} beside {', '.join(found.values())} is no split: rename it to {meant!r}")
    return found


def place_of(name: str, path: str) -> Path:
    """Return the absolute path. Raises DataError where it begins with an unknown user, as in ``~name``."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(f"{shorten(name)}: there is no user of that name to have a folder") from error


def file_type(name: str, path: Path, kind: str) -> int:
    """Return the file mode of what is at the path, 0 if nothing is. Raises DataError where that is unknown."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shorten(name)}: the {kind} cannot be read: {why}") from error
