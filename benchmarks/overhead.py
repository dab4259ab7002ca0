"""The overhead of the harness: ``pipeline.run`` against the detector's bare ``fit``, in turn.

python -m benchmarks.overhead
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Self

import torch
from oodbench_ae.detector import AE

from benchmarks.machine import describe, median, table
from oodbench import Context, ImageSet
from oodbench.data.loading import open_loader
from oodbench.plan.requests import RunRequest
from oodbench.plan.settings import resolve
from oodbench.plugin.registry import Registry, load_registry
from oodbench.progress import RichProgress
from oodbench.runs.devices import find_device
from oodbench.runs.pipeline import ExecutionOptions, run

IN, OUT, SHAPE = "mnist5k:0-8", "mnist5k:9", (1, 28, 28)
DIRECT, HARNESS = "bare fit()", "through the harness"


class FreeToScore(AE):
    """An autoencoder whose scores cost nothing: apart from its fit, only the harness takes time."""

    name = "free-to-score"
    fit_seconds = 0.0

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        start = time.perf_counter()
        super().fit(train, validation, context)
        FreeToScore.fit_seconds = time.perf_counter() - start
        return self

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))


def registry_with(detector: type[AE]) -> Registry:
    registry = load_registry()
    registry.detectors[detector.name] = detector
    registry.plugin_of["detector", detector.name] = registry.plugin_of["detector", "ae"]
    return registry


def measure(seconds_each: float = 15.0, repetitions: int = 3) -> str:
    """Return a section of the page, from fits of about this many seconds."""
    registry, device = registry_with(FreeToScore), find_device("auto")
    loader = open_loader(registry)
    splits = [loader.load(IN, split) for split in ("train", "validation")]

    def bare(epochs: int) -> None:
        params = resolve(FreeToScore, "quick", SHAPE, {"training.epochs": epochs})
        FreeToScore(params, SHAPE).fit(*splits, Context(device))

    def harnessed(epochs: int) -> None:
        words = RunRequest((FreeToScore.name,), (IN,), (OUT,), preset="quick", sets=(f"training.epochs={epochs}",))
        with tempfile.TemporaryDirectory() as store, RichProgress(file=io.StringIO()) as progress:
            options = ExecutionOptions(str(Path(store)), device=str(device))
            run(words, options=options, progress=progress, registry=registry)

    seconds: dict[str, list[float]] = {DIRECT: [], HARNESS: []}
    beside = []
    bare(1)
    start = time.perf_counter()
    harnessed(1)
    epochs = max(1, round(seconds_each / (time.perf_counter() - start)))
    for _ in range(repetitions):
        for name, task in ((DIRECT, bare), (HARNESS, harnessed)):
            start = time.perf_counter()
            task(epochs)
            seconds[name].append(time.perf_counter() - start)
        beside.append(seconds[HARNESS][-1] - FreeToScore.fit_seconds)
    return _section(seconds, beside, epochs)


def _section(seconds: dict[str, list[float]], beside: list[float], epochs: int) -> str:
    heading = f"AE, preset quick, {epochs} epochs of {IN}, {len(beside)} rounds; the scores cost nothing here."
    share = median([own / fit - 1 for own, fit in zip(seconds[HARNESS], seconds[DIRECT], strict=True)])
    fixed = median(beside)
    return (
        f"### Harness\n\n{heading}\n\n{table(seconds, DIRECT, 'seconds')}\n\n"
        f"The whole run against the bare fit: {share:+.1%}. Outside of `fit()` are {fixed:.2f} s of it: finding the "
        "data, claiming the run, keeping weights, history, scores and results. They do not grow with the fit: under "
        f"1 % of any that takes more than {100 * fixed:.0f} s."
    )


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
