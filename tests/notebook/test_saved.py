"""A fitted detector in a file: it scores as before, says what it is, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import oodbench
from oodbench import OODBenchError
from oodbench.notebook.saved import write_detector

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
OTHERS = np.random.default_rng(1).random((9, 8, 8))


@pytest.fixture
def fitted(toys):
    return oodbench.detector("mean-distance", seed=3, power=1.5, quiet=True).fit(IMAGES)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "mine.safetensors"


@pytest.mark.parametrize("name", ["mean-distance", "centre", "offset", "upon"])
def test_what_is_loaded_scores_to_the_last_bit_as_what_was_saved(standing, path, name):
    """On nothing, on a base, and on a base that stands on one: nothing is fitted again."""
    params = {} if name == "mean-distance" else {"centre": {"power": 1.5}} if name != "centre" else {"power": 1.5}
    det = oodbench.detector(name, seed=3, quiet=True, **params).fit(IMAGES)
    expected = det.score(OTHERS)
    det.save(path)
    standing()
    loaded = oodbench.load_detector(path, quiet=True)
    np.testing.assert_array_equal(loaded.score(OTHERS), expected)
    assert not [line for line in standing() if line.startswith("fit")]
    assert (loaded.name, loaded.shape, loaded.seed, loaded.precision) == (name, (1, 8, 8), 3, "float32")
    assert (loaded.params, loaded.notes) == (det.params, det.notes)
    assert repr(loaded) == f"<{name}, fitted to images of 1×8×8>"


def test_another_process_loads_it(fitted, path):
    fitted.save(path)
    code = (
        "import sys, numpy, oodbench\n"
        "images = numpy.random.default_rng(1).random((9, 8, 8))\n"
        "print(oodbench.load_detector(sys.argv[1], quiet=True).score(images).tobytes().hex())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == fitted.score(OTHERS).tobytes()


def test_the_file_is_safetensors_that_say_what_they_are(fitted, path):
    fitted.save(path)
    with safe_open(path, "pt") as file:
        assert sorted(file.keys()) == [f"0.{name}" for name in sorted(fitted.fitted.state())]
        facts = json.loads(file.metadata()["oodbench"])
    run, params = facts["run"], json.loads(facts["run"]["params"])
    assert (run["detector"], run["distribution"], run["seed"]) == ("mean-distance", "oodbench-toys", 3)
    assert run["version"].startswith("1.2") and params["power"] == 1.5
    assert run["preset"] == "paper, power=1.5"
    assert facts["shape"] == [1, 8, 8]
    assert facts["software"]["torch"] == torch.__version__ and facts["software"]["oodbench"] == oodbench.__version__


def test_the_detector_of_a_run_is_saved_as_well(standing, tmp_path, path):
    runs = oodbench.run("upon", "bars:0", "bars:1", store=tmp_path / "store", quiet=True)
    det = runs.store.detector(runs[0], quiet=True)
    det.save(path)
    loaded = oodbench.load_detector(path, quiet=True)
    bars = oodbench.load_dataset("bars:1")
    np.testing.assert_array_equal(loaded.score(bars), runs.store.scores(runs[0], "bars:1")["score"])
    assert loaded.notes == det.notes and "stands on offset" in " ".join(loaded.notes)
    again = path.with_name("again")
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_what_is_there_is_replaced_only_where_that_is_asked_for(fitted, path):
    path.write_text("precious")
    with pytest.raises(OODBenchError, match=r"mine\.safetensors is there already: overwrite=True replaces it"):
        fitted.save(path)
    assert path.read_text() == "precious"
    fitted.save(path, overwrite=True)
    np.testing.assert_array_equal(oodbench.load_detector(path, quiet=True).score(OTHERS), fitted.score(OTHERS))
    assert [*path.parent.glob("*mine*")] == [path]


def test_what_cannot_be_saved_is_said(fitted, tmp_path):
    with pytest.raises(OODBenchError, match=r"mean-distance is not fitted yet: call fit\(images\) first"):
        oodbench.detector("mean-distance").save(tmp_path / "mine")
    with pytest.raises(OODBenchError, match="mine cannot be written: No such file or directory"):
        fitted.save(tmp_path / "nowhere" / "mine")


# ---------------------------------------------------------------------------------- what is refused


def refusal(path: Path, **options) -> str:
    with pytest.raises(OODBenchError) as error:
        oodbench.load_detector(path, quiet=True, **options)
    line = str(error.value)
    assert "\n" not in line and path.name in line
    return line


def test_no_damage_goes_unseen(fitted, path):
    fitted.save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refusal(path)
    for length in range(0, len(whole), 50):
        path.write_bytes(whole[:length])
        assert "is damaged, or is no detector that was saved" in refusal(path)


def test_what_is_no_saved_detector_is_refused(toys, path):
    assert "cannot be read: No such file" in refusal(path)
    path.write_bytes(pickle.dumps(print))
    assert "is damaged, or is no detector that was saved" in refusal(path)
    save_file({"weight": torch.zeros(3)}, path)
    assert "has weights, but not of a detector that oodbench has saved" in refusal(path)
    save_file({"weight": torch.zeros(3)}, path, {"oodbench": '{"format": 2}'})
    assert "is of format 2, and this is 1: use the oodbench that wrote it" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "is no regular file" in refusal(path)


def test_other_code_is_refused(fitted, path, monkeypatch):
    facts = fitted._fit_facts()
    write_detector(path, fitted.fitted, replace(facts, run=replace(facts.run, version="0.9")), overwrite=False)
    line = refusal(path)
    assert "cannot be used here: mean-distance is oodbench-toys 1.2" in line and "oodbench-toys 0.9" in line
    fitted.save(path, overwrite=True)
    monkeypatch.setenv("OODBENCH_PLUGINS", "")
    assert "mean-distance of oodbench-toys 1.2, which is not installed" in refusal(path)


def test_a_class_in_a_file_of_one_s_own_is_named_again(no_traces, tmp_path, path):
    file = tmp_path / "darkness_for_saving.py"
    file.write_text(
        "from oodbench import Detector\n"
        "class Darkness(Detector):\n"
        "    name = 'darkness'\n"
        "    def fit(self, train, validation, context):\n        return self\n"
        "    def score(self, images):\n        return 1 - images.mean((1, 2, 3))\n"
        "    def state(self):\n        return {}\n"
        "    def load_state(self, state):\n        pass\n"
    )
    det = oodbench.detector(f"{file}:Darkness", quiet=True).fit(IMAGES)
    det.save(path)
    loaded = oodbench.load_detector(path, file=f"{file}:Darkness", quiet=True)
    np.testing.assert_array_equal(loaded.score(OTHERS), det.score(OTHERS))
    assert "darkness of the local file darkness_for_saving.py, which is not installed or not named here" in refusal(
        path
    )
