from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from result_rows import result_row

from oodbench.api import SCORE_CONVENTION, Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard import markdown, page_latex
from oodbench.leaderboard.sections import Board
from oodbench.leaderboard.tables import interval_text, ranked, records
from oodbench.leaderboard.terminal import summary

AUROC = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve")
FPR = Metric("fpr95_in", lambda in_scores, out_scores: 0.0, False, "share of out-images accepted")


def row(detector="ebae", out="mnist:9", value=0.5, seed=0, metric="auroc", in_dataset="mnist:0-8", **facts):
    facts = {"params": {"latent_dim": 32, "chain": {"steps": 10}}, **facts}
    return result_row(detector, out, value, seed, metric, in_dataset, **facts)


def frame(*rows):
    return pd.DataFrame(rows)


def render(results, metrics, title=""):
    return markdown.render(Board(results, metrics), title)


def table(results, in_dataset, metric):
    """Detectors, best first, by out-data sets; the text of each cell, in bold where it is the best."""
    made = ranked(records(results[results["in_dataset"] == in_dataset], [metric]), metric)
    return pd.DataFrame(
        {
            f"{out} {'↑' if metric.higher_is_better else '↓'}": {
                row: f"**{cell.text}**" if cell.is_best else cell.text
                for row in made.rows
                for cell in [made.cells.get((row, (of_in, out)))]
                if cell
            }
            for of_in, out in made.columns
        },
        index=made.rows,
    ).fillna("–")


def test_cells_are_mean_and_sample_deviation_over_seeds():
    values = [0.9, 0.95, 0.94]
    results = frame(*[row(value=value, seed=seed) for seed, value in enumerate(values)], row("ae", value=0.5))
    made = table(results, "mnist:0-8", AUROC)
    assert made.columns.tolist() == ["mnist:9 ↑"]
    assert made["mnist:9 ↑"].to_dict() == {"ebae": f"**0.930 ± {np.std(values, ddof=1):.3f}**", "ae": "0.500"}


def test_rows_are_ranked_and_the_best_is_bold_in_the_direction_of_the_metric():
    results = frame(
        *[
            row(name, out, value)
            for name, out, value in [("a", "x", 0.2), ("a", "y", 0.8), ("b", "x", 0.9), ("b", "y", 0.7)]
        ],
        *[row(name, "x", value, metric="fpr95_in") for name, value in [("a", 0.2), ("b", 0.9)]],
    )
    up, down = table(results, "mnist:0-8", AUROC), table(results, "mnist:0-8", FPR)
    assert list(up.index) == ["b", "a"]
    assert up.loc["a"].tolist() == ["0.200", "**0.800**"]
    assert up.loc["b"].tolist() == ["**0.900**", "0.700"]
    assert list(down.index) == ["a", "b"]
    assert down["x ↓"].tolist() == ["**0.200**", "0.900"]


def test_an_auroc_below_one_half_is_shown_as_it_is():
    results = frame(row("ae", value=0.041), row("ae", value=0.0, seed=1))
    assert "0.021 ± 0.029" in table(results, "mnist:0-8", AUROC).loc["ae", "mnist:9 ↑"]
    assert "0.9" not in render(results, [AUROC])


def test_equal_as_shown_is_equally_bold():
    made = table(frame(row("a", value=0.95701), row("b", value=0.95699), row("c", value=0.956)), "mnist:0-8", AUROC)
    assert made["mnist:9 ↑"].tolist() == ["**0.957**", "**0.957**", "0.956"]


def test_a_row_that_lacks_a_hard_data_set_does_not_lead():
    made = table(frame(row("a", "x", 0.9), row("a", "y", 0.1), row("b", "x", 0.99)), "mnist:0-8", AUROC)
    assert list(made.index) == ["a", "b"]
    assert made.loc["b"].tolist() == ["**0.990**", "–"]


def labels(*rows):
    return {record["label"] for record in records(frame(*rows), [AUROC])}


