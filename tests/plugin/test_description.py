"""Descriptions as a Python API; what the command prints of them is in tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.api import Params, param
from oodbench.errors import UnknownName
from oodbench.plugin.description import describe_detector, describe_name
from oodbench.plugin.registry import load_registry


def test_a_parameter_has_its_default_preset_values_and_bounds(toys):
    parameters = {row["name"]: row for row in describe_detector(toys.MeanDistance)["parameters"]}
    strength = parameters["blur.strength"]
    assert (strength["default"], strength["presets"], strength["bounds"]) == (0.0, {"quick": 0.5}, "float, ≥ 0, ≤ 1")


def test_each_kind_is_found_by_name(toys):
    registry = load_registry()
    kinds = {name: describe_name(name, registry)["kind"] for name in ("mean-distance", "bars", "auroc")}
    assert kinds == {"mean-distance": "detector", "bars": "data set", "auroc": "metric"}
    assert describe_name("absent", registry, Path("/mine"))["files"] == [str(Path("/mine/absent/images.npy"))]


def test_an_unknown_name_is_refused_with_near_ones(toys):
    with pytest.raises(UnknownName, match="did you mean mean-distance"):
        describe_name("mean-distanc", load_registry())


def test_a_default_outside_its_own_bounds_is_shown(toys, monkeypatch):
    """So that its author sees what is wrong."""

    class Shrinking(Params):
        factor: float = param(0.0, "of the distance", gt=0)

    monkeypatch.setattr(toys.MeanDistance, "Params", Shrinking)
    monkeypatch.setattr(toys.MeanDistance, "presets", {})
    (row,) = describe_detector(toys.MeanDistance)["parameters"]
    assert (row["default"], row["bounds"]) == (0.0, "float, > 0")
