"""Publishing and handing in, through the command line: nothing is lost, and nothing false is taken in."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from oodbench.api import Result as MetricResult
from oodbench.cli import main
from oodbench.data.loading import Loader
from oodbench.leaderboard.published import FORMAT, METADATA
from oodbench.store.schema import RESULT_COLUMNS
from oodbench.store.store import Store

SUITE = """
title = "Bars"
detector = "mean-distance"
in = "bars:0"
out = ["bars:1", "white"]
seeds = 2
"""
RESULTS, SCORES, PAGE = (Path("suite") / name for name in ("results.parquet", "scores.parquet", "README.md"))


NEAREST = '''
from oodbench import hookimpl


@hookimpl
def register_detectors():
    from oodbench_toys import MeanDistance

    class Nearest(MeanDistance):
        """Distance to the darkest image rather than to the mean."""

        name = "nearest"

        def fit(self, train, validation, context):
            super().fit(train, validation, context)
            self.mean = self.mean / 2
            return self

    return [Nearest]
'''


@pytest.fixture
def here(toys, install, tmp_path, monkeypatch) -> Path:
    """A working folder with a suite in it, whose runs are in the store ``results``; and another detector's plugin."""
    install("nearest", "toy_nearest", NEAREST)
    folder = tmp_path / "here"
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(folder)
    oodbench("run", "suite", "-q")
    return folder


@pytest.fixture
def published(here) -> Path:
    oodbench("publish", "results", "suite", "-q")
    return here


