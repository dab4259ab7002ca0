"""What can be wrong with the classifier that is stood on: one clear line each, and an exit code that is not 0."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("pytorch_ood")

from oodbench.cli import main
from oodbench.store.store import Store

RUN = ["run", "--detector", "po-msp", "--in", "mnist5k:0-1", "--out", "mnist5k:9", "--store", "results", "-q"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs ``po-msp``, which must fail, in an empty folder. Returns what is on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        result = CliRunner().invoke(main, [*RUN, *words])
        assert result.exit_code == 1, result.output
        return result.stderr

    return run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "classifier.weights=none.pt"],
         "Error: po-msp stands on classifier: the weights none.pt cannot be read (No such file or directory)"),
        (["--set", "classifier.widht=2"], "Error: unknown parameter of classifier 'widht'; did you mean width"),
        (["--set", "classifier.width=0"], "Error: po-msp stands on classifier: classifier: width must be greater"),
    ],
)  # fmt: skip
def test_before_anything_is_run(run, words, line):
    (error,) = run(*words).splitlines()
    assert error.startswith(line)
    assert not Path("results").exists()


def test_a_classifier_that_is_not_installed(run, monkeypatch):
    monkeypatch.setenv("OODBENCH_PLUGINS", "pytorch-ood")
    (error,) = run().splitlines()
    assert error.startswith("Error: po-msp stands on classifier: unknown detector 'classifier'")
    assert error.endswith("is the plugin that offers it installed?")


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ({"a": torch.zeros(2)}, "have no last layer fc"),
        ({"fc.weight": torch.zeros(3, 4)}, "tell 3 classes apart, and mnist5k:0-1 has 2; choose the data"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)},
         "are not of a convnet; set architecture="),
        (dict.fromkeys(["block1.x", "block2.x", "block3.x", "fc.weight"], torch.zeros(2, 4)),
         "are not of a wrn-40-2; set architecture="),
    ],
)  # fmt: skip
def test_weights_of_something_else(run, weights, line):
    torch.save(weights, "weights.pt")
    stderr = run("--set", "classifier.weights=weights.pt")
    assert line in stderr
    assert "Traceback" not in stderr
    assert not Store("results").read_results().size
