from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import uuid
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save

import oodbench
from oodbench.api import Provenance, Result, Run, Scores
from oodbench.errors import StoreError
from oodbench.store.processes import host
from oodbench.store.records import Combination
from oodbench.store.schema import RUN_COLUMNS
from oodbench.store.store import Store

RUN = Run("ae", "0.2", '{"latent_dim": 8}', "mnist:0-8", seed=3, precision="bfloat16", preset="quick")
KEY = RUN.key("c" * 16)
PROVENANCE = Provenance(
    oodbench="0.1.0",
    plugin="ae",
    plugin_version="0.2",
    torch="2.11",
    python="3.11",
    commit="",
    device="cpu",
    fit_seconds=1.25,
    peak_memory_mib=100.5,
    parameters=1234,
    images={"train": 700, "validation": 3, "test": 3},
    created="2030-01-01T00:00:00+00:00",
    notes=("restarted once", "700 of 54,000 images"),
    in_images="c" * 16,
    facts={"accuracy": 0.75},
)
WEIGHTS = {
    "w": torch.arange(6.0).reshape(2, 3).T,
    "shared.w": torch.ones(2),
    "half": torch.ones(1, dtype=torch.bfloat16),
}
HISTORY = [{"phase": "pretrain", "epoch": 0, "loss": 0.5}, {"phase": "train", "epoch": 0, "energy_in": 0.1}]


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return Store(
        str(tmp_path / "not" / "yet" / "there") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def local(folder):
    return Store(str(folder))


PLAIN_WEIGHTS = {name: tensor.contiguous().clone() for name, tensor in WEIGHTS.items()}
FIT_ID = hashlib.sha256(save(PLAIN_WEIGHTS)).hexdigest()[:16]


def scores(dataset="mnist:9", values=(0.25, -1e-300, 1 / 3), fingerprint="a" * 16):
    values = np.asarray(values, dtype=np.float64)
    indices = np.arange(len(values)) * 7
    return Scores(dataset, "test", fingerprint, indices, indices % 10, values, 123.5, "cpu", FIT_ID)


def result(out_dataset="mnist:9", metric="auroc", value=0.25, key=KEY):
    return Result(key, "ae", "mnist:0-8", out_dataset, 3, metric, value, 3, 3)


def fit(store, run=RUN, provenance=PROVENANCE):
    """Write a finished fit; returns its key."""
    key = run.key(provenance.in_images)
    store.write_fit(key, run, provenance, WEIGHTS, HISTORY)
    return key


def assert_same(left, right):
    np.testing.assert_equal(asdict(left), asdict(right))
    assert left.values.dtype == np.float64
    assert left.indices.dtype == left.labels.dtype == np.int64


# ------------------------------------------------------------------------------------ round trips


def test_a_fit_comes_back_as_it_was(store):
    assert store.keys() == []
    assert not store.is_fitted(KEY)
    fit(store)
    assert store.keys() == [KEY]
    assert store.is_fitted(KEY)
    run, provenance = store.read_run(KEY)
    assert (run, run.preset, provenance) == (RUN, "quick", PROVENANCE)
    weights = store.read_weights(KEY, "cpu")
    assert weights.keys() == WEIGHTS.keys()
    assert all(
        torch.equal(weights[name], WEIGHTS[name]) and weights[name].dtype == WEIGHTS[name].dtype for name in WEIGHTS
    )
    pandas.testing.assert_frame_equal(store.read_history(KEY), pandas.DataFrame(HISTORY))


def test_tensors_that_share_memory_and_no_history_can_be_kept(store):
    tied = torch.arange(4.0)
    store.write_fit(KEY, RUN, PROVENANCE, {"a": tied, "b": tied, "c": tied[1:]}, [])
    assert torch.equal(store.read_weights(KEY)["c"], torch.tensor([1.0, 2, 3]))
    assert len(store.read_history(KEY)) == 0


def test_a_detector_that_learns_nothing_can_be_kept(store):
    store.write_fit(KEY, RUN, PROVENANCE, {}, [])
    assert store.read_weights(KEY) == {}


def test_scores_come_back_as_they_were(store):
    fit(store)
    inside, outside = scores("mnist:0-8"), scores("mnist:9", np.random.default_rng(0).normal(size=1000))
    store.write_scores(KEY, inside, out=False)
    store.write_scores(KEY, outside, out=True)
    store.write_scores(KEY, scores("noise"), out=True)
    assert_same(store.read_scores(KEY, None), inside)
    assert_same(store.read_scores(KEY, "mnist:9"), outside)
    assert [*store.out_datasets(KEY)] == ["mnist:9", "noise"]


def test_scores_of_the_validation_splits_are_kept_apart(store):
    fit(store)
    for dataset, out in (("mnist:0-8", False), ("mnist:9", True)):
        store.write_scores(KEY, scores(dataset, [1, 2, 3]), out=out)
    store.write_results(KEY, [result()])
    validation = replace(scores("mnist:9", [2, 3]), split="validation")
    assert not store.has_scores(KEY, "mnist:9", "a" * 16, "validation")
    store.write_scores(KEY, validation, out=True)
    store.write_scores(KEY, replace(scores("mnist:0-8", [4, 5, 6]), split="validation"), out=False)
    store.write_scores(KEY, replace(scores("noise", [5]), split="validation"), out=True)
    assert store.has_scores(KEY, "mnist:9", "a" * 16, "validation")
    assert_same(store.read_scores(KEY, "mnist:9", "validation"), validation)
    assert store.read_scores(KEY, None, "validation").values.tolist() == [4, 5, 6]
    assert [store.read_scores(KEY, name).values.tolist() for name in (None, "mnist:9")] == [[1, 2, 3], [1, 2, 3]]
    assert [*store.out_datasets(KEY)] == ["mnist:9"]
    assert len(store.read_results()) == 1


def test_a_tuning_comes_back_as_it_was(store):
    assert store.read_tuning("ae-mnist-0") is None
    store.write_tuning("ae-mnist-0", {"chosen": {"latent_dim": "8"}, "points": [0.25]})
    store.write_tuning("ae-mnist-0", {"chosen": None, "points": [1 / 3]})
    assert store.read_tuning("ae-mnist-0") == {"chosen": None, "points": [1 / 3]}
    assert store.where_tuning("ae-mnist-0").endswith("tunings/ae-mnist-0.json")
    assert store.keys() == []


def test_the_in_data_can_be_an_out_data_set_too(store):
    fit(store)
    store.write_scores(KEY, scores("mnist:0-8", [1, 2, 3]), out=False)
    store.write_scores(KEY, scores("mnist:0-8", [2]), out=True)
    assert store.read_scores(KEY, None).values.tolist() == [1, 2, 3]
    assert store.read_scores(KEY, "mnist:0-8").values == [2]
    with pytest.raises(StoreError, match="'in'"):
        store.write_scores(KEY, scores("in", [3]), out=True)


def test_scores_of_other_images_do_not_count(store):
    fit(store)
    assert not store.has_scores(KEY, "mnist:9", "a" * 16)
    store.write_scores(KEY, scores(fingerprint="a" * 16), out=True)
    assert store.has_scores(KEY, "mnist:9", "a" * 16)
    assert not store.has_scores(KEY, "mnist:9", "b" * 16)
    assert not store.has_scores(KEY, None, "a" * 16)


def test_results_are_replaced_per_out_data_set_and_metric(store):
    fit(store)
    store.write_results(KEY, [result(value=0.1), result("noise", value=0.2), result(metric="fpr95_in", value=0.3)])
    store.write_results(KEY, [result(value=0.9)])
    results = store.read_results()
    found = {(row.out_dataset, row.metric): row.value for row in results.itertuples()}
    assert found == {("mnist:9", "auroc"): 0.9, ("noise", "auroc"): 0.2, ("mnist:9", "fpr95_in"): 0.3}


def test_results_do_not_outlive_the_scores_they_were_made_from(store):
    fit(store)
    store.write_results(KEY, [result("mnist:9"), result("noise")])
    store.write_scores(KEY, scores("mnist:9", [5]), out=True)
    assert list(store.read_results().out_dataset) == ["noise"]
    store.write_scores(KEY, scores("mnist:0-8", [5]), out=False)
    assert len(store.read_results()) == 0


def test_a_result_is_read_with_the_facts_of_its_run(store):
    fit(store)
    store.write_results(KEY, [result(value=0.1)])
    (row,) = store.read_results().to_dict("records")
    assert row == {
        **vars(result(value=0.1)),
        "preset": "quick",
        "precision": "bfloat16",
        "plugin_version": "0.2",
        "params": '{"latent_dim": 8}',
        "device": "cpu",
        "fit_seconds": 1.25,
        "parameters": 1234,
        "notes": "restarted once; 700 of 54,000 images",
        "n_train": 700,
        "in_images": "c" * 16,
        "distribution": "",
        "reduced": "",
        "base": "",
        "facts": '{"accuracy": 0.75}',
        "error": "",
        "plugin_commit": "",
        "oodbench": "0.1.0",
        "torch": PROVENANCE.torch,
        "python": PROVENANCE.python,
        "created": PROVENANCE.created,
        "fit_id": store.fit_id(KEY),
    }


def test_results_of_finished_runs_only_or_of_those_asked_for(store):
    assert list(store.read_results().columns) == [*vars(result()), *RUN_COLUMNS]
    first, second = (fit(store, replace(RUN, detector=name)) for name in ("a", "b"))
    for key in (first, second):
        store.write_results(key, [result(key=key)])
    store.write_results("unfinished", [result(key="unfinished")])
    assert list(store.read_results().run) == [first, second]
    assert list(store.read_results([second]).run) == [second]
    with pytest.raises(StoreError, match="unfinished"):
        store.read_results(["unfinished"])


def test_scores_of_an_earlier_fit_are_not_the_next_ones(store):
    """As they are left where ``clear`` is killed after the run's record and before the rest."""
    fit(store)
    store.write_scores(KEY, scores("noise"), out=True)
    store.write_results(KEY, [result("noise")])
    store.files.remove(f"{KEY}/run.json")
    fit(store)
    assert not store.has_scores(KEY, "noise", "a" * 16)
    assert len(store.read_results()) == 0


def test_a_failure_of_two_long_names_can_be_recorded(store):
    of_in, of_out = (f"mnist:{','.join(digit * 58)}" for digit in "01")
    run = replace(RUN, in_dataset=of_in)
    for out in (of_out, of_out[:-2]):
        store.write_failure(Combination(run, out), "ScoreError: NaN", "Traceback …")
    assert set(store.read_failures()["out_dataset"]) == {of_out, of_out[:-2]}
    store.clear_failure(Combination(run, of_out))
    assert store.read_failures()["out_dataset"].tolist() == [of_out[:-2]]


def test_failures_are_listed_until_cleared(store):
    assert len(store.read_failures()) == 0
    store.write_failure(Combination(RUN), "FitError: dead", "Traceback …")
    store.write_failure(Combination(RUN, "noise"), "ScoreError: NaN", "Traceback …")
    store.write_failure(Combination(RUN, "noise"), "ScoreError: NaN again", "Traceback …")
    store.write_failure(Combination(replace(RUN, params="{}")), "FitError: other parameters", "Traceback …")
    failures = store.read_failures()
    found = dict(zip(zip(failures["params"], failures["out_dataset"], strict=True), failures["error"], strict=True))
    assert found == {
        (RUN.params, ""): "FitError: dead",
        (RUN.params, "noise"): "ScoreError: NaN again",
        ("{}", ""): "FitError: other parameters",
    }
    assert set(failures["detector"]) == {"ae"}
    store.clear_failure(Combination(replace(RUN, params="{}")))
    store.clear_failure(Combination(RUN))
    assert store.read_failures()["out_dataset"].tolist() == ["noise"]
    store.clear_failure(Combination(RUN))
    store.clear_failure(Combination(RUN, "noise"))
    assert len(store.read_failures()) == 0


def test_failures_on_validation_and_on_test_splits_are_two(store):
    for split in ("test", "validation"):
        store.write_failure(Combination(RUN, "noise", split), f"ScoreError: of {split}", "Traceback …")
    failures = store.read_failures()
    assert dict(zip(failures["out_dataset"], failures["error"], strict=True)) == {
        "noise": "ScoreError: of test",
        "noise, validation split": "ScoreError: of validation",
    }
    store.clear_failure(Combination(RUN, "noise", "validation"))
    assert store.read_failures()["out_dataset"].tolist() == ["noise"]


def test_a_checkpoint_comes_back_until_the_fit_is_finished(store):
    checkpoints = store.checkpoints(KEY)
    assert checkpoints.load() is None
    state = {"epoch": 3, "phase": "train", "net": {"w": torch.ones(2)}, "history": [{"loss": 0.5}], "none": None}
    checkpoints.save({"epoch": 1})
    checkpoints.save(state)
    loaded = store.checkpoints(KEY).load()
    assert torch.equal(loaded["net"].pop("w"), state["net"].pop("w"))
    assert loaded == state
    assert store.keys() == []
    fit(store)
    assert checkpoints.load() is None


def test_clear_removes_all_of_one_run(store):
    other = fit(store, replace(RUN, detector="other"))
    for key in (fit(store), other):
        store.write_scores(key, scores(), out=True)
        store.write_results(key, [result(key=key)])
        store.checkpoints(key).save({"epoch": 1})
    store.clear(KEY)
    assert store.keys() == [other]
    assert store.checkpoints(KEY).load() is None
    assert not store.has_scores(KEY, "mnist:9", "a" * 16)
    assert store.has_scores(other, "mnist:9", "a" * 16)
    store.clear("never was")


# ------------------------------------------------------------------------------- whole or not at all


def test_a_crash_before_the_move_leaves_the_old_file(local, folder, monkeypatch):
    fit(local)
    local.write_scores(KEY, scores(values=[1]), out=True)

    def crash(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            local.write_scores(KEY, scores(values=[2]), out=True)
    assert local.read_scores(KEY, "mnist:9").values == [1]
    assert os.listdir(folder / KEY / "scores") == ["mnist_9.parquet"]


def test_what_a_killed_process_left_is_never_read(local, folder):
    fit(local)
    local.write_scores(KEY, scores(), out=True)
    local.write_failure(Combination(RUN), "e", "t")
    for place, name in [(f"{KEY}/scores", ".noise.parquet.0f"), ("failures", ".x.json.0f"), (".", ".probe.0f")]:
        (folder / place / name).write_bytes(b"half a fi")
    assert [*local.out_datasets(KEY)] == ["mnist:9"]
    assert len(local.read_failures()) == 1
    assert local.keys() == [KEY]


def test_a_fit_that_broke_off_while_being_kept_is_not_finished(local, folder, monkeypatch):
    write = local.files.write

    def write_parts(path, data):
        if path.endswith("run.json"):
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(local.files, "write", write_parts)
    with pytest.raises(KeyboardInterrupt):
        fit(local)
    assert (folder / KEY / "weights.safetensors").exists()
    assert local.keys() == []


@pytest.mark.parametrize("fault", [{"facts": {"accuracy": float("nan")}}, {"notes": (3,)}, {"commit": object()}])
def test_a_record_that_nobody_could_read_again_is_refused_before_anything_is_written(full, folder, fault):
    """It would be found damaged, and cost the fit."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises((ValueError, TypeError)):
        full.write_fit(KEY, RUN, replace(PROVENANCE, **fault), {}, [])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_layout(local, folder):
    with local.claim(KEY):
        fit(local)
        local.write_scores(KEY, scores("mnist:0-8"), out=False)
        local.write_scores(KEY, scores("mnist:9"), out=True)
        local.write_results(KEY, [result()])
    files = {str(path.relative_to(folder / KEY)) for path in (folder / KEY).rglob("*") if path.is_file()}
    assert files == {
        ".lock",
        "run.json",
        "weights.safetensors",
        "history.parquet",
        "scores/in.parquet",
        "scores/mnist_9.parquet",
        "results.parquet",
    }
    table = parquet.read_table(folder / KEY / "scores" / "mnist_9.parquet")
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "index": "int64",
        "label": "int64",
        "score": "double",
    }
    assert json.loads((folder / KEY / "run.json").read_text())["run"]["in_dataset"] == "mnist:0-8"


def test_a_clear_that_broke_off_leaves_no_finished_run(local, monkeypatch):
    fit(local)
    remove, removed = os.unlink, []

    def crash_at_the_second(path):
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", crash_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            local.clear(KEY)
    assert local.keys() == []


# ------------------------------------------------------------------------------------ bad files

READERS = {
    "run.json": lambda store: store.read_results(),
    "weights.safetensors": lambda store: store.read_weights(KEY),
    "history.parquet": lambda store: store.read_history(KEY),
    "results.parquet": lambda store: store.read_results(),
    "scores/in.parquet": lambda store: store.read_scores(KEY, None),
    "scores/mnist_9.parquet": lambda store: store.has_scores(KEY, "mnist:9", "a" * 16),
}


AGAIN = dict.fromkeys(READERS, "); `oodbench run` with --force makes it again") | {
    "results.parquet": "); delete it, and `oodbench evaluate` makes it again",
    "scores/in.parquet": "); delete it, and `oodbench run` or `tune` scores these images again",
    "scores/mnist_9.parquet": "); delete it, and `oodbench run` or `tune` scores these images again",
}


@pytest.fixture
def full(local):
    fit(local)
    local.write_scores(KEY, scores("mnist:0-8"), out=False)
    local.write_scores(KEY, scores("mnist:9"), out=True)
    local.write_results(KEY, [result()])
    return local


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named_with_what_to_do_and_redone(full, folder, name, kept):
    path = folder / KEY / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(StoreError) as caught:
        READERS[name](full)
    message = str(caught.value)
    assert f"{path} is damaged" in message
    assert AGAIN[name] in message
    assert "\n" not in message
    full.clear(KEY)
    fit(full)
    assert full.read_run(KEY)[0] == RUN


def test_flipped_bits_in_the_scores_are_noticed(local, folder):
    """The pages carry checksums: no wrong score is read from a file that looks whole."""
    fit(local)
    local.write_scores(KEY, scores(values=np.random.default_rng(0).normal(size=500)), out=True)
    path = folder / KEY / "scores" / "mnist_9.parquet"
    whole = path.read_bytes()
    true = local.read_scores(KEY, "mnist:9")
    for position in range(4, len(whole) // 2, 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            read = local.read_scores(KEY, "mnist:9")
        except StoreError:
            continue
        assert_same(read, true)


@pytest.mark.parametrize("text", ["[]", '{"run": {}}', '{"run": {"colour": 1}, "provenance": {"notes": []}}'])
def test_a_record_of_another_kind_is_named(full, folder, text):
    (folder / KEY / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        full.read_run(KEY)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet", "scores/in.parquet"])
def test_a_missing_file_is_named(full, folder, name):
    (folder / KEY / name).unlink()
    again = AGAIN[name].removeprefix("); ").removeprefix("delete it, and ")
    with pytest.raises(StoreError, match=f"{name} is missing; {again}"):
        READERS[name](full)


def test_a_damaged_checkpoint_is_as_none(local, folder):
    checkpoints = local.checkpoints(KEY)
    checkpoints.save({"w": torch.ones(1000)})
    path = folder / KEY / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert checkpoints.load() is None
    checkpoints.save({"epoch": 2})
    assert checkpoints.load() == {"epoch": 2}


def test_a_checkpoint_cannot_run_code(local):
    checkpoints = local.checkpoints(KEY)
    checkpoints.save({"path": Path("x")})  # an object of a class that is not among the plain ones
    assert checkpoints.load() is None


# ----------------------------------------------------------------------------- places that cannot be


def test_a_place_below_a_file_is_not_writable(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(str(tmp_path / "file" / "store"))
    with pytest.raises(StoreError, match=r"file/store is not writable: .*; choose another with --store"):
        store.check_writable()
    with pytest.raises(StoreError, match=r"results\.parquet cannot be written"):
        store.write_results(KEY, [result()])
    with pytest.raises(StoreError, match="cannot be written"), store.claim(KEY):
        pass
    assert store.keys() == []
    assert len(store.read_failures()) == 0


def test_a_file_system_that_is_not_known_is_refused():
    with pytest.raises(StoreError, match=r"nowhere://x cannot be used"):
        Store("nowhere://x")


def test_a_writable_place_passes_and_is_left_empty(store):
    store.check_writable()
    store.check_writable()
    assert store.files.names(hidden=True) == []


def test_a_full_disk_is_one_line_that_names_the_file_and_keeps_the_old_one(local, folder):
    """The limit on file sizes stands in for the full disk: both are an OSError while writing."""
    fit(local)
    local.write_scores(KEY, scores(values=[1]), out=True)
    many = scores(values=np.random.default_rng(0).normal(size=5000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError) as caught:
            local.write_scores(KEY, many, out=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"mnist_9.parquet cannot be written: {os.strerror(errno.EFBIG)}" in str(caught.value)
    assert local.read_scores(KEY, "mnist:9").values == [1]
    assert os.listdir(folder / KEY / "scores") == ["mnist_9.parquet"]


# ------------------------------------------------------------------------------------ two processes

HOLDER = """
import sys
from oodbench.store.store import Store
from oodbench.api import Result
store, key = Store(sys.argv[1]), sys.argv[2]
with store.claim(key):
    print("claimed", flush=True)
    sys.stdin.readline()
    store.write_results(key, [Result(key, "ae", "mnist:0-8", "mnist:9", 3, "auroc", 0.75, 3, 3)])
"""


@pytest.fixture
def holder(folder):
    """Another process that claims the run, and goes on when it is sent a line."""
    env = {**os.environ, "PYTHONPATH": str(Path(oodbench.__file__).parents[1])}
    command = [sys.executable, "-c", HOLDER, str(folder), KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_second_process_waits_and_then_finds_what_the_first_made(local, holder):
    said = []

    def on_wait(message):
        assert local._results(KEY) == []
        said.append(message)
        holder.stdin.write("go on\n")
        holder.stdin.flush()

    with local.claim(KEY, on_wait):
        assert [row.value for row in local._results(KEY)] == [0.75]
    who = f"{host()}, process {holder.pid}"
    assert said == [f"waiting for another process that works on {KEY} ({who})"]


def test_another_run_need_not_wait(local, holder):
    with local.claim("another-run", pytest.fail):
        pass


def test_the_claim_of_a_killed_process_vanishes(local, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with local.claim(KEY, pytest.fail):
        assert local._results(KEY) == []


def test_clear_keeps_the_claim(local, folder):
    with local.claim(KEY):
        lock = (folder / KEY / ".lock").stat().st_ino
        fit(local)
        local.clear(KEY)
        assert (folder / KEY / ".lock").stat().st_ino == lock


def test_a_claim_ends_with_an_error_too(store):
    with pytest.raises(ZeroDivisionError), store.claim(KEY):
        1 / 0  # noqa: B018
    with store.claim(KEY, pytest.fail):
        pass


# ---------------------------------------------------------------------- nothing that is read is believed


def edited(folder, change):
    """Write the run's record again after ``change(record)``."""
    path = folder / KEY / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_flipped_bit_in_the_weights_is_noticed(full, folder):
    path = folder / KEY / "weights.safetensors"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(
            StoreError, match=r"weights\.safetensors is damaged \(its SHA-256 is not that in run\.json\)"
        ):
            full.read_weights(KEY)


def test_scores_of_another_fit_are_refused_and_named(full, folder, tmp_path):
    """As when two stores with the same run, fitted twice, are copied over each other."""
    other = Store(str(tmp_path / "other"))
    weights = {name: tensor * 1.0000001 for name, tensor in WEIGHTS.items()}
    other.write_fit(KEY, RUN, PROVENANCE, weights, HISTORY)
    other.write_scores(KEY, replace(scores("noise"), fit_id=other.fit_id(KEY)), out=True)
    noise = folder / KEY / "scores" / "noise.parquet"
    noise.write_bytes((tmp_path / "other" / KEY / "scores" / "noise.parquet").read_bytes())
    with pytest.raises(
        StoreError, match=r"noise\.parquet is not of this run \(its scores are of fit .* of another fit"
    ):
        full.read_scores(KEY, "noise")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["run"].update(seed=None),
        lambda record: record["run"].update(seed=-1),
        lambda record: record["run"].update(detector="vae"),
        lambda record: record["run"].update(params="{"),
        lambda record: record["run"].update(version="9"),
        lambda record: record["provenance"].update(fit_seconds=float("nan")),
        lambda record: record["provenance"].update(images={"train": -3}),
        lambda record: record["provenance"].update(notes=[3]),
        lambda record: record.update(parts={"weights.safetensors": "abc"}),
    ],
)
def test_a_record_that_cannot_be_is_damaged(full, folder, change):
    edited(folder, change)
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        full.read_run(KEY)


