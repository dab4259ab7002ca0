"""What identifies a plugin's code: a release by its name and version, all other code by a hash of what it does too."""

from __future__ import annotations

import base64
import hashlib
import importlib
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
    import os

    from oodbench.plugin import manager

    os.utime(site / "late_module.py", (install_time, install_time))
    manager._source_of.cache_clear()
    with pytest.raises(OODBenchError, match="the code of plugin late has changed since it was loaded"):
        plugins.source("late")


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
