"""``oodbench query``: SQL over a store and a published leaderboard, and what SQL may not do."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from oodbench.leaderboard.published import results_file
from oodbench.leaderboard.score_file import ImageScores, scores_file
from oodbench.store import schema
from oodbench.store.store import Store

RUN = ["run", "--in", "bars:0", "-q"]


@pytest.fixture
def runs(oodbench) -> list[str]:
    """Two seeds with two out-data sets, and a detector that fails."""
    oodbench(*RUN, "--detector", "mean-distance", "--out", "bars:1", "--out", "white", "--seeds", 2)
    oodbench(*RUN, "--detector", "broken", "--set", "fault=fit", "--out", "bars:1", code=1)
    return Store("results").keys()


@pytest.fixture
def ask(oodbench):
    """Gives a query's rows as JSON."""
    return lambda *words: json.loads(oodbench("query", *words, "--json").stdout)


def test_the_views_have_the_documented_columns(runs, ask):
    for view, columns in {
        "results": (*schema.RESULT_COLUMNS, *schema.RUN_COLUMNS, *schema.PUBLISHED_COLUMNS),
        "scores": schema.SCORE_COLUMNS,
        "history": schema.HISTORY_COLUMNS,
    }.items():
        assert tuple(row["column_name"] for row in ask(f"describe {view}")) == columns
    assert [row["name"] for row in ask("show tables")] == ["history", "results", "scores"]


def test_results_are_those_of_the_store_and_its_failures(runs, ask):
    expected = Store("results").read_results()
    rows = ask("select * from results where metric != '' order by run, out_dataset, metric")
    for row, known in zip(rows, expected.sort_values(["run", "out_dataset", "metric"]).to_dict("records"), strict=True):
        assert row == {**known, "low": None, "high": None, "p_best": None}
    (failed,) = ask("select * from results where metric = ''")
    assert failed["detector"] == "broken" and failed["value"] is None and "the loss is not finite" in failed["error"]


def test_scores_are_exactly_those_of_the_files(runs, ask):
    rows = ask("select * from scores")
    assert len(rows) == 2 * (10 + 10 + 20)
    for key in runs:
        for name, out in (("bars:0", None), ("bars:1", "bars:1"), ("white", "white")):
            scores = Store("results").read_scores(key, out)
            found = [row for row in rows if (row["run"], row["dataset"], row["split"]) == (key, name, "test")]
            assert [row["score"] for row in found] == scores.values.tolist()
            assert [row["index"] for row in found] == scores.indices.tolist()
            assert [row["label"] for row in found] == scores.labels.tolist()


def test_an_auroc_can_be_computed_in_sql(runs, ask):
    (row,) = ask(
        f"""select avg(case when o.score > i.score then 1 when o.score = i.score then .5 else 0 end) as auroc,
        first(value) as stored from scores i, scores o, results r where i.run = o.run and r.run = o.run
        and i.dataset = r.in_dataset and o.dataset = 'bars:1' and r.out_dataset = 'bars:1' and metric = 'auroc'
        and r.run = '{runs[0]}'"""
    )
    assert row["auroc"] == pytest.approx(row["stored"])


def test_history_is_one_row_per_epoch_and_number(runs, ask):
    rows = ask("select * from history order by run")
    value = Store("results").read_history(runs[0])["brightness"][0]
    assert rows[0] == {
        "run": runs[0], "number": 1, "phase": "averaging", "epoch": 1, "quantity": "brightness", "value": value
    }  # fmt: skip
    assert len(rows) == 2


def test_scores_of_validation_splits_are_marked(oodbench, ask):
    oodbench("tune", "--detector", "mean-distance", "--in", "bars:0", "--val-out", "bars:1", "--out", "white",
             "--grid", "power=1,2", "-q")  # fmt: skip
    counted = {row["split"]: row["n"] for row in ask("select split, count(*) as n from scores group by all")}
    assert counted == {"validation": 2 * (5 + 5), "test": 10 + 20}


def test_it_prints_a_table_json_or_csv(runs, oodbench):
    sql = "select seed, value as v, 1 / 3 as third, null as nothing from results where metric = 'auroc' order by all"
    table = oodbench("query", sql).stdout.splitlines()
    assert table[0].split() == ["seed", "v", "third", "nothing"] and "0.333333" in table[2] and len(table) == 6
    read = [*csv.DictReader(io.StringIO(oodbench("query", sql, "--csv").stdout))]
    assert float(read[0]["third"]) == 1 / 3 and read[0]["nothing"] == ""
    assert json.loads(oodbench("query", sql, "--json").stdout)[0]["third"] == 1 / 3
    assert "not both" in oodbench("query", sql, "--csv", "--json", code=2).stderr


def test_values_of_any_kind_are_json(runs, ask):
    (row,) = ask("select 1.5::decimal(3, 1) a, 'nan'::double b, [1, 'inf'::double] c, {'x': 2} d, date '2030-01-02' e")
    assert row == {"a": 1.5, "b": None, "c": [1, None], "d": {"x": 2}, "e": "2030-01-02"}
    assert ask("select 1 as a, 2 as a, 3 as a_2") == [{"a": 1, "a_2": 2, "a_2_2": 3}]


def test_no_rows_are_said(runs, oodbench):
    assert oodbench("query", "select * from results where seed > 99").stderr == "No rows.\n"