def test_what_a_newer_version_wrote_beside_is_left_alone(full, folder):
    edited(folder, lambda record: record["run"].update(colour="red"))
    edited(folder, lambda record: record.update(future={"x": 1}))
    assert full.read_run(KEY) == (RUN, PROVENANCE)


def test_a_damaged_run_hides_no_other(full, folder):
    other = fit(full, replace(RUN, detector="other"))
    full.write_results(other, [result(key=other)])
    (folder / KEY / "run.json").write_text("{")
    damaged = {}
    results = full.read_results(on_damaged=damaged.__setitem__)
    assert list(results.run) == [other]
    assert list(damaged) == [KEY] and "run.json is damaged" in str(damaged[KEY])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones(2), "indices": np.arange(2), "labels": np.zeros(2, int)}, "2 scores of 3 images"),
        ({"dataset": "noise"}, "it has the scores of noise"),
        ({"split": "validation"}, "validation split"),
        ({"indices": np.array([1, 1, 2])}, "more than one score of an image"),
        ({"values": np.array([1, np.nan, 2])}, "scores that are not finite"),
    ],
)
def test_scores_that_cannot_be_the_run_s_are_refused(full, folder, change, message, tmp_path):
    other = Store(str(tmp_path / "other"))
    fit(other)
    other.write_scores(KEY, replace(scores("mnist:0-8"), **change), out=False)
    (written,) = (tmp_path / "other" / KEY / "scores").rglob("*.parquet")
    (folder / KEY / "scores" / "in.parquet").write_bytes(written.read_bytes())
    with pytest.raises(StoreError, match=message):
        full.read_scores(KEY, None)


