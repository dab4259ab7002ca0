"""``oodbench score``: new images, what they are called, what is refused; and that the store stays as it was."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

import oodbench as api
from oodbench.data.imaging import conform
from oodbench.store.store import Store

RUN = ["run", "--detector", "mean-distance", "--in", "mnist5k:0,2-9", "--out", "noise", "-q"]
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where a store is kept for all tests of this file: a run on a data set of many images is made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def key(oodbench, here, kept) -> str:
    """The key of a run of the store ``results``; scores of new images must leave the store as it is."""
    if not (kept / "results").exists():
        oodbench(*RUN)
        shutil.copytree("results", kept / "results")
    elif not Path("results").exists():
        shutil.copytree(kept / "results", "results")
    (key,) = Store("results").keys()
    return key


@pytest.fixture
def pictures(here) -> Path:
    """Pictures of several sizes and modes, in folders, one of them turned by its EXIF orientation."""
    folder = here / "new"
    (folder / "b").mkdir(parents=True)
    random = np.random.default_rng(0)
    grey, colour = random.integers(0, 256, (40, 30), np.uint8), random.integers(0, 256, (25, 31, 3), np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(colour).convert("RGBA").save(folder / "b" / "alpha.png")
    Image.fromarray(colour).convert("P").save(folder / "b" / "palette.gif")
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    Image.fromarray(grey).save(folder / "turned.png", exif=turned)
    return folder


def rows(oodbench, *words: object) -> list[dict]:
    return json.loads(oodbench("score", *words, "--json", "-q").stdout)["scores"]


def test_pictures_of_every_kind_are_brought_to_shape_and_scored(oodbench, key, pictures):
    before = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}
    found = {row["path"]: row["score"] for row in rows(oodbench, key[:-3], "new")}
    assert list(found) == ["new/grey.png", "new/turned.png", "new/b/alpha.png", "new/b/palette.gif"]
    upright = np.asarray(Image.open(pictures / "grey.png"))
    given = [conform(each[None, None].copy(), (1, 28, 28))[0] for each in (upright, np.rot90(upright, -1))]
    expected = api.open_store("results").detector(key, quiet=True).score(np.stack(given), layout="NCHW")
    np.testing.assert_allclose([found["new/grey.png"], found["new/turned.png"]], expected)
    assert before == {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}, "the store is as it was"


def test_the_p_value_is_the_rank_among_the_in_scores(oodbench, key):
    table = api.open_store("results").scores(key)
    images = api.load_dataset("mnist5k:0,2-9").images
    np.savez("again.npz", images=images)
    found = rows(oodbench, key, "npz:again.npz", "--fpr", "0.1")
    np.testing.assert_array_equal([row["score"] for row in found], table["score"])
    highest = max(found, key=lambda row: row["score"])
    assert highest["p_value"] == pytest.approx(2 / 901), "one in-image, itself, scores as high"
    assert [row["index"] for row in found] == list(range(900))
    assert {row["path"] for row in found} == {""}
    flagged = np.mean([row["flagged"] for row in found])
    assert 0.08 < flagged <= 0.1, "of in-images no more than the share that is allowed"


def test_the_run_is_named_by_what_is_known_of_it(oodbench, key, pictures, refusal):
    oodbench(*RUN, "--seed", 1, "--set", "power=1.0")
    words = ["new/grey.png", "--detector", "mean-distance", "--in", "mnist5k:0,2-9"]
    several = refusal(oodbench("score", *words, code=1))
    assert "several runs are of these words: mean-distance-mnist5k" in several and "give more of them" in several
    begun = refusal(oodbench("score", "mean-distance-", "new/grey.png", code=1))
    assert "write more of it, or give --detector, --in and --seed in its place" in begun
    for more in (["--seed", 0], ["--set", "power=2.0"], ["--set", "mean-distance.power=2"]):
        assert json.loads(oodbench("score", *words, *more, "--json", "-q").stdout)["run"] == key
    none = refusal(oodbench("score", *words, "--preset", "quick", code=1))
    assert "no run of results is of these words; there are: mean-distance-mnist5k" in none


def test_neither_the_in_data_nor_its_words_are_needed(oodbench, key, pictures, toys, monkeypatch):
    monkeypatch.setattr("oodbench.data.loading.Loader.load", None)
    assert len(rows(oodbench, key, "new")) == 4


def test_files_of_scores_and_a_sheet(oodbench, key, pictures):
    oodbench("score", key, "new", "--output", "new.csv", "--sheet", "sheet.png", "--most", 3, "-q")
    table = pd.read_csv("new.csv")
    assert list(table.columns) == ["path", "index", "score", "p_value", "flagged"]
    oodbench("score", key, "new", "--output", "new.parquet", "-q")
    read = parquet.read_table("new.parquet")
    pd.testing.assert_frame_equal(read.to_pandas(), table, check_dtype=False)
    assert json.loads(read.schema.metadata[b"oodbench"]) == {"run": key, "fpr": 0.05, "in_images": 900}
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 400


def test_the_most_unusual_come_first_in_the_table(oodbench, key, pictures):
    lines = oodbench("score", key, "new", "--most", 2, "-q").stdout.splitlines()
    found = sorted(rows(oodbench, key, "new"), key=lambda row: -row["score"])
    assert [line.split()[0] for line in lines[2:4]] == [row["path"] for row in found[:2]]
    assert lines[-1].endswith(f"of 4 images flagged: p ≤ 0.05 among 900 test images of the in-data of {key}")


def test_a_folder_as_a_data_set_keeps_file_names_splits_and_classes(oodbench, key, here):
    for split, names in {"train": ("cat", "dog"), "test": ("cat", "dog")}.items():
        for name in names:
            (here / "pets" / split / name).mkdir(parents=True)
            for number in range(12):
                Image.fromarray(np.full((9, 9), number, np.uint8)).save(here / f"pets/{split}/{name}/{number:02}.png")
    found = rows(oodbench, key, "folder:pets:dog")
    assert [row["path"] for row in found] == [f"test/dog/{number:02}.png" for number in range(12)]
    assert [row["index"] for row in found] == list(range(12, 24))
    validation = rows(oodbench, key, "folder:pets", "--split", "validation")
    assert len(validation) == 2 and all(row["path"].startswith("train/") for row in validation)


def test_a_folder_named_with_a_shape_is_brought_to_it_first_as_after_out(oodbench, key, pictures):
    name = "folder:new/b@9x11x1"
    oodbench("run", "--detector", "mean-distance", "--in", "mnist5k:0,2-9", "--out", name, "-q")
    expected = api.open_store("results").scores(key, name)["score"].tolist()
    assert [row["score"] for row in rows(oodbench, key, name)] == expected
    assert [row["score"] for row in rows(oodbench, key, "folder:new/b")] != expected


def test_a_run_is_named_by_its_base_s_parameters_and_by_another_spelling_of_its_classes(oodbench, here, standing):
    for power in (1.5, 2.0):
        oodbench(
            "run", "--detector", "offset", "--set", f"centre.power={power}", "--in", "bars:0-1", "--out", "white", "-q"
        )
    words = ("score", "white", "--detector", "offset", "--in", "bars:1,0", "--fpr", 0.1, "--json", "-q")
    for power in (1.5, 2.0):
        key = json.loads(oodbench(*words, "--set", f"centre.power={power}").stdout)["run"]
        assert Store("results").read_run(key)[0].base.params == f'{{"fails": false, "power": {power}}}'
    oodbench(*words, "--set", "power=1.5", code=1)  # it has no power of its own


def test_damaged_pictures_are_named_and_refused_or_left_out(oodbench, key, pictures, refusal):
    (pictures / "broken.png").write_bytes(b"no picture")
    (pictures / "b" / "photo.heic").write_bytes(b"no picture either")
    line = refusal(oodbench("score", key, "new", "-q", "--output", "new.csv", code=1))
    assert "2 of 6 pictures cannot be read, --damaged skip leaves them out: " in line
    assert "new/broken.png is damaged or no picture" in line and "photo.heic is of a format that is not read" in line
    assert not Path("new.csv").exists()
    result = oodbench("score", key, "new", "-q", "--damaged", "skip", "--json")
    record = json.loads(result.stdout)
    assert len(record["scores"]) == 4 and len(record["damaged"]) == 2
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["Left out"] * 2
    shutil.rmtree(pictures)
    pictures.mkdir()
    (pictures / "broken.png").write_bytes(b"no picture")
    assert "no picture can be read: " in refusal(oodbench("score", key, "new", "--damaged", "skip", "-q", code=1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mean-dist-x", "new"], "unknown run 'mean-dist-x'; there are: mean-distance-mnist5k"),
        (["KEY", "nwe"], "nwe is not a picture, a folder or a data set: nothing is there"),
        (["KEY", "noise", "new"], "noise is a data set: score it alone"),
        (["KEY", "folder:new:cat"], "folder:new has no classes to choose from"),
        (["KEY", "new", "--fpr", "0.001"], "--fpr 0.001 needs 999 scores of in-images, and the run has 900"),
        (["KEY", "new", "--fpr", "1"], "a false-positive rate is between 0 and 1"),
        (["KEY", "new", "--output", "new.xls"], "is not a supported format: end it with .csv or .parquet"),
        (["KEY", "new", "--output", "no/new.csv"], "there is no folder no to write new.csv to"),
        (["KEY", "new", "--sheet", "sheet.gif"], "end it with .png or .svg or .pdf"),
        (["KEY", "new", "--store", "other"], "there is no finished run in other"),
    ],
)
def test_what_is_refused(oodbench, key, pictures, refusal, words, message):
    (pictures / "b" / "palette.gif").unlink()
    shutil.rmtree(pictures / "b")
    words = [key if word == "KEY" else word for word in words]
    assert message in refusal(oodbench("score", *words, code=1))


NAMED = """
from oodbench import Detector