def test_labels_tell_apart_what_is_not_one_thing():
    quick = {"preset": "quick", "params": {"latent_dim": 8, "chain": {"steps": 10}}}
    assert labels(row(), row("ae")) == {"ebae", "ae"}
    assert labels(row(), row(**quick)) == {"ebae", "ebae, reduced (preset quick)"}
    assert labels(row(preset="nae-mnist")) == {"ebae, preset nae-mnist"}
    fewer = {"latent_dim": 32, "chain": {"steps": 5}}
    assert labels(row(), row(params=fewer)) == {"ebae, chain.steps=10", "ebae, chain.steps=5"}
    assert labels(row(), row(n_train=60000)) == {"ebae, n_train=7200", "ebae, n_train=60000"}
    assert labels(row(), row(precision="bfloat16", run="x")) == {"ebae, precision=float32", "ebae, precision=bfloat16"}
    assert labels(row(run="ebae-0a"), row(run="ebae-0b")) == {"ebae, run=0a", "ebae, run=0b"}


def test_seeds_of_other_images_are_not_seeds_of_one_thing():
    one, other = (row(seed=seed, run=f"ebae-{seed}", in_images=digit * 16) for seed, digit in enumerate("ab"))
    assert labels(one, other) == {"ebae, in_images=aaaaaaaa", "ebae, in_images=bbbbbbbb"}
    assert labels(one, {**other, "in_images": ""}) == {"ebae"}  # an older record does not say
    first, second = (row(seed=seed, out_images=digit * 16) for seed, digit in enumerate("ab"))
    assert labels(first, second) == {"ebae"}
    assert labels(first, {**second, "out_images": ""}) == {"ebae"}


def test_a_cell_of_different_images_is_marked_and_the_rest_of_the_page_stays():
    first, second = (row(seed=seed, out_images=digit * 16, value=0.9) for seed, digit in enumerate("ab"))
    results = frame(first, second, row(out="noise", value=0.25), row(out="noise", value=0.75, seed=1))
    page = render(results, [AUROC])
    assert "| ebae[^1] | not comparable | **0.500 ± 0.354** |" in " ".join(page.split())
    assert "[^1]: ebae on mnist:0-8: ebae has scores of different images of mnist:9 for its seeds 0, 1" in page
    cell = records(results, [AUROC])[0]
    assert (cell["mean"], cell["sd"], cell["values"]) == (None, None, [0.9, 0.9])


def failed(seed, error, out="", detector="ebae", **facts):
    return row(detector, out, float("nan"), seed, "", error=error, n_train=0, **facts)


def test_failed_seeds_are_a_part_of_the_row():
    good = [row(value=value, seed=seed) for seed, value in [(0, 0.9), (1, 0.8)]]
    results = frame(*good, row("ae", value=0.5), failed(2, "FitError: dead"), failed(0, "ScoreError: NaN", "noise"))
    made = table(results, "mnist:0-8", AUROC)
    assert made.loc["ebae", "mnist:9 ↑"] == "0.850 ± 0.071 (2 of 3)"
    assert made.loc["ae", "mnist:9 ↑"] == "**0.500**", "the mean of those that survive is never the best"
    assert made["noise ↑"].to_dict() == {"ebae": "failed", "ae": "–"}
    page = render(results, [AUROC])
    assert "0, 1 (2 failed)" in page and "one of three seeds failed" in page
    assert "[^1]: ebae on mnist:0-8: failed on noise: ScoreError: NaN (seed 0); failed: FitError: dead (seed 2)" in page
    cell = next(each for each in records(results, [AUROC]) if each["label"] == "ebae")
    assert (cell["seeds"], cell["failed_seeds"], cell["mean"]) == ([0, 1], [2], pytest.approx(0.85))
    json.dumps(records(results, [AUROC]), allow_nan=False)


def test_a_failure_where_there_is_a_result_by_now_is_none():
    results = frame(row(value=0.9), failed(0, "ScoreError: NaN", "mnist:9"))
    assert table(results, "mnist:0-8", AUROC)["mnist:9 ↑"].tolist() == ["**0.900**"]
    assert "failed" not in render(results, [AUROC])


def test_a_value_that_no_metric_can_have_is_refused():
    share = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area", (0.0, 1.0))
    for value in (7.0, -0.5, float("nan")):
        with pytest.raises(OODBenchError, match="no auroc can be"):
            render(frame(row(value=value)), [share])


def test_a_row_of_failures_alone_is_shown_as_failed():
    results = frame(row("ae", value=0.5), *[failed(seed, "FitError: dead") for seed in range(3)])
    made = table(results, "mnist:0-8", AUROC)
    assert made["mnist:9 ↑"].to_dict() == {"ae": "**0.500**", "ebae": "failed"}
    assert "(0, 1, 2 failed)" not in render(results, [AUROC]), "it has no facts of a fit"


