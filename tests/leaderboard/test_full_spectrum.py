"""Full spectrum through the command line: covariate-shifted images of the in-data count as in-distribution too."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import average_precision_score, roc_auc_score

from oodbench.cli import main
from oodbench.leaderboard.statistics import auroc_interval

SUITE = """
title = "Bars in full spectrum"
detector = "mean-distance"
in = "bars:0"
out = ["bars:1", "white"]
covariate = "npz:faint.npz"
seeds = 2
rank = "all"
[groups]
all = ["bars:1", "white"]
"""
RESULTS, SCORES, PAGE = (Path("suite") / name for name in ("results.parquet", "scores.parquet", "README.md"))


def oodbench(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refusal(*words: object) -> str:
    """The one line of an error."""
    result = oodbench(*words, code=1)
    (line,) = result.stderr.splitlines()
    return line


def save_faint(path: str, strength: float = 0.3, count: int = 15) -> None:
    """Bars of class 0 that are shifted: faint, on a bright ground."""
    images = np.full((count, 1, 8, 8), 130, np.uint8)
    for number, image in enumerate(images):
        image[0, number % 3] = 130 + int(strength * (100 + number))
    np.savez(path, images=images, labels=np.zeros(count, np.int64))


@pytest.fixture
def here(toys, tmp_path, monkeypatch) -> Path:
    """A working folder with shifted images and a suite that names them."""
    folder = tmp_path / "here"
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(folder)
    save_faint("faint.npz")
    return folder


@pytest.fixture
def run(here) -> Callable[..., list[dict]]:
    """Runs the suite; gives the rows that it prints."""
    return lambda *words: json.loads(oodbench("run", "suite", "-q", "--json", *words).stdout)


@pytest.fixture
def published(run) -> None:
    run()
    oodbench("publish", "results", "suite", "-q")


def scores(key: str, name: str) -> np.ndarray:
    return pd.read_parquet(Path("results") / key / "scores" / f"{name}.parquet")["score"].to_numpy()


def shifted_scores(key: str) -> np.ndarray:
    (file,) = Path("results", key, "scores").glob("npz_*.parquet")
    return pd.read_parquet(file)["score"].to_numpy()


# --------------------------------------------------------------------------------------- what it is


def test_every_metric_is_that_of_test_split_and_shifted_images_together(run):
    rows = {(row["run"], row["out_dataset"], row["metric"]): row for row in run()}
    keys = {run_key for run_key, _, _ in rows}
    assert len(keys) == 2
    for key in keys:
        inside = np.concatenate([scores(key, "in"), shifted_scores(key)])
        for out in ("bars:1", "white"):
            outside = scores(key, out.replace(":", "_"))
            truth, both = np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])
            theirs = {
                "auroc": roc_auc_score(truth, both),
                "aupr_out": average_precision_score(truth, both),
                "aupr_in": average_precision_score(1 - truth, -both),
            }
            for metric, value in theirs.items():
                row = rows[key, out, f"full_spectrum_{metric}"]
                assert row["value"] == pytest.approx(value, abs=1e-12)
                assert (row["n_in"], row["n_out"]) == (len(inside), len(outside))
                assert rows[key, out, metric]["n_in"] == len(scores(key, "in"))
        assert rows[key, "bars:1", "full_spectrum_auroc"]["value"] < rows[key, "bars:1", "auroc"]["value"]


def test_shifted_images_are_scored_once_and_are_no_out_data(run, toys):
    assert {row["out_dataset"] for row in run("--out", "white")} == {"white"}
    files = [*Path("results").glob("*/scores/npz_*.parquet")]
    made = [file.stat().st_mtime_ns for file in files]
    assert len(made) == 2
    toys.calls.clear()
    assert {row["out_dataset"] for row in run()} == {"white", "bars:1"}
    assert toys.calls.count("score") == 2, "bars:1 of two seeds"
    assert [file.stat().st_mtime_ns for file in files] == made
    toys.calls.clear()
    run()
    assert toys.calls == []


def test_runs_made_before_keep_key_fit_and_plain_results(here, run, toys):
    words = (
        "run",
        "-q",
        "--json",
        "--detector",
        "mean-distance",
        "--in",
        "bars:0",
        "--out",
        "bars:1",
        "--out",
        "white",
    )
    before = json.loads(oodbench(*words, "--seeds", 2).stdout)
    assert not any(row["covariate"] for row in before)
    toys.calls.clear()
    after = run()
    assert not any(call.startswith("fit") for call in toys.calls)
    plain = [row for row in after if not row["covariate"]]
    assert sorted(plain, key=str) == sorted(before, key=str)
    assert len(after) == 2 * len(before)


def test_other_shifted_images_are_scored_again_and_counted(run):
    first = {(row["run"], row["out_dataset"], row["metric"]): row for row in run()}
    save_faint("faint.npz", strength=0.9)
    second = {(row["run"], row["out_dataset"], row["metric"]): row for row in run()}
    assert first.keys() == second.keys()
    for place, row in second.items():
        is_full = place[2].startswith("full_spectrum_")
        assert (row["covariate"] != first[place]["covariate"]) == is_full
        if not is_full:
            assert row == first[place]
    (key, *_) = {place[0] for place in second}
    inside, outside = np.concatenate([scores(key, "in"), shifted_scores(key)]), scores(key, "white")
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    expected = roc_auc_score(truth, np.concatenate([inside, outside]))
    assert second[key, "white", "full_spectrum_auroc"]["value"] == pytest.approx(expected, abs=1e-12)


def test_results_that_are_lost_are_computed_again_from_the_scores(run, toys):
    before = run()
    for path in Path("results").glob("*/results.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter([not text for text in table["covariate"].to_pylist()]), path)
    toys.calls.clear()
    assert run() == before
    assert toys.calls == []


def test_evaluate_computes_them_again_and_makes_no_plain_results_of_shifted_images(run):
    before = run()
    found = json.loads(oodbench("evaluate", "--metric", "auroc", "--json").stdout)
    assert {row["out_dataset"] for row in found} == {"bars:1", "white"}
    kept = [row for row in before if row["metric"] in ("auroc", "full_spectrum_auroc")]
    assert sorted(found, key=str) == sorted(kept, key=str)


def test_evaluate_takes_a_metric_in_full_spectrum(run):
    before = run()
    done = oodbench("evaluate", "--metric", "full_spectrum_auroc")
    assert done.stdout.startswith("In full spectrum, images of npz:") and "auroc ↑" in done.stdout
    found = json.loads(oodbench("evaluate", "--metric", "full_spectrum_auroc", "--json").stdout)
    assert sorted(found, key=str) == sorted((row for row in before if row["metric"] == "full_spectrum_auroc"), key=str)
    assert sorted(run(), key=str) == sorted(before, key=str), "the other results are as they were"


def test_evaluate_in_full_spectrum_leaves_runs_without_shifted_images_as_they_are(here):
    before = json.loads(oodbench(*WORDS, "--json").stdout)
    done = oodbench("evaluate", "--metric", "full_spectrum_auroc")
    assert done.stdout == "" and "There are no results of full_spectrum_auroc: no run has" in done.stderr
    assert json.loads(oodbench(*WORDS, "--json").stdout) == before


def test_evaluate_makes_all_results_again_where_their_files_are_lost(run, toys):
    before = run()
    for path in Path("results").glob("*/results.parquet"):
        path.unlink()
    toys.calls.clear()
    assert sorted(json.loads(oodbench("evaluate", "--json").stdout), key=str) == sorted(before, key=str)
    assert toys.calls == []


def test_shifted_images_of_an_earlier_request_are_no_out_data(here):
    save_faint("other.npz", strength=0.8)
    oodbench(*WORDS, "--covariate", "npz:faint.npz")
    oodbench(*WORDS, "--covariate", "npz:other.npz")
    found = json.loads(oodbench("evaluate", "--json").stdout)
    assert {row["out_dataset"] for row in found} == {"white"}
    assert {tuple(json.loads(row["covariate"] or "{}")) for row in found} == {(), ("npz:other.npz",)}
    (key,) = {row["run"] for row in found}
    Path("results", key, "results.parquet").unlink()
    again = json.loads(oodbench("evaluate", "--json").stdout)
    assert {row["out_dataset"] for row in again} == {"white"}
    assert {row["n_in"] for row in again if row["covariate"]} == {10 + 15}, "of one request, never of both"


def test_scores_that_do_not_say_that_they_are_shifted_are_read_as_before(run):
    before = run()
    for path in Path("results").glob("*/scores/npz_*.parquet"):
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[b"oodbench"])
        assert facts.pop("covariates") == [json.loads(before[-1]["covariate"]).popitem()[0]]
        pq.write_table(table.replace_schema_metadata({b"oodbench": json.dumps(facts)}), path)
    assert sorted(json.loads(oodbench("evaluate", "--json").stdout), key=str) == sorted(before, key=str)


def test_what_is_also_an_out_data_set_elsewhere_keeps_its_plain_results(run):
    run()
    words = ("run", "-q", "--json", "--detector", "mean-distance", "--in", "bars:0", "--out", "npz:faint.npz")
    assert all(row["out_dataset"].startswith("npz:") for row in json.loads(oodbench(*words).stdout))
    evaluated = json.loads(oodbench("evaluate", "--metric", "auroc", "--json").stdout)
    assert sum(row["out_dataset"].startswith("npz:") for row in evaluated) == 1
    for path in Path("results").glob("*/results.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter([not text for text in table["covariate"].to_pylist()]), path)
    again = json.loads(oodbench("evaluate", "--metric", "auroc", "--json").stdout)
    assert sorted(again, key=str) == sorted(evaluated, key=str), "no set is on both sides"


def test_shifted_images_that_cannot_be_scored_cost_only_the_full_spectrum(here):
    np.savez("faint.npz", images=np.zeros((3, 1, 8, 8), np.uint8))
    run = ("run", "-q", "--json", "--detector", "broken", "--set", "only=0", "--in", "bars:0", "--out", "white")
    done = oodbench(*run, "--covariate", "npz:faint.npz", code=1)
    assert "faint.npz: " in done.stderr and "NaN" in done.stderr
    assert {row["metric"] for row in json.loads(done.stdout)} >= {"auroc"}
    assert not any(row["covariate"] for row in json.loads(done.stdout))
    page = oodbench("leaderboard", "--store", "results").stdout
    assert "failed on the covariate-shifted npz:faint.npz: broken gave NaN" in page
    assert "| npz:faint.npz" not in page, "it is no out-data set"


# ----------------------------------------------------------------------------------------- the page


def test_what_is_published_verifies_and_has_intervals_over_all_in_images(published):
    assert "40 results are what their" in oodbench("verify", "suite", "-q").stdout
    rows = pd.read_parquet(RESULTS)
    all_scores = pd.read_parquet(SCORES)
    row = rows[(rows["metric"] == "full_spectrum_auroc") & (rows["out_dataset"] == "white")].iloc[0]
    of_run = all_scores[all_scores["run"] == row["run"]]
    inside = of_run[of_run["dataset"].astype(str).str.startswith(("bars:0", "npz:"))]["score"].to_numpy()
    expected = auroc_interval(inside, of_run[of_run["dataset"] == "white"]["score"].to_numpy())
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["n_in"] == len(inside) == 25


def test_a_table_of_its_own_has_the_same_columns_and_groups(published):
    page = PAGE.read_text()
    plain, full = page.index("### auroc ↑"), page.index("### full_spectrum_auroc ↑")
    assert plain < full < page.index("Other metrics")
    heads = [line for line in page.splitlines() if line.startswith("| detector") and "all (mean of 2) ↑" in line]
    assert len(set(heads)) <= 2 and not any("npz:" in head for head in heads)
    assert "shifted images count as in-distribution beside the test split (bars:0: npz:" in page
    assert "In full spectrum 25 images count as in-distribution" in page


@pytest.mark.parametrize("format_name", ["html", "latex", "csv", "markdown"])
def test_every_format_has_it(published, format_name):
    shown = oodbench("leaderboard", "suite", "--results", RESULTS, "--format", format_name).stdout
    assert "full_spectrum_auroc" in shown.replace("\\_", "_")


def test_it_is_chosen_as_any_metric_is(published):
    text = oodbench("leaderboard", "suite", "--results", RESULTS, "--metric", "full_spectrum_auroc", "--format", "csv")
    assert set(pd.read_csv(io.StringIO(text.stdout))["metric"]) == {"full_spectrum_auroc"}
    assert "full_spectrum_auroc" not in oodbench(
        "leaderboard", "suite", "--results", RESULTS, "--metric", "auroc", "--format", "csv"
    ).stdout  # fmt: skip


def test_the_terminal_shows_it_in_a_table_below(run):
    run()
    text = oodbench("run", "suite", "-q").stdout
    plain, _, full = text.partition("In full spectrum, images of npz:")
    assert "white" in plain and "white" in full and "auroc ↑" in full


def test_a_suite_shows_its_own_full_spectrum_alone(run):
    run()
    save_faint("other.npz", strength=0.8)
    Path("suite/suite.toml").write_text(SUITE.replace("faint", "other"))
    shown = oodbench("leaderboard", "suite", "--json").stdout
    assert not [cell for cell in json.loads(shown) if cell["covariate"]]
    run()
    cells = [cell for cell in json.loads(oodbench("leaderboard", "suite", "--json").stdout) if cell["covariate"]]
    assert cells and all("other.npz" in cell["covariate"][0] for cell in cells)


def test_rows_of_other_shifted_images_are_not_told_to_be_better_or_worse(run):
    run()
    save_faint("other.npz", strength=0.8)
    words = ("run", "-q", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1", "--set", "power=1")
    oodbench(*words, "--covariate", "npz:other.npz")
    page = oodbench("leaderboard", "--metric", "full_spectrum_auroc").stdout
    column = [line for line in page.splitlines() if line.startswith("| mean-distance")][:2]
    assert len(column) == 2 and not any("**" in line.split("|")[2] for line in column)
    assert "in full spectrum with npz:" in page


# -------------------------------------------------------------------------------------- false numbers


def change_scores(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pq.read_table(SCORES)
    frame = change(table.to_pandas())
    changed = type(table).from_pandas(frame, preserve_index=False).cast(table.schema.remove_metadata())
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), SCORES)


def is_shifted(frame: pd.DataFrame) -> pd.Series:
    return frame["dataset"].astype(str).str.startswith("npz:")


def test_a_changed_score_of_a_shifted_image_names_the_cells_in_full_spectrum(published):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        row = frame.index[is_shifted(frame) & frame["run"].str.contains("-s1-")][3]
        frame.loc[row, "score"] += 100.0
        return frame

    change_scores(change)
    lines = oodbench("verify", "suite", "-q", code=1).stdout.splitlines()
    assert lines and all("-s1-" in line and "full_spectrum_" in line for line in lines)


def test_missing_scores_and_other_labels_of_shifted_images_are_named(published):
    def relabel(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[is_shifted(frame), "label"] = 7
        return frame

    def drop(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[~is_shifted(frame)]

    change_scores(relabel)
    assert "faint.npz are not those of the images" in oodbench("verify", "suite", "-q", code=1).stdout
    change_scores(drop)
    assert "faint.npz: it has results without scores" in oodbench("verify", "suite", "-q", code=1).stdout


@pytest.mark.parametrize(
    ("metric", "covariate", "why"),
    [
        ("full_spectrum_auroc", "", "which cannot be"),
        ("auroc", '{"white": "0123456789abcdef"}', "which cannot be"),
        ("full_spectrum_auroc", '["white"]', "no JSON object"),
        ("full_spectrum_auroc", "{", "holds no results"),
    ],
)
def test_results_whose_shifted_images_cannot_be_are_refused(published, metric, covariate, why):
    table = pq.read_table(RESULTS)
    frame = table.to_pandas()
    frame.loc[frame["metric"] == metric, "covariate"] = covariate
    pq.write_table(table.from_pandas(frame).cast(table.schema), RESULTS)
    assert why in refusal("verify", "suite", "-q")


def test_an_entry_with_other_shifted_images_than_the_suite_is_refused(published):
    save_faint("other.npz", strength=0.8)
    words = ("run", "-q", "--store", "elsewhere", "--detector", "mean-distance", "--in", "bars:0", "--seed", 5)
    oodbench(*words, "--out", "bars:1", "--out", "white", "--covariate", "npz:other.npz")
    oodbench("bundle", "mean-distance", "-o", "entry.oodbench", "--store", "elsewhere")
    assert "has no full spectrum of bars:0 with npz:" in refusal("accept", "entry.oodbench", "suite", "-q")
    save_faint("faint.npz", strength=0.7)
    words = ("run", "-q", "--store", "third", "--detector", "mean-distance", "--in", "bars:0", "--seed", 5)
    oodbench(*words, "--out", "bars:1", "--out", "white", "--covariate", "npz:faint.npz")
    oodbench("bundle", "mean-distance", "-o", "entry.oodbench", "--store", "third")
    assert "are not those of the runs that are published" in refusal("accept", "entry.oodbench", "suite", "-q")


# ------------------------------------------------------------------------------------------ bad input

WORDS = ("run", "-q", "--detector", "mean-distance", "--in", "bars:0", "--out", "white")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--covariate", "white"), "white cannot be --out and --covariate at once"),
        (("--covariate", "bars:0"), "--covariate bars:0 is the in-data set itself"),
        (("--covariate", "npz:none.npz"), "none.npz"),
        (("--covariate", "noize"), "unknown data set 'noize'; did you mean noise"),
        (("--in", "bars:1", "--covariate", "npz:faint.npz"), "npz:faint.npz is named for bars:0 and bars:1"),
    ],
)
def test_what_cannot_be_shifted_images_is_one_line(here, words, why):
    assert why in refusal(*WORDS, *words)
    assert not Path("results").exists()


def test_images_of_the_in_data_itself_are_no_shifted_ones(here, toys):
    bars = toys.load_bars("test", here, None)
    np.savez("same.npz", images=bars.images, labels=bars.labels)
    done = oodbench(*WORDS, "--covariate", "npz:same.npz", code=1)
    assert "no image can count twice" in done.stderr


def test_a_suite_that_names_a_run_twice_with_other_shifted_images_is_refused(here):
    save_faint("other.npz")
    table = '[[run]]\nin = "bars:0"\nout = "{}"\ncovariate = "npz:{}.npz"\n'
    text = f'detector = "mean-distance"\n{table.format("white", "faint")}{table.format("bars:1", "other")}'
    Path("suite/suite.toml").write_text(text)
    assert "asked for twice, and not with the same --covariate" in refusal("run", "suite", "-q")


def test_a_suite_that_names_shifted_images_as_out_data_elsewhere_is_refused(here):
    table = '[[run]]\nin = "bars:0"\ncovariate = "npz:faint.npz"\nout = "{}"\n'
    text = f'detector = "mean-distance"\n{table.format("white")}{table.format("npz:faint.npz")}'
    Path("suite/suite.toml").write_text(text)
    assert "cannot be --out and --covariate at once" in refusal("run", "suite", "-q")


def test_another_in_data_set_than_the_suites_leaves_its_shifted_images_behind(run):
    rows = run("--in", "bars:1", "--out", "white")
    assert rows and not any(row["covariate"] for row in rows)
