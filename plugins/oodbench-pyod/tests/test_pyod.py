"""Scores are PyOD's own ``decision_function``, on the same values; a loaded state scores the same."""

from __future__ import annotations

import importlib
import inspect
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("pyod")

import pyod.models.copod
import pyod.models.ecod
from oodbench_pyod import detectors
from oodbench_pyod.detectors import PyODDetector
from oodbench_pyod.methods import METHODS

from oodbench import Context, Detector, FitError, FittedBase, Params, resolve
from oodbench.testing import easy_images
from oodbench.testing.images import held_out, noise, tensor

SHAPE = (1, 28, 28)
CPU = torch.device("cpu")
DETECTORS = {detector.name: detector for detector in detectors.DETECTORS}
TRAIN = easy_images(SHAPE, "train", 150)
ALONE = {"pyod-ecod": pyod.models.ecod.ECOD, "pyod-copod": pyod.models.copod.COPOD}
"""Those of which PyOD scores an image together with its batch."""
ON_PIXELS = ("pyod-knn", "pyod-pca", "pyod-loda")


class Projection(Detector):
    """A base whose features are fixed projections of the image, some of them always 0, as after a ReLU."""

    name = "projection"

    def outputs(self, images):
        weights = torch.randn(784, 12, generator=torch.Generator().manual_seed(0))
        features = (images.flatten(1) @ weights).relu()
        features[:, 3] = 0
        return {"features": features}

    def fit(self, train, validation, context):
        return self

    def score(self, images):
        raise NotImplementedError

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture
def base() -> FittedBase:
    return FittedBase(lambda: Projection(Params(), SHAPE), Context(CPU))


def new(name: str, base: FittedBase, **values) -> PyODDetector:
    detector = DETECTORS[name](resolve(DETECTORS[name], "paper", SHAPE, values), SHAPE)
    if detector.has_base:
        detector.fitted_base = base
    return detector


def given(base: FittedBase, images: torch.Tensor, on: str) -> np.ndarray:
    return (images.flatten(1) if on == "pixels" else base.outputs(images)["features"]).double().numpy()


@pytest.mark.parametrize(
    ("name", "on"),
    [*((name, "features") for name in METHODS if name not in ALONE), *((name, "pixels") for name in ON_PIXELS)],
)
def test_scores_are_those_of_pyod(name, on, base):
    detector = new(name, base, on=on).fit(TRAIN, TRAIN, Context(CPU))
    module, _, inner = METHODS[name].place.partition(":")
    values = detector.params.model_dump(exclude={"on", "images"})
    if METHODS[name].is_random:
        values["random_state"] = detector.seed
    own = getattr(importlib.import_module(module), inner)(**values)
    images = torch.cat([held_out(SHAPE, 20), noise(SHAPE, 20)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.fit(given(base, tensor(TRAIN), on))
    expected = own.decision_function(given(base, images, on))
    np.testing.assert_array_equal(detector.score(images), expected)


@pytest.mark.parametrize("name", ALONE)
def test_scores_are_those_of_pyod_for_one_image(name, base):
    """As PyOD ranks the images of a batch among each other too."""
    detector = new(name, base).fit(TRAIN, TRAIN, Context(CPU))
    varying = [index for index in range(12) if index != 3]  # a constant dimension is NaN there, and 0 here
    own = ALONE[name]().fit(given(base, tensor(TRAIN), "features")[:, varying])
    images = torch.cat([held_out(SHAPE, 20), noise(SHAPE, 20), tensor(TRAIN)[:5]])
    values = given(base, images, "features")[:, varying]
    expected = np.concatenate([own.decision_function(each[None]) for each in values])
    np.testing.assert_allclose(detector.score(images), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "on"), [*((name, "features") for name in METHODS), *((name, "pixels") for name in ON_PIXELS)]
)
def test_a_loaded_state_scores_the_same(name, on, base):
    detector = new(name, base, on=on, images=60).fit(TRAIN, TRAIN, Context(CPU))
    again = new(name, base, on=on, images=60)
    again.load_state(detector.state())
    images = held_out(SHAPE, 10)
    np.testing.assert_array_equal(again.score(images), detector.score(images))


def test_the_state_is_bounded_and_its_images_are_drawn_by_the_seed(base):
    states = [
        new("pyod-knn", base, images=60).fit(TRAIN, TRAIN, Context(CPU, seed)).state()["given"] for seed in (0, 0, 1)
    ]
    assert [len(state) for state in states] == [60, 60, 60]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    all_of_them = {tuple(row) for row in base.outputs(tensor(TRAIN))["features"].tolist()}
    assert all(tuple(row) in all_of_them for row in states[2].tolist())


def test_pixels_need_no_base():
    detector = DETECTORS["pyod-hbos"]
    assert detector.base_of(resolve(detector, "paper", SHAPE, {}), SHAPE).detector == "classifier"
    assert detector.base_of(resolve(detector, "paper", SHAPE, {"on": "pixels"}), SHAPE) is None


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_those_of_pyod(name):
    module, _, inner = METHODS[name].place.partition(":")
    if name in ALONE:
        assert not METHODS[name].params
        return
    arguments = inspect.signature(getattr(importlib.import_module(module), inner).__init__).parameters
    ours = {each: default.default for each, (_, default) in METHODS[name].params.items()}
    assert ours == ({"n_components": 0.99} if name == "pyod-pca" else {each: arguments[each].default for each in ours})
    assert METHODS[name].is_random == ("random_state" in arguments)


def test_too_few_images_are_one_line(base):
    few = easy_images(SHAPE, "train", 4)
    with pytest.raises(FitError, match="pyod-knn cannot be fitted to 4 images: Expected n_neighbors") as error:
        new("pyod-knn", base).fit(few, few, Context(CPU))
    assert "\n" not in str(error.value)
