"""Only the newest version of each detector."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from click.testing import CliRunner

from oodbench.api import Provenance, Result, Run
from oodbench.cli import main
from oodbench.errors import OODBenchError
from oodbench.leaderboard.latest import latest_versions, public_version
from oodbench.leaderboard.published import results_file
from oodbench.store.store import Store


def rows(*versions: str, detector="ae", metric="auroc", distribution="oodbench-ae", created="2030-01-01") -> list[dict]:
    return [
        {"run": f"{detector}-{version}-{metric}", "detector": detector, "plugin_version": version, "metric": metric,
         "distribution": distribution, "created": created if metric else ""} for version in versions
    ]  # fmt: skip


def kept(results: list[dict]) -> list[str]:
    return latest_versions(pd.DataFrame(results))["plugin_version"].tolist()


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["0.1.2", "0.1.10", "0.1.9"], "0.1.10"),
        (["1.0rc1", "1.0", "0.9"], "1.0"),
        (["0.1.1+ffffffffffffffff", "0.1.2+0000000000000000"], "0.1.2+0000000000000000"),
        (["unknown", "0.0.1"], "0.0.1"),
    ],
)
def test_the_greatest_version_is_the_newest(versions, newest):
    assert kept(rows(*versions)) == [newest]


def test_of_one_version_the_code_of_the_run_created_last():
    older = rows("0.1+bbbb", "0.0.9+cccc", created="2030-01-01")
    assert kept([*rows("0.1+aaaa", created="2030-02-01"), *older]) == ["0.1+aaaa"]
    assert kept([*rows("0.1+aaaa", created="2029-02-01"), *older]) == ["0.1+bbbb"]
    with pytest.raises(OODBenchError, match="which code of ae .0.1.aaaa, 0.1.bbbb. is the latest is not on record"):
        kept([*rows("0.1+aaaa", created=""), *older])


def test_each_detector_has_its_own_newest_and_all_its_runs_stay():
    results = [*rows("0.1", "0.2", "0.2"), *rows("0.1", detector="vae")]
    assert kept(results) == ["0.2", "0.2", "0.1"]


def test_failures_of_older_code_go_and_of_newer_code_do_not_hide_results():
    results = [*rows("0.1", "0.2"), *rows("0.1", "0.2", "0.3", metric="")]
    assert kept(results) == ["0.2", "0.2"]
    assert kept(rows("0.1", "0.3", metric="")) == ["0.3"]


def test_nothing_stays_nothing():
    assert latest_versions(pd.DataFrame([], columns=[*rows("0.1")[0]])).empty


def test_versions():
    assert str(public_version("0.1.1+5a85784f027a4875")) == "0.1.1"
    assert public_version("") < public_version("0.0.0.dev1")


@pytest.fixture
def store(tmp_path, no_traces) -> Store:
    """One detector in two versions, the newer one as two different codes."""
    store = Store(str(tmp_path / "store"))
    created = Provenance(
        "0.2.0", "p", "0.1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 9}, ""
    )
    for version, date, value in [
        ("0.1+a", "2030-03-01", 0.1),
        ("0.2+a", "2030-02-01", 0.2),
        ("0.2+b", "2030-01-01", 0.3),
    ]:
        run = Run("ae", version, "{}", "mnist:0-8")
        key = run.key("")
        store.write_fit(key, run, replace(created, created=date, plugin_version=version), {}, [])
        store.write_results(key, [Result(key, "ae", "mnist:0-8", "noise", 0, "auroc", value, 9, 9)])
    return store


def test_leaderboard_latest(store, tmp_path):
    shown = ["leaderboard", "--metric", "auroc", "--json"]
    result = CliRunner().invoke(main, [*shown, "--latest", "--store", store.address])
    (record,) = json.loads(result.stdout)
    assert (record["mean"], record["plugin_version"]) == (0.2, "0.2+a")
    saved = tmp_path / "results.parquet"
    saved.write_bytes(results_file(store.read_results()))
    result = CliRunner().invoke(main, [*shown, "--latest", "--results", str(saved)])
    assert [row["mean"] for row in json.loads(result.stdout)] == [0.2]
