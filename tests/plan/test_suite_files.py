"""Suite files: the words of the command line in TOML, and one clear line for what makes no sense."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oodbench.errors import OODBenchError
from oodbench.plan.requests import RunRequest, override
from oodbench.plan.suite_files import read_suite, read_suite_file

pytestmark = pytest.mark.usefixtures("toys")


def params_of(task) -> dict:
    return json.loads(task.run.params)


@pytest.fixture
def suite(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return path

    return write


def test_a_suite_has_the_words_of_the_command_line(suite):
    (read,) = read_suite(
        suite("""
            title = "Bars"
            detector = ["mean-distance", "broken"]
            in = "bars:0"
            out = ["bars:1", "noise"]
            seeds = 2
            preset = "quick"
            precision = "bfloat16"
            [set]
            power = 3
            "broken.fault" = "few"
            mean-distance.blur.steps = 4
        """)
    )
    assert read == RunRequest(
        detectors=("mean-distance", "broken"),
        in_datasets=("bars:0",),
        out_datasets=("bars:1", "noise"),
        seeds=(0, 1),
        preset="quick",
        sets=("power=3", 'broken.fault="few"', "mean-distance.blur.steps=4"),
        precision="bfloat16",
        title="Bars",
    )


def test_run_tables_stand_on_the_words_before_them(suite, planned):
    read = read_suite(
        suite("""
            detector = "mean-distance"
            seeds = [3, 5]
            set.power = 3
            [[run]]
            in = "bars:0"
            out = "bars:1"
            [[run]]
            in = "bars:1"
            out = "bars:0"
            seed = 7
            set.blur.steps = 2
        """)
    )
    tasks = planned(*read)
    assert [(task.run.in_dataset, task.out_datasets, task.run.seed) for task in tasks] == [
        ("bars:0", ("bars:1",), 3),
        ("bars:0", ("bars:1",), 5),
        ("bars:1", ("bars:0",), 7),
    ]
    assert params_of(tasks[2]) == {"power": 3, "blur": {"strength": 0, "steps": 2}}


def test_words_of_the_command_line_replace_the_suite_s(suite, planned):
    (read,) = read_suite(
        suite("""
            detector = ["mean-distance", "broken"]
            in = "bars"
            out = "noise"
            seeds = 3
            [set]
            mean-distance.power = 3
            broken.fault = "few"
        """)
    )
    said = RunRequest(detectors=("mean-distance",), seeds=(9,), sets=("power=5",))
    (task,) = planned(*override([read], said))
    assert (task.run.detector, task.run.seed, params_of(task)["power"]) == ("mean-distance", 9, 5)


SEVERAL = """
    in = "bars:0"
    out = "bars:1"
    [[run]]
    detector = ["mean-distance", "broken"]
    seeds = 2
    set.broken.fault = "flat"
    set.mean-distance.power = 3
    [[run]]
    detector = "mean-distance"
    set.blur.steps = 2
    [[run]]
    detector = "broken"
    set.fault = "few"