def test_a_failed_seed_has_the_label_of_the_others():
    small = {"params": {"latent_dim": 8}, "preset": "quick", "reduced": "yes"}
    results = frame(row(**small), row(), failed(1, "FitError: dead", **{**small, "reduced": ""}))
    cells = {each["label"]: each["failed_seeds"] for each in records(results, [AUROC])}
    assert cells == {"ebae": [], "ebae, reduced (preset quick)": [1]}


@pytest.mark.parametrize(
    "other", [{"precision": "bfloat16"}, {"plugin_version": "0.0.9"}, {"params": {"latent_dim": 8}}]
)
def test_failures_of_another_configuration_are_not_those_of_a_row(other):
    name, value = next(iter(other.items()))
    told = {"plugin_version": "version=0.0.9", "params": "latent_dim=8"}.get(name, f"{name}={value}")
    results = frame(row(value=0.9, run="ebae-0"), *[failed(n, "FitError: dead", **other, run=f"f{n}") for n in (0, 1)])
    cells = {each["label"]: (each["seeds"], each["failed_seeds"]) for each in records(results, [AUROC])}
    assert cells == {"ebae": ([0], []), f"ebae, {told}": ([], [0, 1])}


def test_one_version_of_two_packages_is_two_rows_and_one_file_at_two_paths_is_one():
    of = [
        row(seed=seed, run=f"ebae-{seed}", distribution=name) for seed, name in enumerate(["oodbench-a", "oodbench-b"])
    ]
    assert labels(*of) == {"ebae, package=oodbench-a", "ebae, package=oodbench-b"}
    assert labels(of[0], {**of[1], "distribution": ""}) == {"ebae"}  # an older record does not say
    bases = [on_base(distribution=name) for name in ("oodbench-a", "oodbench-b")]
    rows = [row(seed=seed, run=f"ebae-{seed}", base=base) for seed, base in enumerate(bases)]
    assert labels(*rows) == {"ebae, classifier.package=oodbench-a", "ebae, classifier.package=oodbench-b"}
    weights = [{"weights": path, "weights_sha256": "c" * 64} for path in ("/home/a.pt", "/mnt/a.pt")]
    assert labels(*[row(seed=seed, run=f"ebae-{seed}", params=each) for seed, each in enumerate(weights)]) == {"ebae"}
    bases = [on_base(params=json.dumps(each)) for each in weights]
    assert labels(*[row(seed=seed, run=f"ebae-{seed}", base=each) for seed, each in enumerate(bases)]) == {"ebae"}


def on_base(**facts):
    return json.dumps(
        {"detector": "classifier", "version": "0.1", "distribution": "oodbench-a", "params": "{}"} | facts
    )


def test_presets_that_differ_in_their_base_alone_are_told_apart():
    quick = row(preset="quick", reduced="yes", base=on_base(params='{"epochs": 1}'), run="ebae-q")
    paper = row(base=on_base(params='{"epochs": 200}'), run="ebae-p")
    assert labels(quick, paper) == {"ebae", "ebae, reduced (preset quick)"}


def test_a_run_that_does_not_say_its_images_hides_no_difference_of_others():
    rows = [
        row(seed=seed, run=f"ebae-{seed}", in_images=images) for seed, images in enumerate(["a" * 16, "b" * 16, ""])
    ]
    assert labels(*rows) == {"ebae, in_images=aaaaaaaa", "ebae, in_images=bbbbbbbb", "ebae, in_images=unknown"}


def test_a_shifted_set_that_cannot_be_scored_is_a_note_and_no_column():
    covariate = '{"npz:faint.npz": ""}'
    results = frame(row(value=0.9), failed(0, "ScoreError: NaN", "npz:faint.npz", covariate=covariate))
    page = render(results, [AUROC])
    assert "failed on the covariate-shifted npz:faint.npz: ScoreError: NaN (seed 0)" in page
    assert {each["out_dataset"] for each in records(results, [AUROC])} == {"mnist:9"}


def test_a_failure_is_of_the_data_set_that_it_is_of():
    rows = [row("ae", "noise", value=0.5), row("ae", value=0.5), row("vae", value=0.5)]
    same = "MemoryError: full"
    results = frame(*rows, failed(1, same, "noise", "ae"), failed(1, same, detector="vae"))
    page = render(results, [AUROC])
    assert f"ae on mnist:0-8: failed on noise: {same} (seed 1)" in page
    assert f"vae on mnist:0-8: failed: {same} (seed 1)" in page


