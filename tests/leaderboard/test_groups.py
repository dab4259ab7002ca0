"""Means over groups of out-data sets: per seed, beside what they are made from, in every format."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from result_rows import result_row

from oodbench.api import Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard import formats, suites
from oodbench.leaderboard.groups import group_records
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.suites import Suite
from oodbench.leaderboard.tables import Order, ranked, records

AUROC = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve")
GROUPS = {"near": ("tin", "cifar100"), "far": ("noise",)}


def row(detector="msp", out="tin", value=0.5, seed=0, in_dataset="cifar10", **facts):
    return result_row(detector, out, value, seed, "auroc", in_dataset, **{"facts": "", **facts})


def two_detectors(**facts):
    """msp is better near, knn far; two seeds."""
    values = {
        ("msp", "tin"): (0.8, 0.9),
        ("msp", "cifar100"): (0.7, 0.8),
        ("msp", "noise"): (0.5, 0.6),
        ("knn", "tin"): (0.6, 0.6),
        ("knn", "cifar100"): (0.5, 0.6),
        ("knn", "noise"): (1.0, 1.0),
    }
    return pd.DataFrame(
        [
            row(detector, out, value, seed, **facts)
            for (detector, out), pair in values.items()
            for seed, value in enumerate(pair)
        ]
    )


def table(results, **options):
    return ranked(records(results, [AUROC]), AUROC, groups=GROUPS, **options)


def test_the_mean_is_that_of_each_seed_and_then_over_seeds():
    cell = table(two_detectors()).cells["msp", ("cifar10", "near")]
    assert [value for _, value, _ in cell.fits] == pytest.approx([0.75, 0.85])
    assert cell.mean == pytest.approx(0.8)
    assert cell.sd == pytest.approx(np.std([0.75, 0.85], ddof=1))


def test_rows_can_be_ranked_by_a_group_and_are_ranked_by_single_sets_else():
    assert table(two_detectors(), order=Order("near")).rows == ["msp", "knn"]
    assert table(two_detectors(), order=Order("far")).rows == ["knn", "msp"]
    means = {"msp": np.mean([0.85, 0.75, 0.55]), "knn": np.mean([0.6, 0.55, 1.0])}
    assert table(two_detectors()).rows == sorted(means, key=means.get, reverse=True), "a group counts no set twice"


def test_a_row_that_lacks_a_member_has_no_mean():
    results = two_detectors()
    results = results[(results["detector"] != "knn") | (results["out_dataset"] != "tin")]
    made = table(results)
    assert ("knn", ("cifar10", "near")) not in made.cells
    assert made.cells["knn", ("cifar10", "far")].mean == 1.0


def test_a_seed_that_lacks_a_member_is_missing_in_the_mean():
    results = two_detectors()
    is_lost = (results["detector"] == "msp") & (results["out_dataset"] == "tin") & (results["seed"] == 1)
    results.loc[is_lost, ["metric", "value", "error"]] = ["", np.nan, "DataError: gone"]
    cell = table(results).cells["msp", ("cifar10", "near")]
    assert (cell.mean, cell.seeds) == (pytest.approx(0.75), (1, 2))
    assert not cell.is_best


def test_a_seed_that_one_set_was_never_scored_with_is_no_failed_one():
    results = two_detectors()
    is_msp = results["detector"] == "msp"
    fewer = results[~(is_msp & (results["out_dataset"] == "tin") & (results["seed"] == 1))]
    means = group_records(records(fewer, [AUROC]), GROUPS)
    (mean,) = [each for each in means if (each["detector"], each["out_dataset"]) == ("msp", "near")]
    assert (mean["mean"], mean["seeds"], mean["failed_seeds"]) == (pytest.approx(0.75), [0], [])
    none_shared = results[~(is_msp & ((results["out_dataset"] == "tin") == (results["seed"] == 1)))]
    assert ("msp", ("cifar10", "near")) not in table(none_shared).cells


def test_means_of_published_results_are_never_bold_as_they_are_not_tested():
    results = two_detectors().assign(low=0.1, high=0.9, p_best=1.0)
    made = table(results)
    assert made.cells["msp", ("cifar10", "tin")].is_best
    assert not any(cell.is_best for (_, column), cell in made.cells.items() if column in made.groups)


def test_records_of_groups_are_fit_for_json_and_say_what_they_are_made_of():
    cells = records(two_detectors(), [AUROC])
    means = json.loads(json.dumps(group_records(cells, GROUPS), allow_nan=False))
    assert {each["out_dataset"]: each["mean_of"] for each in means} == {"near": ["tin", "cifar100"], "far": ["noise"]}
    assert {each["n_out"] for each in means if each["out_dataset"] == "near"} == {1000}


# ---------------------------------------------------------------------------------------- pages


def page(format_name, results=None, order=None, **of_suite):
    results = two_detectors() if results is None else results
    suite = Suite(groups=GROUPS, **of_suite)
    made = formats.Page(suite, Publication(results), [AUROC], **({"order": order} if order else {}))
    return formats.write(made, format_name)


@pytest.mark.parametrize("format_name", ["markdown", "html", "latex"])
def test_every_format_shows_the_means_first_and_says_what_they_are(format_name):
    text = page(format_name)
    assert text.index("near (mean of 2)") < text.index("far (mean of 1)") < text.rindex("cifar100")
    assert "near: tin, cifar100; far: noise" in text
    assert "not tested" not in text


def test_csv_has_the_members_of_each_mean():
    rows = [*csv.DictReader(io.StringIO(page("csv")))]
    assert {each["mean_of"] for each in rows if each["out"] == "near"} == {"tin cifar100"}
    (msp,) = (each for each in rows if each["out"] == "near" and each["row"] == "msp")
    assert float(msp["mean"]) == pytest.approx(0.8)


def test_the_suite_says_by_which_column_rows_are_ranked_and_a_reader_may_choose_another():
    by_near, by_far = page("csv", rank="near"), page("csv", rank="near", order=Order("far"))
    first = [next(csv.DictReader(io.StringIO(text)))["row"] for text in (by_near, by_far)]
    assert first == ["msp", "knn"]
    assert "ranked by near" in page("markdown", rank="near")


def test_an_unknown_column_to_rank_by_names_those_there_are():
    with pytest.raises(OODBenchError, match="unknown column 'nera'; did you mean near"):
        page("csv", order=Order("nera"))


def test_of_several_in_data_sets_the_first_table_shows_the_means_alone():
    results = pd.concat([two_detectors(), two_detectors(in_dataset="svhn")])
    overview = page("markdown", results).split("## In-distribution")[0]
    assert "near (mean of 2) (in svhn)" in overview
    assert "cifar100" not in overview


def test_only_the_columns_of_a_group_are_shown_where_one_is_chosen():
    suite, found = formats.only_groups(Suite(groups=GROUPS, rank="near"), Publication(two_detectors()), ["far"])
    text = formats.write(formats.Page(suite, found, [AUROC]), "markdown")
    assert "noise" in text
    assert "cifar100" not in text
    with pytest.raises(OODBenchError, match="unknown group of the suite 'faar'; did you mean far"):
        formats.only_groups(suite, found, ["faar"])


def test_a_reported_row_has_the_mean_of_a_group_that_it_has_all_figures_of():
    figures = [
        LiteratureResult("MSP", "msp", "", "cifar10", out, "auroc", value, None, "A paper", "read there")
        for out, value in (("tin", 0.88), ("cifar100", 0.86))
    ]
    rows = [*csv.DictReader(io.StringIO(page("csv", reported=figures)))]
    means = {each["out"]: float(each["mean"]) for each in rows if each["reported"] == "yes"}
    assert means == {"tin": 0.88, "cifar100": 0.86, "near": pytest.approx(0.87)}


def test_what_others_reported_of_a_group_stands_in_its_column():
    figure = LiteratureResult("MSP", "msp", "", "cifar10", "near", "auroc", 0.8803, 0.0025, "A table", "read there")
    text = page("markdown", reported=[figure])
    head, reported = (line for line in text.splitlines() if "near (mean of 2)" in line or "MSP (reported)" in line)
    columns = [cell.strip() for cell in head.split("|")]
    assert reported.split("|")[columns.index("near (mean of 2) ↑")].strip() == "*0.880 ± 0.003*"


def test_means_stand_in_what_is_printed_as_json():
    assert {each["out_dataset"] for each in suites.records(Suite(groups=GROUPS), two_detectors(), [AUROC])} >= {*GROUPS}


# ---------------------------------------------------------------------------------------- facts


@pytest.mark.parametrize("format_name", ["markdown", "html", "latex"])
def test_what_the_fits_do_on_in_data_is_a_column(format_name):
    results = two_detectors()
    of_msp = results["detector"] == "msp"
    results.loc[of_msp, "facts"] = [json.dumps({"accuracy": 0.9 + 0.02 * seed}) for seed in results["seed"][of_msp]]
    text = page(format_name, results)
    assert "accuracy" in text
    assert "0.910 $\\pm$ 0.014" in text or "0.910 ± 0.014" in text


def test_csv_has_facts_as_rows_without_an_out_data_set():
    rows = [*csv.DictReader(io.StringIO(page("csv", two_detectors(facts='{"accuracy": 0.9}'))))]
    assert {(each["row"], each["metric"], each["mean"]) for each in rows if not each["out"]} == {
        ("msp", "accuracy", "0.9"),
        ("knn", "accuracy", "0.9"),
    }
