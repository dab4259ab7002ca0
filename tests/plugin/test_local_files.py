"""A detector in a file of one's own: what is imported, what is on record, and what is refused."""

from __future__ import annotations

import re
import sys

import pytest

from oodbench.cli import find_plugins
from oodbench.errors import OODBenchError
from oodbench.plugin.local_files import is_file_word, load_detector
from oodbench.plugin.registry import load_registry

SOURCE = """
from oodbench import Detector
from {beside} import shift

class Shifted(Detector):
    name = "shifted"
    def fit(self, train, validation, context): return self
    def score(self, images): return images.mean((1, 2, 3)) + shift
    def state(self): return {{}}
    def load_state(self, state): pass

class Unfinished(Detector):
    name = "unfinished"
    def fit(self, train, validation, context): return self

class Nameless(Shifted):
    name = None
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file with a detector, beside a module that it imports; both are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write(name: str, source: str = SOURCE):
        beside = f"beside_{name.replace('-', '_')}"
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        (folder / f"{beside}.py").write_text("shift = 1.0\n")
        (folder / f"{name}.py").write_text(source.format(beside=beside))
        return folder / f"{name}.py"

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_files_and_names_cannot_be_confused():
    assert is_file_word("./my_method.py:MyMethod") and is_file_word("my.py")
    assert not is_file_word("ebae") and not is_file_word("my-method")


def test_it_is_registered_under_its_own_name_with_path_and_hash(write, no_traces):
    path = write("local_one")
    registry = load_registry()
    detector = registry.detector(f"{path}:Shifted")
    assert registry.detectors["shifted"] is detector is registry.detector(f"{path}:Shifted")
    assert registry.plugin_of["detector", "shifted"] == f"{path}:Shifted"
    source = registry.source("detector", "shifted")
    assert source.distribution == "local_one.py", "no path of a machine gets into what is published"
    assert re.fullmatch("local[+][0-9a-f]{16}", source.code_version)


def test_a_file_that_changes_after_it_was_loaded_is_refused(write, no_traces):
    path = write("local_three")
    registry = load_registry(files=[f"{path}:Shifted"])
    path.write_text(path.read_text() + "\nmore = 1\n")
    with pytest.raises(OODBenchError, match="has changed since it was loaded"):
        registry.source("detector", "shifted")


@pytest.mark.parametrize(
    ("name", "source", "word", "message"),
    [
        ("local_four", SOURCE, ":Missing", r"has no detector Missing: local_four.py:Shifted or"),
        ("local_five", SOURCE, "", "name the class: local_five.py:Shifted or"),
        ("local_six", SOURCE, ":Unfinished", "Unfinished in local_six.py lacks load_state, score, state"),
        ("local_seven", SOURCE, ":Nameless", "has no name: declare one"),
        ("local_eight", "x = 1\n", ":X", "defines no subclass of oodbench.Detector"),
        ("local_nine", "\n1 / 0\n", ":X", r"ZeroDivisionError: division by zero \(local_nine.py:2\)"),
        ("local_ten", "def (\n", ":X", r"SyntaxError: .*line 1"),
        ("local-eleven", SOURCE, ":X", "use letters, digits and '_' alone"),
        ("json", SOURCE, ":X", "has the name of another module .*json.*: rename the file"),
        ("sys", SOURCE, ":X", "has the name of another module"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(write, name, source, word, message):
    path = write(name, source)
    with pytest.raises(OODBenchError, match=message) as refused:
        load_detector(f"{path}{word}")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(OODBenchError, match="is no file; write --detector PATH.py:CLASS"):
        load_detector(f"{tmp_path}/none.py:X")


@pytest.mark.parametrize(
    ("name", "declared", "message"),
    [
        ("local_thirteen", "Params = 7", "Params of detector shifted is no class derived from oodbench.Params"),
        ("local_fourteen", "Params = Shifted.Params()", "Params of detector shifted is no class derived"),
        ("local_fifteen", "presets = 7", "presets of detector shifted is no table of names and values"),
        ("local_sixteen", "presets = dict(paper=7)", "presets of detector shifted is no table of names and values"),
    ],
)
def test_a_wrong_declaration_is_one_line(write, name, declared, message, no_traces):
    path = write(name, f"{SOURCE}\nShifted.{declared}\n")
    with pytest.raises(OODBenchError, match=f"{name}.py: {message}"):
        load_registry(files=[f"{path}:Shifted"])


@pytest.mark.parametrize("is_loaded", [True, False])
def test_the_name_of_an_installed_detector_is_refused(write, toys, is_loaded):
    """Also while it waits to be asked for, as a catalogue says that it is there."""
    path = write(f"local_twelve_{is_loaded}", SOURCE.replace('"shifted"', '"mean-distance"'))
    if not is_loaded:
        find_plugins()  # saves the catalogue
    registry = load_registry()
    assert ("mean-distance" in registry.waiting) == (not is_loaded)
    with pytest.raises(OODBenchError, match="'mean-distance' is already offered by plugin toys"):
        registry.detector(f"{path}:Shifted")
