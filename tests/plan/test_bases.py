"""What a run stands on is part of what it is; every way in which a base cannot be had is told in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from oodbench.api import Run
from oodbench.errors import OODBenchError
from oodbench.plan.requests import RunRequest, override
from oodbench.plan.tasks import with_bases

RUN = Run("ae", "1.0", "{}", "mnist:0-8", 3, distribution="oodbench-ae")


@pytest.fixture
def tasks(standing, planned):
    def tasks(*detectors: str, **said):
        request = {"in_datasets": ("bars:0",), "out_datasets": ("white",)} | said
        return planned(RunRequest(detectors=detectors, **request))

    return tasks


def test_a_run_without_a_base_keeps_its_key():
    assert RUN.key("f" * 16) == "ae-mnist_0-8-s3-16da8c48"
    assert replace(RUN, distribution="").key("f" * 16) == "ae-mnist_0-8-s3-ba9ed494"


def test_the_base_is_part_of_what_a_run_is():
    on = replace(RUN, base=replace(RUN, detector="vae"))
    others = [
        RUN,
        replace(RUN, base=replace(RUN, detector="vae", version="1.1")),
        replace(RUN, base=replace(RUN, detector="vae", params='{"a": 1}')),
        replace(RUN, base=replace(RUN, detector="vae", base=RUN)),
    ]
    assert len({run.key("f") for run in (on, *others)}) == 5
    assert on == replace(on, preset="quick", base=replace(on.base, preset="quick")), "words are no part of it"


def test_a_file_is_identified_by_its_content_and_not_by_its_path():
    def key(**params: str) -> str:
        return replace(RUN, params=json.dumps(params, sort_keys=True)).key("f")

    assert key(weights="/a/w.pt", weights_sha256="12") == key(weights="b.pt", weights_sha256="12")
    assert key(weights="/a/w.pt", weights_sha256="12") != key(weights="/a/w.pt", weights_sha256="13")
    assert key(weights="a", weights_sha256="") != key(weights="b", weights_sha256="")
    on = [replace(RUN, base=replace(RUN, params=json.dumps({"x": path, "x_sha256": "12"}))) for path in "ab"]
    assert on[0].key("f") == on[1].key("f")


def test_the_text_of_a_base_gives_it_back():
    on = replace(RUN, base=replace(RUN, detector="vae", params='{"a": 1}', base=replace(RUN, version="2")))
    assert replace(on, base=None).with_base_text(on.base_text) == on
    assert RUN.base_text == ""
    assert RUN.with_base_text("") == RUN
    for text in ("[]", '{"detector": "vae"}', '{"detector": 3, "version": "", "distribution": "", "params": ""}'):
        with pytest.raises(ValueError, match="its base is none"):
            RUN.with_base_text(text)


def test_a_base_is_planned_once_and_first_whatever_stands_on_it(tasks):
    planned = with_bases(tasks("offset", "other", "mean-distance", seeds=(0, 1)))
    titles = [(task.run.detector, task.run.seed, task.out_datasets) for task in planned]
    assert sorted(titles) == [
        ("centre", 0, ()), ("centre", 1, ()), ("mean-distance", 0, ("white",)), ("mean-distance", 1, ("white",)),
        ("offset", 0, ("white",)), ("offset", 1, ("white",)), ("other", 0, ("white",)), ("other", 1, ("white",)),
    ]  # fmt: skip
    for number, task in enumerate(planned):
        assert task.run.base is None or task.run.base in [before.run for before in planned[:number]]


def test_a_base_that_is_asked_for_itself_is_scored_and_still_first(tasks):
    planned = with_bases(tasks("upon", "centre"))
    assert [(task.run.detector, task.out_datasets) for task in planned] == [
        ("centre", ("white",)), ("offset", ()), ("upon", ("white",)),
    ]  # fmt: skip


def test_a_base_has_the_preset_of_the_run_and_settings_of_its_own(tasks):
    (task,) = tasks("offset", preset="quick", sets=("weight=2", "centre.power=4"))
    assert task.run.base.params == '{"fails": false, "power": 4}'.replace("4", "4.0")
    assert task.run.preset == "quick, weight=2, centre.power=4"
    assert task.run.base.preset == "quick, power=4"
    (task,) = tasks("offset", preset="quick")
    assert '"power": 1.0' in task.run.base.params


def test_what_a_detector_gives_its_base_no_setting_overrides(tasks):
    (task,) = tasks("given", preset="quick")
    assert '"power": 3.0' in task.run.base.params
    with pytest.raises(
        OODBenchError, match=r"--set centre\.power: what stands on centre gives its power; set it there"
    ):
        tasks("given", sets=("centre.power=4",))
    both = tasks("given", "centre", sets=("centre.power=4",))
    assert ['"power": 3.0' in task.run.params or '"power": 4.0' in task.run.params for task in both] == [False, True]


@pytest.mark.parametrize("detectors", [("offset",), ("centre", "offset")])
def test_settings_of_a_base_in_a_suite_are_those_of_any_detector_on_it(standing, planned, detectors):
    suite = RunRequest(detectors, ("bars:0",), ("white",), sets=("offset.weight=2", "centre.power=4"))
    for name in ("offset", "other", "upon"):
        (task,) = planned(*override([suite], RunRequest(detectors=(name,))))
        assert task.run.detector == name
        on = task.run.base if name != "upon" else task.run.base.base
        assert '"power": 4' in on.params
        weight = task.run.base.params if name == "upon" else task.run.params
        assert ('"weight": 2' in weight) == (name != "other")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"detectors": "circle-a"}, "circle-a stands on circle-b: circle-b stands on circle-a, which stands on it: a "
         "circle, circle-a → circle-b → circle-a"),
        ({"detectors": "lost"}, "lost stands on centr: unknown detector 'centr'; did you mean centre"),
        ({"detectors": "wide"}, "wide stands on narrow: narrow can be fitted to images of 3×32×32, not of 1×8×8"),
        ({"detectors": "offset", "sets": ("centre.power=-1",)}, "offset stands on centre: centre: power must be"),
        ({"detectors": "offset", "sets": ("centre.powr=1",)}, "unknown parameter of centre 'powr'; did you mean power"),
        ({"detectors": "offset", "sets": ("mean-distance.power=1",)}, "mean-distance is not among the detectors"),
    ],
)  # fmt: skip
def test_a_base_that_cannot_be_had_is_one_clear_line(tasks, said, line):
    with pytest.raises(OODBenchError) as error:
        tasks(said.pop("detectors"), **said)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