def test_scores_whose_file_has_another_name_are_refused(full, folder):
    scored = folder / KEY / "scores"
    (scored / "evil.parquet").write_bytes((scored / "mnist_9.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"evil\.parquet has the scores of mnist:9; delete it"):
        full.out_datasets(KEY)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_is_damaged(full, folder, value):
    path = folder / KEY / "results.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(table.column_names.index("value"), "value", [[value]]), path)
    with pytest.raises(StoreError, match=r"results\.parquet is damaged"):
        full.read_results()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (result(metric="full_spectrum_auroc"), "a result of full_spectrum_auroc has 0 covariate-shifted sets"),
        (result(value=float("nan")), "value: Input should be a finite number"),
        (result(key="other"), "it has a result of other"),
    ],
)
def test_results_that_could_not_be_read_again_are_not_written(full, wrong, why):
    before = full.read_results()
    with pytest.raises(ValueError, match=why):
        full.write_results(KEY, [result("noise"), wrong])
    assert full.read_results().equals(before)


def test_a_history_of_mixed_types_does_not_lose_the_fit(store):
    store.write_fit(KEY, RUN, PROVENANCE, WEIGHTS, [{"phase": "a", "rate": 0.1}, {"phase": "b", "rate": "auto"}])
    assert list(store.read_history(KEY).rate) == ["0.1", "auto"]


