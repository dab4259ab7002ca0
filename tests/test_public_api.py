"""What a plugin may import, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import oodbench

PROMISED = {
    "ArrayDetector", "ArrayScorer", "Base", "Checkpoints", "Context", "DataError", "Dataset", "Detector",
    "Executor", "FitError", "FittedBase", "ImageSet", "Job", "Location", "Metric", "OODBenchError", "Open",
    "Params", "Perform", "PostHocDetector", "Progress", "ProgressSender", "Provenance", "Result", "Run", "Runs",
    "SCORE_CONVENTION", "ScoreError", "Scores", "Shape", "StoreError", "StoreReader", "Stream", "UnknownName",
    "WorkerDied", "__version__", "deliver", "detector", "find_detector", "find_metric", "hookimpl", "load_dataset",
    "load_detector", "metrics", "nn", "open_store", "param", "reason", "resolve", "run", "shape_text",
}  # fmt: skip


def test_the_public_names_are_these():
    """Adding one is a promise, taking one away breaks plugins: both are to be seen in a test."""
    assert set(oodbench.__all__) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_can_be_imported(name):
    assert getattr(oodbench, name) is not None


OF_NN = {
    "Autoencoder", "AutoencoderDetector", "AutoencoderParams", "LikelihoodDetector", "NetworkDetector", "Phase",
    "ReconstructionDetector", "ReconstructionParams", "ReplayBuffer", "build_autoencoder", "build_networks",
    "fit_reconstruction", "steps_per_epoch", "train", "weights_of",
}  # fmt: skip


def test_what_detectors_are_made_of_has_names_too():
    assert set(oodbench.nn.__all__) == OF_NN
    for name in OF_NN:
        assert getattr(oodbench.nn, name).__module__.startswith("oodbench.nn."), "so that its code identifies a run"
    with pytest.raises(AttributeError, match="module 'oodbench.nn' has no attribute 'trian'"):
        oodbench.nn.trian  # noqa: B018


def test_the_types_are_there_for_others():
    assert (Path(oodbench.__file__).parent / "py.typed").is_file()
    assert set(oodbench.__all__) <= set(dir(oodbench))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'oodbench' has no attribute 'Detecter'"):
        oodbench.Detecter  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "costly"),
    [
        ("import oodbench", {"torch", "numpy", "pydantic", "pluggy"}),
        ("from oodbench import hookimpl", {"torch", "numpy", "pydantic"}),
        ("import oodbench.nn", {"torch", "numpy"}),
        ("from oodbench import run, detector, open_store", {"torch", "pandas", "pyarrow", "sklearn", "matplotlib"}),
        ("import oodbench.runs.pipeline", {"torch", "pandas", "pyarrow", "sklearn", "matplotlib"}),
        (
            "from oodbench.plugin.registry import load_registry; load_registry()",
            {"torch", "pandas", "pyarrow", "sklearn"},
        ),
    ],
)
def test_importing_does_not_cost_what_is_not_used(statement, costly, no_traces):
    code = f"import sys; {statement}; print(sorted({costly!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
