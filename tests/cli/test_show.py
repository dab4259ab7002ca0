"""``oodbench show``: one detector, data set or metric."""

from __future__ import annotations

import json
from pathlib import Path


def test_show_a_detector_has_every_parameter(oodbench):
    shown = {row["name"]: row for row in json.loads(oodbench("show", "mean-distance", "--json").stdout)["parameters"]}
    assert shown["blur.strength"] == {
        "name": "blur.strength",
        "default": 0.0,
        "presets": {"quick": 0.5},
        "bounds": "float, ≥ 0, ≤ 1",
        "unit": "",
        "meaning": "share of the overall brightness mixed into the mean image",
        "source": "ours",
    }
    assert shown["power"]["source"] == "table 1"
    text = oodbench("show", "mean-distance").stdout
    assert "blur.strength = 0.0; quick: 0.5  [float, ≥ 0, ≤ 1]" in text
    assert "share of the overall brightness mixed into the mean image. Source: ours." in text
    assert "blur.steps = 1 times" in text


def test_show_says_what_a_preset_is_for_each_shape(oodbench, install):
    install(
        "shapely",
        "shapely",
        """
from oodbench import Detector, OODBenchError, Params, hookimpl, param

class ShapelyParams(Params):
    steps: int = param(5, "steps")

class Shapely(Detector):
    name = "shapely"
    Params = ShapelyParams
    shapes = ((1, 28, 28), (3, 32, 32))
    presets = {"paper": {}, "grey": {}}

    @classmethod
    def preset(cls, name, shape):
        if name == "grey" and shape[0] != 1:
            raise OODBenchError("grey images only")
        return {"steps": 10 if shape[0] == 1 else 50}

    fit = score = state = load_state = None

@hookimpl
def register_detectors():
    return [Shapely]
""",
    )
    (parameter,) = json.loads(oodbench("show", "shapely", "--json").stdout)["parameters"]
    assert parameter["presets"] == {"paper 1×28×28": 10, "paper 3×32×32": 50, "grey": 10}


def test_show_a_data_set_and_a_metric(oodbench):
    shown = json.loads(oodbench("show", "absent", "--data-dir", "/mine", "--json").stdout)
    assert shown["kind"] == "data set"
    assert shown["files"] == [str(Path("/mine/absent/images.npy"))]
    assert shown["sizes"] == {"train": 40, "validation": 10, "test": 20}
    assert "made here" in oodbench("show", "bars").stdout
    assert json.loads(oodbench("show", "auroc", "--json").stdout)["better"] == "higher"


def test_show_offers_near_names(oodbench, refusal):
    assert "did you mean mean-distance" in refusal(oodbench("show", "mean-distanc", code=1))


def test_what_a_detector_stands_on_and_what_is_known_of_it_is_shown(standing, oodbench):
    shown = oodbench("show", "finder").stdout
    assert "stands on: centre\n" in shown
    assert "known findings: noise_scores_higher_than_data: it looks the wrong way" in shown
    assert "stands on" not in oodbench("show", "centre").output
    (row,) = [line for line in oodbench("list", "detectors").output.splitlines() if line.startswith("upon ")]
    assert row.split()[-1] == "offset"


def test_show_an_executor_has_its_settings(oodbench):
    shown = json.loads(oodbench("show", "local", "--json").stdout)
    assert shown["kind"] == "executor" and [row["name"] for row in shown["parameters"]] == ["threads"]
    assert "threads = 0  [int, ≥ 0]" in oodbench("show", "local").stdout