@pytest.mark.parametrize("value", [2**70, 1j, {}, np.zeros((2, 2)), object])
def test_what_no_column_can_be_of_becomes_text_and_the_others_stay_numbers(store, value):
    store.write_fit(KEY, RUN, PROVENANCE, WEIGHTS, [{"loss": 0.5, "odd": value, "good": None}, {"loss": 0.25}])
    history = store.read_history(KEY)
    assert list(history.loss) == [0.5, 0.25] and history.odd[0] == str(value)


# --------------------------------------------------------------------------- shared with others


def test_what_killed_processes_left_is_removed_by_the_next_claim(local, folder):
    fit(local)
    local.write_scores(KEY, scores(), out=True)
    unfinished = ["", "scores/", "scores/validation/", "outputs/"]
    left = [f"{KEY}/{place}.noise.parquet.99.{'f' * 32}" for place in unfinished]
    for name in left:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"half a fi")
    with local.claim(KEY):
        pass
    assert not any((folder / name).exists() for name in left)


@pytest.mark.parametrize("place", ["", "failures/", "tunings/"])
def test_what_killed_processes_left_beside_the_runs_is_removed_after_an_hour(place, local, folder):
    old, new = (folder / f"{place}.{name}.json.99.{'f' * 32}" for name in ("old", "new"))
    for path in (old, new):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a fi")
    os.utime(old, (0, 0))
    local.check_writable()
    assert not old.exists() and new.exists()


