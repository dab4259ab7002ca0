"""RunRequest → runs: every combination, every bad word refused with one clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from oodbench.api.parameters import fields_by_path
from oodbench.data.loading import Loader
from oodbench.errors import OODBenchError, UnknownName
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import plan
from oodbench.plugin.registry import load_registry

pytestmark = pytest.mark.usefixtures("toys")


def words(**said) -> RunRequest:
    return RunRequest(**{"detectors": ("mean-distance",), "in_datasets": ("bars",), "out_datasets": ("noise",)} | said)


def params_of(task) -> dict:
    return json.loads(task.run.params)


def test_every_combination_is_run_and_each_fit_once(planned):
    tasks = planned(
        words(
            detectors=("mean-distance", "broken"),
            in_datasets=("bars:0", "mnist5k"),
            out_datasets=("noise", "constant"),
            seeds=(0, 3),
        )
    )
    combinations = {(task.run.detector, task.run.in_dataset, task.run.seed) for task in tasks}
    assert combinations == {
        (d, i, s) for d in ("mean-distance", "broken") for i in ("bars:0", "mnist5k") for s in (0, 3)
    }
    assert len(tasks) == 8
    assert {task.out_datasets for task in tasks} == {("noise", "constant")}


def test_what_is_said_twice_is_run_once(planned):
    (task,) = planned(
        words(
            detectors=("mean-distance",) * 2, in_datasets=("bars",) * 2, out_datasets=("noise", "noise"), seeds=(1, 1)
        ),
        words(out_datasets=("white", "noise"), seeds=(1,)),
    )
    assert task.out_datasets == ("noise", "white")


@pytest.mark.parametrize("classes", ["0-1", "0,1", "1,0", "00-01"])
def test_the_same_classes_are_one_run_however_they_are_written(planned, classes):
    (task,) = planned(
        words(in_datasets=(f"mnist5k:{classes}",), out_datasets=("mnist5k:3,2", f"halfmnist5k:{classes}"))
    )
    assert (task.run.in_dataset, task.out_datasets) == ("mnist5k:0-1", ("mnist5k:2-3", "halfmnist5k:0-1"))


def test_a_path_is_no_list_of_classes(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        (tmp_path / "1,0" / "test").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / "1,0" / "test" / f"{number}.png")
    (task,) = planned(words(out_datasets=("folder:1,0",)))
    assert task.out_datasets == ("folder:1,0",)


def test_a_preset_that_changes_nothing_is_no_other_run(planned):
    assert len(planned(words(detectors=("broken",), preset="quick"), words(detectors=("broken",)))) == 1


def test_what_is_not_said_has_its_default(planned):
    (task,) = planned(words())
    assert (task.run.seed, task.run.precision, task.run.preset) == (0, "float32", "paper")
    assert task.run.distribution == "oodbench-toys"
    assert task.run.version.startswith("1.2+"), "local code has a fingerprint"
    assert params_of(task) == {"power": 2.0, "blur": {"strength": 0.0, "steps": 1}}


def test_settings_go_over_the_preset_and_leave_the_rest_of_a_group_alone(planned):
    (task,) = planned(words(preset="quick", sets=("blur.steps=3", "power=1e-1")))
    assert params_of(task) == {"power": 0.1, "blur": {"strength": 0.5, "steps": 3}}


def test_a_group_that_is_set_in_part_keeps_its_own_defaults(planned):
    (task,) = planned(words(preset="quick"))  # steps: 1 in this group, 5 in groups of its class
    assert params_of(task)["blur"] == {"strength": 0.5, "steps": 1}
    (task,) = planned(words(sets=("blur.strength=1",)))
    assert params_of(task)["blur"] == {"strength": 1, "steps": 1}


def test_where_the_parameters_came_from_is_said(planned):
    (task,) = planned(words(preset="quick", sets=("power=3",)))
    assert task.run.preset == "quick, power=3"


def test_of_two_settings_the_later_counts(planned):
    (task,) = planned(words(sets=("power=3", "mean-distance.power=4")))
    assert params_of(task)["power"] == 4


def test_a_setting_goes_to_every_detector_that_has_the_parameter(planned):
    both = words(detectors=("mean-distance", "broken"), sets=("power=3", "broken.fault=few"))
    mean_distance, broken = planned(both)
    assert params_of(mean_distance)["power"] == 3
    assert params_of(broken) == {"fault": "few", "only": -1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "blur.steps=-3",
            "mean-distance: blur.steps must be greater than or equal to 0 (got -3); "
            "`oodbench show mean-distance` lists the bounds",
        ),
        ("blur.strength=2", "blur.strength must be less than or equal to 1 (got 2)"),
        ("blur.steps=1.5", "blur.steps must be a valid integer"),
        ("power=fast", "power must be a valid number, unable to parse string as a number (got 'fast')"),
        ("power", "--set power: write it as name=value"),
    ],
)
def test_a_bad_value_is_named_with_its_parameter(planned, text, message):
    with pytest.raises(OODBenchError) as refusal:
        planned(words(sets=(text,)))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"detectors": ("mean-distanc",)}, "unknown detector 'mean-distanc'; did you mean mean-distance?"),
        ({"in_datasets": ("bar",)}, "unknown data set 'bar'; did you mean bars?"),
        ({"out_datasets": ("nois",)}, "unknown data set 'nois'; did you mean noise or"),
        ({"preset": "quik"}, "unknown preset of mean-distance 'quik'; did you mean quick?"),
        ({"precision": "float16"}, "unknown precision 'float16'; did you mean bfloat16 or float32?"),
        ({"sets": ("blur.step=2",)}, "unknown parameter of mean-distance 'blur.step'; did you mean blur.steps"),
        ({"sets": ("mean-distance.powr=2",)}, "unknown parameter of mean-distance 'powr'; did you mean power?"),
        ({"sets": ("blur=2",)}, "unknown parameter of mean-distance 'blur'"),
    ],
)
def test_near_names_are_offered(planned, said, message):
    with pytest.raises(UnknownName) as refusal:
        planned(words(**said))
    assert message in str(refusal.value)


def test_a_setting_of_a_detector_that_is_not_run_is_refused(planned):
    with pytest.raises(OODBenchError, match="broken is not among the detectors to run: mean-distance"):
        planned(words(sets=("broken.fault=few",)))


def test_a_setting_that_all_requests_have_goes_to_those_that_have_the_parameter(planned):
    sets = ("power=3", "broken.fault=few")
    mean_distance, broken = planned(words(sets=sets), words(detectors=("broken",), sets=sets))
    assert params_of(mean_distance)["power"] == 3
    assert params_of(broken) == {"fault": "few", "only": -1.0}
    assert (mean_distance.run.preset, broken.run.preset) == ("paper, power=3", "paper, fault=few")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("powr=3", "powr=4"), ("powr=3", "powr=4"), "unknown parameter of mean-distance 'powr'; did you mean power?"),
        ((), ("power=3",), "unknown parameter of broken 'power'"),
        (("fault=few",), (), "unknown parameter of mean-distance 'fault'"),
        ((), ("mean-distance.power=3",), "mean-distance is not among the detectors to run: broken"),
        (("centre.x=3",), ("centre.x=3",), "unknown parameter of mean-distance 'centre.x'"),
    ],
)
def test_a_setting_that_reaches_no_detector_of_the_requests_that_have_it_is_refused(planned, first, second, message):
    with pytest.raises(OODBenchError, match=message):
        planned(words(sets=first), words(detectors=("broken",), sets=second))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"in_datasets": ("bars:7",)}, "there is no class 7"),
        ({"in_datasets": ("noise",)}, "noise has no train split"),
        ({"in_datasets": ("photos",)}, "mean-distance can be fitted to images of 1×8×8 or 1×28×28, not of 3×32×32"),
        ({"out_datasets": ("bars",)}, "--out bars shares classes with --in bars"),
        ({"out_datasets": ("bars:1",)}, "--out bars:1 shares classes with --in bars"),
        ({"in_datasets": ("bars:0-1",), "out_datasets": ("bars:1",)}, "--out bars:1 shares classes with --in bars:0-1"),
        ({"detectors": ()}, "name at least one --detector"),
        ({"in_datasets": ()}, "name at least one --in"),
        ({"out_datasets": ()}, "name at least one --out"),
        ({"seeds": (-1,)}, "a seed is a whole number from 0, not -1"),
        (
            {"covariates": ("bars:0-1",)},
            "--covariate bars:0-1 is the in-data set itself, or shares classes with --in",
        ),
        (
            {"in_datasets": ("bars:0",), "covariates": ("bars",)},
            "shares classes with --in bars:0: name shifted images",
        ),
        (
            {"in_datasets": ("mnist5k",), "out_datasets": ("halfmnist5k:0-7",), "covariates": ("halfmnist5k:0-8",)},
            "halfmnist5k:0-8 cannot be --out and --covariate at once, and --out halfmnist5k:0-7 shares classes with it",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(planned, said, message):
    with pytest.raises(OODBenchError) as refusal:
        planned(words(**said))
    assert message in str(refusal.value)


def test_classes_of_one_data_set_can_be_told_apart(planned):
    (task,) = planned(words(in_datasets=("bars:0",), out_datasets=("bars:1",)))
    assert task.out_datasets == ("bars:1",)


def test_halves_and_chimeras_are_other_images_than_those_they_are_made_from(planned):
    (task,) = planned(words(in_datasets=("mnist5k",), out_datasets=("halfmnist5k", "chimeramnist5k")))
    assert task.out_datasets == ("halfmnist5k", "chimeramnist5k")


def test_parameters_are_named_with_their_groups():
    registry = load_registry()
    assert list(fields_by_path(registry.detector("mean-distance").Params)) == ["power", "blur.strength", "blur.steps"]


@pytest.fixture
def crossed(toys, tmp_path):
    """``crossed(ins, outs)`` gives in-data set → out-data sets, and what was left out."""
    registry = load_registry()

    def crossed(ins: tuple[str, ...], outs: tuple[str, ...]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        left_out: list[str] = []
        request = RunRequest(("mean-distance",), ins, outs)
        tasks = plan([request], registry, Loader(registry, tmp_path, tmp_path), on_skip=left_out.append)
        return {task.run.in_dataset: task.out_datasets for task in tasks}, left_out

    return crossed


def test_of_several_in_and_out_none_is_scored_against_itself(crossed):
    tasks, left_out = crossed(("bars:0", "bars:1"), ("bars:0", "bars:1", "white"))
    assert tasks == {"bars:0": ("bars:1", "white"), "bars:1": ("bars:0", "white")}
    assert left_out == [
        "left out: bars:0 against bars:0, which shares classes with it",
        "left out: bars:1 against bars:1, which shares classes with it",
    ]


@pytest.mark.parametrize(
    ("ins", "outs", "message"),
    [
        (("bars:0",), ("bars:0", "white"), "--out bars:0 shares classes with --in bars:0"),
        (("bars:0", "bars"), ("bars:1",), "--out bars:1 shares classes with --in bars;"),
    ],
)
def test_what_would_be_left_without_a_partner_is_refused(crossed, ins, outs, message):
    with pytest.raises(OODBenchError, match=message):
        crossed(ins, outs)
