"""Description of the machine, and fair timing of several tasks: in turn, in one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import torch


def describe() -> str:
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("oodbench", "torch", "numpy"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    python = platform.python_version()
    return f"{_processor()}, {os.cpu_count()} cores, {threads} threads, {device}; Python {python}, {packages}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def in_turn(tasks: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Return the seconds of each task, run A B C A B C …, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repetition in range(repetitions + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return seconds


Task = Callable[[], object]


def in_turn_apart(makers: Mapping[str, Callable[[], Task]], repetitions: int) -> dict[str, list[float]]:
    """Return what ``in_turn`` does, with each task made and run in its own process.

    What one task leaves behind in a process's memory changes how fast the next one runs there.
    """
    with ExitStack() as stack:
        tasks: dict[str, Task] = {}
        for name, maker in makers.items():
            one = ProcessPoolExecutor(1, get_context("spawn"), initializer=_make, initargs=(maker,))
            tasks[name] = partial(_ask, stack.enter_context(one))
        return in_turn(tasks, repetitions)


_made: list[Task] = []


def _make(maker: Callable[[], Task]) -> None:
    _made.append(maker())


def _perform() -> None:
    _made[0]()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _ask(process: ProcessPoolExecutor) -> None:
    process.submit(_perform).result()


def median(values: list[float]) -> float:
    return statistics.median(values)


def table(
    seconds: Mapping[str, list[float]], against: str, unit: str, more: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Return a table: median, min and max of each; and how many times as fast as ``against``, the median over pairs.

    more: heading → further column, with a text for every row.
    """
    headings, more = ["", f"median {unit}", "min", "max", "times as fast", *(more or {})], more or {}
    lines = [f"| {' | '.join(headings)} |".replace("|  |", "| |"), "|---" * len(headings) + "|"]
    for name, values in seconds.items():
        ratio = median([other / own for other, own in zip(seconds[against], values, strict=True)])
        cells = [name, f"{median(values):.3g}", f"{min(values):.3g}", f"{max(values):.3g}", f"{ratio:.2f}"]
        lines.append(f"| {' | '.join([*cells, *(column[name] for column in more.values())])} |")
    return "\n".join(lines)