def test_a_claim_without_a_fit_leaves_no_folder(local, folder):
    with local.claim(KEY):
        pass
    assert not (folder / KEY).exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_and_locks_have_the_permissions_that_the_umask_leaves(local, folder):
    before = os.umask(0o002)
    try:
        with local.claim(KEY):
            fit(local)
            modes = {(folder / KEY / name).stat().st_mode & 0o777 for name in (".lock", "run.json")}
    finally:
        os.umask(before)
    assert modes == {0o664}


@pytest.mark.parametrize("address", ["", "simplecache::memory://x", "a::b"])
def test_what_is_no_place_for_a_store_is_refused(address):
    with pytest.raises(StoreError, match="is no folder and no address"):
        Store(address)


@pytest.mark.parametrize("name", ["a[b]c", "who?", "star*"])
def test_names_are_no_patterns(name):
    store = Store(f"memory://{uuid.uuid4().hex}/{name}")
    neighbour = Store(store.address.replace(name, "abc"))
    for each in (store, neighbour):
        fit(each)
        each.write_scores(KEY, scores(), out=True)
    store.clear(KEY)
    assert store.keys() == []
    assert neighbour.keys() == [KEY]


def test_a_tuning_that_is_no_object_is_damaged(store):
    store.files.write("tunings/ae-0.json", b"[1]")
    with pytest.raises(StoreError, match=r"ae-0\.json is damaged \(it is no JSON object\); delete it"):
        store.read_tuning("ae-0")


def test_scores_that_lack_rows_are_refused(store):
    fit(store)
    store.write_scores(KEY, scores("noise"), out=True)
    path = f"{KEY}/scores/noise.parquet"
    table = parquet.read_table(io.BytesIO(store.files.fs.cat_file(store.files.where(path))))
    half = io.BytesIO()
    parquet.write_table(table.slice(0, table.num_rows // 2), half)
    store.files.write(path, half.getvalue())
    with pytest.raises(StoreError, match=r"noise\.parquet is damaged \(it has 1 of 3 scores\)"):
        store.read_scores(KEY, "noise")


def test_the_run_s_own_record_says_what_a_result_is_of(store):
    fit(store)
    store.write_results(KEY, [replace(result(), detector="\x1b[2J", in_dataset="other", seed=99)])
    (row,) = store.read_results().to_dict("records")
    assert (row["detector"], row["in_dataset"], row["seed"]) == (RUN.detector, RUN.in_dataset, RUN.seed)