@pytest.mark.parametrize("value", [0.9545, 0.0125, 0.0135])
def test_equal_text_is_equally_bold_also_at_halves(value):
    shown = float(f"{value:.3f}")
    made = table(frame(row("a", value=value), row("b", value=shown)), "mnist:0-8", AUROC)
    assert made["mnist:9 ↑"].tolist() == [f"**{shown:.3f}**"] * 2


def test_reduced_is_a_fact_of_the_run_and_not_the_words_it_was_requested_by():
    assert labels(row(preset="paper, training.epochs=1", reduced="yes")) == {
        "ebae, reduced (preset paper, training.epochs=1)"
    }
    assert labels(row(preset="quick", reduced="no")) == {"ebae, preset quick"}
    asked = [row(preset=words, seed=seed, reduced="yes") for seed, words in enumerate(["quick", "paper, a=1"])]
    for each in asked:
        each["run"] = f"ebae-{each['seed']}"
    assert labels(*asked) == {"ebae, reduced (preset quick)"}


def test_one_thing_asked_for_in_two_ways_is_one_row():
    settings = ["quick, latent_dim=8, chain.steps=10", "quick, chain.steps=10, latent_dim=8"]
    rows = [row(preset=preset, seed=seed, run=f"ebae-{seed}") for seed, preset in enumerate(settings)]
    assert labels(*rows) == {"ebae, reduced (preset quick, chain.steps=10, latent_dim=8)"}


def test_parameters_may_depend_on_the_in_data_without_being_told_apart():
    assert labels(row(), row(in_dataset="cifar10", params={"latent_dim": 256})) == {"ebae"}


def test_a_label_is_the_same_in_every_table_of_the_page():
    wide, narrow = {"latent_dim": 32}, {"latent_dim": 8}
    results = frame(row(params=wide), row(params=narrow), row(params=narrow, metric="fpr95_in", notes="restarted"))
    page = render(results, [AUROC, FPR])
    assert page.count("| ebae, latent_dim=8[^1] ") == 3
    assert "| ebae, latent_dim=32 " in page


def test_the_page_says_all_that_a_reader_of_the_numbers_must_know():
    reduced = "mnist: 7,200 of 54,000 training images (reduced)"
    page = render(
        frame(
            row(value=0.9, notes=reduced, preset="quick", device="cuda (NVIDIA H200)", fit_seconds=1000.0),
            row(value=0.95, notes=f"{reduced}; restarted once", seed=1, preset="quick", fit_seconds=2000.0),
            row("ae", value=0.04),
            row("ae", "noise", value=0.96),
            row("ae", value=0.97, metric="fpr95_in"),
            row("ae", "svhn", value=0.4, in_dataset="cifar10", n_in=10_000, n_out=26_032),
        ),
        [AUROC, FPR],
        title="Digits",
    )
    assert page.startswith("# Digits\n")
    assert page.count(SCORE_CONVENTION) == 1
    for text in [
        "## In-distribution: mnist:0-8",
        "## In-distribution: cifar10",
        "### auroc ↑: area under the ROC curve",
        "### fpr95_in ↓: share of out-images accepted",
        "mnist:9 ↑",
        "| ebae, reduced (preset quick)[^1] | **0.925 ± 0.035** |",
        "| 0, 1 ",
        "| 7,200 ",
        "| 1,500.0 ",
        "cpu, cuda (NVIDIA H200)",
        "Images scored: in mnist:0-8 1,000; out mnist:9 500, noise 500.",
        "Images scored: in cifar10 10,000; out svhn 26,032.",
        f"[^1]: ebae, reduced (preset quick) on mnist:0-8: {reduced}; restarted once (seed 1)",
    ]:
        assert text in page, text
    assert "ae[^" not in page.replace("ebae", "")


