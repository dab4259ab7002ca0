"""Isolation of detectors from each other: what one changes in the process is restored before the next one runs."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from oodbench.errors import FitError, no_exit


def global_state() -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """Return the global state that a detector's code could change: name → (value now, function that sets it)."""
    import torch

    cudnn, deterministic = torch.backends.cudnn, torch.utils.deterministic
    algorithms = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    return {
        "torch's default dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "torch's default device": (torch.get_default_device(), torch.set_default_device),
        "torch's gradient mode": (torch.is_grad_enabled(), torch.set_grad_enabled),
        "torch's number of threads": (torch.get_num_threads(), torch.set_num_threads),
        "torch's matrix product precision": (
            torch.get_float32_matmul_precision(),
            torch.set_float32_matmul_precision,
        ),
        "torch's deterministic algorithms": (
            algorithms,
            lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        ),
        "torch's filling of new tensors": (
            deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            lambda value: setattr(deterministic, "fill_uninitialized_memory", value),
        ),
        "cuDNN's TF32": (cudnn.allow_tf32, lambda value: setattr(cudnn, "allow_tf32", value)),
        "cuDNN's benchmarking": (cudnn.benchmark, lambda value: setattr(cudnn, "benchmark", value)),
        "numpy's error handling": (np.geterr(), lambda value: np.seterr(**value)),
        "the working directory": (os.getcwd(), os.chdir),
        "the environment variables": (dict(os.environ), _set_environment),
        "the warnings filters": (list(warnings.filters), _set_filters),
        "torch's random numbers": (torch.get_rng_state(), torch.set_rng_state),
        "numpy's random numbers": (np.random.get_state(), np.random.set_state),
        "Python's random numbers": (random.getstate(), random.setstate),
    }


def _set_environment(value: dict[str, str]) -> None:
    for name in os.environ.keys() - value.keys():
        del os.environ[name]
    os.environ.update(value)


def _set_filters(value: list[Any]) -> None:
    warnings.resetwarnings()  # forgets what earlier filters decided
    warnings.filters[:] = value  # type: ignore[index]


def changed_state(before: dict[str, tuple[Any, Callable[[Any], object]]]) -> list[str]:
    """Return the names of the state that has changed since ``global_state`` returned ``before``."""
    now = global_state()
    return [name for name, (value, _) in before.items() if not _is_same(now[name][0], value)]


def _is_same(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


@contextmanager
def isolated(device: Any, what: str) -> Iterator[None]:
    """Return a context for a detector's code; on leaving it, the global state is restored.

    What the code prints goes to stderr, as stdout may be a command's JSON. On a GPU, deterministic algorithms are used
    where there are any; on a CPU they are used anyway.

    Args:
        device: a torch device.
        what: whose code it is, for the message if it calls ``sys.exit``.

    Raises FitError where the code calls ``sys.exit``.
    """
    before = global_state()
    if device.type == "cuda":
        _use_deterministic_algorithms()
    try:
        with redirect_stdout(sys.stderr), no_exit(what, FitError):
            yield
    finally:
        for name in changed_state(before):
            value, put = before[name]
            put(value)


def _use_deterministic_algorithms() -> None:
    import torch

    deterministic: Any = torch.utils.deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # no code here reads uninitialised memory
