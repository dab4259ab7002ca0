"""How the cost grows with images, chain steps, out-sets and runs, with the whole harness, at small size.

python -m benchmarks.growth
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.machine import describe, median
from oodbench import Dataset, ImageSet
from oodbench.plan.requests import RunRequest
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.pipeline import ExecutionOptions, run

FIGURE = Path(__file__).with_name("growth.png")
SHAPE = (1, 28, 28)
AE = RunRequest(("ae",), ("mnist5k:0",), ("mnist5k:9",), preset="quick")
SMALL = ("width=0.25", "training.epochs=1", "training.batch_size=64")
CHAINS = ("width=0.1", "epochs=1", "pretraining.epochs=1", "batch_size=64", "visible_chain.steps=1")
STATIC = 2_000
"""Images of an out-set."""
TIMES = (1, 2, 4, 8)

Cost = Callable[[int], float]
"""Function from a multiple of the smallest size to seconds."""


def measure(repetitions: int = 2) -> str:
    """Return a section of the page, and draw its figure."""
    registry = load_registry()
    for number in range(max(TIMES)):
        name = f"static-{number}"
        registry.datasets[name] = Dataset(name, _static, SHAPE, {"test": STATIC})
        registry.plugin_of["data set", name] = "builtin-synthetic"
    with tempfile.TemporaryDirectory() as folder:
        costs = _costs(registry, Path(folder))
        for cost in costs.values():
            cost(1)
        seconds = {
            name: [median([cost(times) for _ in range(repetitions)]) for times in TIMES] for name, cost in costs.items()
        }
    draw(seconds, FIGURE)
    rows = [
        f"| {name} | {exponent(values):.2f} | {' | '.join(f'{value:.2f}' for value in values)} |"
        for name, values in seconds.items()
    ]
    head = f"| | exponent | {' | '.join(f'×{times}' for times in TIMES)} |\n|---{'|---' * (len(TIMES) + 1)}|"
    return (
        f"### Growth\n\nSeconds of whole runs, medians of {repetitions}. The exponent is the slope of the "
        "least-squares line through log seconds over log size: 1 is linear, and what is constant makes it less.\n\n"
        f"{head}\n"
        + "\n".join(rows)
        + f"\n\n![Seconds over size, relative to the smallest, beside a straight line]({FIGURE.name})"
    )


def _static(split: str, root: Path, shape: object) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (STATIC, *SHAPE), np.uint8)
    return ImageSet("static", split, pixels, np.zeros(STATIC, np.int64), np.arange(STATIC))


def _costs(registry: Registry, folder: Path) -> Mapping[str, Cost]:
    fitted = folder / "fitted"
    full = AE.overridden_by(RunRequest(sets=("training.epochs=1",)))
    run(full, options=ExecutionOptions(str(fitted)), registry=registry)

    def fresh(words: RunRequest, copied: Path | None = None) -> float:
        store = Path(tempfile.mkdtemp(dir=folder)) / "store"
        if copied:
            shutil.copytree(copied, store)
        start = time.perf_counter()
        outcome = run(words, options=ExecutionOptions(str(store)), registry=registry)
        seconds = time.perf_counter() - start
        if outcome.failures:
            raise RuntimeError(outcome.failures[0].error)
        return seconds

    def images(times: int) -> float:
        classes = "0" if times == 1 else f"0-{times - 1}"
        return fresh(AE.overridden_by(RunRequest(in_datasets=(f"mnist5k:{classes}",), sets=SMALL)))

    def steps(times: int) -> float:
        chain = f"latent_chain.steps={10 * times}"
        return fresh(AE.overridden_by(RunRequest(detectors=("ebae",), sets=(*CHAINS, chain))))

    def out_datasets(times: int) -> float:
        return fresh(
            full.overridden_by(RunRequest(out_datasets=tuple(f"static-{number}" for number in range(times)))), fitted
        )

    def runs(times: int) -> float:
        return fresh(AE.overridden_by(RunRequest(seeds=tuple(range(times)), sets=SMALL)))

    return {
        "images, 400 to 3,200 of AE's in-data": images,
        "latent chain steps, 10 to 80 of EBAE": steps,
        f"out-sets of {STATIC:,} images, 1 to 8": out_datasets,
        "runs of AE, 1 to 8": runs,
    }


def exponent(seconds: list[float]) -> float:
    """Return the slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(TIMES), np.log(seconds), 1)[0])


def draw(seconds: Mapping[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(TIMES, TIMES, color="0.7", linewidth=6, label="linear", solid_capstyle="round")
    for (name, values), marker in zip(seconds.items(), "osD^", strict=True):
        axes.plot(
            TIMES, np.array(values) / values[0], marker=marker, markersize=6, linewidth=1.3,
            label=f"{name} (exponent {exponent(values):.2f})",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(TIMES, [f"×{times}" for times in TIMES])
    axes.set_yticks(TIMES, [f"×{times}" for times in TIMES])
    axes.set_xlabel("size")
    axes.set_ylabel("seconds, relative to the smallest size")
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
