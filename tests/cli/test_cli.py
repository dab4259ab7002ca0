"""The commands as they are typed: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from oodbench.api import SCORE_CONVENTION
from oodbench.cli import COMMANDS, main
from oodbench.store.store import Store

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1"]


@pytest.fixture
def here(tmp_path, monkeypatch, no_traces) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def oodbench(toys, here):
    """Runs a command in the working folder with the plugin of the tests."""
    return lambda *words, code=0: invoke(*words, code=code)


def invoke(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refusal(result: Result) -> str:
    """The one line of an error, and nothing else."""
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    assert line.startswith("Error: ")
    return line


# ------------------------------------------------------------------------------------------ help


def test_help_names_every_command_without_importing_anything_heavy(no_traces):
    invoke("list", "plugins")  # from here on it is known which commands plugins add
    code = """
import sys
sys.argv = ["oodbench", "--help"]
try:
    import oodbench.__main__
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "numpy", "pandas", "pyarrow", "pydantic", "rich", "pluggy", "sklearn", "matplotlib", "tabulate"}
print("heavy:", sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_python_m_oodbench_is_the_command():
    done = subprocess.run([sys.executable, "-m", "oodbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("oodbench ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = invoke(command, "--help")
    assert COMMANDS[command] in " ".join(result.stdout.split())


def test_run_s_help_has_an_example():
    assert "oodbench run --detector" in invoke("run", "--help").stdout


def test_a_command_that_does_not_exist_is_a_usage_error():
    assert "No such command 'rum'" in invoke("rum", code=2).stderr


# ------------------------------------------------------------------------------------------- run


def test_run_prints_a_table_with_arrows_the_convention_and_the_folders(oodbench, here):
    result = oodbench(*RUN, "--out", "white", "--seeds", "2")
    assert "auroc ↑" in result.stdout
    assert "fpr95_out ↓" in result.stdout
    assert "bars:1" in result.stdout
    assert SCORE_CONVENTION in result.stdout
    folders = [line.strip() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert [Path(folder).name for folder in folders] == Store("results").keys()
    assert len(folders) == 2
    assert all((Path(folder) / "run.json").is_file() for folder in folders)


def test_json_is_all_that_is_on_stdout(oodbench, toys):
    result = oodbench(*RUN, "--json")
    records = json.loads(result.stdout)
    assert {record["metric"] for record in records} == {"auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in"}
    assert all(record["out_dataset"] == "bars:1" and isinstance(record["value"], float) for record in records)
    assert "fitting to 20 images" in result.stderr


def test_quiet_shows_nothing_but_the_table(oodbench):
    assert oodbench(*RUN, "-q").stderr == ""


def test_every_option_reaches_the_run(oodbench, here):
    options = ["--seed", "4", "--seed", "6", "--preset", "quick", "--set", "power=3", "--set", "blur.steps=2"]
    oodbench(*RUN, *options, "--precision", "bfloat16", "--device", "cpu", "--store", "elsewhere", "-q")
    runs = [Store("elsewhere").read_run(key)[0] for key in Store("elsewhere").keys()]
    assert sorted(run.seed for run in runs) == [4, 6]
    assert {(run.preset, run.precision) for run in runs} == {("quick, power=3, blur.steps=2", "bfloat16")}
    assert json.loads(runs[0].params) == {"power": 3.0, "blur": {"strength": 0.5, "steps": 2}}
    assert not (here / "results").exists()


def test_the_store_can_be_named_by_the_environment(oodbench, here, monkeypatch):
    monkeypatch.setenv("OODBENCH_STORE", "kept")
    oodbench(*RUN, "-q")
    assert (here / "kept").is_dir()


def test_force_fits_again(oodbench, toys):
    oodbench(*RUN, "-q")
    toys.calls.clear()
    oodbench(*RUN, "-q")
    assert toys.calls == []
    oodbench(*RUN, "-q", "--force")
    assert toys.calls[0] == "fit bars:0 seed 0"


def test_a_suite_file_is_run_and_options_replace_its_words(oodbench, here):
    (here / "suite.toml").write_text(
        'detector = "mean-distance"\nin = "bars:0"\nout = ["bars:1", "white"]\nseeds = 3\n[set]\npower = 3\n'
    )
    records = json.loads(oodbench("run", "suite.toml", "--seed", "5", "--out", "bars:1", "--json").stdout)
    assert {(record["seed"], record["out_dataset"]) for record in records} == {(5, "bars:1")}
    assert json.loads(records[0]["params"])["power"] == 3


def test_the_data_folder_reaches_the_data_sets(oodbench):
    result = oodbench(
        "run", "--detector", "mean-distance", "--in", "absent", "--out", "white", "--data-dir", "mine", code=1
    )
    assert str(Path("mine/absent/images.npy")) in result.stderr


def test_failures_are_listed_last_and_end_with_1(oodbench):
    result = oodbench(*RUN, "--detector", "broken", "-q", code=1)
    assert "auroc ↑" in result.stdout
    assert result.stderr.splitlines() == [
        "Failed: broken on bars:0, seed 0: broken gave NaN or infinity for 3 of 10 images of bars:0"
    ]


def test_json_stays_json_when_all_fails(oodbench):
    result = oodbench("run", "--detector", "broken", "--in", "bars:0", "--out", "white", "--json", code=1)
    assert json.loads(result.stdout) == []


def test_ctrl_c_says_how_to_go_on(oodbench):
    interrupted = ["--detector", "broken", "--set", "fault=interrupt"]
    result = oodbench("run", *interrupted, "--in", "bars:0", "--out", "white", code=130)
    assert "The same command goes on from the last checkpoint." in result.stderr


def test_a_long_fit_is_told_how_to_be_shorter(oodbench, install, monkeypatch):
    install(
        "slow",
        "slow",
        """
from oodbench_toys import MeanDistance
from oodbench import Params, hookimpl, param
from oodbench.cli import progress

class SlowParams(Params):
    epochs: int = param(100, "epochs")

class Slow(MeanDistance):
    name = "slow"
    Params = SlowParams

    def fit(self, train, validation, context):
        context.progress.plan({"training": 1.0})
        for share in (0.0, 0.01, 0.02):
            progress.time.sleep(60)
            context.progress.advance("training", share, "1/100", {})
        self.params = MeanDistance.Params()
        return super().fit(train, validation, context)

@hookimpl
def register_detectors():
    return [Slow]
""",
    )

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    monkeypatch.setattr("oodbench.cli.progress.time", Clock())
    result = oodbench("run", "--detector", "slow", "--in", "bars:0", "--out", "white", "--device", "cpu")
    assert "This fit will take about 1 h 41 min. Shorter: --preset quick, --set epochs=…, " in result.stderr
    assert "--precision bfloat16, --device cuda.\n" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "mean-distanse"], "unknown detector 'mean-distanse'; did you mean mean-distance?"),
        (["--in", "bar"], "unknown data set 'bar'; did you mean bars?"),
        (["--out", "whit"], "unknown data set 'whit'; did you mean white"),
        (["--preset", "papr"], "unknown preset of mean-distance 'papr'; did you mean paper?"),
        (["--set", "powr=2"], "unknown parameter of mean-distance 'powr'; did you mean power?"),
        (["--set", "power=0"], "power must be greater than 0 (got 0)"),
        (["--set", "power=x"], "power must be a valid number"),
        (["--set", "power"], "write it as name=value"),
        (["--precision", "float16"], "unknown precision 'float16'; did you mean bfloat16 or float32?"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--in", "bars:3"], "bars has classes 0-1; there is no class 3"),
        (["--in", "bars:"], "cannot read the classes of 'bars:'"),
        (["--in", "photos"], "mean-distance can be fitted to images of 1×8×8 or 1×28×28, not of 3×32×32"),
        (["--in", "white"], "white has no train split"),
    ],
)
def test_a_bad_word_is_one_clear_line_and_nothing_is_written(oodbench, here, toys, words, message):
    assert message in refusal(oodbench(*RUN, *words, code=1))
    assert list(here.iterdir()) == []
    assert toys.calls == []


def test_nothing_said_is_refused_with_what_to_say(oodbench):
    assert "name at least one --detector" in refusal(oodbench("run", code=1))


def test_seed_and_seeds_together_are_a_usage_error(oodbench):
    assert "say --seed or --seeds, not both" in oodbench(*RUN, "--seed", "1", "--seeds", "2", code=2).stderr


def test_a_store_that_is_a_file_is_refused(oodbench, here, toys):
    (here / "file").write_text("mine")
    assert "the store file is not writable" in refusal(oodbench(*RUN, "--store", "file", code=1))
    assert (here / "file").read_text() == "mine"
    assert toys.calls == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_without_permission_is_refused(oodbench, here, toys):
    (here / "locked").mkdir(mode=0o500)
    assert "is not writable" in refusal(oodbench(*RUN, "--store", "locked/store", code=1))
    assert toys.calls == []


def test_a_selection_without_images_is_a_failure_of_that_combination(oodbench, install):
    install(
        "hollow",
        "hollow",
        """
import numpy as np
from oodbench import Dataset, ImageSet, hookimpl

def load(split, root, shape):
    n = 10
    return ImageSet("hollow", split, np.zeros((n, 1, 8, 8), np.uint8), np.zeros(n, np.int64), np.arange(n))

@hookimpl
def register_datasets():
    return [Dataset("hollow", load, (1, 8, 8), {"train": 10, "validation": 10, "test": 10}, classes=(0, 1))]
""",
    )
    result = oodbench(*RUN, "--out", "hollow:1", "-q", code=1)
    assert "hollow:1 has no image in its test split" in result.stderr
    assert "bars:1" in result.stdout


def test_an_error_nobody_thought_of_is_one_line(oodbench, toys, monkeypatch):
    def shape(self, name):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("oodbench.data.loading.Loader.shape", shape)
    assert refusal(oodbench(*RUN, code=1)) == (
        "Error: ZeroDivisionError: one two; set OODBENCH_DEBUG=1 for the traceback"
    )
    monkeypatch.setenv("OODBENCH_DEBUG", "1")
    assert isinstance(oodbench(*RUN, code=1).exception, ZeroDivisionError)


# ------------------------------------------------------------------------------------- list, show


def test_detectors_are_listed_with_plugin_version_and_shapes(oodbench):
    rows = {row["name"]: row for row in json.loads(oodbench("list", "detectors", "--json").stdout)}
    assert rows["mean-distance"] == {
        "name": "mean-distance",
        "plugin": "toys",
        "version": "1.2",
        "shapes": "1×8×8, 1×28×28",
        "presets": "paper, quick",
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


def test_show_a_detector_has_every_parameter(oodbench):
    shown = {row["name"]: row for row in json.loads(oodbench("show", "mean-distance", "--json").stdout)["parameters"]}
    assert shown["blur.strength"] == {
        "name": "blur.strength",
        "default": 0.0,
        "presets": {"quick": 0.5},
        "bounds": "float, ≥ 0, ≤ 1",
        "unit": "",
        "meaning": "share of the overall brightness mixed into the mean image",
        "source": "ours",
    }
    assert shown["power"]["source"] == "table 1"
    text = oodbench("show", "mean-distance").stdout
    assert "blur.strength = 0.0; quick: 0.5  [float, ≥ 0, ≤ 1]" in text
    assert "share of the overall brightness mixed into the mean image. Source: ours." in text
    assert "blur.steps = 1 times" in text


def test_show_says_what_a_preset_is_for_each_shape(oodbench, install):
    install(
        "shapely",
        "shapely",
        """
from oodbench import Detector, OODBenchError, Params, hookimpl, param

class ShapelyParams(Params):
    steps: int = param(5, "steps")

class Shapely(Detector):
    name = "shapely"
    Params = ShapelyParams
    shapes = ((1, 28, 28), (3, 32, 32))
    presets = {"paper": {}, "grey": {}}

    @classmethod
    def preset(cls, name, shape):
        if name == "grey" and shape[0] != 1:
            raise OODBenchError("grey images only")
        return {"steps": 10 if shape[0] == 1 else 50}

    fit = score = state = load_state = None

@hookimpl
def register_detectors():
    return [Shapely]
""",
    )
    (parameter,) = json.loads(oodbench("show", "shapely", "--json").stdout)["parameters"]
    assert parameter["presets"] == {"paper 1×28×28": 10, "paper 3×32×32": 50, "grey": 10}


def test_show_a_data_set_and_a_metric(oodbench):
    shown = json.loads(oodbench("show", "absent", "--data-dir", "/mine", "--json").stdout)
    assert shown["kind"] == "data set"
    assert shown["files"] == [str(Path("/mine/absent/images.npy"))]
    assert shown["sizes"] == {"train": 40, "validation": 10, "test": 20}
    assert "made here" in oodbench("show", "bars").stdout
    assert json.loads(oodbench("show", "auroc", "--json").stdout)["better"] == "higher"


def test_show_offers_near_names(oodbench):
    assert "did you mean mean-distance" in refusal(oodbench("show", "mean-distanc", code=1))


# ----------------------------------------------------------------------------- evaluate, leaderboard


def test_evaluate_computes_results_again_from_scores(oodbench, here, toys):
    first = json.loads(oodbench(*RUN, "--json").stdout)
    (key,) = Store("results").keys()
    (here / "results" / key / "results.parquet").unlink()
    toys.calls.clear()
    again = json.loads(oodbench("evaluate", "--json").stdout)
    assert toys.calls == []
    assert again == first
    assert "auroc ↑" in oodbench("evaluate").stdout


def test_evaluate_only_some_metrics(oodbench):
    oodbench(*RUN, "-q")
    assert {row["metric"] for row in json.loads(oodbench("evaluate", "--metric", "auroc", "--json").stdout)} == {
        "auroc"
    }


def test_evaluate_names_a_damaged_file_and_ends_with_1(oodbench, here):
    oodbench(*RUN, "-q", "--seeds", "2")
    key = Store("results").keys()[0]
    path = here / "results" / key / "scores" / "in.parquet"
    path.write_bytes(path.read_bytes()[:50])
    result = oodbench("evaluate", code=1)
    assert str(path) in result.stderr
    assert "auroc ↑" in result.stdout


@pytest.mark.parametrize("command", ["evaluate", "leaderboard"])
def test_there_must_be_results_and_the_metric_must_exist(oodbench, command, here):
    assert "oodbench run" in refusal(oodbench(command, code=1))
    assert "unknown metric 'aurok'; did you mean auroc" in refusal(oodbench(command, "--metric", "aurok", code=1))
    assert list(here.iterdir()) == []


def test_leaderboard_prints_markdown(oodbench):
    oodbench(*RUN, "-q")
    page = oodbench("leaderboard", "--title", "Bars").stdout
    assert page.startswith("# Bars\n")
    assert "| mean-distance" in page
    assert SCORE_CONVENTION in page


def test_leaderboard_writes_a_file_and_prints_json(oodbench, here):
    oodbench(*RUN, "-q")
    result = oodbench("leaderboard", "--metric", "auroc", "--output", "page.md")
    assert result.stdout == ""
    assert "auroc" in (here / "page.md").read_text()
    (record,) = json.loads(oodbench("leaderboard", "--metric", "auroc", "--json").stdout)
    assert (record["detector"], record["out_dataset"]) == ("mean-distance", "bars:1")
    assert "--output page.md/page.md cannot be written" in refusal(
        oodbench("leaderboard", "--output", "page.md/page.md", code=1)
    )


# -------------------------------------------------------------------------------- broken plugins


def test_a_plugin_that_fails_at_import_is_named_and_the_rest_works(oodbench, install):
    install("sick", "sick", "import nothing_of_this_name")
    why = "Warning: plugin sick: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    for words in (["list", "detectors"], ["show", "auroc"], [*RUN, "-q"], ["evaluate"], ["leaderboard"]):
        result = oodbench(*words)
        assert result.stderr.splitlines() == [why]
        assert result.stdout
    rows = {row["name"]: row for row in json.loads(oodbench("list", "plugins", "--json").stdout)}
    assert rows["sick"]["failure"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert rows["sick"]["offers"] == ""
