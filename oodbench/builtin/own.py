"""Users' own images, named by their path: ``folder:PATH`` with picture files, ``npz:PATH`` with arrays.

With a train split they can be named after ``--in``; without a validation split, a tenth of train is drawn for it.
Classes and a shape may follow the path: ``folder:pets:cat,dog@32x32x3`` (see ``own_names``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.builtin.own_arrays import npz_at
from oodbench.builtin.own_folders import folder_at
from oodbench.builtin.own_names import FOLDER_RULES, NPZ_RULES
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl


def _without_path(kind: str, split: str, root: Path, shape: Shape | None) -> ImageSet:
    raise DataError(f"{kind} is named with a path: {kind}:PATH")


@hookimpl
def register_datasets() -> list[Dataset]:
    offers: list[tuple[str, Callable[[str], Dataset], str, str]] = [
        ("folder", folder_at, "your picture files, named as folder:PATH", FOLDER_RULES),
        ("npz", npz_at, "your arrays, named as npz:PATH", NPZ_RULES),
    ]
    return [
        Dataset(
            kind, partial(_without_path, kind), shape=None, sizes={}, from_path=from_path, summary=summary, rules=rules
        )
        for kind, from_path, summary, rules in offers
    ]