@pytest.mark.parametrize("option", [[], ["--json"], ["--csv"]])
def test_what_a_terminal_would_act_on_is_escaped(runs, oodbench, option):
    result = oodbench("query", "select chr(27) || '[2J' as a, 1 as \"\x1b[2J\"", *option)
    assert "[2J" in result.stdout and "\x1b" not in result.output


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("selec 1", 'the query failed: Parser Error: syntax error at or near "selec"'),
        ("select nope from results", 'Referenced column "nope" not found'),
        ("select * from nothing", "Table with name nothing does not exist"),
        ("select error(chr(27))", "the query failed:"),
        ("", "a query is one statement, and this has 0"),
        ("select 1; select 2", "a query is one statement, and this has 2"),
        ("delete from results", "a query reads, as SELECT does, and this is DELETE"),
        ("create table t (x int)", "this is CREATE"),
        ("set enable_external_access = true", "this is SET"),
        ("attach 'x.db'", "this is ATTACH"),
        ("copy (select 1) to 'x.csv'", "this is COPY"),
        ("install httpfs", "this is LOAD"),
        ("select * from read_csv('secret.csv')", "Cannot access file"),
        ("select * from read_text('secret.csv')", "Cannot access file"),
        ("select * from 'secret.csv'", "Cannot access file"),
        ("select * from glob('*')", "Cannot access file"),
        ("select * from registered", "Table with name registered does not exist"),
    ],
)
def test_what_is_no_query_is_refused_in_one_line(runs, oodbench, refusal, sql, why):
    Path("secret.csv").write_text("a\n1\n")
    line = refusal(oodbench("query", sql, code=1))
    assert why in line and len(line) < 900 and "\x1b" not in line
    assert sorted(path.name for path in Path().iterdir()) == ["results", "secret.csv"]


def test_without_duckdb_it_says_how_to_install_it(runs, oodbench, refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert refusal(oodbench("query", "select 1", code=1)) == (
        "Error: SQL needs DuckDB, which is not installed: pip install 'oodbench[query]'"
    )


def test_a_store_without_runs_has_empty_views(oodbench, here, ask):
    (here / "results").mkdir()
    for view in ("results", "scores", "history"):
        assert ask(f"select count(*) as n from {view}") == [{"n": 0}]


@pytest.mark.parametrize("name", ["run.json", "scores/in.parquet", "scores/white.parquet"])
def test_what_cannot_be_read_is_left_out_and_named(runs, oodbench, name):
    Path("results", runs[0], name).write_bytes(b"PAR1")
    result = oodbench("query", "select distinct run from scores where dataset in ('bars:0', 'white')", "--csv")
    assert result.stderr.startswith("Left out: ") and len(result.stderr.splitlines()) == 1
    assert runs[1] in result.stdout


def test_scores_of_another_fit_are_left_out(runs, oodbench):
    """As ``read_scores`` refuses them."""
    first, second = (Path("results", key, "scores", "white.parquet") for key in runs)
    oodbench("run", "--in", "bars:0", "--detector", "mean-distance", "--preset", "quick", "--out", "white", "-q")
    (other,) = (key for key in Store("results").keys() if key not in runs)
    first.write_bytes(Path("results", other, "scores", "white.parquet").read_bytes())
    result = oodbench("query", "select count(*) from scores")
    assert "has scores of another fit than run.json" in result.stderr
    assert second.exists()


def test_a_changed_page_of_scores_is_one_line(runs, oodbench, refusal):
    path = Path("results", runs[0], "scores", "white.parquet")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert "the query failed" in refusal(oodbench("query", "select sum(score), sum(index) from scores", code=1))


def test_a_leaderboard_s_folder_has_results(runs, oodbench, ask, refusal):
    Path("page").mkdir()
    Path("page/results.parquet").write_bytes(results_file(Store("results").read_results()))
    here, there = (ask("select * from results where metric != '' order by all", *more) for more in ([], ["page"]))
    assert here == there and len(here)
    assert [row["name"] for row in ask("show tables", "page")] == ["results"]
    why = refusal(oodbench("query", "select * from scores", "page", code=1))
    assert why == "Error: page/scores.parquet cannot be read: No such file or directory"
    assert "has no training curves" in refusal(oodbench("query", "select * from history", "page", code=1))
    Path("page/results.parquet").unlink()
    assert "cannot be read" in refusal(oodbench("query", "select * from results", "page", code=1))
    assert "there is no folder nowhere" in refusal(oodbench("query", "select 1", "nowhere", code=1))
    line = refusal(oodbench("query", "select * from results", "--store", "nowhere", code=1))
    assert "there is no store nowhere; `oodbench run` makes one" in line


def test_a_leaderboard_s_folder_may_have_scores(runs, oodbench, ask, refusal):
    import pyarrow as pa
    from pyarrow import parquet

    table = {}
    for key in runs:
        for name, out in (("bars:0", None), ("white", "white")):
            found = Store("results").read_scores(key, out)
            table[key, name] = ImageScores(key, name, "test", found.indices, found.labels, found.values)
    Path("page").mkdir()
    Path("page/scores.parquet").write_bytes(scores_file(table))
    query = "select * from scores where dataset in ('bars:0', 'white') order by all"
    assert ask(query, "page") == ask(query) and len(ask(query)) == 2 * (10 + 20)
    parquet.write_table(pa.table({"x": [1]}), "page/scores.parquet")
    assert "has no column run" in refusal(oodbench("query", "select * from scores", "page", code=1))
    Path("page/scores.parquet").write_bytes(b"nothing")
    assert "page/scores.parquet holds no scores" in refusal(oodbench("query", "select * from scores", "page", code=1))
