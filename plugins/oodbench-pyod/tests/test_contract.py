"""The contract that every detector keeps, on a small classifier's features and on pixels."""

from __future__ import annotations

import pytest

pytest.importorskip("pyod")

from oodbench_pyod.detectors import DETECTORS

from oodbench.testing import DetectorCase, parametrize

FAST = ("pyod-ecod-features", "pyod-knn-pixels")
SETTINGS = {"classifier": {"width": 0.25}}


def case(detector, on):
    name = f"{detector.name}-{on}"
    values = {"on": on, **({"n_neighbors": 3} if detector.name == "pyod-lof" else {})}
    built = DetectorCase(detector, (1, 28, 28), values, {"images": (9,)}, base_settings=SETTINGS)
    return pytest.param(built, id=name, marks=[] if name in FAST else pytest.mark.slow)


@pytest.mark.filterwarnings("ignore:.* passes (noise_scores_higher|training_helps)")  # it depends on what is scored
@parametrize(
    *(case(detector, "features") for detector in DETECTORS),
    *(case(detector, "pixels") for detector in DETECTORS if detector.name != "pyod-mcd"),  # minutes a fit
)
def test_contract(check, case):
    check(case)