def test_rows_with_the_same_notes_have_one_footnote():
    names = ("ae", "dae", "vae", "wae")
    page = render(
        frame(*(row(name, notes="stands on x; holds", seed=seed) for name in names for seed in (0, 1))), [AUROC]
    )
    assert re.findall(r"^\[\^(\d)\]: (.*)$", page, re.MULTILINE) == [("1", "4 rows on mnist:0-8: stands on x; holds")]
    assert all(f"| {name}[^1] " in page for name in names)
    page = render(frame(row("ae", notes="a"), row("dae", notes="a"), row("vae", notes="a; b")), [AUROC])
    assert "[^1]: ae and dae on mnist:0-8: a (seed 0)" in page
    assert "[^2]: vae on mnist:0-8: a (seed 0); b (seed 0)" in page
    parts = "the loss is not finite; lower the rate"  # one note
    page = render(frame(row("ae", notes=parts, seed=1), row("ae", seed=0)), [AUROC])
    assert "[^1]: ae on mnist:0-8: the loss is not finite (seed 1); lower the rate (seed 1)" in page


def test_what_is_to_be_said_on_several_in_data_sets_alike_is_one_footnote():
    digits, pictures = [f"mnist:{digit}" for digit in range(5)], ["cifar10", "svhn"]
    results = frame(
        *(row(in_dataset=name, notes="stands on vae") for name in digits),
        *(row(in_dataset=name, notes="restarted") for name in pictures),
        row("ae", in_dataset="svhn", notes="restarted"),
    )
    notes = [
        "ebae on cifar10 and svhn: restarted (seed 0)",
        "ebae on 5 in-data sets: stands on vae (seed 0)",
        "ae on svhn: restarted (seed 0)",
    ]
    page, latex = render(results, [AUROC]), page_latex.render(Board(results, [AUROC]))
    assert re.findall(r"^\[\^(\d)\]: (.*)$", page, re.MULTILINE) == [(str(n), note) for n, note in enumerate(notes, 1)]
    assert latex.splitlines()[-3:] == [f"% {note}" for note in notes]
    together, *each = page.split("## In-distribution: ")
    assert "| ebae[^1][^2] " in together and "| ae[^3] " in together
    assert ["| ebae[^1] " in part for part in each] == [True, *[False] * 5, True]
    assert ["| ebae[^2] " in part for part in each] == [False, *[True] * 5, False]


def test_records_are_json_with_every_seed():
    results = frame(row(value=0.25, seed=1), row(value=0.75), row("ae", value=0.125))
    ae, ebae = json.loads(json.dumps(records(results, [AUROC, FPR]), allow_nan=False))
    assert (ae["detector"], ae["mean"], ae["sd"], ae["seeds"]) == ("ae", 0.125, None, [0])
    assert (ebae["mean"], ebae["values"], ebae["seeds"]) == (0.5, [0.75, 0.25], [0, 1])
    assert ebae["sd"] == pytest.approx(0.125**0.5)
    assert ebae["params"] == {"latent_dim": 32, "chain": {"steps": 10}}
    assert ebae["higher_is_better"] is True


def test_the_summary_has_metrics_with_arrows_by_out_set():
    text = summary(
        frame(row(value=0.9), row(value=0.1, metric="fpr95_in"), row("ae", "noise", value=0.25, seed=2)), [AUROC, FPR]
    )
    header, _, *lines = [line.split() for line in text.splitlines()]
    assert header == ["in", "out", "detector", "seeds", "auroc", "↑", "fpr95_in", "↓"]
    assert lines == [
        ["mnist:0-8", "mnist:9", "ebae", "0", "0.900", "0.100"],
        ["mnist:0-8", "noise", "ae", "2", "0.250", "–"],
    ]


def test_no_results_say_which_command_makes_some():
    for view in (records, summary, render):
        with pytest.raises(OODBenchError, match="`oodbench run --detector"):
            view(frame(row()).iloc[:0], [AUROC])
        with pytest.raises(OODBenchError, match="no results of fpr95_in yet; `oodbench evaluate`"):
            view(frame(row()), [FPR])
    with pytest.raises(OODBenchError, match="oodbench run"):
        table(frame(row()), "cifar10", AUROC)


@pytest.mark.parametrize(
    ("interval", "text"),
    [((0.9996, 1.0), "0.999–1.000"), ((0.951, 0.962), "0.951–0.962"), ((0.0, 0.00001), "0.000–0.001"),
     ((0.9471, 0.9699), "0.947–0.970")],
)  # fmt: skip
def test_an_interval_is_rounded_outward(interval, text):
    """So that none reads as certainty that it is not."""
    assert interval_text(interval) == text
