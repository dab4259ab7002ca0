"""The cost of a fit with two threads on a machine that does other work, by how its threads wait for each other.

python -m benchmarks.busy

Each way runs in its own process, as the OpenMP library reads its settings once. Half of the turns run while other
processes keep every core busy. If the machine is busy anyway, only that half is valid.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from benchmarks.machine import describe, median

WAYS: dict[str, dict[str, str]] = {
    "two threads, as OpenMP has it": {"OMP_NUM_THREADS": "2"},
    "two threads that spin 10,000 times, then sleep": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "10000"},
    "two threads that sleep (OMP_WAIT_POLICY=passive)": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_DYNAMIC")
SPIN = "while True: pass"


def measure(updates: int = 60, repetitions: int = 3) -> str:
    """Return a section of the page, from this many updates of an autoencoder in each turn."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seconds: dict[tuple[str, bool], list[float]] = {(way, busy): [] for way in WAYS for busy in (False, True)}
    load = os.getloadavg()[0]
    for _ in range(repetitions):
        for way, settings in WAYS.items():
            for busy in (False, True):
                with ExitStack() as stack:
                    for _ in range(cores if busy else 0):
                        other = stack.enter_context(subprocess.Popen([sys.executable, "-c", SPIN]))
                        stack.callback(other.kill)
                    seconds[way, busy].append(_turn(settings, updates))
    return _section(seconds, updates, repetitions, cores, load)


def _turn(settings: dict[str, str], updates: int) -> float:
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-m", "benchmarks.busy", "--turn", str(updates)]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _fit(updates: int) -> float:
    """Return the seconds of this number of updates, after three that are not counted."""
    import torch
    from oodbench_ae.detector import AE

    from oodbench.plan.settings import resolve

    model = AE(resolve(AE, "quick", (1, 28, 28), {}), (1, 28, 28)).build()
    optimizer = torch.optim.Adam(model.parameters())
    images = torch.rand(64, 1, 28, 28)
    start = 0.0
    for update in range(updates + 3):
        if update == 3:
            start = time.perf_counter()
        optimizer.zero_grad()
        (model(images) - images).square().mean().backward()
        optimizer.step()
    return time.perf_counter() - start


def _section(
    seconds: dict[tuple[str, bool], list[float]], updates: int, repetitions: int, cores: int, load: float
) -> str:
    first = next(iter(WAYS))
    base = median(seconds[first, False])
    lines = [
        "| | alone, s | against the first | beside others, s | times the first alone |",
        "|---" * 5 + "|",
    ]
    for way in WAYS:
        alone, beside = median(seconds[way, False]), median(seconds[way, True])
        lines.append(f"| {way} | {alone:.2f} | {alone / base - 1:+.1%} | {beside:.2f} | {beside / base:.1f} |")
    caution = (
        f" **The machine did other work** (load {load:.1f} on {cores} cores before the first turn): what is called "
        "alone was not."
    )
    beside = f"beside others: {cores} processes that never stop, on {cores} cores."
    return (
        f"### A busy machine\n\n{updates} updates of the autoencoder, 64 images, rounds: {repetitions}; {beside}"
        f"{caution if load > 0.5 else ''}\n\n" + "\n".join(lines)
    )


if __name__ == "__main__":
    if "--turn" in sys.argv:
        print(_fit(int(sys.argv[-1])))
    else:
        print(describe(), measure(), sep="\n\n")
