"""``oodbench.run``: the words of the command line, in Python."""

from __future__ import annotations

import numpy as np
import pytest

import oodbench
from oodbench import FitError, OODBenchError


@pytest.fixture
def here(tmp_path, toys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_name_or_several_and_seeds_as_in_a_suite(here):
    runs = oodbench.run("mean-distance", "bars:0", "bars:1", seeds=2, params={"power": 1.0, "blur": {"steps": 2}})
    assert sorted(runs.results()["seed"].unique()) == [0, 1]
    assert set(runs.results()["preset"]) == {"paper, power=1.0, blur.steps=2"}
    one = oodbench.run(["mean-distance"], ["bars:0"], ["bars:1"], seeds=[5], store=here / "other", quiet=True)
    assert one.results()["seed"].unique().tolist() == [5]
    assert (here / "results").is_dir() and (here / "other").is_dir()


@pytest.mark.parametrize("seeds", [np.int64(2), np.arange(2), range(2)])
def test_seeds_are_whole_numbers_of_any_kind(here, seeds):
    runs = oodbench.run("mean-distance", "bars:0", "bars:1", seeds=seeds, quiet=True)
    assert sorted(runs.results()["seed"].unique()) == [0, 1]
    assert all(f"-s{seed}-" in key for seed, key in enumerate(runs))


def test_shifted_images_give_results_in_full_spectrum(here):
    np.savez("shifted.npz", images=np.full((4, 8, 8), 100, np.uint8))
    results = oodbench.run("mean-distance", "bars:0", "bars:1", covariates="npz:shifted.npz", quiet=True).results()
    counts = results.set_index("metric")["n_in"]
    assert (counts["auroc"], counts["full_spectrum_auroc"]) == (10, 14)


def test_what_is_done_is_not_done_again(here, toys, capsys):
    oodbench.run("mean-distance", "bars:0", "bars:1", quiet=True)
    toys.calls.clear()
    oodbench.run("mean-distance", "bars:0", "bars:1")
    assert not [call for call in toys.calls if call.startswith("fit")]
    assert "finished already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"detectors": "mean"}, "unknown detector 'mean'; there are: broken, mean-distance"),
        ({"outs": "bars:0"}, "shares classes with"),
        ({"outs": []}, "name at least one --out"),
        ({"params": {"powr": 3}}, "unknown parameter of mean-distance 'powr'; did you mean power"),
        ({"seeds": -1}, "give a number of seeds"),
        ({"seeds": 0}, "seeds is empty: a run needs at least one"),
        ({"seeds": []}, "seeds is empty: a run needs at least one"),
        ({"seeds": [1.0]}, r"seeds is a number or a list of numbers, not \[1.0\]"),
        ({"seeds": ["1"]}, r"seeds is a number or a list of numbers, not \['1'\]"),
        ({"seeds": None}, "seeds is a number or a list of numbers, not None"),
        ({"store": ""}, "is no folder and no address"),
        ({"jobs": 0}, "jobs is the number of runs at once, 1 or more, not 0"),
        ({"jobs": 1.5}, "jobs is the number of runs at once, 1 or more, not 1.5"),
        ({"jobs": "2"}, "jobs is the number of runs at once, 1 or more, not '2'"),
        ({"params": {"blur": {}}}, "blur is an empty group: give its parameters, or leave it out"),
    ],
)
def test_bad_words_are_refused_before_anything_is_run(here, toys, words, message):
    given = {"detectors": "mean-distance", "ins": "bars:0", "outs": "bars:1", "quiet": True} | words
    with pytest.raises(OODBenchError, match=message):
        oodbench.run(**given)
    assert toys.calls == []


def test_without_any_results_there_are_columns_still(here):
    with pytest.warns(RuntimeWarning, match="failed: "):
        runs = oodbench.run("broken", "bars:0", "white", params={"fault": "nan", "broken.only": 1.0}, quiet=True)
    assert len(runs) == 1 and len(runs.failures) == 1
    assert runs.results().empty and {"run", "out_dataset", "metric", "value"} <= {*runs.results().columns}


def test_it_is_an_error_where_every_run_fails(here):
    with pytest.raises(FitError, match="every run failed; broken on bars:0.*: RuntimeError: the loss is not finite"):
        oodbench.run("broken", "bars:0", "bars:1", params={"fault": "fit"}, quiet=True)
