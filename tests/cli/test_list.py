"""``oodbench list``: detectors, data sets, metrics and plugins."""

from __future__ import annotations

import json


def test_detectors_are_listed_with_plugin_version_and_shapes(oodbench):
    rows = {row["name"]: row for row in json.loads(oodbench("list", "detectors", "--json").stdout)}
    assert rows["mean-distance"] == {
        "name": "mean-distance",
        "plugin": "toys",
        "version": "1.2",
        "shapes": "1×8×8, 1×28×28",
        "presets": "paper, quick",
        "stands on": "",
        "summary": "distance from the mean training image",
    }
    assert rows["broken"]["shapes"] == "any"
    assert "mean-distance" in oodbench("list", "detectors").stdout


def test_data_sets_are_listed_with_their_sizes(oodbench):
    rows = {row["name"]: row for row in json.loads(oodbench("list", "datasets", "--json").stdout)}
    assert (rows["bars"]["train"], rows["bars"]["validation"], rows["bars"]["test"]) == (40, 10, 20)
    assert (rows["white"]["shape"], rows["white"]["train"]) == ("any", None)
    assert "rows and columns" in oodbench("list", "datasets").stdout


def test_metrics_are_listed_with_their_direction(oodbench):
    rows = {row["name"]: row for row in json.loads(oodbench("list", "metrics", "--json").stdout)}
    assert (rows["auroc"]["better"], rows["fpr95_out"]["better"]) == ("higher", "lower")
    assert "auroc" in oodbench("list", "metrics").stdout


def test_plugins_are_listed_with_what_they_offer(oodbench):
    rows = {row["name"]: row for row in json.loads(oodbench("list", "plugins", "--json").stdout)}
    assert (rows["toys"]["version"], rows["toys"]["failure"]) == ("1.2", "")
    assert "mean-distance" in rows["toys"]["offers"]
    assert "builtin-metrics" in oodbench("list", "plugins").stdout


def test_list_of_something_else_is_a_usage_error(oodbench):
    assert "detectors" in oodbench("list", "detector", code=2).stderr


def test_list_executors_has_that_of_this_machine(oodbench):
    rows = json.loads(oodbench("list", "executors", "--json").stdout)
    assert [row["name"] for row in rows] == ["local"]
