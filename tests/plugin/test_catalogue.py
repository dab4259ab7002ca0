"""The kept facts on what plugins offer: always those of the plugins as they are, and cheap to read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oodbench import Detector, hookimpl
from oodbench.plugin import catalogue_cache
from oodbench.plugin.catalogue import Catalogue, describe
from oodbench.plugin.registry import load_registry

METRIC = """
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric("NAME", lambda in_scores, out_scores: 0.0, True, "SUMMARY")]
"""

TAKING = """
from oodbench import hookimpl

@hookimpl
def register_detectors():
    import labmodels
    return labmodels.DETECTORS
"""
MODELS = """
from oodbench import Detector

class Model(Detector):
    name = "NAME"

DETECTORS = [Model]
"""


def source(name: str, summary: str = "always 0") -> str:
    return METRIC.replace("NAME", name).replace("SUMMARY", summary)


def keep() -> Catalogue:
    key = catalogue_cache.cache_key()
    registry = load_registry()
    catalogue_cache.save(registry, key)
    return describe(registry)


def not_needed():
    raise AssertionError("a kept catalogue needs no plugin")


@pytest.fixture
def zero(install) -> Path:
    """The module of a plugin that offers one metric."""
    return install("zero", "zero_module", source("zero")) / "zero_module.py"


def test_what_is_kept_is_what_is_offered(zero, toys):
    offered = keep()
    assert catalogue_cache.load() == offered
    assert catalogue_cache.current_catalogue(not_needed) == offered
    assert [row["name"] for row in offered["detectors"]] == ["broken", "mean-distance"]
    assert [row for row in offered["metrics"] if row["plugin"] == "zero"] == [
        {"name": "zero", "better": "higher", "plugin": "zero", "version": "1.0", "summary": "always 0"}
    ]


def test_where_nothing_is_kept_the_plugins_are_asked(zero):
    assert catalogue_cache.load() is None
    assert "zero" in [row["name"] for row in catalogue_cache.current_catalogue(load_registry)["metrics"]]


def test_a_plugin_whose_source_changes_is_asked_again(zero):
    keep()
    zero.write_text(source("zero", "always nought"))
    assert catalogue_cache.load() is None


def test_so_is_one_of_the_same_size_that_was_touched(zero):
    keep()
    os.utime(zero, ns=(1, 1))
    assert catalogue_cache.load() is None


def test_any_file_of_a_package_counts(install):
    site = install("pack", "pack")
    (site / "pack" / "deep").mkdir(parents=True)
    (site / "pack" / "__init__.py").write_text(source("packed"))
    (site / "pack" / "deep" / "presets.toml").write_text("a = 1")
    keep()
    assert catalogue_cache.load() is not None
    (site / "pack" / "__pycache__").mkdir(exist_ok=True)
    (site / "pack" / "__pycache__" / "other.pyc").write_text("")
    assert catalogue_cache.load() is not None
    (site / "pack" / "deep" / "presets.toml").write_text("a = 12")
    assert catalogue_cache.load() is None
    sys.modules.pop("pack", None)


def test_a_package_that_a_detector_is_taken_from_counts(install):
    site = install("taken", "taken_module", TAKING)
    models = site / "labmodels.py"
    models.write_text(MODELS.replace("NAME", "first"))
    try:
        kept = keep()
        assert [row["name"] for row in kept["detectors"]] == ["first"]
        assert catalogue_cache.load() == kept
        models.write_text(MODELS.replace("NAME", "second"))
        assert catalogue_cache.load() is None
    finally:
        sys.modules.pop("labmodels", None)


def test_another_version_or_a_new_plugin_is_seen(zero, install):
    keep()
    (info,) = zero.parent.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").write_text(metadata.replace("1.0", "1.1"))
    assert catalogue_cache.load() is None
    (info / "METADATA").write_text(metadata)
    assert catalogue_cache.load() is not None
    install("one", "one_module", source("one"))
    assert catalogue_cache.load() is None


def test_each_choice_of_plugins_has_its_own(zero, install, monkeypatch):
    install("one", "one_module", source("one"))
    both = keep()
    monkeypatch.setenv("OODBENCH_PLUGINS", "zero")
    assert catalogue_cache.load() is None
    assert keep() != both
    monkeypatch.setenv("OODBENCH_PLUGINS", "zero,one")
    assert catalogue_cache.load() == both


def test_a_change_of_the_core_is_seen(zero, monkeypatch):
    keep()
    monkeypatch.setattr(catalogue_cache, "_files_of", lambda package: [("oodbench/api.py", 1, 1)])
    assert catalogue_cache.load() is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_the_kept_catalogue_blocks_nothing(zero):
    keep()
    (path,) = Path(os.environ["OODBENCH_CACHE"], "plugins").iterdir()
    path.unlink()
    os.mkfifo(path)
    assert catalogue_cache.load() is None
    keep()
    assert catalogue_cache.load() is not None


def test_names_are_kept_beside_a_failure_but_the_failure_is_looked_at_again(zero, install):
    install("sick", "sick_module", "import nothing_of_this_name")
    kept = keep()
    assert catalogue_cache.load() == kept
    assert "zero" in [row["name"] for row in kept["metrics"]], "completion goes on"
    assert kept["failures"][0]["name"] == "sick"
    loaded = []
    catalogue_cache.current_catalogue(lambda: loaded.append(1) or load_registry())
    assert loaded == [1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: b"",
        lambda text: b"\xff\x00",
        lambda text: text.replace(b"zero", b"nine"),
    ],
)
def test_a_damaged_one_is_made_again(zero, damage):
    offered = keep()
    (path,) = Path(os.environ["OODBENCH_CACHE"], "plugins").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert catalogue_cache.load() is None
    keep()
    assert catalogue_cache.load() == offered


def test_a_cache_that_cannot_be_written_is_no_matter(zero, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "file"))
    keep()
    assert catalogue_cache.load() is None


def test_what_cannot_be_described_stops_nothing(toys, monkeypatch):
    registry = load_registry()
    monkeypatch.setattr(toys.MeanDistance, "shapes", 7)
    catalogue_cache.save(registry, catalogue_cache.cache_key())
    assert catalogue_cache.load() is None


# --------------------------------------------------------------------------- with nothing heavy loaded

CODE = """
import sys
sys.argv = ["oodbench", *sys.argv[1:]]
try:
    import oodbench.__main__
