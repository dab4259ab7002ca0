"""What a plugin may import, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import oodbench

PROMISED = {
    "SCORE_CONVENTION", "Base", "Checkpoints", "Context", "DataError", "Dataset", "Detector", "Executor", "FitError",
    "FittedBase", "ImageSet", "Job", "Metric", "OODBenchError", "Open", "Params", "Perform", "PostHocDetector",
    "Progress", "ProgressSender", "Provenance", "Result", "Run", "ScoreError", "Scores", "Shape", "StoreError",
    "Stream", "UnknownName", "WorkerDied", "__version__", "deliver", "find_detector", "find_metric", "hookimpl",
    "param", "reason", "resolve", "shape_text",
}  # fmt: skip


def test_the_public_names_are_these():
    """Adding one is a promise, taking one away breaks plugins: both are to be seen in a test."""
    assert set(oodbench.__all__) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_can_be_imported(name):
    assert getattr(oodbench, name) is not None


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'oodbench' has no attribute 'Detecter'"):
        oodbench.Detecter  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "costly"),
    [
        ("import oodbench", {"torch", "numpy", "pydantic", "pluggy"}),
        ("from oodbench import hookimpl", {"torch", "numpy", "pydantic"}),
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
