"""Parameters: nested names, canonical JSON, and what makes a run smaller than published."""

from __future__ import annotations

import pytest

from oodbench.api import Detector, Params, param
from oodbench.errors import OODBenchError
from oodbench.plan.settings import resolve

SHAPE = (1, 28, 28)


class Training(Params):
    epochs: int = param(5, "epochs", reduces="lower")
    batch_size: int = param(8, "images per update", reduces="higher")
    rate: float = param(0.1, "learning rate")


class Everything(Params):
    training: Training = param(Training(epochs=100, batch_size=64), "of the network")
    width: float = param(1.0, "factor on channels", reduces="lower")
    steps: int = param(10, "of a chain; 0 for none", reduces="lower")
    latent_dim: int = param(32, "D_z")


class Toy(Detector):
    name = "toy"
    Params = Everything
    presets = {"paper": {"training": {"epochs": 120}}, "quick": {"latent_dim": 8}, "wide": {"width": 2.0}}

    def fit(self, train, validation, context):
        raise NotImplementedError

    score = state = load_state = fit


@pytest.mark.parametrize(
    ("preset", "values", "reduced"),
    [
        ("paper", {}, False),
        ("paper", {"training.epochs": 119}, True),
        ("paper", {"training.epochs": 200}, False),
        ("paper", {"training.batch_size": 65}, True),
        ("paper", {"training.batch_size": 32}, False),
        ("paper", {"width": 0.99}, True),
        ("paper", {"steps": 5}, True),
        ("paper", {"steps": 0}, False),  # another method, and not a smaller run
        ("paper", {"training.rate": 0.5, "latent_dim": 2}, False),
        ("wide", {}, True),  # its 100 epochs are not the paper's 120
        ("wide", {"training.epochs": 120}, False),
        ("quick", {}, True),
        ("paper", {"latent_dim": 8, "training.epochs": 100}, True),  # quick in other words
    ],
)
def test_a_departure_that_makes_a_run_smaller_makes_it_reduced(preset, values, reduced):
    assert Toy.is_reduced(resolve(Toy, preset, SHAPE, values), SHAPE) is reduced


def test_the_preset_quick_is_reduced_where_no_parameter_declares_what_reduces():
    class Plain(Toy):
        Params = type("Plain", (Params,), {"__annotations__": {"k": int}, "k": param(5, "neighbours")})
        presets = {"paper": {}, "quick": {"k": 2}}

    assert Plain.is_reduced(resolve(Plain, "paper", SHAPE, {"k": 2}), SHAPE)
    assert not Plain.is_reduced(resolve(Plain, "paper", SHAPE, {"k": 3}), SHAPE)
    assert not Toy.is_reduced(resolve(Toy, "paper", SHAPE, {}), SHAPE)


@pytest.mark.parametrize("path", ["training.epochs", "training.rate", "width", "latent_dim"])
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(path, value):
    with pytest.raises(OODBenchError, match=rf"{path.rpartition('.')[2]} must be a number, not {str(value).lower()}"):
        resolve(Toy, "paper", SHAPE, {path: value})
