"""Runs through an executor: what is finished is not handed out, other code is refused, and so are unseen files."""

from __future__ import annotations

from pathlib import Path

import pytest

from oodbench.errors import OODBenchError
from oodbench.plan.requests import RunRequest
from oodbench.runs import pipeline
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.runs.same_code import check_code, code_of
from oodbench.store.store import Store

HEARING = """
import os
from pathlib import Path
from oodbench import Params, WorkerDied, hookimpl, param
from oodbench.runs.executors.local import Local

class HearingParams(Params):
    shares: bool = param(True, "whether files are shared")

class Hearing(Local):
    name = "hearing"
    Params = HearingParams
    shares_files = property(lambda self: self.params.shares)

    def __init__(self, params):
        super().__init__(params)
        self.shares = params.shares

    def work(self, tasks, open_, slots, progress):
        with Path(os.environ["HEARD"]).open("a") as file:
            file.write("".join(f"{title} after {job.after}\\n" for title, job in tasks.items()))
        here = Local(Local.Params(threads=1))
        yield from here.work(tasks, open_, slots, progress)

@hookimpl
def register_executors():
    return [Hearing]
"""


@pytest.fixture
def heard(toys, standing, install, tmp_path, monkeypatch) -> Path:
    install("hearing", "hearing_module", HEARING)
    monkeypatch.setenv("HEARD", str(tmp_path / "heard"))
    return tmp_path / "heard"


def through(store: Path, request: RunRequest, **settings):
    return run(request, options=ExecutionOptions(str(store), device="cpu", executor="hearing", **settings))


REQUEST = RunRequest(("mean-distance", "offset"), ("bars:0",), ("white",), preset="quick")


GAP = """
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric("gap", lambda in_scores, out_scores: float(out_scores.min() - in_scores.max()), True, "gap")]
"""


def test_what_is_finished_is_not_handed_out(heard, tmp_path):
    store = tmp_path / "store"
    first = through(store, RunRequest(("mean-distance",), ("bars:0",), ("white",), preset="quick"))
    assert heard.read_text().splitlines() == ["[1/1] mean-distance on bars:0, seed 0 after None"]
    heard.unlink()
    outcome = through(store, REQUEST)
    assert heard.read_text().splitlines() == [
        "[2/3] centre on bars:0, seed 0 after None",
        "[3/3] offset on bars:0, seed 0 after [2/3] centre on bars:0, seed 0",
    ]
    assert outcome.keys[0] == first.keys[0] and len(outcome.keys) == 2 and outcome.failures == []
    heard.unlink()
    again = through(store, REQUEST)
    assert not heard.exists(), "no executor is asked where all is finished"
    assert again.keys == outcome.keys and again.results.equals(outcome.results)


def test_what_stands_on_a_finished_base_waits_for_nothing(heard, tmp_path):
    store = tmp_path / "store"
    through(store, RunRequest(("centre",), ("bars:0",), ("white",), preset="quick"))
    heard.unlink()
    through(store, RunRequest(("offset",), ("bars:0",), ("white",), preset="quick"))
    assert heard.read_text().splitlines() == ["[2/2] offset on bars:0, seed 0 after None"]


def test_a_worker_with_other_code_refuses_in_one_line(heard, tmp_path, monkeypatch):
    def with_another_core(runs, registry):
        return code_of(runs, registry) | {"oodbench": "0.0.1"}

    monkeypatch.setattr(pipeline, "code_of", with_another_core)
    with pytest.raises(
        OODBenchError, match="has other code: oodbench is .* there, and 0.0.1 where the runs were"
    ) as no:
        through(tmp_path / "store", REQUEST)
    assert "\n" not in str(no.value)
    assert Store(str(tmp_path / "store")).keys() == []


def test_code_is_that_of_detectors_with_what_they_stand_on_and_of_metrics(heard):
    registry = pipeline.load_registry()
    loader = pipeline.open_loader(registry)
    (task,) = pipeline.plan([RunRequest(("offset",), ("bars:0",), ("white",))], registry, loader)
    code = code_of([task.run], registry)
    assert {"oodbench", "torch", "detector offset", "detector centre", "metric auroc"} <= code.keys()
    check_code(code, registry)
    with pytest.raises(OODBenchError, match="detector gone is missing there, and 1.0 where"):
        check_code(code | {"detector gone": "1.0"}, registry)


def test_code_of_a_metric_is_more_than_its_version(install):
    """An editable installation keeps its version whatever it computes."""
    install("gap", "gap_module", GAP)
    registry = pipeline.load_registry()
    code = code_of([], registry)
    assert code["metric gap"].startswith("1.0+")
    with pytest.raises(OODBenchError, match="metric gap is .* there, and 1.0 where the runs were planned"):
        check_code(code | {"metric gap": "1.0"}, registry)


def test_a_folder_that_workers_do_not_see_is_refused_before_anything_runs(heard, tmp_path):
    with pytest.raises(OODBenchError, match="may be on machines that do not see the folder .*store") as refusal:
        through(tmp_path / "store", REQUEST, executor_settings={"shares": False})
    assert "s3://bucket/name" in str(refusal.value)
    assert not heard.exists()


def test_a_device_that_only_workers_have_is_theirs_to_find(heard, tmp_path):
    with pytest.raises(OODBenchError, match="unknown device 'gpu'"):
        run(REQUEST, options=ExecutionOptions(str(tmp_path / "store"), device="gpu", executor="hearing"))
    assert not heard.exists()
    with pytest.raises(OODBenchError, match="--device cuda:99: "):
        run(REQUEST, options=ExecutionOptions(str(tmp_path / "store"), device="cuda:99", executor="hearing"))
    assert heard.exists(), "a worker said so, not the process that planned"
