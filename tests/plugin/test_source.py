"""What identifies a plugin's code: a release by its name and version, all other code by a hash of what it does too."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import sys
import time
from importlib import metadata

import pytest

from oodbench.errors import OODBenchError
from oodbench.plugin.manager import load_plugins
from oodbench.plugin.source import Source, source_of

PLUGIN = '''
"""A detector."""
from zero_helper import FACTOR

def score(x):
    """Return twice the brightness."""
    return FACTOR * x  # twice
'''
HELPER = "FACTOR = 2\n"


@pytest.fixture
def zero(install, request):
    """``zero(plugin, helper)`` installs the plugin and gives its source as a new process would see it."""
    site = install("zero", "zero_module", PLUGIN)
    (site / "zero_helper.py").write_text(HELPER)

    def zero(plugin: str = PLUGIN, helper: str = HELPER) -> Source:
        (site / "zero_module.py").write_text(plugin)
        (site / "zero_helper.py").write_text(helper)
        for name in ("zero_module", "zero_helper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        from oodbench.plugin import source

        source._tree.cache_clear()
        source._tree_hash.cache_clear()
        source._packages.cache_clear()
        return source_of("zero_module", metadata.distribution("oodbench-zero"))

    zero.site = site
    yield zero
    sys.modules.pop("zero_helper", None)


def record(site, digest: str | None = None) -> None:
    """Make the installation look like one from an index: a RECORD, and no direct_url.json."""
    code = (site / "zero_module.py").read_bytes()
    found = base64.urlsafe_b64encode(hashlib.sha256(code).digest()).rstrip(b"=").decode()
    line = f"zero_module.py,sha256={digest or found},{len(code)}\n"
    (site / "oodbench_zero-1.0.dist-info" / "RECORD").write_text(line)


def test_local_code_has_a_fingerprint_beside_its_version(zero):
    source = zero()
    assert (source.distribution, source.version) == ("oodbench-zero", "1.0")
    assert len(source.fingerprint) == 16
    assert source.code_version == f"1.0+{source.fingerprint}"


@pytest.mark.parametrize(
    "plugin",
    [
        PLUGIN.replace("# twice", "# doubled, as in the paper"),
        PLUGIN.replace("Return twice the brightness.", "Return the brightness times two."),
        PLUGIN.replace("    return FACTOR * x", "\n    return (\n        FACTOR * x\n    )"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(zero, plugin):
    assert zero(plugin).fingerprint == zero().fingerprint


@pytest.mark.parametrize(
    ("plugin", "helper"),
    [
        (PLUGIN.replace("FACTOR * x", "FACTOR + x"), HELPER),
        (PLUGIN, "FACTOR = 3\n"),
        (PLUGIN, "FACTOR = 2.0\n"),
    ],
)
def test_other_code_is_seen_in_the_plugin_and_in_what_it_imports(zero, plugin, helper):
    assert zero(plugin, helper).fingerprint != zero().fingerprint


def test_a_plugin_s_tests_and_other_libraries_are_no_part_of_it(zero):
    plain = zero("import numpy as np\n" + PLUGIN).fingerprint
    (zero.site / "unrelated.py").write_text("x = 1\n")
    assert zero("import numpy as np\n" + PLUGIN).fingerprint == plain


def test_a_release_is_its_version(zero):
    zero()
    record(zero.site)
    assert zero().code_version == "1.0"


def test_a_release_whose_files_were_edited_is_no_release(zero):
    zero()
    record(zero.site, digest="A" * 43)
    assert zero().fingerprint


def test_an_editable_installation_is_no_release(zero):
    zero()
    record(zero.site)
    (zero.site / "oodbench_zero-1.0.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    assert zero().fingerprint


def test_what_a_detector_takes_from_nn_is_part_of_it():
    """The plugins of a checkout import ``oodbench.nn``, which may be edited as they may."""
    source = pytest.importorskip("oodbench_ae") and source_of("oodbench_ae", metadata.distribution("oodbench-ae"))
    if not source.fingerprint:
        pytest.skip("oodbench-ae is a release here")
    from oodbench.plugin.source import _local_imports, _origin

    imported = set(_local_imports("oodbench_ae.detector", _origin("oodbench_ae.detector"), "oodbench_ae"))
    assert any(name.startswith("oodbench.nn.") for name in imported)
    assert not any(name.startswith(("oodbench.api", "torch")) for name in imported)


def test_code_that_changes_after_it_was_loaded_is_refused(install):
    site = install("late", "late_module", "from oodbench import hookimpl\n")
    plugins = load_plugins()
    assert plugins.source("late").fingerprint
    install_time = time.time() + 10
    from oodbench.plugin import manager

    os.utime(site / "late_module.py", (install_time, install_time))
    manager._source_of.cache_clear()
    with pytest.raises(OODBenchError, match="the code of plugin late has changed since it was loaded"):
        plugins.source("late")


def test_code_that_changes_between_two_looks_at_the_plugins_is_refused(install):
    """As in a notebook: the process runs the code of the first look, and must not call it by that of the second."""
    site = install("between", "between_module", "from oodbench import hookimpl\n")
    load_plugins()
    time.sleep(0.05)
    (site / "between_module.py").write_text("from oodbench import hookimpl\n\nmore = 1\n")
    time.sleep(0.05)
    with pytest.raises(OODBenchError, match="the code of plugin between has changed .*, or start Python again"):
        load_plugins().source("between")


def test_a_file_whose_time_is_far_in_the_future_has_not_changed_for_that(install):
    site = install("ahead", "ahead_module", "from oodbench import hookimpl\n")
    ahead = time.time() + 3 * 3600  # as of a clock in another time zone
    os.utime(site / "ahead_module.py", (ahead, ahead))
    plugins = load_plugins()
    assert plugins.source("ahead").fingerprint


def test_a_release_elsewhere_on_the_path_is_no_part_of_it_and_is_not_imported(zero, tmp_path, monkeypatch):
    """As with ``pip install --target``: the libraries lie in a folder of PYTHONPATH."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "faraway").mkdir(parents=True)
    (elsewhere / "faraway" / "__init__.py").write_text("")
    (elsewhere / "faraway" / "windows.py").write_text("raise AssertionError('only on Windows')\n")
    info = elsewhere / "faraway-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faraway\nVersion: 1.0\n")
    (info / "RECORD").write_text("faraway/__init__.py,,\nfaraway/windows.py,,\n")
    (info / "top_level.txt").write_text("faraway\n")
    monkeypatch.syspath_prepend(elsewhere)
    plugin = PLUGIN + "\ndef other():\n    from faraway import windows\n    from faraway.windows import console\n"
    before = zero(plugin)
    (elsewhere / "faraway" / "windows.py").write_text("raise AssertionError('still')\n")
    assert zero(plugin).fingerprint == before.fingerprint
    assert "faraway" not in sys.modules
    (info / "RECORD").unlink()  # now it is code that may change
    assert zero(plugin).fingerprint != before.fingerprint


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """``lab(module, files)`` writes files and gives the module's source as a new process would see it."""

    def lab(module: str, files: dict[str, str]) -> Source:
        for name, text in files.items():
            (tmp_path / "lab_site" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "lab_site" / name).write_text(text)
        importlib.invalidate_caches()
        from oodbench.plugin import source

        source._tree.cache_clear()
        source._tree_hash.cache_clear()
        source._packages.cache_clear()
        return source_of(module, None)

    (tmp_path / "lab_site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "lab_site")
    return lab


@pytest.mark.parametrize(
    ("method", "helper"),
    [
        ("from loose_helpers import scoring", "loose_helpers/scoring.py"),
        ("import loose_helpers.deep.scoring", "loose_helpers/deep/scoring.py"),
        ("from loose_helpers.deep.scoring import score", "loose_helpers/deep/scoring.py"),
        ("import tight_helpers.net", "tight_helpers/__init__.py"),
        ("from tight_helpers.net import W", "tight_helpers/__init__.py"),
    ],
)
def test_code_in_folders_without_an_init_counts_and_so_does_an_init_that_runs_before(lab, method, helper):
    files = {"loose_method.py": method, "tight_helpers/net.py": "W = 1", helper: "SIGN = 1"}
    before = lab("loose_method", files)
    assert lab("loose_method", {helper: "SIGN = -1"}).fingerprint != before.fingerprint
    assert lab("loose_method", files).fingerprint == before.fingerprint


def test_a_plugin_in_a_namespace_is_its_own_package_and_what_it_imports_of_its_neighbours(lab):
    files = {
        "loose_lab/oodplug/__init__.py": "from loose_lab.shared import scale",
        "loose_lab/oodplug/method.py": "SIGN = 1",
        "loose_lab/shared/scale.py": "SCALE = 1",
        "loose_lab/other/__init__.py": "OTHER = 1",
    }
    before = lab("loose_lab.oodplug", files)
    assert before.file and before.file.match("loose_lab/oodplug/__init__.py")
    assert lab("loose_lab.oodplug", {"loose_lab/other/__init__.py": "OTHER = 2"}).fingerprint == before.fingerprint
    for name, text in (("oodplug/method.py", "SIGN = -1"), ("shared/scale.py", "SCALE = 2")):
        changed = lab("loose_lab.oodplug", {f"loose_lab/{name}": text})
        assert changed.fingerprint != before.fingerprint, name
        assert lab("loose_lab.oodplug", files).fingerprint == before.fingerprint


def test_local_code_counts_in_a_namespace_that_it_shares_with_a_release(lab, tmp_path, monkeypatch):
    info = tmp_path / "elsewhere" / "loose_shared_release-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loose-shared-release\nVersion: 1.0\n")
    (info / "RECORD").write_text("loose_shared/released.py,,\n")
    released = tmp_path / "elsewhere" / "loose_shared" / "released.py"
    released.parent.mkdir()
    released.write_text("FACTOR = 1")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    method = "import loose_shared.released\nimport loose_shared.own"
    before = lab("loose_method", {"loose_method.py": method, "loose_shared/own.py": "SIGN = 1"})
    released.write_text("FACTOR = 2")
    assert lab("loose_method", {}).fingerprint == before.fingerprint
    assert lab("loose_method", {"loose_shared/own.py": "SIGN = -1"}).fingerprint != before.fingerprint