except SystemExit as end:
    assert end.code in (0, 1), end.code
print("heavy:", sorted({"torch", "pandas", "pyarrow", "numpy", "pydantic", "matplotlib"} & sys.modules.keys()))
"""


def light(*words: str, **environment: str) -> list[str]:
    """What a command prints that loads nothing heavy."""
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "heavy: []"
    assert done.stderr == ""
    return lines


@pytest.mark.parametrize("kind", ["detectors", "datasets", "metrics", "plugins"])
def test_list_is_read_from_what_is_kept(toys, kind):
    rows = keep()[kind]
    assert json.loads("\n".join(light("list", kind, "--json"))) == rows


def complete(line: str) -> list[str]:
    """What bash offers at the end of the line."""
    words = line.split(" ")
    offers = light(_OODBENCH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return [offer.partition(",")[2] for offer in offers if offer]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("oodbench r", ["run"]),
        ("oodbench run --dev", ["--device"]),
        ("oodbench run --detector mean", ["mean-distance"]),
        ("oodbench run --in b", ["bars"]),
        ("oodbench run --in whi", []),
        ("oodbench run --out whi", ["white"]),
        ("oodbench run --detector broken --preset ", ["paper", "quick"]),
        ("oodbench run --precision b", ["bfloat16"]),
        ("oodbench evaluate --metric aur", ["auroc"]),
        ("oodbench show mean", ["mean-distance"]),
        ("oodbench list pl", ["plugins"]),
    ],
)
def test_a_shell_completes_commands_options_and_names(toys, line, offered):
    keep()
    assert complete(line) == offered


def test_names_are_not_completed_before_any_command_was_run(toys):
    assert complete("oodbench run --detector mean") == []


def test_detectors_wait_until_they_are_asked_for(toys, monkeypatch):
    keep()
    called: list[str] = []
    monkeypatch.setattr(toys, "register_detectors", counted(toys.register_detectors, called))
    registry = load_registry()
    assert registry.detector_names == ["broken", "mean-distance"] and registry.has_detector("broken")
    assert registry.source("detector", "broken").distribution == "oodbench-toys"
    assert not called
    assert registry.detector("mean-distance").name == "mean-distance"
    assert sorted(registry.detectors) == ["broken", "mean-distance"]
    assert called == ["called"]


def counted(hook: Callable[[], list[type[Detector]]], called: list[str]) -> Callable[[], list[type[Detector]]]:
    @hookimpl
    def counting() -> list[type[Detector]]:
        called.append("called")
        return hook()

    return counting
