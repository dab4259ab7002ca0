"""The main job through the command line, as its users do it, with the real detectors on real digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TINY = {
    "ae": ["latent_dim=4", "width=0.1", "training.epochs=2", "training.batch_size=64"],
    "ebae": [
        "latent_dim=4", "width=0.1", "pretraining.epochs=2", "pretraining.batch_size=64", "latent_chain.steps=1",
        "visible_chain.steps=2", "epochs=2", "batch_size=64",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def command(cache: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"OODBENCH_CACHE": str(cache), "OODBENCH_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return [sys.executable, "-m", "oodbench", *arguments], environment


def oodbench(cache: Path, *arguments: str, code: int = 0) -> str:
    """Standard output; the exit code must be as expected, and no traceback may be shown."""
    line, environment = command(cache, *arguments)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def run(store: Path, detectors: str, *more: str) -> list[str]:
    words = ["run", "--in", "mnist5k:0-1", "--store", str(store), "-q"]
    for detector in detectors.split():
        words += ["--detector", detector]
        words += [word for setting in TINY[detector] for word in ("--set", f"{detector}.{setting}")]
    return [*words, *more]


def scores(store: Path, pattern: str) -> dict[str, pd.Series]:
    return {
        str(path.relative_to(store)): pd.read_parquet(path)["score"]
        for path in sorted(store.glob(f"{pattern}/scores/*.parquet"))
    }


def test_two_detectors_against_two_out_sets_then_one_more_without_another_fit(cache, tmp_path):
    both = run(tmp_path, "ae ebae", "--out", "constant", "--json")
    rows = json.loads(oodbench(cache, *both, "--out", "mnist5k:7"))
    assert {(row["detector"], row["out_dataset"]) for row in rows} == {
        (detector, out) for detector in ("ae", "ebae") for out in ("constant", "mnist5k:7")
    }
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.safetensors")}
    assert len(weights) == 2
    rows = json.loads(oodbench(cache, *both, "--out", "noise"))
    assert {row["out_dataset"] for row in rows} == {"constant", "noise"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.safetensors")} == weights, "fitted again"

    page = oodbench(cache, "leaderboard", "--store", str(tmp_path))
    assert "| ae" in page and "| ebae" in page and "auroc ↑" in page and "higher score is more" in page
    again = json.loads(oodbench(cache, "evaluate", "--store", str(tmp_path), "--metric", "auroc", "--json"))
    assert len(again) >= 6
    figure = tmp_path / "figure.png"
    named = [word for word in both if word not in ("run", "-q", "--json")]
    oodbench(cache, "figure", *named, "--output", str(figure))
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_record_holds_what_recomputes_the_numbers(cache, tmp_path):
    oodbench(cache, *run(tmp_path, "ebae", "--out", "mnist5k:7"))
    (folder,) = tmp_path.glob("ebae-*")
    record = json.loads((folder / "run.json").read_text())
    assert record["provenance"]["images"] == {"train": 720, "validation": 80, "test": 200}
    assert record["provenance"]["fit_seconds"] > 0 and record["provenance"]["device"].startswith("cpu")
    assert not any("checkpoint" in note for note in record["provenance"]["notes"])
    assert not (folder / "checkpoint.pt").exists()
    history = pd.read_parquet(folder / "history.parquet")
    wanted = {
        "phase", "epoch", "loss", "validation_loss", "positive_energy", "negative_energy", "energy_chain_start",
        "energy_after_latent_chain", "energy_after_visible_chain", "clip_fraction", "encoder_norm",
    }  # fmt: skip
    assert wanted <= set(history.columns)
    in_scores = pd.read_parquet(folder / "scores" / "in.parquet")
    assert set(in_scores["label"]) == {0, 1} and len(in_scores) == 200

    from sklearn.metrics import roc_auc_score

    out_scores = pd.read_parquet(folder / "scores" / "mnist5k_7.parquet")
    truth = np.repeat([0, 1], [len(in_scores), len(out_scores)])
    expected = roc_auc_score(truth, np.concatenate([in_scores["score"], out_scores["score"]]))
    results = pd.read_parquet(folder / "results.parquet").set_index("metric")
    assert results.loc["auroc", "value"] == pytest.approx(expected, abs=1e-12)


def kill_when(line: list[str], environment: dict[str, str], due, seconds: float = 120) -> bool:
    """Start it, and kill -9 as soon as ``due()``. False if it ended before."""
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + seconds
    while process.poll() is None and not due() and time.monotonic() < end:
        time.sleep(0.01)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def test_a_killed_fit_goes_on_and_ends_with_the_same_scores(cache, tmp_path):
    longer = ["ebae", "--out", "constant", "--set", "epochs=3", "--set", "visible_chain.steps=3"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    oodbench(cache, *run(whole, *longer))
    line, environment = command(cache, *run(killed, *longer))
    environment["OODBENCH_CHECKPOINT_SECONDS"] = "0"
    seen: list[int] = []

    def in_the_midst() -> bool:
        """After some checkpoints: in pre-training first, later in the EBAE phase."""
        seen.extend(path.stat().st_mtime_ns for path in killed.glob("*/checkpoint.pt") if path.exists())
        return len(set(seen)) >= (5 if not (killed / "once").exists() else 12)

    assert kill_when(line, environment, in_the_midst), "the fit was over before it could be killed"
    (killed / "once").touch()
    assert not list(killed.glob("*/run.json"))
    kill_when(line, environment, in_the_midst)
    oodbench(cache, *run(killed, *longer))
    (folder,) = killed.glob("ebae-*")
    notes = json.loads((folder / "run.json").read_text())["provenance"]["notes"]
    assert any("resumed from a checkpoint" in note for note in notes)
    before, after = scores(whole, "ebae-*"), scores(killed, "ebae-*")
    assert before.keys() == after.keys() and len(before) == 2
    for name in before:
        assert np.array_equal(before[name], after[name]), name


@pytest.mark.slow
def test_a_truncated_weights_file_is_named_and_redone_with_force(cache, tmp_path):
    arguments = run(tmp_path, "ae", "--out", "constant")
    oodbench(cache, *arguments)
    (weights,) = tmp_path.glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    line, environment = command(cache, *arguments, "--out", "noise")
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert str(weights) in done.stderr and "--force" in done.stderr
    oodbench(cache, *arguments, "--out", "noise", "--force")


@pytest.mark.slow
def test_an_in_set_of_another_shape_is_refused(cache, tmp_path):
    line, environment = command(cache, "show", "no-such-thing")
    assert subprocess.run(line, env=environment, capture_output=True).returncode == 1
    line, environment = command(
        cache, "run", "--detector", "ebae", "--in", "photos", "--out", "constant", "--store", str(tmp_path / "none"),
        "--set", "architecture=arch28",
    )  # fmt: skip
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "arch28 takes images of 1×28×28, not of 3×32×32" in done.stderr
    assert not list(tmp_path.glob("none/ebae*/run.json"))