class Named(Detector):
    name = "named"
    def fit(self, train, validation, context): return self
    def score(self, images): return images.mean((1, 2, 3))
    def state(self): return {}
    def load_state(self, state): pass
"""


def test_a_run_of_a_file_of_one_s_own_is_named_by_that_file(oodbench, here, refusal, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("named_method.py").write_text(NAMED)
    file = "./named_method.py:Named"
    oodbench("run", "--detector", file, "--in", "bars:0", "--out", "white", "-q")
    (key,) = Store("results").keys()
    store = api.open_store("results")
    expected = store.scores(key, "white")["score"].tolist()
    words = ("white", "--in", "bars:0", "--fpr", "0.1")
    assert [row["score"] for row in rows(oodbench, "--detector", file, *words)] == expected
    assert store.detector(key, file=file, quiet=True).score(api.load_dataset("white")).tolist() == expected
    line = refusal(oodbench("score", "--detector", "named", *words, code=1))
    assert f"of the local file named_method.py: name it with --detector {here}/named_method.py:Named" in line
    with pytest.raises(api.OODBenchError, match="in Python with file="):
        store.detector(key)
    del sys.modules["named_method"]


def test_images_without_a_run_are_a_usage_error(oodbench, here):
    assert "give a RUN and PICTURES" in oodbench("score", "new", code=2).stderr


def test_a_run_without_in_scores_says_so(oodbench, key, pictures, refusal):
    Path("results", key, "scores", "in.parquet").unlink()
    assert "in.parquet is missing" in refusal(oodbench("score", key, "new", code=1))