def oodbench(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refusal(*words: object) -> str:
    return oodbench(*words, code=1).stderr.splitlines()[-1]


def other_detector() -> None:
    """The suite names one more detector, which runs into a store of its own."""
    Path("suite/suite.toml").write_text(SUITE.replace('"mean-distance"', '["mean-distance", "nearest"]'))
    oodbench("run", "suite", "-q", "--detector", "nearest", "--store", "elsewhere")


# ------------------------------------------------------------------------------------------ publish


def test_what_is_published_verifies_and_says_how_sure_it_is(published):
    assert oodbench("verify", "suite", "-q").stdout.startswith("suite: 20 results are what their ")
    assert oodbench("verify", "suite/suite.toml", "-q").stdout.startswith("suite: 20 results are what their ")
    rows = pd.read_parquet(RESULTS)
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    assert (rows["low"] < rows["high"]).all(), "no interval claims certainty"
    assert "## How to read this" in PAGE.read_text() and "interval over images" in PAGE.read_text()


def test_adding_a_detector_keeps_the_others_to_the_last_digit(published):
    before = pd.read_parquet(RESULTS)
    other_detector()
    done = oodbench("publish", "elsewhere", "suite", "-q")
    assert done.stdout == "suite: 2 runs added, 0 runs replaced, 2 runs kept, 0 runs dropped\n"
    after = pd.read_parquet(RESULTS)
    kept = after[after["run"].isin(before["run"])].reset_index(drop=True)
    columns = [name for name in before if name != "p_best"]  # the best of a column may be another now
    pd.testing.assert_frame_equal(kept[columns], before[columns])
    assert set(after["detector"]) == {"mean-distance", "nearest"}
    oodbench("verify", "suite", "-q")


def test_publishing_again_replaces_and_changes_nothing(published):
    before = {path: path.read_bytes() for path in (RESULTS, SCORES, PAGE)}
    done = oodbench("publish", "results", "suite", "-q")
    assert "0 runs added, 2 runs replaced, 0 runs kept" in done.stdout
    assert {path: path.read_bytes() for path in before} == before


def test_only_what_is_named_is_dropped(published):
    other_detector()
    oodbench("publish", "elsewhere", "suite", "-q")
    assert "unknown row or run 'x'" in refusal("publish", "results", "suite", "-q", "--drop", "x")
    done = json.loads(oodbench("publish", "results", "suite", "-q", "--drop", "nearest", "--json").stdout)
    assert [len(done[name]) for name in ("added", "replaced", "kept", "dropped")] == [0, 2, 0, 2]
    assert set(pd.read_parquet(RESULTS)["detector"]) == {"mean-distance"}
    assert set(pq.read_table(SCORES)["run"].to_pylist()) == set(pd.read_parquet(RESULTS)["run"])


def test_runs_of_other_parameters_stay_until_they_are_dropped(published, monkeypatch):
    rows = pd.read_parquet(RESULTS)
    old = rows.assign(params='{"power": 9.0}', in_images="", run=[run[:-8] + "0" * 8 for run in rows["run"]])
    old.drop(columns=["low", "high", "p_best"]).to_parquet(RESULTS)  # as an older version published it
    SCORES.unlink()
    done = oodbench("publish", "results", "suite", "-q")
    assert "2 runs added, 0 runs replaced, 2 runs kept" in done.stdout and "--drop older" in done.stderr
    assert "unverified: its scores are not published" in PAGE.read_text()
    assert "Unverified, as their scores are not published: 2 runs" in oodbench("verify", "suite", "-q").stderr
    assert "2 runs dropped" in oodbench("publish", "results", "suite", "-q", "--drop", "older").stdout
    assert "unverified" not in PAGE.read_text()


def test_a_store_without_the_suite_changes_nothing(published):
    before = RESULTS.read_bytes()
    assert "there is no store nowhere; `oodbench run suite` makes" in refusal("publish", "nowhere", "suite", "-q")
    Path("empty").mkdir()
    assert "empty has no results of this suite; `oodbench run suite`" in refusal("publish", "empty", "suite", "-q")
    assert RESULTS.read_bytes() == before


def test_what_is_published_is_dropped_though_the_store_has_nothing_of_the_suite(published):
    other_detector()
    oodbench("publish", "elsewhere", "suite", "-q")
    Path("empty").mkdir()
    done = oodbench("publish", "empty", "suite", "-q", "--drop", "nearest")
    assert done.stdout == "suite: 0 runs added, 0 runs replaced, 2 runs kept, 2 runs dropped\n"
    lack, dropped = done.stderr.splitlines()
    assert lack == "4 of the suite's runs are not in empty; `oodbench run suite` makes them"
    assert re.fullmatch(r"Dropped: nearest-bars_0-s0-\w+, nearest-bars_0-s1-\w+", dropped)
    assert set(pd.read_parquet(RESULTS)["detector"]) == {"mean-distance"}
    oodbench("verify", "suite", "-q")
    assert "unknown row or run 'nearest'" in refusal("publish", "empty", "suite", "-q", "--drop", "nearest")
    before = RESULTS.read_bytes()
    assert "would be left with no runs" in refusal("publish", "empty", "suite", "-q", "--drop", "mean-distance")
    assert RESULTS.read_bytes() == before


def test_a_detector_that_the_suite_does_not_name_is_published_where_it_is_named(published):
    before = RESULTS.read_bytes()
    oodbench("run", "suite", "-q", "--detector", "nearest", "--store", "elsewhere")
    said = refusal("publish", "elsewhere", "suite", "-q")
    assert (
        "elsewhere has no results of this suite" in said and "2 of nearest; `oodbench publish` with --detector" in said
    )
    assert RESULTS.read_bytes() == before
    done = oodbench("publish", "elsewhere", "suite", "-q", "--detector", "nearest")
    assert (done.stdout, done.stderr) == ("suite: 2 runs added, 0 runs replaced, 2 runs kept, 0 runs dropped\n", "")
    assert "| nearest" in PAGE.read_text()
    oodbench("verify", "suite", "-q")
    assert "suite.toml does not name" not in refusal("publish", "elsewhere", "suite", "-q"), "it is published already"


def test_of_a_detector_that_the_suite_does_not_name_only_runs_with_its_settings_are_published(published):
    oodbench("run", "suite", "-q", "--detector", "nearest", "--seed", 7)
    done = oodbench("publish", "results", "suite", "-q")
    assert "0 runs added, 2 runs replaced" in done.stdout and "1 of nearest; `oodbench publish`" in done.stderr
    said = refusal("publish", "results", "suite", "-q", "--detector", "nearest")
    assert "no results of nearest with this suite's data and settings" in said
    assert "`oodbench run suite --detector nearest` makes them" in said
    assert "unknown detector 'nearist'" in refusal("publish", "results", "suite", "-q", "--detector", "nearist")


def test_a_value_that_its_scores_do_not_give_is_not_published(here):
    (path,) = list(Path("results").glob("*-s0-*/results.parquet"))
    table = pd.read_parquet(path).assign(value=0.123)
    table.to_parquet(path)
    assert "is 0.123, and its scores give" in refusal("publish", "results", "suite", "-q")
    assert not RESULTS.exists()


def test_what_is_published_can_be_read_without_its_plugin(published, monkeypatch):
    page = PAGE.read_text()
    monkeypatch.setenv("OODBENCH_PLUGINS", "none")
    shown = oodbench("leaderboard", "--results", RESULTS, "--title", "Bars")
    assert shown.stdout == page
    assert "mean-distance comes from oodbench-toys, which is not installed" in oodbench(
        "publish", "results", "suite", "-q", code=1
    ).stderr  # fmt: skip


# ------------------------------------------------------------------------------------------- verify


def change_scores(change: Callable[[pd.DataFrame], None], path: Path = SCORES) -> None:
    table = pq.read_table(path)
    frame = table.to_pandas()
    change(frame)
    changed = type(table).from_pandas(frame, preserve_index=False).cast(table.schema.remove_metadata())
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


def test_one_changed_score_names_its_cells(published):
    def change(frame: pd.DataFrame) -> None:
        row = frame.index[(frame["dataset"] == "bars:1") & frame["run"].str.contains("-s1-")][3]
        frame.loc[row, "score"] -= 100.0

    change_scores(change)
    done = oodbench("verify", "suite", "-q", code=1)
    lines = done.stdout.splitlines()
    assert any(line.startswith("Differs: mean-distance-bars_0-s1-") and "auroc is" in line for line in lines)
    assert all("-s1-" in line and "on bars:1" in line for line in lines)


def test_a_changed_cell_of_the_page_is_named(published):
    page = PAGE.read_text()
    line = next(line for line in page.splitlines() if line.startswith("| mean-distance"))
    cell = line.split("|")[2].strip()
    PAGE.write_text(page.replace(cell, "**0.999**", 1))
    done = oodbench("verify", "suite", "-q", code=1).stdout
    assert f"mean-distance on bars:1 ↑ is **0.999**, and the results give {cell}" in done


@pytest.mark.parametrize("column", ["value", "low", "p_best"])
def test_a_changed_number_of_the_results_is_named(column, published):
    table = pq.read_table(RESULTS)
    frame = table.to_pandas()
    frame.loc[0, column] = frame.loc[0, column] * 0.5 + 0.01
    pq.write_table(table.from_pandas(frame).cast(table.schema), RESULTS)
    first = f"Differs: {frame.loc[0, 'run']} on {frame.loc[0, 'out_dataset']}: {frame.loc[0, 'metric']}"
    (line,) = [line for line in oodbench("verify", "suite", "-q", code=1).stdout.splitlines() if first in line]
    assert f"{'' if column == 'value' else column} is " in line


def test_other_images_than_those_that_are_here_are_named(published):
    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame["dataset"] == "white", "label"] = 7

    change_scores(change)
    assert (
        "labels of its scores of white are not those of the images" in oodbench("verify", "suite", "-q", code=1).stdout
    )


