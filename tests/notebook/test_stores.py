"""A store from a notebook: tables with the documented columns, the images of rows, and detectors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import oodbench
from oodbench import DataError, OODBenchError, StoreError, UnknownName

COLUMNS = Path(__file__).parents[2] / "docs" / "columns.md"


def documented(section: str) -> list[str]:
    (text,) = re.findall(rf"## {section}\n(.*?)(?=\n## |\Z)", COLUMNS.read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r"^\| `(\w+)`", text, re.MULTILINE)


@pytest.fixture
def runs(tmp_path, toys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning, match="failed: broken on bars:0.* → white: broken gave 17 scores for 20 images"):
        return oodbench.run(
            ["mean-distance", "broken"],
            "bars:0",
            ["bars:1", "white"],
            params={"broken": {"fault": "few", "only": 1.0}},
            quiet=True,
        )


def test_runs_are_their_keys_and_results(runs):
    assert [key.partition("-bars")[0] for key in runs] == ["mean-distance", "broken"]
    assert runs[0] in runs and len(runs[:1]) == 1
    results = runs.results()
    found = results[results["metric"] == "auroc"].groupby("detector")["out_dataset"].agg(list).to_dict()
    assert found == {"broken": ["bars:1"], "mean-distance": ["bars:1", "white"]}
    assert [failure.out_dataset for failure in runs.failures] == ["white"]
    assert repr(runs).startswith("<2 runs in results: mean-distance-bars_0-s0-")


def test_tables_have_the_documented_columns(runs):
    store = runs.store
    published_alone = ["low", "high", "p_best"]
    assert [*store.results().columns, *published_alone] == documented("results")
    assert list(store.scores(runs[0]).columns) == documented("scores")
    assert len(store.results().query("error != ''")) == 1
    assert store.runs() == sorted(runs)
    assert "brightness" in store.history(runs[0])


def test_scores_are_those_of_the_store_and_their_images_can_be_fetched(runs):
    store = oodbench.open_store("results")
    key = runs[0]
    scores = store.scores(key[:-4], "bars:1")
    assert (scores["run"] == key).all() and set(scores["dataset"]) == {"bars:1"}
    bars = oodbench.load_dataset("bars:1")
    np.testing.assert_array_equal(scores["index"], bars.indices)
    mixed = scores.sample(frac=1.0, random_state=1)
    fetched = store.images(mixed)
    np.testing.assert_array_equal(fetched, bars.images[mixed.index])
    np.testing.assert_array_equal(
        store.images(scores.loc[scores["score"].idxmax()]), bars.images[[scores["score"].argmax()]]
    )
    np.testing.assert_array_equal(store.detector(key, quiet=True).score(fetched), mixed["score"])
    white = store.images(store.scores(key, "white").head(2))
    assert white.shape == (2, 1, 8, 8) and (white == 255).all(), "made in the shape of the in-data"


def test_the_in_data_goes_by_none_or_its_name(runs):
    store = runs.store
    assert store.scores(runs[0]).equals(store.scores(runs[0], "bars:0"))


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda store, key: store.scores(key, "whit"),
            UnknownName,
            "unknown data set with scores of .*'whit'; did you",
        ),
        (lambda store, key: store.scores(key, "white", "valid"), UnknownName, "'valid'; did you mean validation"),
        (lambda store, key: store.scores(key, "white", "train"), UnknownName, "unknown split with scores 'train'"),
        (lambda store, key: oodbench.load_dataset("bars", "valid"), UnknownName, "'valid'; did you mean validation"),
        (lambda store, key: oodbench.load_dataset("noise", shape=8), DataError, "shape is .channels, height, width."),
        (lambda store, key: oodbench.load_dataset("noise", shape=(28, 28)), DataError, "1 or 3 channels, not .28, 28."),
        (lambda store, key: oodbench.load_dataset("noise", shape=(2, 8, 8)), DataError, "1 or 3 channels, not .2, 8"),
        (lambda store, key: oodbench.load_dataset("noise", shape=(1, 0, 8)), DataError, "1 or 3 channels, not .1, 0"),
        (
            lambda store, key: oodbench.load_dataset("noise", shape=(1, -8, -8)),
            DataError,
            "1 or 3 channels, not .1, -8",
        ),
        (lambda store, key: store.scores("mean-dist-x"), UnknownName, "unknown run 'mean-dist-x'"),
        (lambda store, key: store.images(store.scores(key)[["score"]]), DataError, "no column 'run' or 'index'"),
        (lambda store, key: store.images(store.scores(key).head(0)), DataError, "have 0 values of 'run'"),
        (
            lambda store, key: store.images(store.scores(key).assign(index=7_777)),
            DataError,
            "an index that the data set has no image of",
        ),
        (
            lambda store, key: oodbench.open_store("resluts"),
            StoreError,
            "there is no store resluts: oodbench.run makes",
        ),
    ],
)
def test_what_is_not_there_is_said(runs, act, error, message):
    with pytest.raises(error, match=message):
        act(runs.store, runs[0])


@pytest.mark.parametrize(
    "shape", [[1, 9, 8], np.array([1, 9, 8]), torch.Size([1, 9, 8])], ids=lambda each: type(each).__name__
)
def test_a_shape_is_any_three_numbers(toys, shape):
    assert oodbench.load_dataset("white", shape=shape).shape == (1, 9, 8)


def test_images_that_have_changed_are_not_shown_for_those_that_were_scored(runs, toys, monkeypatch, tmp_path):
    store, key = runs.store, runs[0]
    rows = store.scores(key, "white")
    path = Path(store._store.where(key), "scores", "white.parquet")
    from oodbench.store import parquet

    scores = parquet.parse_scores(path.read_bytes())
    changed = type(scores)(**{**vars(scores), "fingerprint": "0" * 16})
    path.write_bytes(parquet.to_bytes(parquet.scores_table(changed)))
    with pytest.raises(StoreError, match="the images of white are no longer those that were scored"):
        store.images(rows)


def test_rows_of_a_folder_lead_to_its_files(tmp_path, toys):
    for name, level in (("a", 10), ("b", 200)):
        (tmp_path / "mine" / "test" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((8, 8), level + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / "test" / name / f"{number}.png")
    dataset = f"folder:{tmp_path}/mine:b"
    runs = oodbench.run("mean-distance", "bars:0", [dataset, "white"], store=tmp_path / "store", quiet=True)
    scores = runs.store.scores(runs[0], dataset).sort_values("score", ascending=False)
    files = runs.store.files(scores)
    names = [path.relative_to(tmp_path / "mine").as_posix() for path in files]
    assert names == ["test/b/2.png", "test/b/1.png", "test/b/0.png"]
    for path, image in zip(files, runs.store.images(scores), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[0])
    with pytest.raises(DataError, match="the images of white are no picture files"):
        runs.store.files(runs.store.scores(runs[0], "white"))


def test_a_detector_needs_no_in_data(runs, monkeypatch, toys):
    key = runs[0]
    path = Path("results", key, "run.json")
    assert json.loads(path.read_text())["provenance"]["shape"] == [1, 8, 8]
    expected = runs.store.scores(key)["score"]
    images = oodbench.load_dataset("bars:0").images
    monkeypatch.setattr("oodbench.data.loading.Loader.load", None)
    monkeypatch.setattr("oodbench.data.loading.Loader.shape", None)
    np.testing.assert_array_equal(runs.store.detector(key, quiet=True).score(images), expected)


def test_a_detector_stands_on_the_base_of_the_store_as_it_was(standing, tmp_path):
    runs = oodbench.run("upon", "bars:0", "bars:1", store=tmp_path / "store", quiet=True)
    store = oodbench.open_store(tmp_path / "store")
    standing()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    det = store.detector(runs[0], quiet=True)
    np.testing.assert_array_equal(det.score(oodbench.load_dataset("bars:1")), store.scores(runs[0], "bars:1")["score"])
    assert not [line for line in standing() if line.startswith("fit")]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}, "nothing is written"
    base = next(key for key in store.runs() if key.startswith("centre"))
    Path(store._store.where(base), "run.json").unlink()
    with pytest.raises(OODBenchError, match=f"stands on {base}, whose fit is not there as it was; run both again"):
        store.detector(runs[0])
