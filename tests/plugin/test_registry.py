"""What plugins offer, by name: near names for what does not exist, and who is to blame for what is missing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from oodbench.cli import find_plugins
from oodbench.errors import UnknownName
from oodbench.plugin.registry import find_detector, find_metric, load_registry

METRICS = """
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [OFFERS]
"""


def metrics(offers: str) -> str:
    return METRICS.replace("OFFERS", offers)


def metric(name: str) -> str:
    return f'Metric("{name}", lambda in_scores, out_scores: 0.0, True, "always 0")'


def test_a_data_set_cannot_be_called_in(install):
    code = "from oodbench import Dataset, hookimpl\n\n@hookimpl\ndef register_datasets():\n"
    install("inner", "inner_module", code + '    return [Dataset("in", lambda split, root, shape: None, None, {})]\n')
    registry = load_registry()
    assert "in" not in registry.datasets
    assert "a data set cannot be called 'in', as the scores of in-data are: rename it" in registry.failures["inner"]


def test_everything_is_found_by_name_and_with_its_version(toys):
    registry = load_registry()
    assert registry.detector("mean-distance") is toys.MeanDistance
    assert registry.dataset("bars").sizes == {"train": 40, "validation": 10, "test": 20}
    assert registry.metric("auroc").higher_is_better
    assert registry.version("detector", "mean-distance") == "1.2"
    assert registry.plugin_of["data set", "bars"] == "toys"
    assert registry.failures == {}


def test_a_detector_can_be_found_by_one_that_builds_on_it(toys):
    detector, version = find_detector("mean-distance")
    assert detector is toys.MeanDistance
    assert version.startswith("1.2+"), "local code has a fingerprint"
    with pytest.raises(UnknownName, match="unknown detector 'meandistance'; did you mean mean-distance"):
        find_detector("meandistance")


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [("detector", "meandistance", "mean-distance"), ("dataset", "bard", "bars"), ("metric", "auc", "auroc")],
)
def test_near_names_are_offered(toys, kind, name, near):
    with pytest.raises(UnknownName, match=f"unknown .* '{name}'; did you mean .*{near}"):
        getattr(load_registry(), kind)(name)


def test_names_are_offered_of_detectors_that_wait_to_be_asked_for(toys):
    find_plugins()  # saves the catalogue
    registry = load_registry()
    assert "mean-distance" in registry.waiting
    with pytest.raises(UnknownName, match="unknown detector 'meandistance'; did you mean mean-distance"):
        registry.detector("meandistance")


def test_all_names_are_offered_where_none_is_near(toys):
    with pytest.raises(UnknownName, match="unknown detector 'xyz'; there are: broken, mean-distance"):
        load_registry().detector("xyz")


def test_a_name_that_is_taken_is_refused_with_both_plugins_named(install):
    install("first", "first_module", metrics(metric("zero")))
    install("second", "second_module", metrics(metric("zero")))
    registry = load_registry()
    assert registry.plugin_of["metric", "zero"] == "first"
    assert "metric 'zero' is already offered by plugin first" in registry.failures["second"]


def test_only_the_clashing_offer_is_left_out(install):
    install("first", "first_module", metrics(metric("zero")))
    install("second", "second_module", metrics(f"{metric('zero')}, {metric('one')}"))
    registry = load_registry()
    assert registry.plugin_of["metric", "zero"] == "first"
    assert registry.plugin_of["metric", "one"] == "second"


def test_names_of_this_repository_s_plugins_are_theirs_whatever_the_order(install):
    """The foreign plugin sorts first; the name would be its own if the order of loading decided."""
    install("aaa", "aaa_module", metrics(metric("zero")))
    install("ae", "ae_module", metrics(metric("zero")))
    registry = load_registry()
    assert registry.plugin_of["metric", "zero"] == "ae"
    assert "metric 'zero' is already offered by plugin ae" in registry.failures["aaa"]


def test_two_plugins_may_have_one_entry_point_name(install, tmp_path):
    install("one", "one_module", metrics(metric("zero")))
    site = install("two", "two_module", metrics(metric("one")))
    (site / "oodbench_two-1.0.dist-info" / "entry_points.txt").write_text("[oodbench]\none = two_module\n")
    registry = load_registry()
    assert {"zero", "one"} <= registry.metrics.keys()
    assert registry.plugin_of["metric", "one"] == "oodbench-two:one"


def test_every_reason_is_named_where_two_hooks_fail(install):
    source = METRICS.replace("[OFFERS]", "1 / 0") + "\n@hookimpl\ndef register_detectors():\n    return [3]\n"
    install("bad", "bad_module", source)
    reasons = load_registry().failures["bad"]
    assert "ZeroDivisionError" in reasons and "3 is not a detector" in reasons


def test_a_built_in_name_cannot_be_taken(install):
    install("mine", "mine_module", metrics(metric("auroc")))
    registry = load_registry()
    assert registry.plugin_of["metric", "auroc"] == "builtin-metrics"
    assert "builtin-metrics" in registry.failures["mine"]


@pytest.mark.parametrize(
    ("offers", "reason"),
    [
        (metric("Zero Point"), "metric name 'Zero Point': use small letters, digits and '-'"),
        ("3", "TypeError: 3 is not a metric"),
        ("*None", "TypeError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_whose_offer_is_no_good_is_named_and_the_rest_works(install, offers, reason):
    install("bad", "bad_module", metrics(offers))
    install("zero", "zero_module", metrics(metric("zero")))
    registry = load_registry()
    assert reason in registry.failures["bad"]
    assert "zero" in registry.metrics
    assert "auroc" in registry.metrics


PARTS = """
from oodbench import Dataset, Detector, hookimpl

class Mine(Detector):
    name = "mine"
    fit = score = state = load_state = lambda *given: None
    {declared}

@hookimpl
def register_detectors():
    return [Mine]

@hookimpl
def register_datasets():
    {datasets}
"""


@pytest.mark.parametrize(
    ("declared", "datasets", "reason"),
    [
        ("shapes = (1, 28, 28)", "return []", r"shapes of detector mine is no tuple of shapes .*: \(1, 28, 28\)"),
        ("known_findings = {'a', 'b'}", "return []", "known_findings of detector mine is no table"),
        ("", "return Dataset('mine', None, None, {})", "register_datasets returned a Dataset: return a list"),
        ("", "yield Dataset('mine', None, None, {})", "register_datasets returned a generator: return a list"),
        ("", "return [Dataset('mine', None, (28, 28), {})]", r"shape of data set mine is not .*: \(28, 28\)"),
    ],
)
def test_what_cannot_be_declared_is_named_and_the_rest_works(install, declared, datasets, reason):
    install("parts", "parts_module", PARTS.format(declared=declared, datasets=datasets))
    registry = load_registry()
    assert re.search(reason, registry.failures["parts"])
    assert "auroc" in registry.metrics and "mnist" in registry.datasets


def test_a_hook_that_ends_the_program_is_a_failure_of_its_plugin(install):
    install("quits", "quits_module", metrics("__import__('sys').exit(2)"))
    assert load_registry().failures["quits"] == "SystemExit: 2"


def test_a_metric_in_full_spectrum_has_a_name_too():
    metric = find_metric("full_spectrum_auroc")
    assert metric.name == "full_spectrum_auroc"
    assert metric.compute is find_metric("auroc").compute
    with pytest.raises(UnknownName, match="did you mean auroc"):
        find_metric("full_spectrum_auroq")


def test_find_metric():
    assert find_metric("auroc").compute(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 0.875
    with pytest.raises(UnknownName, match="did you mean auroc"):
        find_metric("auroq")
