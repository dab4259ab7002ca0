"""Checks and cases by name; the command that runs them is tested in tests/cli/test_check.py."""

from __future__ import annotations

import pytest

from oodbench.errors import UnknownName
from oodbench.plugin.registry import load_registry
from oodbench.testing import DATASET_CHECKS, DETECTOR_CHECKS, EXECUTOR_CHECKS, METRIC_CHECKS
from oodbench.testing.selection import SelectionError, choose_checks, find_checks, parse_shape


def test_a_detector_has_a_case_per_shape(toys):
    registry = load_registry()
    checks, cases = find_checks("mean-distance", registry)
    assert (checks, list(cases)) == (DETECTOR_CHECKS, ["1×8×8", "1×28×28"])
    assert list(find_checks("mean-distance", registry, ["1x8x8"])[1]) == ["1×8×8"]


@pytest.mark.parametrize(("name", "checks"), [("bars", DATASET_CHECKS), ("auroc", METRIC_CHECKS)])
def test_a_data_set_or_metric_has_one_case(toys, name, checks):
    found, cases = find_checks(name, load_registry())
    assert (found, list(cases)) == (checks, [""])


def test_options_of_detectors_are_refused_for_others(toys):
    with pytest.raises(SelectionError, match="--shape is for detectors"):
        find_checks("auroc", load_registry(), ["1x8x8"])
    with pytest.raises(SelectionError, match="--set is for detectors and executors"):
        find_checks("auroc", load_registry(), sets=["latent_dim=8"])


def test_an_executor_has_the_user_s_settings_and_those_that_are_given(toys, tmp_path):
    (tmp_path / "settings.toml").write_text("[executor.local]\nthreads = 3\n")
    checks, cases = find_checks("local", load_registry())
    assert (checks, cases[""].executor().params.threads) == (EXECUTOR_CHECKS, 3)
    assert cases[""].folder.is_dir() and not [*cases[""].folder.iterdir()]
    assert cases[""].folder.parent == cases[""].executor().folder
    assert find_checks("local", load_registry(), sets=["threads=1"])[1][""].executor().params.threads == 1
    with pytest.raises(UnknownName, match="unknown setting of executor local 'thread'; did you mean threads?"):
        find_checks("local", load_registry(), sets=["thread=1"])


def test_checks_are_chosen_by_name_in_their_own_order():
    first, second = DETECTOR_CHECKS[:2]
    assert choose_checks(DETECTOR_CHECKS, [second.__name__, first.__name__]) == [first, second]
    assert choose_checks(DETECTOR_CHECKS, []) == list(DETECTOR_CHECKS)
    with pytest.raises(UnknownName):
        choose_checks(DETECTOR_CHECKS, ["nonsense"])


@pytest.mark.parametrize("text", ["28x28", "1x0x28", "1x28x28x1", "axbxc"])
def test_a_shape_that_cannot_be_read_is_refused(text):
    assert parse_shape("3x32x32") == (3, 32, 32)
    with pytest.raises(SelectionError, match="as in 1x28x28"):
        parse_shape(text)
