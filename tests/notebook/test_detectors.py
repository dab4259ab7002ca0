"""``oodbench.detector``: fitted to arrays, it is what ``oodbench run`` would have made; and it leaves no file."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

import oodbench
from oodbench import DataError, OODBenchError, UnknownName
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions
from oodbench.runs.pipeline import run as run_pipeline

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)


@pytest.fixture
def empty(tmp_path, monkeypatch, toys) -> Path:
    """An empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_it_scores_by_the_distance_that_it_has_learned(empty, capsys):
    det = oodbench.detector("mean-distance").fit(IMAGES, validation=IMAGES[:3])
    scores = det.score(IMAGES[:7])
    assert (scores.dtype, scores.shape) == (np.float64, (7,))
    mean = (IMAGES / 255).mean(0)
    np.testing.assert_allclose(scores, np.square(IMAGES[:7] / 255 - mean).mean((1, 2)), rtol=1e-5)
    assert det.shape == (1, 8, 8)
    assert det.params.power == 2.0
    assert det.history()[["phase", "epoch"]].to_dict("records") == [{"phase": "averaging", "epoch": 1}]
    assert repr(det) == "<mean-distance, fitted to images of 1×8×8>"
    assert list(empty.iterdir()) == [], "nothing is stored"
    assert capsys.readouterr().out == ""


def test_every_layout_and_type_gives_the_same_scores(empty):
    det = oodbench.detector("mean-distance", quiet=True).fit(IMAGES)
    expected = det.score(IMAGES)
    for same in (IMAGES[:, None], IMAGES[..., None], IMAGES / 255, torch.from_numpy(IMAGES)):
        np.testing.assert_array_equal(det.score(same), expected)
        refitted = oodbench.detector("mean-distance", quiet=True).fit(same)
        np.testing.assert_array_equal(refitted.score(IMAGES), expected)


def test_a_tenth_is_held_out_where_no_validation_images_are_given(empty):
    det = oodbench.detector("mean-distance", quiet=True).fit(IMAGES)
    means = [(np.delete(IMAGES, pair, 0) / 255).mean(0) for pair in combinations(range(20), 2)]
    assert sum(np.allclose(det.fitted.mean, mean) for mean in means) == 1, "it has learned all but two of them"
    two = IMAGES[:2]
    mean = oodbench.detector("mean-distance", quiet=True).fit(two).fitted.mean.numpy()[0]
    assert any(np.allclose(mean, one / 255) for one in two), "one trains, one validates"


@pytest.mark.parametrize("name", ["mean-distance", "offset", "upon"])
def test_it_is_what_a_run_would_have_made(name, standing, tmp_path):
    """Parameters, seed, base: the scores are the same to the last bit."""
    sets = () if name == "mean-distance" else ("centre.power=1.5",)
    request = RunRequest((name,), ("bars:0",), ("bars:1",), seeds=(3,), preset="quick", sets=sets)
    outcome = run_pipeline(request, options=ExecutionOptions(store=str(tmp_path / "store")))
    expected = oodbench.open_store(tmp_path / "store").scores(outcome.keys[0], "bars:1")
    train, validation = (oodbench.load_dataset("bars:0", split) for split in ("train", "validation"))
    params = {} if name == "mean-distance" else {"centre": {"power": 1.5}}
    det = oodbench.detector(name, preset="quick", seed=3, quiet=True, **params)
    det.fit(train, validation=validation)
    np.testing.assert_array_equal(det.score(oodbench.load_dataset("bars:1")), expected["score"])
    if name == "upon":
        assert det.notes == ["centre: it holds"]


def test_labels_reach_the_fit(empty):
    bars = oodbench.load_dataset("bars", "train")
    det = oodbench.detector("mean-distance", quiet=True)
    seen = {}
    fit = det._class.fit

    def spy(self, train, validation, context):
        seen.update(train=train.labels.tolist(), validation=validation.labels.tolist())
        return fit(self, train, validation, context)

    det._class.fit = spy
    try:
        det.fit(bars.images, labels=bars.labels, validation=bars.images[:2], validation_labels=[1, 0])
    finally:
        det._class.fit = fit
    assert seen == {"train": bars.labels.tolist(), "validation": [1, 0]}


def test_a_set_with_labels_beside_one_without_is_refused(empty):
    """Without labels all are of class 0, which would be false of one of two sets."""
    bars = oodbench.load_dataset("bars", "train")
    det = oodbench.detector("mean-distance", quiet=True)
    for images, labels in ((bars.images, bars.labels), (bars, None)):
        with pytest.raises(DataError, match="^the train images have labels, and the validation images none: give"):
            det.fit(images, labels, validation=bars.images[:9])
    with pytest.raises(DataError, match="^the validation images have labels, and the train images none: give labels"):
        det.fit(bars.images, validation=bars)
    det.fit(bars.images, validation=bars.images[:9])
    det.fit(bars, validation=bars)


def test_a_seed_of_numpy_is_a_seed(empty):
    scores = [
        oodbench.detector("mean-distance", seed=seed, quiet=True).fit(IMAGES).score(IMAGES) for seed in (3, np.int64(3))
    ]
    np.testing.assert_array_equal(*scores)


