"""The checks are checked: whoever keeps the contract passes all, whoever breaks it fails the check that says so."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "broken"))

from oodbench_broken import declared, fits, offers, scores
from oodbench_broken.working import Working, WorkingParams

from oodbench import Detector, OODBenchError, param
from oodbench.testing import (
    DATASET_CHECKS,
    DETECTOR_CHECKS,
    METRIC_CHECKS,
    DatasetCase,
    DetectorCase,
    MetricCase,
    Skip,
    run_checks,
)
from oodbench.testing.parameter_effects import Search, other_values

SHAPE = (1, 8, 8)
GENERATORS = "generators_are_used_on_their_device"
ELSEWHERE = "saved_state_scores_the_same_elsewhere"
HERE = [check for check in DETECTOR_CHECKS if check.__name__ != ELSEWHERE]
"""Without the check that starts a process, seconds each time: that one is run on those it could concern."""
ON_A_BASE = ("base_is_left_alone", "kept_outputs_give_the_same_scores")
"""Those of detectors that stand on another, which ``test_bases`` has."""

BROKEN: list[tuple[type[Detector], set[str], str]] = [
    (declared.BadPreset, {"builds_from_every_preset"}, "preset paper is refused.*latent_dim must be"),
    (declared.NoPaper, {"builds_from_every_preset"}, "there is no preset 'paper'"),
    (
        declared.GreyOnly,
        {"takes_grey_and_colour_or_refuses"},
        "images of 3×32×32 give RuntimeError.*declare in `shapes`",
    ),
    (declared.Lenient, {"parameters_round_trip"}, "an unknown parameter of the detector is not refused"),
    (declared.Mute, {"parameters_round_trip"}, "no meaning is given for latent_dim"),
    (declared.Idle, {"every_parameter_takes_effect"}, "changing momentum changes neither"),
    (scores.DividesByContrast, {"one_finite_score_an_image"}, "3 of 4 scores are NaN or infinite for black, white"),
    (scores.Column, {"one_finite_score_an_image"}, "give one number per image"),
    (scores.Coarse, {"scores_are_not_constant"}, "only . different scores for 128"),
    (scores.Inverted, {"noise_scores_higher_than_data"}, "the sign of the score is reversed"),
    (scores.Noisy, {"scoring_is_deterministic"}, "got different scores"),
    (scores.MinusTheBatchMean, {"scores_do_not_depend_on_the_batch"}, "one at a time.*no statistics over the batch"),
    (scores.OneDrawForTheBatch, {"scores_do_not_depend_on_the_batch"}, "an image's score changed"),
    (scores.InPlace, {"scoring_leaves_its_images_alone"}, "score wrote into the images"),
    (scores.Hoards, {"memory_does_not_grow"}, "score keeps images or graphs"),
    (scores.ThroughNumpy, {"bfloat16_stays_close"}, r"use \.float\(\) before numpy"),
    (fits.NeverTrains, {"training_helps"}, "the training loop trains nothing"),
    (fits.OwnEntropy, {"same_seed_same_scores"}, "differ in the state"),
    (fits.OwnSeed, {"another_seed_gives_other_weights"}, "seeds 0 and 1 learn the same though fit draws random"),
    (fits.SeedsTheWorld, {"fit_leaves_global_random_numbers_alone"}, "global random numbers of torch"),
    (fits.ChangesTheDefaultDtype, {"fit_leaves_the_process_alone"}, "changed torch's default dtype for all other"),
    (fits.StaysInTraining, {"networks_are_in_evaluation_mode"}, "after load_state, model is in training mode"),
    (fits.LeftInTraining, {"networks_are_in_evaluation_mode"}, "after fit, model and networks is in training mode"),
    (
        fits.DrawsElsewhere,
        {GENERATORS},
        r"fits.py:\d+: torch.randn draws on the CPU from .* on context.device",
    ),
    (fits.DrawsThere, {GENERATORS}, r"fits.py:\d+: torch.randperm draws on context.device from a generator .* the CPU"),
    (fits.Raises, {"builds_from_every_preset"}, r"ValueError: nothing comes of it \(fits.py:\d+, in fit\)"),
    (fits.WritesIntoItsInput, {"fit_leaves_its_inputs_alone"}, "wrote into the images of the train set"),
    (fits.KeepsLabels, {"labels_are_used_only_through_fit"}, "with the labels of the training images after fit"),
    (fits.TakesOutliers, {"fit_sees_no_out_data"}, "outliers=None"),
    (fits.DropsTheLastBatch, {"fits_fewer_images_than_a_batch"}, "fitted to 3 images it learns nothing"),
    (fits.CountsFullBatches, {"fits_fewer_images_than_a_batch"}, "to 3 images, it gave ZeroDivisionError"),
    (fits.Remembers, {"refit_forgets"}, "fitted a second time differs in the state"),
    (fits.ForgetsItsOptimiser, {"interrupted_fit_ends_the_same"}, "killed at checkpoint 1 of"),
    # It moves the world's numbers and depends on them: one fault, two promises.
    (fits.WorldsWeights, {"same_seed_same_scores", "fit_leaves_global_random_numbers_alone"}, "global"),
]


def failures(checks, case) -> dict[str, str]:
    return {result.check: result.reason for result in run_checks(checks, case) if result.outcome == "failed"}


@pytest.fixture(scope="module")
def working() -> DetectorCase:
    return DetectorCase(Working, SHAPE)


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_a_working_detector_passes_every_check(check, working):
    check(working)  # those of detectors on a base are skipped


every_broken_detector = pytest.mark.parametrize(
    ("detector", "expected", "message"), BROKEN, ids=[row[0].__name__ for row in BROKEN]
)


@every_broken_detector
def test_a_broken_detector_fails_its_check(detector, expected, message):
    failed = failures([check for check in HERE if check.__name__ in expected], DetectorCase(detector, SHAPE))
    assert failed.keys() == expected, failed
    assert all(re.search(message, reason) for reason in failed.values()), failed


@pytest.mark.slow
@every_broken_detector
def test_a_broken_detector_fails_no_other_check(detector, expected, message):
    failed = failures(HERE, DetectorCase(detector, SHAPE))
    assert failed.keys() == expected, failed
    assert all(re.search(message, reason) for reason in failed.values()), failed


def test_a_detector_that_ends_the_program_fails_its_checks_alone(capsys):
    (reason,) = failures(HERE, DetectorCase(fits.Exits, SHAPE)).values()
    assert "called sys.exit(3)" in reason and re.search(r"fits.py:\d+, in fit", reason)
    assert capsys.readouterr().out == ""


def test_a_fit_that_fails_is_told_once_with_its_line():
    results = {result.check: result for result in run_checks(HERE, DetectorCase(fits.Raises, SHAPE))}
    line = 1 + next(
        number for number, text in enumerate(Path(fits.__file__).read_text().splitlines()) if "the line that is" in text
    )
    assert f"(fits.py:{line}, in fit)" in results["builds_from_every_preset"].reason
    for check in ("every_parameter_takes_effect", "same_seed_same_scores", "fits_fewer_images_than_a_batch"):
        assert results[check].outcome == "skipped", check
        assert results[check].reason == f"fit raises ValueError at fits.py:{line}: see builds_from_every_preset"
    assert results["parameters_round_trip"].outcome == "passed"


COMPARING = ("same_seed_same_scores", "refit_forgets", "labels_are_used_only_through_fit", "bfloat16_stays_close")
"""Checks that compare states or scores."""


def test_a_state_that_is_nan_is_told_once_as_what_the_rest_follows_from():
    checks = [each for each in HERE if each.__name__ in (*COMPARING, "noise_scores_higher_than_data")]
    results = {result.check: result for result in run_checks(checks, DetectorCase(fits.DividesByWhatIsLeft, SHAPE))}
    (failed,) = (result for result in results.values() if result.outcome == "failed")
    assert failed.reason.startswith("fitted to 20 images, its state is NaN (scale), and so are its scores: guard ")
    for check in set(COMPARING) - {failed.check}:
        assert results[check].outcome == "skipped", check
        assert results[check].reason == f"fit leaves a state that is not finite: see {failed.check}"
    assert results["noise_scores_higher_than_data"].outcome == "passed", "of all images the state is finite"


def test_a_state_may_hold_what_is_not_finite_where_scores_are():
    checks = [each for each in HERE if each.__name__ in COMPARING]
    assert [result.outcome for result in run_checks(checks, DetectorCase(Holed, SHAPE))] == ["passed"] * len(COMPARING)


class Holed(Working):
    """Keeps a number that it never found, and does not use it."""

    def state(self):
        return super().state() | {"none": torch.tensor(float("nan"))}

    def load_state(self, state):
        super().load_state({name: tensor for name, tensor in state.items() if name != "none"})


def test_a_network_in_training_mode_is_the_cause_that_is_named():
    results = {result.check: result for result in run_checks(HERE, DetectorCase(fits.LeftInTraining, SHAPE))}
    for check in ("one_finite_score_an_image", "scores_do_not_depend_on_the_batch", "bfloat16_stays_close"):
        assert "see networks_are_in_evaluation_mode" in results[check].reason


def test_what_is_not_saved_is_missed_elsewhere():
    failed = failures(DETECTOR_CHECKS, DetectorCase(fits.UnsavedScale, SHAPE))
    assert failed.keys() == {ELSEWHERE}
    assert "state must give all that score uses" in failed[ELSEWHERE]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_detector_for_the_cpu_only_fails_on_a_gpu():
    assert failures(HERE, DetectorCase(scores.StaysOnCPU, SHAPE)).keys() == {"cpu_and_gpu_agree"}


def test_every_check_is_failed_by_a_broken_detector():
    covered = {check for _, checks, _ in BROKEN for check in checks} | {ELSEWHERE, "cpu_and_gpu_agree", *ON_A_BASE}
    assert covered == {check.__name__ for check in DETECTOR_CHECKS}


def test_every_check_says_what_it_is_by_its_name():
    for checks in (DETECTOR_CHECKS, DATASET_CHECKS, METRIC_CHECKS):
        names = [check.__name__ for check in checks]
        assert len(set(names)) == len(names)
        assert all("_" in name and not name.startswith("_") for name in names)


# --------------------------------------------------------------------------------- the case


def test_budgets_lower_what_is_long_and_values_override_them():
    case = DetectorCase(Working, SHAPE, {"batch_size": 100})
    params = case.params()
    assert (params.epochs, params.batch_size, params.latent_dim) == (4, 100, 4)
    assert case.params({"epochs": 0}).epochs == 1, "the bounds hold"
    assert case.params(values={"epochs": 30}).epochs == 30


def test_a_bad_value_of_the_case_is_refused():
    with pytest.raises(OODBenchError, match="latent_dim must be greater"):
        DetectorCase(Working, SHAPE, {"latent_dim": 0}).params()


class Rare(declared.Idle):
    conditional_parameters = {"momentum": "when the moon is full"}


class WronglyRare(declared.Idle):
    conditional_parameters = {"momemtum": "when the moon is full"}


def test_a_parameter_that_rarely_matters_can_be_named():
    assert not failures(DETECTOR_CHECKS[-1:], DetectorCase(Rare, SHAPE))
    (reason,) = failures(DETECTOR_CHECKS[-1:], DetectorCase(WronglyRare, SHAPE)).values()
    assert "momemtum, which are no parameters" in reason


class WordyParams(WorkingParams):
    word: str = param("anything", "of a kind that nobody can guess another of")


class Wordy(Working):
    Params = WordyParams


def test_what_cannot_be_varied_is_said():
    with pytest.raises(Skip, match="no other valid value is known for word"):
        DETECTOR_CHECKS[-1](DetectorCase(Wordy, SHAPE))
    with pytest.raises(AssertionError, match="changing word changes neither"):
        DETECTOR_CHECKS[-1](DetectorCase(Wordy, SHAPE, alternatives={"word": ("another",)}))


class TogetherParams(WorkingParams):
    weight: float = param(0.0, "of a penalty", ge=0)
    power: int = param(2, "of the penalty, which matters where it has a weight", ge=1, le=3)


class Together(Working):
    Params = TogetherParams

    def phase(self, model, context):
        phase = super().phase(model, context)

        def train_step(batch, generator):
            with torch.no_grad():
                model.encode.weight -= self.params.weight * model.encode.weight.abs() ** self.params.power
            return phase.train_step(batch, generator)

        return dataclasses.replace(phase, train_step=train_step)


def test_a_parameter_may_matter_only_together_with_another():
    search = Search(DetectorCase(Together, SHAPE))
    assert search.others("power") == [3, 1]
    assert search.matters("power") and search.matters("weight")


@pytest.mark.parametrize(
    ("value", "annotation", "some"),
    [
        (True, bool, {False}),
        (3, int, {4, 2, 6, 0}),
        (0.5, float, {1.0, 0.25, 0.0}),
        (0.0, float, {1.0, 0.5}),
        (1e-4, float, {2e-4, 0.1}),
    ],
)
def test_guesses_at_other_values(value, annotation, some):
    guesses = other_values(value, annotation)
    assert value not in guesses
    assert all(any(guess == pytest.approx(one) for guess in guesses) for one in some)


class Refusing(Working):
    def fit(self, train_set, validation, context):
        if len(train_set) < 50:
            raise OODBenchError("too few images for a covariance")
        return super().fit(train_set, validation, context)


def test_a_refusal_of_few_images_is_a_reason_to_skip():
    checks = [
        check for check in DETECTOR_CHECKS if check.__name__ in ("fits_fewer_images_than_a_batch", "training_helps")
    ]
    verdicts = list(run_checks(checks, DetectorCase(Refusing, SHAPE)))
    assert [result.outcome for result in verdicts] == ["skipped", "skipped"]
    assert all("too few images for a covariance" in result.reason for result in verdicts)


class Mean(Detector):
    """Closed form: the squared distance to the mean image. Only its caller draws random numbers, for noise."""

    name = "mean"

    def fit(self, train_set, validation, context):
        self.mean = torch.cat(list(train_set.batches(64, context.device))).mean(dim=0)
        return self

    def score(self, images):
        return (images - self.mean).square().mean(dim=(1, 2, 3))

    def state(self):
        return {"mean": self.mean}

    def load_state(self, state):
        self.mean = state["mean"]


def test_no_seed_matters_to_a_detector_that_draws_no_random_numbers():
    verdicts = {result.check: result for result in run_checks(HERE, DetectorCase(Mean, SHAPE))}
    seeds = verdicts["another_seed_gives_other_weights"]
    assert (seeds.outcome, seeds.reason) == ("skipped", "fit draws no random numbers, so that no seed can matter")
    others = {result.check: result.reason for result in verdicts.values() if result.outcome == "failed"}
    assert not others, others


def test_an_error_of_the_detector_is_a_failed_check():
    class Crashing(Working):
        def fit(self, train_set, validation, context):
            raise ZeroDivisionError("no\nluck")

    verdicts = {result.check: result for result in run_checks(HERE[:5], DetectorCase(Crashing, SHAPE))}
    assert [check for check, result in verdicts.items() if result.outcome == "failed"] == ["builds_from_every_preset"]
    reason = verdicts["builds_from_every_preset"].reason
    assert re.fullmatch(r"ZeroDivisionError: no luck \(test_testing.py:\d+, in fit\)", reason)


def test_a_class_inside_a_function_cannot_be_sent_elsewhere():
    class Inside(Working):
        pass

    (result,) = run_checks([next(c for c in DETECTOR_CHECKS if c.__name__ == ELSEWHERE)], DetectorCase(Inside, SHAPE))
    assert result.outcome == "skipped" and "cannot import it" in result.reason


# --------------------------------------------------------------------------- data sets and metrics


@pytest.mark.parametrize("dataset", [offers.GOOD, offers.MADE], ids=lambda dataset: dataset.name)
def test_a_data_set_in_order_passes(dataset, tmp_path):
    assert not failures(DATASET_CHECKS, DatasetCase(dataset, tmp_path))


@pytest.mark.parametrize("check", DATASET_CHECKS)
def test_a_broken_data_set_fails_its_check_and_no_other(check, tmp_path):
    case = DatasetCase(offers.BROKEN_DATASETS[check.__name__], tmp_path)
    needs_process = check.__name__ in ("is_the_same_elsewhere", "declares_itself")
    failed = failures(DATASET_CHECKS if needs_process else DATASET_CHECKS[:-1], case)
    assert failed.keys() == {check.__name__}, failed


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (offers.fractions, "every pixel of train is 0: images are bytes from 0 to 255"),
        (offers.same_place, "5 images are in train and in validation, with the same index"),
        (offers.by_the_world, "load draws from numpy's global random numbers"),
    ],
)
def test_other_faults_of_data_sets_are_named(load, message, tmp_path):
    failed = failures(DATASET_CHECKS[:-1], DatasetCase(dataclasses.replace(offers.GOOD, load=load), tmp_path))
    assert any(message in reason for reason in failed.values()), failed


def test_a_data_set_whose_files_are_missing_is_not_judged(tmp_path):
    outcomes = [result.outcome for result in run_checks(DATASET_CHECKS, DatasetCase(offers.MISSING, tmp_path))]
    assert outcomes == ["passed", *["skipped"] * (len(DATASET_CHECKS) - 1)]


@pytest.mark.parametrize("check", METRIC_CHECKS)
def test_a_broken_metric_fails_its_check_and_no_other(check):
    assert not failures(METRIC_CHECKS, MetricCase(offers.METRIC))
    failed = failures(METRIC_CHECKS, MetricCase(offers.BROKEN_METRICS[check.__name__]))
    assert failed.keys() == {check.__name__}, failed


@pytest.mark.parametrize(
    ("page", "name", "case", "checks"),
    [
        ("write-dataset", "GRAIN", DatasetCase, DATASET_CHECKS[:-1]),  # the last needs a module that can be imported
        ("write-metric", "METRIC", MetricCase, METRIC_CHECKS),
    ],
)
def test_what_the_documentation_shows_passes(page, name, case, checks):
    text = (Path(__file__).parents[2] / f"docs/{page}.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    namespace: dict = {}
    exec(code[1], namespace)
    assert not failures(checks, case(namespace[name]))


# ------------------------------------------------------------------------ what ships with the core


@pytest.mark.parametrize("kind", ["constant", "noise", "photos", "mnist5k"])
def test_the_data_sets_that_need_no_files_pass(kind, no_traces, tmp_path):
    from oodbench.plugin.registry import load_registry

    case = DatasetCase(load_registry().dataset(kind), tmp_path)
    assert not failures(DATASET_CHECKS[:-1], case)


def test_the_metrics_of_the_core_pass(no_traces):
    from oodbench.plugin.registry import load_registry

    for metric in load_registry().metrics.values():
        assert not failures(METRIC_CHECKS, MetricCase(metric)), metric.name
