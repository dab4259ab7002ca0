"""The origin of a detector that a store has runs of, but that no plugin here offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oodbench.errors import OODBenchError, UnknownName
from oodbench.store.store import Store


@contextmanager
def naming_origins(address: str) -> Iterator[None]:
    """Extend an inner error about an unknown detector: if the store has runs of it, say which package offered it."""
    try:
        yield
    except UnknownName as error:
        known = _origins(error.name, Store(address)) if error.kind == "detector" else []
        if not known:
            raise
        text = " and of ".join(known)
        raise OODBenchError(f"no plugin here offers {error.name}; its runs in {address} are of {text}") from None


def _origins(detector: str, store: Store) -> list[str]:
    """Return, for each package or file that the store's runs of the detector come from, its name and what to do."""
    found = {}
    for key in store.keys():
        if key.startswith(f"{detector}-"):
            run, provenance = store.read_run(key)
            if run.detector == detector:
                to_do = f"name it with --detector {provenance.plugin}" if run.is_local else "install it"
                found[run.origin] = f"{run.origin}: {to_do}"
    return [*found.values()]
