"""Selection of a finished run of a store, by a prefix of its key or by what is known about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from oodbench.api import Run
from oodbench.api.parameters import get_path
from oodbench.errors import OODBenchError, StoreError, UnknownName
from oodbench.store.store import Store
from oodbench.text import shorten

SHOWN = 5
"""Greatest number of runs that a message names."""


def check_there(store: Store) -> None:
    """Raise StoreError where the store's folder does not exist."""
    if store.is_missing():
        raise StoreError(f"there is no store {shorten(store.address)}; `oodbench run` makes one, --store says where")


@dataclass(frozen=True)
class RunWords:
    """What is known about a run; an empty field is unknown.

    Args:
        seed: None where it is unknown.
        params: dotted name → value; the name may begin with that of the detector or of one of its bases.
    """

    detector: str = ""
    in_dataset: str = ""
    seed: int | None = None
    preset: str = ""
    precision: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, run: Run) -> bool:
        """Whether the run may be the one described."""
        words = {"detector": self.detector, "in_dataset": self.in_dataset, "precision": self.precision}
        if any(word and word != getattr(run, name) for name, word in words.items()):
            return False
        if self.seed is not None and self.seed != run.seed:
            return False
        if self.preset and self.preset != run.preset.partition(", ")[0]:
            return False
        return all(_value_at(run, path) == value for path, value in self.params.items())


def _value_at(run: Run, path: str) -> Any:
    """Return a parameter of the run, or of a base whose detector the path names; None where there is none."""
    first, dot, rest = path.partition(".")
    named: Run | None = run
    while dot and named is not None:
        if named.detector == first:
            return get_path(json.loads(named.params), rest, None)
        named = named.base
    return get_path(json.loads(run.params), path, None)


def matching_key(name: str, keys: Sequence[str], otherwise: str = "") -> str:
    """Return the key that equals the name, or else the only one with this prefix.

    Args:
        otherwise: for the message, what else to do where several have this prefix.

    Raises UnknownName where there is none, OODBenchError where there are several.
    """
    found = [key for key in keys if key == name] or [key for key in keys if name and key.startswith(name)]
    if len(found) > 1:
        raise OODBenchError(f"several runs begin with {shorten(name)}: {listed(found)}; write more of it{otherwise}")
    if not found:
        raise UnknownName("run", name, keys)
    return found[0]


def find_run(store: Store, words: str | RunWords) -> str:
    """Return the key of the one finished run that matches.

    Args:
        words: a key, a unique prefix of one, or what is known about the run.

    Raises StoreError where the store has no finished run, UnknownName or OODBenchError where none or several match.
    """
    keys = store.keys()
    if not keys:
        raise StoreError(f"there is no finished run in {shorten(store.address)}; `oodbench run` makes one")
    if isinstance(words, str):
        return matching_key(words, keys, ", or give --detector, --in and --seed in its place")
    found = [key for key in keys if _is_meant(store, key, words)]
    if not found:
        raise OODBenchError(f"no run of {shorten(store.address)} is of these words; there are: {listed(keys)}")
    if len(found) > 1:
        raise OODBenchError(f"several runs are of these words: {listed(found)}; give more of them, or a key")
    return found[0]


def _is_meant(store: Store, key: str, words: RunWords) -> bool:
    """Whether the words match the run. A run that cannot be read does not match: it must not hide the others."""
    with suppress(StoreError):
        return words.fits(store.read_run(key)[0])
    return False


def listed(keys: Sequence[str]) -> str:
    """Return keys as text for a message: the first few, and how many more there are."""
    more = [f"and {len(keys) - SHOWN:,} more"] if len(keys) > SHOWN else []
    return shorten(", ".join([*keys[:SHOWN], *more]), 500)
