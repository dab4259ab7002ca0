"""The measuring itself: what is counted, and that the page for a GPU can be made."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd
import pytest
import torch

import benchmarks
from benchmarks import epochs, gpu, update
from benchmarks.ceilings import ceilings, work_of
from benchmarks.machine import table
from benchmarks.peer import peer_update
from oodbench import OODBenchError
from oodbench.plan.requests import RunRequest
from oodbench.plugin.registry import load_registry


def test_work_of_a_matrix_product():
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    work = work_of(lambda: (a @ b).view(-1))
    assert work.flops == 2 * 3 * 5 * 7
    assert work.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7)


def test_work_of_a_gradient_counts_forward_and_backward():
    a, b = torch.zeros(3, 5, requires_grad=True), torch.zeros(5, 7)
    assert work_of(lambda: torch.autograd.grad((a @ b).sum(), a)).flops == 2 * (2 * 3 * 5 * 7)


def test_work_of_an_update_is_what_its_steps_add_up_to():
    images = torch.rand(2, 1, 28, 28)
    counted = {steps: update.work(0.1, images, steps).flops for steps in ((1, 1), (2, 1), (1, 2), (3, 4))}
    latent, visible = counted[2, 1] - counted[1, 1], counted[1, 2] - counted[1, 1]
    assert latent > visible > 0
    assert counted[3, 4] == counted[1, 1] + 2 * latent + 3 * visible


def test_ceilings_are_measured_for_each_precision():
    most = ceilings("cpu", 64, 2**16)
    assert set(most.flops) == {"float32", "bfloat16"}
    assert min(*most.flops.values(), most.bytes) > 0


def test_a_table_has_more_columns_where_given():
    page = table({"a": [2.0], "b": [1.0]}, "a", "seconds", {"of the copy": {"a": "10%", "b": "20%"}})
    header, _, first, second = page.splitlines()
    assert header == "| | median seconds | min | max | times as fast | of the copy |"
    assert first.endswith("| 1.00 | 10% |") and second.endswith("| 2.00 | 20% |")


def test_a_peer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OODBenchError, match="holds no models/nae.py; name a checkout of"):
        peer_update(tmp_path, 1.0, 32, (10, 50), torch.rand(2, 1, 28, 28))


@pytest.mark.parametrize("section", ["Ceilings", "One EBAE update", "Fits"])
def test_a_section_of_the_page_for_a_gpu(section, monkeypatch):
    monkeypatch.setattr(gpu, "SECTIONS", {section: gpu.SECTIONS[section]})
    page = gpu.measure(gpu.TOY)
    assert f"## {section}" in page and "Not measured" not in page


@pytest.mark.slow
def test_the_whole_page_for_a_gpu():
    page = gpu.measure(gpu.TOY)
    assert all(f"## {section}" in page for section in gpu.SECTIONS)
    assert "not measured" not in page.lower()
    assert all(f"| {name} |" in page for name in load_registry().detectors)


def test_a_section_that_fails_or_comes_too_late_is_named_and_leaves_the_others(monkeypatch):
    def fails(size, device, peer):
        raise RuntimeError("no")

    monkeypatch.setattr(gpu, "SECTIONS", {"First": fails, "Second": lambda size, device, peer: "fine"})
    page = gpu.measure(gpu.TOY)
    assert "Not measured: RuntimeError: no" in page and "fine" in page
    assert gpu.measure(gpu.TOY, seconds=-1).count("Not measured: out of time.") == 2


def test_a_curve_is_looked_at_after_each_epoch_or_so_many_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("OODBENCH_CACHE", str(tmp_path / "cache"))
    settings = ("width=0.1", "pretraining.epochs=1", "epochs=2", "latent_chain.steps=1", "visible_chain.steps=1")
    words = RunRequest(("ebae",), ("mnist5k:0",), ("mnist5k:1",), (0,), "quick", settings)
    for name, every in (("epochs", 0), ("seconds", 0.01)):
        path = tmp_path / f"{name}.csv"
        epochs.curve(words, path, tmp_path, "cpu", str(tmp_path / name), "validation", every)
        rows = pd.read_csv(path)
        assert rows["mnist5k:1"].between(0, 1).all() and set(rows["phase"]) == {"ebae"}
        assert rows["seconds"].is_monotonic_increasing
        if every:
            assert len(rows) > 2 and rows["updates"].max() > 1, "many looks in an epoch"
        else:
            assert rows["epoch"].tolist() == [1, 2]


@pytest.mark.parametrize("file", sorted(Path(benchmarks.__file__).parent.glob("*.py")), ids=lambda file: file.stem)
def test_every_benchmark_finds_what_it_imports(file):
    """They are run by hand, so nothing else notices that a name has moved."""
    importlib.import_module(f"benchmarks.{file.stem}")
