"""Which executor it is, and with which settings: flags before the suite before the user's own settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oodbench.errors import OODBenchError
from oodbench.plan.executors import ExecutorChoice, choose_executor, new_executor
from oodbench.plan.suite_files import read_suite, read_suite_file
from oodbench.plugin.registry import load_registry

FAR = """
from oodbench import Executor, Params, hookimpl, param

class Gpus(Params):
    each: float = param(0.0, "GPUs of each task", ge=0)

class FarParams(Params):
    queue: str = param("", "where tasks wait")
    hours: int = param(1, "time limit", ge=1)
    gpus: Gpus = Gpus()

class Far(Executor):
    name = "far"
    summary = "far away"
    Params = FarParams

@hookimpl
def register_executors():
    return [Far]
"""


@pytest.fixture
def far(install):
    install("far", "far_module", FAR)
    return load_registry()


def settings(text: str) -> None:
    Path(os.environ["OODBENCH_SETTINGS"]).write_text(text)


NOTHING = ExecutorChoice()


def test_without_a_word_it_is_this_machine(no_traces):
    assert choose_executor("", (), NOTHING) == ("local", {})


def test_flags_come_before_the_suite_and_the_suite_before_the_user_s_settings(no_traces):
    settings('[executor]\nname = "far"\n[executor.far]\nqueue = "own"\nhours = 2\ngpus.each = 1')
    assert choose_executor("", (), NOTHING) == ("far", {"queue": "own", "hours": 2, "gpus.each": 1})
    suite = ExecutorChoice("", {"far": {"hours": 3, "gpus.each": 0.5}})
    assert choose_executor("", (), suite) == ("far", {"queue": "own", "hours": 3, "gpus.each": 0.5})
    flags = ("gpus.each=.25", "hours = 4")
    assert choose_executor("", flags, suite) == ("far", {"queue": "own", "hours": 4, "gpus.each": ".25"})
    assert choose_executor("local", (), suite) == ("local", {}), "settings of another executor are not its own"


def test_a_suite_may_say_what_its_tasks_need_and_leave_the_choice_to_others(tmp_path, no_traces):
    path = tmp_path / "suite.toml"
    path.write_text('detector = "ae"\n[executor.far]\ngpus.each = 0.5\n[[run]]\nin = "x"\n[[run]]\nin = "y"\n')
    assert read_suite_file(path).executor == ExecutorChoice("", {"far": {"gpus.each": 0.5}})
    assert [request.in_datasets for request in read_suite(path)] == [("x",), ("y",)]


def test_settings_become_parameters(far):
    executor = new_executor("far", {"gpus.each": ".5", "queue": "long"}, far)
    assert executor.params.gpus.each == 0.5 and executor.params.queue == "long" and executor.params.hours == 1


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fa", {}, "unknown executor 'fa'; did you mean far?"),
        ("far", {"queu": "long"}, "unknown setting of executor far 'queu'; did you mean queue?"),
        ("far", {"hours": 0}, "executor far: hours must be greater than or equal to 1 (got 0); `oodbench show far`"),
        ("far", {"gpus": 1}, "unknown setting of executor far 'gpus'; did you mean gpus.each?"),
    ],
)
def test_what_makes_no_sense_is_refused(far, name, given, message):
    with pytest.raises(OODBenchError) as refusal:
        new_executor(name, given, far)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("executor = 3", "write executor as a table, [executor], not 3"),
        ("[executor]\nname = 3", "name of the executor is one text, not 3"),
        ("[executor]\nname = 'far'\ngpus = 1", "gpus in [executor]: settings go into a table, [executor.far]"),
        ("executor =", "is not TOML"),
        ("detector = 'ae'", "unknown word 'detector'"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_refused(no_traces, text, message):
    settings(text)
    with pytest.raises(OODBenchError) as refusal:
        choose_executor("", (), NOTHING)
    assert "settings.toml" in str(refusal.value) and message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_setting_without_a_value_is_refused(no_traces):
    with pytest.raises(OODBenchError, match="--executor-set gpus: write it as name=value"):
        choose_executor("far", ("gpus",), NOTHING)
