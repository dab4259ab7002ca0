"""Tuning: chosen by validation splits alone, by a data set of its own, and once only to the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from oodbench.api import SCORE_CONVENTION, Scores
from oodbench.builtin.synthetic import constant
from oodbench.cli import main
from oodbench.errors import OODBenchError
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.runs.recomputing import recompute_store
from oodbench.runs.tuning import Tuned, tune
from oodbench.store.records import Combination
from oodbench.store.store import Store

LEANING = '''
"""A detector whose score is the brightness, or with a negative lean the darkness, and data to tell apart by it."""

import os
import signal
from pathlib import Path

import numpy as np
import oodbench_toys as toys
import torch

from oodbench import Dataset, Detector, ImageSet, Params, hookimpl, param

calls = []


class LeaningParams(Params):
    lean: float = param(1.0, "sign of the brightness in the score; 13 fails, 7 gives no number for noise")
    fickle: bool = param(False, "lean the other way with an odd seed")
    patience: int = param(1, "changes nothing", ge=1)


class Leaning(Detector):
    name = "leaning"
    Params = LeaningParams
    presets = {"paper": {}, "quick": {"patience": 2}}

    def fit(self, train, validation, context):
        calls.append(("fit", self.params.lean, context.seed))
        if self.params.lean == 13:
            raise RuntimeError("out of luck")
        if self.params.lean == 2 and os.environ.get("DEADLY"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.sign = torch.tensor(-1.0 if self.params.fickle and context.seed % 2 else 1.0)
        return self

    def score(self, images):
        calls.append(("score", self.params.lean, len(images)))
        scores = images.mean((1, 2, 3)) * self.params.lean * self.sign
        return scores / 0 if self.params.lean == 7 and len(images) > 100 else scores

    def state(self):
        return {"sign": self.sign}

    def load_state(self, state):
        self.sign = state["sign"]


def load_dim(split, root, shape):
    return ImageSet("dim", split, np.ones((20, *(shape or (1, 8, 8))), np.uint8), np.zeros(20, np.int64), np.arange(20))


def load_copies(split, root, shape):
    """Under another name: three test images of bars:0, one of them twice, and others."""
    bars = toys.load_bars("test", root, shape).select_classes([0]).images
    images = np.concatenate([bars[[4, 1, 7, 1]], 255 - bars])
    return ImageSet("copies", split, images, np.zeros(len(images), np.int64), np.arange(len(images)))


def load_shades(split, root, shape):
    """Grey images of which no two are alike, three classes."""
    values = np.arange(30) + {"train": 0, "validation": 30, "test": 60}[split]
    images = np.broadcast_to(values[:, None, None, None], (30, 1, 8, 8)).astype(np.uint8)
    return ImageSet("shades", split, images, values % 3, values)


@hookimpl
def register_detectors():
    return [Leaning]


@hookimpl
def register_datasets():
    return [
        Dataset("dim", load_dim, None, {"test": 20}),
        Dataset("copies", load_copies, (1, 8, 8), {"validation": 14}),
        Dataset("shades", load_shades, (1, 8, 8), dict.fromkeys(["train", "validation", "test"], 30), classes=range(3)),
    ]
'''
GRID = ["lean=-1,1"]


@pytest.fixture
def leaning(toys, install, tmp_path, monkeypatch):
    """The detector ``leaning``, in an empty working folder."""
    install("leaning", "leaning", LEANING)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    import leaning

    return leaning


@pytest.fixture
def tuned(leaning):
    """Tunes in the store ``results``; ``leaning.calls`` is what it was asked to do for that."""

    def tuned(grid=GRID, val_out="noise", options=None, **said) -> Tuned:
        leaning.calls.clear()
        chosen = ExecutionOptions(**{"device": "cpu", **(options or {})})
        return tune(words(**said), val_out, grid, options=chosen)

    return tuned


@pytest.fixture
def oodbench(leaning):
    def oodbench(*more: str, grid: str = "lean=-1,1", code: int = 0) -> Result:
        arguments = ["tune", "--detector", "leaning", "--in", "bars:0", "--val-out", "noise", "--grid", grid]
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exit_code == code, result.output
        return result

    return oodbench


def words(**said) -> RunRequest:
    return RunRequest(**{"detectors": ("leaning",), "in_datasets": ("bars:0",), "out_datasets": ("dim",)} | said)


def files() -> dict[str, bytes]:
    paths = [path for path in Path("results").rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in paths}


def fits(leaning) -> list[tuple[float, int]]:
    return [(lean, seed) for what, lean, seed in leaning.calls if what == "fit"]


# --------------------------------------------------------------------------------------- the choice


def test_validation_chooses_however_the_test_falls(tuned):
    """Noise is brighter than bars, dim is darker: what is best on the one is worst on the other."""
    outcome = tuned()
    assert [(point.settings, point.auroc) for point in outcome.points] == [({"lean": "-1"}, 0.0), ({"lean": "1"}, 1.0)]
    assert outcome.chosen.settings == {"lean": "1"}
    results = outcome.results.set_index("metric")
    assert (results.loc["auroc", "value"], results.loc["auroc", "out_dataset"]) == (0.0, "dim")
    assert set(outcome.results["run"]) == set(outcome.chosen.runs)


def test_only_the_chosen_scores_test_splits_and_each_once(tuned, leaning):
    tuned(grid=["lean=-1,1,0"], out_datasets=("dim", "white"))
    scored = Counter()
    for what, lean, images in leaning.calls:
        scored[lean] += images if what == "score" else 0
    validation, test = 5 + 4000, 10 + 20 + 20
    assert scored == {-1: validation, 0: validation, 1: validation + test}
    assert len(list(Path("results").glob("*/scores/in.parquet"))) == 1
    assert len(list(Path("results").glob("*/scores/validation/in.parquet"))) == 3


def test_the_auroc_is_that_of_the_two_validation_splits(tuned, leaning):
    import oodbench_toys

    (point,) = tuned(grid=["lean=1"], val_out="constant", out_datasets=()).points
    bars = oodbench_toys.load_bars("validation", Path(), None).select_classes([0]).images
    in_scores, out_scores = bars.mean((1, 2, 3)), constant(32_000, 4000, (1, 1, 1)).mean((1, 2, 3))
    truth = np.repeat([0, 1], [len(in_scores), len(out_scores)])
    assert 0.5 < point.auroc < 1
    assert point.auroc == pytest.approx(roc_auc_score(truth, np.concatenate([in_scores, out_scores])), abs=1e-12)


def test_several_seeds_choose_by_their_mean(tuned):
    grid = ["fickle=true,false"]
    assert tuned(grid=grid).chosen.settings == {"fickle": "true"}  # as good, and first
    outcome = tuned(grid=grid, seeds=(0, 1))
    assert [[*point.runs.values()] for point in outcome.points] == [[1.0, 0.0], [1.0, 1.0]]
    assert [point.auroc for point in outcome.points] == [0.5, 1.0]
    assert outcome.chosen.settings == {"fickle": "false"}
    assert set(outcome.results["seed"]) == {0, 1}
    assert set(outcome.results["run"]) == set(outcome.chosen.runs)


@pytest.mark.parametrize("grid", ["lean=1,2,-1", "lean=-1,2,1"])
def test_of_equals_the_first_in_grid_order_is_chosen(tuned, grid):
    first = "1" if grid.startswith("lean=1") else "2"
    assert tuned(grid=[grid]).chosen.settings == {"lean": first}


def test_several_grids_give_every_combination_over_the_preset_and_the_settings(tuned):
    outcome = tuned(
        grid=["leaning.lean = -1, 1", "patience=3,4"],
        preset="quick",
        sets=("fickle=true",),
        out_datasets=(),
    )
    assert [point.settings for point in outcome.points] == [
        {"lean": lean, "patience": patience} for lean in ("-1", "1") for patience in ("3", "4")
    ]
    runs = [Store("results").read_run(key)[0] for point in outcome.points for key in point.runs]
    assert [json.loads(each.params) for each in runs] == [
        {"lean": lean, "fickle": True, "patience": patience} for lean in (-1, 1) for patience in (3, 4)
    ]


def test_two_values_that_are_one_are_one_point(tuned):
    assert [point.settings for point in tuned(grid=["lean=1,1.0,-1"]).points] == [{"lean": "1"}, {"lean": "-1"}]


# --------------------------------------------------------------------------------------- what is refused


def refused(tuned, leaning, **said) -> str:
    with pytest.raises(OODBenchError) as refusal:
        tuned(**said)
    assert leaning.calls == []
    assert not Path("results").exists()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_constants_cannot_choose_where_constants_are_reported(tuned, leaning):
    """There are but 256 of them, so that other rows are the same images."""
    validation, test = (constant(first, 4000, (1, 1, 1)).ravel() for first in (32_000, 36_000))
    shared = int(np.isin(validation, test).sum())
    assert refused(tuned, leaning, val_out="constant", out_datasets=("constant",)) == (
        f"--val-out constant must be a data set of its own: {shared:,} of its 4,000 validation images are in the test "
        "split of --out constant; choose another"
    )


def test_images_count_and_not_names(tuned, leaning):
    message = refused(tuned, leaning, val_out="copies", in_datasets=("bars:1",), out_datasets=("dim", "bars:0"))
    assert message == (
        "--val-out copies must be a data set of its own: 4 of its 14 validation images are in the test split of --out "
        "bars:0; choose another"
    )


def test_images_of_the_in_data_cannot_choose(tuned, leaning):
    message = refused(tuned, leaning, val_out="copies", out_datasets=())
    assert "4 of its 14 validation images are in the test split of --in bars:0; choose another" in message
    assert "--val-out bars:0-1 shares classes with --in bars:0" in refused(tuned, leaning, val_out="bars:0-1")


def test_another_split_of_a_reported_data_set_cannot_choose(tuned, leaning):
    message = refused(tuned, leaning, val_out="noise", out_datasets=("noise",))
    assert "--out noise is of the same data set; choose another" in message


def test_other_classes_of_a_reported_data_set_may_choose(tuned):
    assert tuned(in_datasets=("shades:0",), val_out="shades:1", out_datasets=("shades:2",)).chosen is not None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"grid": []}, "name at least one --grid, as in --grid latent_dim=2,4,8"),
        ({"grid": ["lean"]}, "--grid lean: write it as name=2,4,8"),
        ({"grid": ["lean=1,,2"]}, "--grid lean=1,,2: write it as name=2,4,8"),
        ({"grid": ["lean=1", "leaning.lean=2"]}, "--grid lean is given twice; name all its values in one"),
        ({"sets": ("leaning.lean=3",)}, "lean is given by --set and by --grid; leave it out of one"),
        ({"grid": ["leen=1,2"]}, "unknown parameter of leaning 'leen'; did you mean lean?"),
        ({"grid": ["patience=1,2,0"]}, "leaning: patience must be greater than or equal to 1 (got 0)"),
        ({"detectors": ("leaning", "broken")}, "name one --detector to tune at a time, not 2: leaning, broken"),
        ({"detectors": ()}, "name at least one --detector"),
        ({"in_datasets": ("bars:0", "bars:1")}, "name one --in to tune at a time, not 2: bars:0, bars:1"),
        ({"val_out": "white"}, "white has no validation split"),
        ({"val_out": "nois"}, "unknown data set 'nois'; did you mean noise"),
        ({"out_datasets": ("whit",)}, "unknown data set 'whit'; did you mean white"),
        ({"out_datasets": ("bars",)}, "--out bars shares classes with --in bars:0"),
        ({"out_datasets": ("absent",)}, "images.npy is missing"),
        ({"options": {"device": "gpu"}}, "unknown device 'gpu'"),
    ],
)
def test_a_bad_word_is_one_line_before_anything_is_fitted(tuned, leaning, said, message):
    assert message in refused(tuned, leaning, **said)


# ------------------------------------------------------------------------------------- the record


def test_the_choice_and_its_evidence_can_be_read(tuned):
    outcome = tuned(seeds=(0, 3), preset="quick", sets=("fickle=false",))
    (path,) = Path("results/tunings").iterdir()
    assert Path(outcome.where).samefile(path)
    assert path.name.startswith("leaning-bars_0-")
    record = json.loads(path.read_text())
    assert record == outcome.record
    assert record.pop("created")[:4].isdigit()
    software = record.pop("software")
    assert software["oodbench"] == version("oodbench")
    assert software["plugin_version"].startswith("1.0+"), "local code has a fingerprint"
    prints = [record["validation"]["in"].pop("fingerprint"), record["validation"]["out"].pop("fingerprint")]
    prints.append(record["outs"][0].pop("fingerprint"))
    assert len(set(prints)) == 3 and all(len(each) == 16 for each in prints)
    keys = {lean: [key for key in Store("results").keys() if lean_of(key) == lean] for lean in (-1, 1)}
    assert "of equals the first in grid order" in record.pop("rule")
    assert record == {
        "detector": "leaning",
        "in_dataset": "bars:0",
        "preset": "quick",
        "sets": ["fickle=false"],
        "precision": "float32",
        "seeds": [0, 3],
        "grid": {"lean": ["-1", "1"]},
        "metric": "auroc",
        "validation": {
            "in": {"dataset": "bars:0", "split": "validation", "images": 5},
            "out": {"dataset": "noise", "split": "validation", "images": 4000},
        },
        "outs": [{"dataset": "dim", "split": "test", "images": 20}],
        "points": [
            {"settings": {"lean": "-1"}, "runs": dict.fromkeys(keys[-1], 0.0), "auroc": 0.0},
            {"settings": {"lean": "1"}, "runs": dict.fromkeys(keys[1], 1.0), "auroc": 1.0},
        ],
        "chosen": {"lean": "1"},
    }


def lean_of(key: str) -> float:
    return json.loads(Store("results").read_run(key)[0].params)["lean"]


def test_the_same_call_again_does_nothing(tuned, leaning):
    first = tuned(seeds=(0, 1))
    before = files()
    again = tuned(seeds=(0, 1))
    assert leaning.calls == []
    assert files() == before
    assert (again.points, again.record, again.failures) == (first.points, first.record, [])
    assert again.results.equals(first.results)


def test_each_question_has_a_record_of_its_own(tuned, leaning):
    tuned(out_datasets=())
    assert Store("results").read_results().empty
    tuned(out_datasets=("dim",))
    assert fits(leaning) == []
    tuned(val_out="constant", out_datasets=())
    tuned(grid=["lean=1,-1"])
    assert fits(leaning) == []
    assert len(list(Path("results/tunings").iterdir())) == 4


def test_the_chosen_is_an_ordinary_run(tuned, leaning):
    outcome = tuned()
    leaning.calls.clear()
    later = run(words(sets=("lean=1",), out_datasets=("white",)), options=ExecutionOptions("results", device="cpu"))
    assert later.keys == [*outcome.chosen.runs]
    assert fits(leaning) == []


def test_no_point_that_was_not_chosen_gets_into_a_table(tuned):
    outcome = tuned()
    evaluated = recompute_store("results")
    assert len(evaluated.keys) == 2 and evaluated.failures == []
    assert set(evaluated.results["run"]) == set(outcome.chosen.runs)
    assert set(Store("results").read_results()["out_dataset"]) == {"dim"}


def test_force_does_it_all_again(tuned, leaning):
    tuned()
    tuned(options={"force": True})
    assert fits(leaning) == [(-1, 0), (1, 0)]


def test_scores_of_other_validation_images_do_not_choose(tuned):
    """As if ``noise`` had been another data set when they were made."""
    (key,) = tuned(grid=["lean=1"], out_datasets=()).chosen.runs
    old = np.full(3, -1.0)
    store = Store("results")
    stale = Scores("noise", "validation", "0" * 16, np.arange(3), np.arange(3), old, 1.0, "cpu", store.fit_id(key))
    store.write_scores(key, stale, out=True)
    assert tuned(grid=["lean=1"], out_datasets=()).chosen.auroc == 1.0


# --------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("lean", "error"),
    [("13", "RuntimeError: out of luck"), ("7", "leaning gave NaN or infinity for 4,000 of 4,000 images of noise")],
)
def test_a_point_that_fails_takes_no_part_and_the_others_go_on(tuned, lean, error):
    outcome = tuned(grid=[f"lean={lean},-1,1"])
    (failure,) = outcome.failures
    assert (failure.run, failure.error) == (f"leaning on bars:0, lean={lean}, seed 0", error)
    assert [point.auroc for point in outcome.points] == [None, 0.0, 1.0]
    assert outcome.chosen.settings == {"lean": "1"}
    assert [list(point["runs"].values()) for point in outcome.record["points"]] == [[None], [0.0], [1.0]]
    assert Store("results").read_failures()["error"].tolist() == [error]


def test_a_failure_on_a_test_split_outlives_scores_of_the_validation_split(tuned):
    (key,) = tuned(grid=["lean=1"], out_datasets=()).chosen.runs
    store = Store("results")
    store.write_failure(Combination(store.read_run(key)[0], "noise"), "out of luck", "")
    tuned(grid=["lean=1"], out_datasets=())
    Path(store.where(key), "scores", "validation", "noise.parquet").unlink()
    tuned(grid=["lean=1"], out_datasets=())
    assert store.read_failures()["out_dataset"].tolist() == ["noise"]


def test_a_point_that_fails_for_one_seed_takes_no_part(tuned, leaning, monkeypatch):
    fit = leaning.Leaning.fit

    def unlucky(self, train, validation, context):
        if (self.params.lean, context.seed) == (1, 1):
            raise RuntimeError("out of luck")
        return fit(self, train, validation, context)

    with monkeypatch.context() as patch:
        patch.setattr(leaning.Leaning, "fit", unlucky)
        outcome = tuned(seeds=(0, 1))
    assert [*outcome.points[1].runs.values()] == [1.0, None]
    assert outcome.chosen.settings == {"lean": "-1"}
    outcome = tuned(seeds=(0, 1))
    assert fits(leaning) == [(1, 1)]
    assert (outcome.chosen.settings, outcome.record["chosen"], outcome.failures) == ({"lean": "1"}, {"lean": "1"}, [])


def test_where_all_fail_nothing_is_chosen_or_tested(tuned):
    outcome = tuned(grid=["lean=13"])
    assert (outcome.chosen, outcome.record["chosen"], len(outcome.results)) == (None, None, 0)
    assert len(outcome.failures) == 1


@pytest.mark.parametrize("name", ["in", "noise"])
@pytest.mark.parametrize("force", [False, True])
def test_damaged_scores_are_named_and_made_again(tuned, name, force):
    (key,) = tuned(grid=["lean=1"]).chosen.runs
    path = Path("results", key, "scores", "validation", f"{name}.parquet")
    path.write_bytes(path.read_bytes()[:40])
    outcome = tuned(grid=["lean=1,-1"])
    (failure,) = outcome.failures
    assert str(path) in failure.error and "delete it, and `oodbench run` or `tune` scores" in failure.error
    assert outcome.chosen.settings == {"lean": "-1"}
    if not force:
        path.unlink()
    assert tuned(grid=["lean=1,-1"], options={"force": force}).chosen.settings == {"lean": "1"}


def test_a_killed_search_goes_on(tuned, leaning):
    grid = ["lean=-1,1,2,3"]
    command = [sys.executable, "-m", "oodbench", "tune", "--detector", "leaning", "--in", "bars:0", "--out", "dim"]
    command += ["--val-out", "noise", "--grid", *grid, "--device", "cpu", "-q"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DEADLY": "1"}
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert len(Store("results").keys()) == 2
    assert not list(Path("results").glob("tunings/*")) + list(Path("results").glob("*/scores/in.parquet"))
    outcome = tuned(grid=grid)
    assert fits(leaning) == [(2, 0), (3, 0)]
    assert [point.auroc for point in outcome.points] == [0.0, 1.0, 1.0, 1.0]


# --------------------------------------------------------------------------------- the command line


def test_the_command_shows_the_grid_the_choice_and_the_test(oodbench):
    result = oodbench("--out", "dim", "--seeds", "2")
    head, _, first, second, _, how, where, *rest = result.stdout.splitlines()
    assert head.split() == ["lean", "validation", "auroc", "↑"]
    assert first.split() == ["-1", "0.0000", "±", "0.0000"]
    assert second.split() == ["1", "1.0000", "±", "0.0000", "←", "chosen"]
    assert how == "AUROC of bars:0 against noise, validation splits, mean over seeds 0, 1."
    assert Path(where.partition(": ")[2]).is_file()
    assert "auroc ↑" in rest[1] and SCORE_CONVENTION in rest
    assert "[2/4] leaning on bars:0, lean=-1, seed 1: fitting to 20 images" in result.stderr
    assert "\nchosen: lean=1\n" in result.stderr


def test_the_command_says_what_a_reader_of_the_choice_must_know(oodbench):
    result = oodbench("--grid", "patience=1,2,3", "-q")
    assert "validation splits, seed 0; 3 points are equal, of which the first was chosen.\n" in result.stdout
    assert "No test split was scored, as no --out was named." in result.stdout
    assert SCORE_CONVENTION not in result.stdout
    assert result.stderr == ""


def test_failures_are_told_and_end_with_1(oodbench):
    result = oodbench("--out", "dim", "-q", grid="lean=-1,13,1", code=1)
    assert "; 1 of 3 points failed and took no part in the choice.\n" in result.stdout
    assert result.stdout.count("failed") == 2 and SCORE_CONVENTION in result.stdout
    assert result.stderr == "Failed: leaning on bars:0, lean=13, seed 0: RuntimeError: out of luck\n"
    result = oodbench("--out", "dim", "-q", grid="lean=13", code=1)
    assert "took no part in the choice; nothing could be chosen.\n" in result.stdout


def test_json_is_all_that_is_on_stdout(oodbench):
    printed = json.loads(oodbench("--out", "dim", "--json").stdout)
    assert printed["tuning"]["chosen"] == {"lean": "1"}
    assert {(row["out_dataset"], row["run"]) for row in printed["results"]} == {
        ("dim", *printed["tuning"]["points"][1]["runs"])
    }
    assert json.loads(oodbench("--json", grid="lean=13", code=1).stdout)["tuning"]["chosen"] is None


def test_a_bad_word_is_one_clear_line(oodbench):
    refusal = oodbench("--out", "noise", code=1)
    assert (refusal.stdout, len(refusal.stderr.splitlines())) == ("", 1)
    assert "Error: --val-out noise must be a data set of its own" in refusal.stderr
    assert "give --seed or --seeds, not both" in oodbench("--seed", "1", "--seeds", "2", code=2).stderr
    assert "'--val-out'" in CliRunner().invoke(main, ["tune"]).stderr
    assert not Path("results").exists()


def test_ctrl_c_says_how_to_go_on(leaning):
    arguments = ["tune", "--detector", "broken", "--in", "bars:0", "--val-out", "noise", "--grid", "fault=interrupt"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 130
    assert "The same command resumes from the last checkpoint." in result.stderr


@pytest.mark.slow
def test_several_at_once_choose_as_one_after_the_other_do(tuned):
    alone = tuned(seeds=(0, 1))
    together = tuned(seeds=(0, 1), options={"jobs": 2, "store": "other"})
    assert together.record["points"] == alone.record["points"]
    assert together.results.drop(columns="fit_seconds").equals(alone.results.drop(columns="fit_seconds"))


@pytest.mark.slow
def test_a_real_autoencoder_on_real_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    short = ("width=0.1", "training.epochs=2", "training.batch_size=64")
    chosen = RunRequest(("ae",), ("mnist5k:0-1",), out_datasets=("mnist5k:7", "constant"), preset="quick", sets=short)
    options = ExecutionOptions(str(tmp_path / "store"), device="cpu")
    outcome = tune(chosen, "noise", ["latent_dim=2,8"], options=options)
    assert outcome.failures == []
    assert outcome.chosen.auroc == max(point.auroc for point in outcome.points)
    assert set(outcome.results["out_dataset"]) == {"mnist5k:7", "constant"}
    store = Store(str(tmp_path / "store"))
    for point in outcome.points:
        (key,) = point.runs
        in_scores, out_scores = (store.read_scores(key, name, "validation") for name in (None, "noise"))
        assert (len(in_scores.values), len(out_scores.values)) == (80, 4000)
        truth = np.repeat([0, 1], [80, 4000])
        assert point.auroc == pytest.approx(
            roc_auc_score(truth, np.concatenate([in_scores.values, out_scores.values])), abs=1e-12
        )
        assert [*store.out_datasets(key)] == (["constant", "mnist5k:7"] if point == outcome.chosen else [])
