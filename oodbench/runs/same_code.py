"""A check that a worker has the same code as the process that planned the runs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import oodbench
from oodbench.errors import OODBenchError

if TYPE_CHECKING:
    from oodbench.api import Run
    from oodbench.plugin.registry import Registry


def code_of(runs: Iterable[Run], registry: Registry) -> dict[str, str]:
    """Return the code behind these runs' scores and results: name → version, with a fingerprint if it can change.

    It includes the core, torch, the detectors and the metrics, but not the images: a run's key contains their hash.
    """
    chain = [each for run in runs for each in _with_bases(run)]
    return _of(sorted({run.detector for run in chain}), registry)


def check_code(expected: Mapping[str, str], registry: Registry) -> None:
    """Raise OODBenchError where this process's code is not what ``code_of`` returned in the planning process."""
    kinds = [name for name in expected if name.startswith("detector ")]
    here = _of([name.partition(" ")[2] for name in kinds], registry)
    for name, version in expected.items():
        if here.get(name) != version:
            raise OODBenchError(
                f"a worker on {platform.node() or 'another host'} has other code: {name} is "
                f"{here.get(name) or 'missing'} there, and {version} where the runs were planned; install the same on "
                "both, and run the command again"
            )


def _of(detectors: Iterable[str], registry: Registry) -> dict[str, str]:
    code = {"oodbench": f"{metadata.version('oodbench')}+{_core_hash()}", "torch": metadata.version("torch")}
    code |= {
        f"detector {name}": registry.source("detector", name).code_version
        for name in detectors
        if name in registry.detector_names
    }
    return code | {f"metric {name}": registry.code_version("metric", name) for name in registry.metrics}


def _with_bases(run: Run) -> list[Run]:
    return [run, *(_with_bases(run.base) if run.base else [])]


@cache
def _core_hash() -> str:
    """Return a hash of every module of the core, computed once per process, which keeps running the code it loaded."""
    folder, hashed = Path(oodbench.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        hashed.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return hashed.hexdigest()[:16]
