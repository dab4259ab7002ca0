"""A detector's code changes nothing for the next one, whatever it does to the process."""

from __future__ import annotations

import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch

from oodbench.errors import FitError
from oodbench.runs.isolation import changed_state, global_state, isolated

CPU = torch.device("cpu")
OTHER_DEVICE = torch.device("meta")

CHANGES = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device(OTHER_DEVICE),
    "torch's gradient mode": lambda: torch.set_grad_enabled(False),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's matrix product precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's filling of new tensors": lambda: setattr(
        torch.utils.deterministic, "fill_uninitialized_memory", not torch.utils.deterministic.fill_uninitialized_memory
    ),
    "cuDNN's TF32": lambda: setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
    "cuDNN's benchmarking": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "numpy's error handling": lambda: np.seterr(all="ignore"),
    "the working directory": lambda: os.chdir("/"),
    "the environment variables": lambda: os.environ.update(OODBENCH_TEST="1"),
    "the warnings filters": lambda: warnings.simplefilter("ignore"),
    "torch's random numbers": lambda: torch.rand(1),
    "numpy's random numbers": lambda: np.random.rand(),
    "Python's random numbers": lambda: random.random(),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_kind_of_state_is_tried():
    assert CHANGES.keys() == global_state().keys()


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_inside_is_put_back(name):
    before = global_state()
    with isolated(CPU, "a detector"):
        CHANGES[name]()
        assert name in changed_state(before)
    assert changed_state(before) == []


def test_it_is_put_back_after_an_error():
    before = global_state()

    def fail():
        torch.set_default_dtype(torch.float64)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), isolated(CPU, "a detector"):
        fail()
    assert changed_state(before) == []


def test_a_detector_that_ends_the_program_fails_alone():
    message = r"ae on mnist called sys.exit\(3\); it must raise an error instead"
    with pytest.raises(FitError, match=message), isolated(CPU, "ae on mnist"):
        sys.exit(3)


def test_what_a_detector_prints_goes_to_stderr(capsys):
    with isolated(CPU, "a detector"):
        print("epoch 1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "epoch 1\n")