"""


def test_a_detector_that_the_suite_names_is_run_as_it_says_there(suite, planned):
    tasks = planned(*override(read_suite(suite(SEVERAL)), RunRequest(detectors=("mean-distance",))))
    assert [(task.run.detector, task.run.seed, params_of(task)) for task in tasks] == [
        ("mean-distance", 0, {"power": 3, "blur": {"strength": 0, "steps": 1}}),
        ("mean-distance", 1, {"power": 3, "blur": {"strength": 0, "steps": 1}}),
        ("mean-distance", 0, {"power": 2, "blur": {"strength": 0, "steps": 2}}),
    ]


def test_another_detector_takes_data_and_seeds_of_a_suite_and_none_of_its_settings(suite, planned):
    without = SEVERAL.replace("mean-distance", "broken").replace("set.blur.steps", "set.only")
    tasks = planned(*override(read_suite(suite(without)), RunRequest(detectors=("mean-distance",), sets=("power=4",))))
    assert [(task.run.detector, task.run.in_dataset, task.out_datasets, task.run.seed) for task in tasks] == [
        ("mean-distance", "bars:0", ("bars:1",), 0),
        ("mean-distance", "bars:0", ("bars:1",), 1),
    ]
    assert all(params_of(task) == {"power": 4, "blur": {"strength": 0, "steps": 1}} for task in tasks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('detectors = "x"', "unknown word 'detectors'; did you mean detector or executor?"),
        ("detector = 3", "detector is a name or a list of names, not 3"),
        ("in = [3]", "in is a name or a list of names, not [3]"),
        ("preset = []", "preset is one text, not []"),
        ("seeds = 0", "seeds is empty"),
        ("seeds = true", "seeds is a number or a list of numbers, not True"),
        ("seed = 1\nseeds = 2", "give seed or seeds, not both"),
        ("set = 3", "set is a table of parameters, not 3"),
        ("run = 3", "write runs as [[run]] tables"),
        ('[[run]]\noutt = "x"', "unknown word 'outt'; did you mean out?"),
        ("detector = ", "is not TOML"),
        ('out = "mnist5k:1,0"', "write mnist5k:1,0 as mnist5k:0-1 (and a path of that name as ./1,0)"),
        ('out = "a"\ngroups.near = "mnist5k:8,9"', "write mnist5k:8,9 as mnist5k:8-9"),
        ('rank = "mnist5k:8,9"', "write mnist5k:8,9 as mnist5k:8-9"),
        ("groups = 3", "groups is a table of names and lists, not 3"),
        ('out = "a"\ngroups.near = 3', "near is a name or a list of names, not 3"),
        ('out = "a"\ngroups.near = []', "group near needs at least one out-data set, and each once"),
        ('out = "a"\ngroups.near = ["a", "a"]', "group near needs at least one out-data set, and each once"),
        ('out = "noise"\ngroups.near = "nois"', "unknown out-data set of group near 'nois'; did you mean noise?"),
        ('out = "a"\ngroups.a = "a"', "group a has the same name as a column"),
        (
            'out = "a"\n[groups]\nnear = "a"\nrank = "near"',
            "rank stands in [groups]: it belongs at the top level, above",
        ),
        ('out = "a"\n[groups]\nnear = "a"\nseeds = 3', "seeds stands in [groups]: it belongs at the top level"),
        ('out = "a"\n[[run]]\nrank = "near"', "rank stands in [[run]]: it belongs at the top level"),
        ('out = "a"\nrank = "nera"\ngroups.near = "a"', "to rank by 'nera'; did you mean near?"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused(suite, text, message):
    with pytest.raises(OODBenchError) as refusal:
        read_suite(suite(text))
    assert "suite.toml" in str(refusal.value)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_groups_name_out_data_sets_and_stand_for_them_where_no_run_names_any(suite):
    text = 'detector = "mean-distance"\nin = "bars:0"\nrank = "near"\n[groups]\nnear = "bars:1"\nfar = ["noise"]'
    read = read_suite_file(suite(text))
    assert read.groups == {"near": ("bars:1",), "far": ("noise",)}
    assert read.rank == "near"
    assert [request.out_datasets for request in read.requests] == [("bars:1", "noise")]


def test_a_suite_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OODBenchError, match=r"none.toml cannot be read: No such file"):
        read_suite(tmp_path / "none.toml")


def test_a_byte_order_mark_is_no_part_of_the_text(suite):
    path = suite("")
    path.write_text('detector = "mean-distance"\n', encoding="utf-8-sig")
    assert read_suite(path)[0].detectors == ("mean-distance",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 1000000000", "give a number of seeds from 1 to 1,000"),
        ("seeds = " + "9" * 5000, "is not TOML"),
        ("set.x = " + "[" * 5000 + "]" * 5000, "is not TOML"),
        (f"detector = {['x'] * 5000 + [1]}", "detector is a name or a list of names"),
    ],
)
def test_what_is_too_much_is_refused_in_one_short_line(suite, text, message):
    with pytest.raises(OODBenchError) as refusal:
        read_suite(suite(text))
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_a_pipe_is_no_suite(tmp_path):
    os.mkfifo(tmp_path / "suite.toml")
    with pytest.raises(OODBenchError, match="suite.toml is no regular file"):
        read_suite(tmp_path)
