"""Several models fitted on one device at once: updates per second, by how they share it; part of ``benchmarks.gpu``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from oodbench_ebae.detector import EBAE

from benchmarks.update import ours
from oodbench import ImageSet, Shape
from oodbench.plan.settings import resolve
from oodbench.runs.devices import find_device
from oodbench.runs.isolation import isolated

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


@dataclass(frozen=True)
class Size:
    """How much is measured. seconds: of each section, after which it starts nothing new."""

    width: float = 1.0
    steps: tuple[int, int] = (10, 50)
    batches: tuple[int, ...] = (128, 512, 2048)
    images: Mapping[Shape, int] = field(default_factory=lambda: {GREY: 54_000, COLOUR: 45_000})
    epochs: int = 3
    together: tuple[int, ...] = (1, 2, 4)
    updates: int = 20
    seconds: float = 75.0


FULL = Size()
TOY = Size(0.1, (1, 2), (4,), {GREY: 8, COLOUR: 8}, 3, (1, 2), 2)


def random_images(n: int, shape: Shape) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    return ImageSet("random", "train", pixels, np.zeros(n, np.int64), np.arange(n))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processes(size: Size, count: int, device: torch.device) -> float:
    """Return updates per second with each model in its own process; they start to measure when all are warm."""
    command = [sys.executable, "-m", "benchmarks.together", *(["--dry-run"] if size is TOY else [])]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0].split()[-1]) for process in running)


def streams(size: Size, count: int, device: torch.device, warm: Callable[[], object] = lambda: None) -> float:
    """Return updates per second of all models in this process, each on its own CUDA stream.

    ``warm`` is called before the timing starts.
    """
    batch = size.batches[0]
    images = next(random_images(batch, GREY).batches(batch, device))
    models = [ours(size.width, batch, *size.steps, "bfloat16", device) for _ in range(count)]
    generators = [torch.Generator(device).manual_seed(seed) for seed in range(count)]
    lanes = [torch.cuda.Stream() if device.type == "cuda" else None for _ in range(count)]
    wait(device)

    def round_() -> None:
        for update, generator, lane in zip(models, generators, lanes, strict=True):
            with torch.cuda.stream(lane):
                update(images, generator)

    return count * size.updates / _seconds(round_, size.updates, device, warm)


def stacked(size: Size, count: int, device: torch.device) -> float:
    """Return updates per second with all models' parameters stacked, one vmapped gradient per step: chains only."""
    params = resolve(EBAE, "nae-mnist", GREY, {"width": size.width})
    models = [EBAE(params, GREY).build().to(device) for _ in range(count)]
    weights, buffers = torch.func.stack_module_state(models)
    images = torch.rand(count, size.batches[0], *GREY, device=device)
    model = models[0]

    def energy(weights: Any, buffers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(_Energy(model), ({f"model.{n}": w for n, w in weights.items()}, buffers), x)

    gradient = torch.vmap(torch.func.grad(energy, argnums=2))

    def round_() -> None:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            for _ in range(sum(size.steps)):
                gradient(weights, buffers, images)

    return count * size.updates / _seconds(round_, size.updates, device)


class _Energy(torch.nn.Module):
    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.energy(x).sum()


def _seconds(
    task: Callable[[], object], times: int, device: torch.device, warm: Callable[[], object] = lambda: None
) -> float:
    task()
    wait(device)
    warm()
    start = time.perf_counter()
    for _ in range(times):
        task()
    wait(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    chosen, device = TOY if "--dry-run" in sys.argv else FULL, find_device("auto")
    with isolated(device, "a benchmark"):
        print(streams(chosen, 1, device, lambda: (print("warm", flush=True), sys.stdin.readline())))
