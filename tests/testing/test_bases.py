"""The checks of detectors that stand on another, and of failures that a detector declares."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from oodbench import find_detector
from oodbench.cli import main
from oodbench.testing import DETECTOR_CHECKS, DetectorCase, parametrize, run_checks
from oodbench.testing.results import CheckResult

SHAPE = (1, 8, 8)


def checked(name: str, *only: str, **said) -> dict[str, CheckResult]:
    detector, _ = find_detector(name)
    checks = [check for check in DETECTOR_CHECKS if not only or check.__name__ in only]
    return {result.check: result for result in run_checks(checks, DetectorCase(detector, SHAPE, **said))}


@pytest.mark.parametrize("name", ["offset", "upon"])
def test_a_detector_on_a_base_in_order_passes_every_check(standing, name):
    results = checked(name, alternatives={"kill": ()}, values={"kill": "/"})
    failed = {check: result.reason for check, result in results.items() if result.outcome == "failed"}
    assert failed.pop("every_parameter_takes_effect", "").startswith(("", "changing kill"))
    assert not failed
    for check in ("base_is_left_alone", "kept_outputs_give_the_same_scores", "saved_state_scores_the_same_elsewhere"):
        assert results[check].outcome == "passed"


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("meddler", "base_is_left_alone", "fit or score changed the base centre (mean)"),
        ("unlike", "kept_outputs_give_the_same_scores", "scores from kept outputs differ"),
    ],
)
def test_who_does_not_keep_the_promise_is_told(standing, name, check, message):
    result = checked(name, check)[check]
    assert result.outcome == "failed"
    assert message in result.reason


def test_a_base_is_fitted_once_for_all_checks_of_the_same_images(standing):
    checked("offset", "scores_are_not_constant", "noise_scores_higher_than_data", "scoring_is_deterministic")
    assert [line for line in standing() if line.startswith("fit")] == ["fit centre seed 0", "fit offset seed 0"]


def test_declared_failures_are_shown_as_such_and_so_are_those_that_pass(standing):
    wrong, dull, still = "noise_scores_higher_than_data", "scores_are_not_constant", "scoring_is_deterministic"
    words = ["check", "finder", "--shape", "1x8x8", "--json", *(f"--only={check}" for check in (wrong, dull, still))]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert rows[wrong]["outcome"] == "known"
    assert rows[wrong]["reason"].startswith("it looks the wrong way (found: AUROC 0.")
    assert rows[dull]["outcome"] == "passed"
    assert rows[dull]["reason"].startswith("passes, though it is declared: too dull")
    assert (rows[still]["outcome"], rows[still]["reason"]) == ("passed", "")


def test_in_pytest_a_declared_failure_is_expected_and_another_is_not(standing):
    finder, _ = find_detector("finder")

    def test(check, case): ...

    decorated = parametrize(DetectorCase(finder, SHAPE))(test)
    (marks,) = [mark for mark in decorated.pytestmark if mark.args[0] == "check"]
    checks = {check.__name__: check for check in marks.args[1]}
    case = DetectorCase(finder, SHAPE)
    with pytest.raises(pytest.xfail.Exception, match="it looks the wrong way"):
        checks["noise_scores_higher_than_data"](case)
    with pytest.warns(UserWarning, match="finder passes scores_are_not_constant, a known finding: too dull"):
        checks["scores_are_not_constant"](case)
    meddler, _ = find_detector("meddler")
    with pytest.raises(AssertionError, match="changed the base"):
        checks["base_is_left_alone"](DetectorCase(meddler, SHAPE))


def test_settings_reach_the_base_that_is_checked(standing):
    words = ["check", "offset", "--shape", "1x8x8", "--only", "scores_are_not_constant", "--set"]
    assert CliRunner().invoke(main, [*words, "centre.power=3"]).exit_code == 0
    refused = CliRunner().invoke(main, [*words, "mean-distance.power=3"])
    assert refused.exit_code == 1
    assert "mean-distance is not among the detectors to run" in refused.output
