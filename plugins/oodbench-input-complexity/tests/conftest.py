"""The plugin ``bases``, with small likelihood detectors to build on, found as an installed package is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BASES = Path(__file__).parent / "bases"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """``bases(version)`` says which version is installed."""
    site = tmp_path_factory.mktemp("site")

    def install(version: str = "1.0") -> None:
        info = site / "oodbench_bases.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oodbench-bases\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[oodbench]\nbases = oodbench_bases\n")

    install()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BASES)
        patch.syspath_prepend(site)
        patch.setenv("OODBENCH_PLUGINS", "bases,input-complexity,glow")  # glow, as it is the default
        yield install