def test_verifying_fetches_nothing(published, monkeypatch):
    monkeypatch.setattr(Loader, "has_files", lambda self, name: False)
    monkeypatch.setattr(Loader, "load", lambda self, *what: pytest.fail("it would have been fetched"))
    assert "Not compared: bars:0: its files are not here" in oodbench("verify", "suite", "-q").stderr


def test_fitting_again_gives_the_same_scores(published):
    done = oodbench("verify", "suite", "--rerun", 1)
    assert "every score is the same" in done.stderr


# ------------------------------------------------------------------------------------------ entries


@pytest.fixture
def entry(here) -> Path:
    """An entry of another detector than the suite has published, made in another store."""
    oodbench("publish", "results", "suite", "-q")
    oodbench("run", "-q", "--store", "elsewhere", "--detector", "nearest", "--in", "bars:0", "--out", "bars:1",
             "--out", "white", "--seeds", 2)  # fmt: skip
    oodbench("bundle", "nearest", "-o", "entry.oodbench", "--store", "elsewhere")
    return Path("entry.oodbench")


def members(entry: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(entry) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def handed_in(entry: Path) -> pd.DataFrame:
    return pq.read_table(io.BytesIO(members(entry)["results.parquet"])).to_pandas()


def write(entry: Path, parts: dict[str, bytes], mode: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(entry, "w", mode) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def sealed(parts: dict[str, bytes], **changed: object) -> dict[str, bytes]:
    """The parts with a manifest that fits them, as a careful forger would make it."""
    named = {name: data for name, data in parts.items() if name != "manifest.json"}
    facts = {name: {"size": len(data), "sha256": sha256(data).hexdigest()} for name, data in named.items()}
    return {"manifest.json": json.dumps({"format": 1, "parts": facts, **changed}).encode(), **named}


def changed_part(data: bytes, change: Callable[[pd.DataFrame], pd.DataFrame]) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    frame = change(table.to_pandas())
    sink = io.BytesIO()
    made = type(table).from_pandas(frame, preserve_index=False).cast(table.schema.remove_metadata())
    pq.write_table(made.replace_schema_metadata(table.schema.metadata), sink)
    return sink.getvalue()


def test_an_entry_verifies_and_its_row_is_the_same_to_the_last_digit(entry):
    assert "results are what their" in oodbench("verify", entry, "-q").stdout
    Path("suite/notes.md").write_text("Bars are found.")
    accepted = oodbench("accept", entry, "suite", "-q")
    assert "2 runs added, 0 runs replaced, 2 runs kept" in accepted.stdout
    assert accepted.stderr.splitlines() == [
        "suite/notes.md was written without these runs: it may need an update",
        "All of entry.oodbench is in suite now, and suite/README.md shows it: the file can be deleted",
    ]
    rows = pd.read_parquet(RESULTS)
    there = rows[rows["detector"] == "nearest"].reset_index(drop=True)
    assert there["value"].tolist() == handed_in(entry)["value"].tolist()
    assert there["run"].tolist() == handed_in(entry)["run"].tolist()
    oodbench("verify", "suite", "-q")
    assert "| nearest" in PAGE.read_text()


def newer_code(store: Store) -> str:
    """The first run of the store once more, as if newer code had given the same."""
    key = store.keys()[0]
    run, provenance = store.read_run(key)
    run, created = replace(run, version="2.0+b"), "2099-01-01T00:00:00+00:00"
    newer = run.key(provenance.in_images)
    store.write_fit(newer, run, replace(provenance, plugin_version=run.version, created=created), {}, [])
    for out in (None, "bars:1", "white"):
        scores = replace(store.read_scores(key, out), fit_id=store.fit_id(newer))
        store.write_scores(newer, scores, out=out is not None)
    rows = store.read_results([key])[[*RESULT_COLUMNS]].itertuples(index=False, name=None)
    store.write_results(newer, [MetricResult(newer, *row[1:]) for row in rows])
    return newer


def test_a_bundle_says_which_code_its_runs_are_of_and_what_it_leaves_out(here):
    store = Store("results")
    newer = newer_code(store)
    run = replace(store.read_run(newer)[0], seed=7)
    with store.claim(run.key("c" * 16), run=run, title="mean-distance on bars:0, seed 7"):
        *said, written = oodbench("bundle", "mean-distance", "-o", "entry.oodbench").stderr.splitlines()
    assert written.startswith("Written to entry.oodbench")
    assert said[0].startswith("Taken: 2 of mean-distance, by oodbench-toys 1.")
    assert said[1:] == [
        "Taken: 1 of mean-distance, by oodbench-toys 2.0+b",
        "mean-distance: several versions of the code; --latest takes only the newest",
        "Left out, as it has no results: mean-distance on bars:0, seed 7 (running)",
    ]
    said = oodbench("bundle", "mean-distance", "-o", "entry.oodbench", "--latest").stderr.splitlines()
    assert said[0] == "Taken: 1 of mean-distance, by oodbench-toys 2.0+b" and len(said) == 2
    assert set(handed_in(Path("entry.oodbench"))["run"]) == {newer}


def test_equal_entries_are_equal_files(entry):
    oodbench("bundle", "nearest", "-o", "again.oodbench", "--store", "elsewhere")
    assert Path("again.oodbench").read_bytes() == entry.read_bytes()


def a_changed_score(parts):
    def change(frame):
        frame.loc[frame.index[frame["dataset"] == "bars:1"][0], "score"] -= 50.0
        return frame

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def a_changed_value(parts):
    def change(frame):
        return frame.assign(value=np.minimum(frame["value"] + 0.01, 0.5))

    return sealed(parts | {"results.parquet": changed_part(parts["results.parquet"], change)})


def swapped_data(parts):
    swap = {"bars:1": "white", "white": "bars:1"}

    def change(frame):
        return frame.assign(dataset=frame["dataset"].map(lambda name: swap.get(name, name)).astype("category"))

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def a_smaller_split(parts):
    def change(frame):
        return frame.drop(frame.index[frame["dataset"] == "bars:1"][::2])

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def other_images(parts):
    def change(frame):
        return frame.assign(out_images="0" * 16)

    return sealed(parts | {"results.parquet": changed_part(parts["results.parquet"], change)})


def a_score_twice(parts):
    def change(frame):
        return pd.concat([frame, frame.tail(1)], ignore_index=True)

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def no_number(parts):
    def change(frame):
        frame.loc[frame.index[0], "score"] = np.nan
        return frame

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def no_images(parts):
    def change(frame):
        return frame.assign(in_images="", params='{"power": 9.0}')

    return sealed(parts | {"results.parquet": changed_part(parts["results.parquet"], change)})


def of_another_seed(parts):
    def change(frame):
        return frame.assign(in_images="", seed=5)

    return sealed(parts | {"results.parquet": changed_part(parts["results.parquet"], change)})


def a_result_left_out(parts):
    def change(frame):
        return frame.drop(frame.index[(frame["metric"] == "fpr95_in") & (frame["out_dataset"] == "white")])

    return sealed(parts | {"results.parquet": changed_part(parts["results.parquet"], change)})


def no_scores(parts):
    def change(frame):
        return frame[frame["dataset"] != "white"]

    return sealed(parts | {"scores.parquet": changed_part(parts["scores.parquet"], change)})


def a_newer_format_of_the_results(parts):
    table = pq.read_table(io.BytesIO(parts["results.parquet"]))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps({"format": FORMAT + 1})}), sink)
    return sealed(parts | {"results.parquet": sink.getvalue()})


