"""Plugins that are found as installed packages are, and folders that belong to one test alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOYS = Path(__file__).parent / "toys"

Install = Callable[..., Path]


@pytest.fixture
def no_traces(tmp_path, monkeypatch):
    """Nothing is read from or written to the user's own folders, and no installed plugin takes part."""
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OODBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OODBENCH_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("OODBENCH_PLUGINS", "")
    monkeypatch.delenv("OODBENCH_STORE", raising=False)
    monkeypatch.delenv("OODBENCH_DEBUG", raising=False)


@pytest.fixture
def install(tmp_path, monkeypatch, no_traces) -> Iterator[Install]:
    """``install(name, module, source)`` makes a plugin findable: a module with its metadata on ``sys.path``."""
    installed: list[tuple[str, str]] = []

    def install(name: str, module: str, source: str | None = None, version: str = "1.0") -> Path:
        site = tmp_path / "site"
        info = site / f"oodbench_{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oodbench-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[oodbench]\n{name} = {module}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        installed.append((name, module))
        monkeypatch.setenv("OODBENCH_PLUGINS", ",".join(name for name, _ in installed))
        return site

    yield install
    for _, module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def toys(install, monkeypatch) -> ModuleType:
    """The plugin of ``tests/toys``, installed; ``toys.calls`` is what its detectors were asked to do."""
    monkeypatch.syspath_prepend(TOYS)
    install("toys", "oodbench_toys", version="1.2")
    return importlib.import_module("oodbench_toys")


@pytest.fixture
def standing(toys, install, tmp_path, monkeypatch) -> Callable[[], list[str]]:
    """The plugin of ``tests/toys/oodbench_standing.py``; ``standing()`` is what was done, and forgets it."""
    file = tmp_path / "done"
    monkeypatch.setenv("STANDING_LOG", str(file))
    install("standing", "oodbench_standing")

    def done() -> list[str]:
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    return done
