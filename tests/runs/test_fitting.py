"""A fit and its record: where its numbers come from."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from oodbench.api import SPLITS, Detector, ImageSet, Progress, Run
from oodbench.errors import FitError, OODBenchError
from oodbench.plan.tasks import run_key
from oodbench.plugin.registry import load_registry
from oodbench.runs import fitting

CPU = torch.device("cpu")


def image_set(n: int, name: str = "random", seed: int = 0) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), np.uint8)
    return ImageSet(name, "test", images, np.arange(n) % 2, np.arange(n) + 100)


class Brightness(Detector):
    """Nothing to learn: the mean pixel."""

    name = "brightness"

    def fit(self, train, validation, context):
        return self

    def score(self, images):
        return images.mean((1, 2, 3))

    def state(self):
        return {}

    def load_state(self, state):
        pass


class Memory:
    """Checkpoints in memory."""

    def __init__(self, state=None):
        self.state = state

    def save(self, state):
        self.state = state

    def load(self):
        return self.state


@pytest.fixture
def registry(toys):
    class Patient(Brightness):
        """Looks for a checkpoint, and has something to say."""

        name = "patient"

        def fit(self, train, validation, context):
            context.checkpoints.load()
            context.note("restarted once")
            context.history.append({"epoch": 1})
            self.weight = torch.zeros(7, 3)
            return self

        def state(self):
            return {"weight": self.weight, "steps": torch.tensor([5])}

    registry = load_registry()
    registry.detectors["patient"] = Patient
    registry.plugin_of["detector", "patient"] = "toys"
    return registry


@pytest.fixture
def splits():
    return {split: image_set(n, "random", n) for split, n in zip(SPLITS, (12, 4, 6), strict=True)}


def run_of(registry) -> Run:
    source = registry.source("detector", "patient")
    return Run("patient", source.code_version, "{}", "random", distribution=source.distribution)


def test_the_record_of_a_fit_says_where_its_numbers_come_from(registry, splits):
    fitted = fitting.fit(run_of(registry), splits, registry, CPU, Progress(), Memory(), ["random: a note on the data"])
    record = fitted.provenance
    assert (record.plugin, record.torch) == ("toys", torch.__version__)
    assert record.plugin_version.startswith("1.2+")
    assert dict(record.images) == {"train": 12, "validation": 4, "test": 6}
    assert record.parameters == 21  # the count of steps is no parameter
    assert re.fullmatch(r"cpu \(.+, \d+ threads?\)", record.device)
    assert record.fit_seconds > 0
    assert record.peak_memory_mib > 10
    assert record.notes == ["random: a note on the data", "restarted once"]
    assert fitted.history == [{"epoch": 1}]


def test_facts_are_plain_numbers_and_what_is_none_is_a_note(registry, splits, monkeypatch):
    """They would make the record unreadable, and cost the fit."""
    facts = {"accuracy": np.float32(0.5), "classes": np.int64(3), "error": torch.tensor(0.25)}
    odd = {"loss": float("nan"), "gap": np.float64("inf"), "words": "many", "each": np.zeros(2)}
    monkeypatch.setattr(registry.detectors["patient"], "facts", lambda self, test, context: facts | odd)
    record = fitting.fit(run_of(registry), splits, registry, CPU, Progress(), Memory()).provenance
    assert dict(record.facts) == {"accuracy": 0.5, "classes": 3.0, "error": 0.25}
    assert {type(value) for value in record.facts.values()} == {float}
    assert record.notes[1:5] == [f"its fact {name} is no finite number, and left out" for name in odd]
    assert "test classes 3" in record.notes


@pytest.mark.parametrize(
    ("part", "gives", "message"),
    [
        ("fit", None, "fit of patient returned a NoneType: end it with `return self`"),
        ("state", None, "state of patient returned a NoneType, not a dict from name to tensor"),
        ("state", {"weight": [1.0]}, "state of patient has a list, 'weight': make it a torch.Tensor"),
    ],
)
def test_a_fit_that_gives_nothing_to_keep_is_refused_and_says_why(registry, splits, monkeypatch, part, gives, message):
    monkeypatch.setattr(registry.detectors["patient"], part, lambda self, *given: gives)
    with pytest.raises(FitError, match=re.escape(message)):
        fitting.fit(run_of(registry), splits, registry, CPU, Progress(), Memory())


def test_facts_that_cannot_be_found_cost_no_fit(registry, splits, monkeypatch):
    monkeypatch.setattr(registry.detectors["patient"], "facts", lambda self, test, context: 1 / 0)
    record = fitting.fit(run_of(registry), splits, registry, CPU, Progress(), Memory()).provenance
    assert dict(record.facts) == {}
    assert "its facts could not be found (ZeroDivisionError: division by zero), and are left out" in record.notes


def test_a_fit_that_went_on_from_a_checkpoint_says_so(registry, splits):
    fitted = fitting.fit(run_of(registry), splits, registry, CPU, Progress(), Memory({"epoch": 3}))
    assert any("checkpoint" in note for note in fitted.provenance.notes)


def test_the_key_depends_on_every_split(registry, splits):
    key = run_key(run_of(registry), splits)
    for split in SPLITS:
        assert run_key(run_of(registry), splits | {split: image_set(5, seed=99)}) != key
    swapped = splits | {"train": splits["test"], "test": splits["train"]}
    assert run_key(run_of(registry), swapped) != key
    assert run_key(run_of(registry), dict(splits)) == key


def test_another_code_than_the_run_s_is_refused(registry, splits):
    """As when a plugin was edited between the process that planned the run and the one that works on it."""
    edited = replace(run_of(registry), version="1.2+0000000000000000")
    with pytest.raises(OODBenchError, match="scores of one run come from one code"):
        fitting.fit(edited, splits, registry, CPU, Progress(), Memory())


def test_the_commit_is_that_of_the_repository_that_has_the_file(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    (tmp_path / "plugin.py").write_text("x = 1\n")
    assert fitting.commit_of(tmp_path / "plugin.py") == ""
    for words in (["init", "-q"], ["add", "plugin.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = fitting.commit_of(tmp_path / "plugin.py")
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "plugin.py").write_text("x = 2\n")
    assert fitting.commit_of(tmp_path / "plugin.py") == f"{commit}-dirty"
    (tmp_path / "installed.py").write_text("x = 1\n")
    assert fitting.commit_of(tmp_path / "installed.py") == "", "it only lies in the repository"
    assert fitting.commit_of(None) == ""