@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (a_changed_score, r"auroc is .*, and its scores give"),
        (a_changed_value, r"is .*, and its scores give"),
        (swapped_data, r"scores for .* in- and .* out-images|its scores give|are not those"),
        (a_smaller_split, r"scores for .* out-images"),
        (other_images, r"its images of (bars:1|white) .* are not those of the runs that are published|that are here"),
        (a_score_twice, r"two scores of one image"),
        (no_number, r"not finite|lacks values"),
        (no_scores, r"results without scores"),
        (no_images, r"does not say which images it is of"),
        (of_another_seed, r"the row of nearest-bars_0-s0-.* is that of nearest-bars_0-s5-"),
        (a_result_left_out, r"on white: it has scores and no fpr95_in, which it has elsewhere"),
        (a_newer_format_of_the_results, r"a newer oodbench wrote it"),
        (lambda parts: sealed(parts, format=2), r"a newer oodbench made it"),
        (lambda parts: parts | {"../outside.parquet": b"x"}, r"a member '../outside.parquet'"),
        (lambda parts: parts | {"scores.parquet": parts["scores.parquet"] + b"x"}, r"is not what the manifest says"),
        (lambda parts: parts | {"weights.pkl": b"x"}, r"a member 'weights.pkl'"),
        (lambda parts: {name: data for name, data in parts.items() if name != "scores.parquet"}, r"no scores.parquet"),
        (lambda parts: parts | {"manifest.json": b"[]"}, r"manifest.json"),
        (lambda parts: parts | {"results.parquet": b"PAR1"}, r"is not what the manifest says"),
        (lambda parts: sealed(parts | {"results.parquet": b"PAR1"}), r"holds no results"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_tampered_with_is_refused_with_the_reason(tampered, why, entry):
    write(entry, tampered(members(entry)))
    before = {path: path.read_bytes() for path in (RESULTS, SCORES, PAGE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "1000")
        line = refusal("accept", entry, "suite", "-q")
    assert re.search(why, line), line
    assert {path: path.read_bytes() for path in before} == before
    assert not Path("../outside.parquet").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(entry):
    write(entry, members(entry) | {"scores.parquet": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert "would unpack to 16,777,216 bytes" in refusal("accept", entry, "suite", "-q")


@pytest.mark.parametrize(
    ("changed", "why"),
    [({10: 8}, "Error -3 while decompressing data"), ({22: 1, 26: 1}, "it ends too early|Overlapped entries")],
    ids=["another compression", "a member longer than the file"],
)
def test_a_changed_table_of_contents_is_one_line(changed, why, entry):
    """Errors that zipfile passes on, of which some are without words."""
    data = bytearray(entry.read_bytes())
    for place, value in changed.items():
        data[data.rindex(b"PK\x01\x02") + place] = value
    entry.write_bytes(data)
    line = refusal("verify", entry, "-q")
    assert re.search(f"^Error: entry.oodbench is no entry: ({why})", line), line


def test_an_entry_is_taken_in_once(entry):
    oodbench("accept", entry, "suite", "-q")
    assert "is published already" in refusal("accept", entry, "suite", "-q")
    again = oodbench("accept", entry, "suite", "-q", "--drop", "nearest")
    assert again.stdout == "suite: 0 runs added, 2 runs replaced, 2 runs kept, 0 runs dropped\n"


def test_an_entry_of_data_that_the_suite_does_not_have_is_refused(entry):
    Path("suite/suite.toml").write_text(SUITE.replace('["bars:1", "white"]', '"bars:1"'))
    assert "the suite has no data set white" in refusal("accept", entry, "suite", "-q")


def test_in_data_and_out_data_that_the_suite_does_not_pair_are_refused(entry):
    Path("suite/suite.toml").write_text(
        'title = "Bars"\ndetector = "mean-distance"\n[[run]]\nin = "bars:0"\nout = "bars:1"\n'
        '[[run]]\nin = "bars:1"\nout = "white"\n'
    )
    assert "white is no out-data of bars:0 in the suite" in refusal("accept", entry, "suite", "-q")


METRIC = """
from oodbench import Metric, hookimpl


@hookimpl
def register_metrics():
    return [Metric("gap", lambda ins, outs: outs.mean() - ins.mean(), True, "difference of the means")]
"""


def test_intervals_of_a_metric_whose_code_is_not_here_stay_and_tests_of_another_table_do_not(
    here, install, monkeypatch
):
    plugins = os.environ["OODBENCH_PLUGINS"]
    install("gap", "toy_gap", METRIC)
    oodbench("evaluate", "--store", "results")
    oodbench("publish", "results", "suite", "-q")
    before = pd.read_parquet(RESULTS).query("metric == 'gap'")
    assert before[["low", "high", "p_best"]].notna().all(axis=None)
    monkeypatch.setenv("OODBENCH_PLUGINS", plugins)
    other_detector()
    done = oodbench("publish", "elsewhere", "suite", "-q")
    assert "gap: the code of these metrics is not installed here" in done.stderr
    after = pd.read_parquet(RESULTS)
    kept = after[(after["metric"] == "gap") & (after["detector"] == "mean-distance")]
    assert kept[["low", "high"]].to_numpy().tolist() == before[["low", "high"]].to_numpy().tolist()
    assert "unverified" not in PAGE.read_text()
    oodbench("verify", "suite", "-q")


@pytest.mark.parametrize("fails", ["raise ValueError('too few')", "return float('nan')"])
def test_a_metric_without_a_value_on_a_resample_has_no_interval(here, install, fails):
    source = METRIC.replace("lambda ins, outs: outs.mean() - ins.mean()", "gap").replace(
        "@hookimpl",
        f"def gap(ins, outs):\n    if len(set(ins)) < len(ins): {fails}\n    return outs.mean()\n\n\n@hookimpl",
    )
    install("gap", "toy_gap", source)
    oodbench("evaluate", "--store", "results")
    oodbench("publish", "results", "suite", "-q")
    rows = pd.read_parquet(RESULTS)
    assert rows["low"].isna().equals(rows["metric"] == "gap")
    assert "unverified" not in PAGE.read_text()
    oodbench("verify", "suite", "-q")


def test_what_is_no_entry_is_one_line(here):
    Path("entry.oodbench").write_bytes(b"no zip")
    assert "entry.oodbench is no entry" in refusal("accept", "entry.oodbench", "suite", "-q")
    assert "none cannot be read" in refusal("accept", "none", "suite", "-q")
    assert "unknown row or run 'x'" in refusal("bundle", "x", "-o", "entry.oodbench")
    shutil.rmtree("suite")
    assert oodbench("accept", "entry.oodbench", "suite", code=2)


# ------------------------------------------------------------------------------- what must not be lost


def on(out: str) -> pd.DataFrame:
    rows = pd.read_parquet(RESULTS)
    return rows[rows["out_dataset"] == out].reset_index(drop=True)


def run_elsewhere(*words: object) -> None:
    """The suite's runs, as another machine has them, with fewer out-data sets."""
    words = ("--detector", "mean-distance", "--in", "bars:0", "--seeds", 2, *words)
    oodbench("run", "-q", "--store", "elsewhere", *words)


def test_results_on_other_out_data_stay_where_the_fit_is_the_same(published):
    before, scores = on("white"), SCORES.read_bytes()
    run_elsewhere("--out", "bars:1")
    done = oodbench("publish", "elsewhere", "suite", "-q")
    assert "0 runs added, 2 runs replaced" in done.stdout
    assert "2 of the suite's runs lack some of their out-data there; `oodbench run suite`" in done.stderr
    of_the_fit = ["fit_seconds", "created"]  # now those that came in
    pd.testing.assert_frame_equal(on("white").drop(columns=of_the_fit), before.drop(columns=of_the_fit))
    assert SCORES.read_bytes() == scores
    oodbench("verify", "suite", "-q")


def test_results_of_another_fit_do_not_stay_and_are_named(published, toys, monkeypatch):
    fit = toys.MeanDistance.fit

    def other(self, *given):
        fit(self, *given)
        self.mean = self.mean * 0.5  # as on another machine, whose rounding is another
        return self

    monkeypatch.setattr(toys.MeanDistance, "fit", other)
    run_elsewhere("--out", "bars:1")
    done = oodbench("publish", "elsewhere", "suite", "-q")
    assert re.search("Left out, as the replaced runs .*: mean-distance-bars_0-s0-.* on white, ", done.stderr)
    assert on("white").empty
    oodbench("verify", "suite", "-q")


def test_results_of_dropped_runs_that_come_in_again_are_named(published):
    run_elsewhere("--out", "bars:1")
    done = oodbench("publish", "elsewhere", "suite", "-q", "--drop", "mean-distance")
    assert re.search("Left out, as the replaced runs .*: mean-distance-bars_0-s0-.* on white, ", done.stderr)
    assert on("white").empty


def test_a_failure_stays_until_there_is_a_result_of_that_out_data_set(here):
    Path("suite/suite.toml").write_text(SUITE.replace('"mean-distance"', '"broken"') + "set = { only = 1.0 }\n")
    oodbench("run", "suite", "-q", code=1)  # it gives NaN for white images
    oodbench("publish", "results", "suite", "-q")
    assert on("white")["error"].str.contains("NaN").all() and len(on("white")) == 2
    words = ("--detector", "broken", "--set", "only=1.0", "--in", "bars:0", "--seeds", 2, "--out", "bars:1")
    oodbench("run", "-q", "--store", "elsewhere", *words)
    oodbench("publish", "elsewhere", "suite", "-q")
    assert len(on("white")) == 2


def test_a_detector_is_no_beginning_of_another(published):
    """Else `--drop vae` would withdraw `vae-likelihood` where there is no `vae`."""
    assert "unknown row or run 'mean'" in refusal("publish", "results", "suite", "-q", "--drop", "mean")
    (first, *_) = sorted(set(pd.read_parquet(RESULTS)["run"]))
    done = oodbench("publish", "empty", "suite", "-q", "--drop", first[:-3])
    assert f"Dropped: {first}" in done.stderr


def test_only_one_process_publishes_in_a_folder(published):
    """Of two that read and write at once, one would be lost."""
    holding = "import fcntl, os; fcntl.flock(os.open('suite', os.O_RDONLY), fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        line = refusal("publish", "results", "suite", "-q")
        other.communicate(b"\n")
    assert line == "Error: another `oodbench publish` or `accept` works on suite; try again when it is done"
    oodbench("publish", "results", "suite", "-q")


def test_who_was_killed_between_scores_and_results_accepts_again(entry, monkeypatch):
    before = RESULTS.read_bytes()
    oodbench("accept", entry, "suite", "-q")
    RESULTS.write_bytes(before)  # which is written after the scores
    assert "it has scores without results" in oodbench("verify", "suite", "-q", code=1).output
    oodbench("accept", entry, "suite", "-q")
    oodbench("verify", "suite", "-q")


# -------------------------------------------------------------------------------- what must not be believed


def test_values_of_a_metric_that_is_not_installed_are_not_accepted(here, install, monkeypatch):
    plugins = os.environ["OODBENCH_PLUGINS"]
    install("gap", "toy_gap", METRIC)
    oodbench("bundle", "mean-distance", "-o", "entry.oodbench")
    oodbench("evaluate", "--store", "results")
    oodbench("bundle", "mean-distance", "-o", "more.oodbench")
    monkeypatch.setenv("OODBENCH_PLUGINS", plugins)
    line = refusal("accept", "more.oodbench", "suite", "-q")
    assert "its metric gap is of oodbench-gap 1.0" in line and "its values cannot be checked" in line
    said = oodbench("verify", "more.oodbench", "-q").output
    assert "20 results are what their" in said and "gap, the metric is of oodbench-gap" in said.replace(":", ",")
    oodbench("accept", "entry.oodbench", "suite", "-q")


def test_a_row_shows_the_seed_that_failed_also_where_it_was_handed_in(here, install):
    install("frail", "toy_frail", NEAREST.replace("Nearest", "Frail").replace("nearest", "frail").replace(
        "super().fit", "assert context.seed != 1, 'it broke'\n            super().fit"))  # fmt: skip
    oodbench("publish", "results", "suite", "-q")
    words = ("--detector", "frail", "--in", "bars:0", "--out", "bars:1", "--out", "white")
    oodbench("run", "-q", "--store", "elsewhere", *words)
    oodbench("bundle", "frail", "-o", "entry.oodbench", "--store", "elsewhere")
    line = refusal("accept", "entry.oodbench", "suite", "-q")
    assert "frail on bars:0 lacks seed 1 on bars:1, which the suite names: bundle it, too" in line
    oodbench("run", "-q", "--store", "elsewhere", *words, "--seeds", 2, code=1)
    said = oodbench("bundle", "frail", "-o", "entry.oodbench", "--store", "elsewhere").stderr
    assert "Failed, as the entry says: frail on bars:0, seed 1\n" in said and "Left out" not in said
    oodbench("accept", "entry.oodbench", "suite", "-q")
    assert "(1 of 2)" in PAGE.read_text() and "it broke" in PAGE.read_text()
    oodbench("verify", "suite", "-q")


def test_a_part_of_the_images_is_not_the_images(entry, monkeypatch):
    """Also where the data are not here to compare with."""

    def drop_half(frame):
        return frame.drop(frame.index[frame["dataset"] == "white"][::2])

    def count(frame):
        frame.loc[frame["out_dataset"] == "white", "n_out"] //= 2
        return frame

    parts = members(entry)
    parts["scores.parquet"] = changed_part(parts["scores.parquet"], drop_half)
    parts["results.parquet"] = changed_part(parts["results.parquet"], count)
    write(entry, sealed(parts))
    monkeypatch.setattr(Loader, "has_files", lambda self, name: False)
    line = refusal("accept", entry, "suite", "-q")
    assert "its scores of white are not of the images that the published runs scored" in line


def test_metrics_left_out_everywhere_and_other_numbers_of_training_images_are_named(entry):
    parts = members(entry)
    fewer = changed_part(parts["results.parquet"], lambda frame: frame[frame["metric"] != "fpr95_in"])
    write(entry, sealed(parts | {"results.parquet": fewer}))
    assert "it has scores and no fpr95_in" in refusal("accept", entry, "suite", "-q")
    more = changed_part(parts["results.parquet"], lambda frame: frame.assign(n_train=60_000))
    write(entry, sealed(parts | {"results.parquet": more}))
    assert "of how many training images it is, and bars:0 has 20" in refusal("accept", entry, "suite", "-q")


def test_what_lacks_scores_is_not_fitted_again(published):
    table = pq.read_table(SCORES)
    frame = table.to_pandas()
    part = table.from_pandas(frame[frame["dataset"] != "white"], preserve_index=False).cast(
        table.schema.remove_metadata()
    )
    pq.write_table(part.replace_schema_metadata(table.schema.metadata), SCORES)
    said = oodbench("verify", "suite", "-q", "--rerun", 1, code=1).output
    assert "on white: it has results without scores" in said
    assert "nothing was fitted again: none of the published runs has all its scores" in said