MINE = """
from oodbench import Detector, Params, param
from beside_mine import shift

class MineParams(Params):
    k: int = param(1, "a factor", ge=1)

class Mine(Detector):
    name = "mine"
    Params = MineParams
    def fit(self, train, validation, context): return self
    def score(self, images): return images.mean((1, 2, 3)) * self.params.k + shift
    def state(self): return {}
    def load_state(self, state): pass
"""


def test_a_file_of_one_s_own_takes_parameters_and_can_be_edited_beside_a_notebook(empty, monkeypatch):
    """Scores and record are of the file as it is now, and so are those of what it imports from beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (empty / "beside_mine.py").write_text("shift = 0")
    (empty / "mine.py").write_text(MINE)
    brightness = (IMAGES / 255).mean((1, 2))

    def scores(**params) -> np.ndarray:
        return oodbench.detector("./mine.py:Mine", quiet=True, **params).fit(IMAGES).score(IMAGES)

    def runs() -> set[str]:
        return {*oodbench.run("./mine.py:Mine", "bars:0", "bars:1", quiet=True)}

    np.testing.assert_allclose(scores(k=2), 2 * brightness, rtol=1e-6)
    np.testing.assert_allclose(scores(**{"mine.k": 3}), 3 * brightness, rtol=1e-6)
    first = runs()
    (empty / "mine.py").write_text(MINE.replace("images.mean", "5 - images.mean"))
    np.testing.assert_allclose(scores(), 5 - brightness, rtol=1e-6)
    second = runs()
    (empty / "beside_mine.py").write_text("shift = 7")
    np.testing.assert_allclose(scores(), 12 - brightness, rtol=1e-6)
    assert len({*first, *second, *runs()}) == 3
    for name in ("mine", "beside_mine"):
        del sys.modules[name]


def test_a_failed_fit_leaves_no_earlier_one(empty):
    det = oodbench.detector("mean-distance", quiet=True).fit(IMAGES)
    with pytest.raises(OODBenchError, match="can be fitted to images of 1×8×8 or 1×28×28, not of 1×9×9"):
        det.fit(np.zeros((4, 9, 9), np.uint8))
    with pytest.raises(OODBenchError, match=r"mean-distance is not fitted yet: call fit\(images\) first"):
        det.score(IMAGES)
    assert repr(det) == "<mean-distance, not fitted>"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ("mean-distanc", {}, "unknown detector 'mean-distanc'; did you mean mean-distance"),
        ("mean-distance", {"powr": 1}, "unknown parameter of mean-distance 'powr'; did you mean power?"),
        ("mean-distance", {"blur": {"strenght": 1}}, "did you mean blur.strength?"),
        ("mean-distance", {"power": -1}, r"power must be greater than 0 \(got -1\)"),
        ("mean-distance", {"power": "much"}, "power must be a valid number"),
        ("mean-distance", {"power": object()}, "power cannot be a object: give a number"),
        ("mean-distance", {"preset": "quik"}, "unknown preset of mean-distance 'quik'; did you mean quick?"),
        ("mean-distance", {"precision": "float16"}, "unknown precision 'float16'"),
        ("mean-distance", {"seed": -1}, "a seed is a whole number from 0, not -1"),
        ("mean-distance", {"seed": True}, "a seed is a whole number from 0, not True"),
        ("mean-distance", {"seed": 1.0}, "a seed is a whole number from 0, not 1.0"),
        ("mean-distance", {"blurr": {}}, "blurr is an empty group: give its parameters, or leave it out"),
        ("mean-distance", {"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_bad_words_are_refused_before_any_images_are_given(empty, arguments, options, message):
    with pytest.raises(OODBenchError, match=message) as error:
        oodbench.detector(arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[:1, None], {}, "there is one train image, and one must be held out for validation"),
        (IMAGES, {"validation": np.zeros((2, 28, 28), np.uint8)}, "the validation images are"),
        (IMAGES, {"validation": IMAGES[:0]}, "the validation images are empty"),
        (IMAGES, {"validation_labels": [1]}, "there are validation_labels, but no validation images"),
    ],
)
def test_bad_sets_are_refused(empty, images, options, message):
    with pytest.raises(DataError, match=message):
        oodbench.detector("mean-distance", quiet=True).fit(images, **options)


def test_a_detector_that_needs_classes_says_that_there_are_no_labels(no_traces, monkeypatch):
    monkeypatch.delenv("OODBENCH_PLUGINS")
    pytest.importorskip("oodbench_classifier")
    with pytest.raises(oodbench.FitError, match="the array without labels has images of one class only"):
        oodbench.detector("classifier", preset="quick", quiet=True).fit(np.zeros((20, 28, 28), np.uint8))


def test_a_detector_of_a_class_refuses_parameters_that_are_none(toys):
    with pytest.raises(OODBenchError, match=r"its parameters are a MeanDistanceParams, not dict; oodbench.resolve"):
        toys.MeanDistance({}, (1, 8, 8))
    with pytest.raises(OODBenchError, match=r"a shape is \(channels, height, width\), not \(8, 8\)"):
        toys.MeanDistance(toys.MeanDistanceParams(), (8, 8))
    with pytest.raises(UnknownName, match="did you mean quick"):
        toys.MeanDistance.preset("quik", (1, 8, 8))
