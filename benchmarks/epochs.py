"""AUROC after every epoch of a fit, or every few seconds: the curve that a single number at the end hides.

The fit itself never sees the out-data. Its current weights, or their average if it keeps one, score the test splits, or
the validation splits, by which settings may be chosen. Each time a line is added to a CSV. An interrupted fit resumes.
Seconds are those of the fit since it started or resumed, without the scoring.

    python -m benchmarks.epochs curve.csv --detector ebae --in mnist:0,2-9 --out mnist:1 --out constant \
        --data-dir data --set width=0.25 --precision bfloat16 --threads 2
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oodbench.api import Context, ImageSet, Progress
from oodbench.api.context import Checkpoints
from oodbench.data.loading import Loader
from oodbench.folders import cache_folder, data_folder
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import new_detector, plan, run_key
from oodbench.plugin.registry import load_registry
from oodbench.runs.devices import find_device
from oodbench.runs.scoring import score
from oodbench.store.store import Store


class Spoken(Progress):
    def message(self, text: str) -> None:
        print(text, flush=True)


def curve(
    words: RunRequest, path: Path, data_dir: Path, device: str, store: str, split: str = "test", every: float = 0
) -> None:
    """Fit the one run that ``words`` requests, and write its curve on the split "test" or "validation".

    Args:
        every: seconds between two measurements; 0 for one after each epoch.
    """
    registry = load_registry()
    loader = Loader(registry, data_dir, cache_folder())
    (task,) = plan([words], registry, loader)
    splits = {name: loader.load(task.run.in_dataset, name) for name in ("train", "validation", "test")}
    out_datasets = [loader.load(name, split, splits[split].shape) for name in task.out_datasets]
    key = run_key(task.run, splits)
    detector = new_detector(task.run, splits["train"].shape, registry)
    looks = Looks(path, detector, splits[split], out_datasets, registry.metric("auroc").compute)
    checkpoints = Store(store).checkpoints(key)
    context = Context(
        find_device(device), task.run.seed, task.run.precision, Spoken(),
        Looking(checkpoints, looks) if every else checkpoints, every or Context.checkpoint_seconds,
        on_epoch_end=None if every else lambda phase, epoch: looks.take(phase, epoch, 0, context.history[-1]),
    )  # fmt: skip
    print(key, {name: len(images) for name, images in splits.items()}, task.run.params, sep="\n", flush=True)
    detector.fit(splits["train"], splits["validation"], context)


@dataclass
class Looks:
    """The measurements of a curve, each a line of the CSV."""

    path: Path
    detector: Any
    in_images: ImageSet
    out_datasets: Sequence[ImageSet]
    auroc: Callable[[np.ndarray, np.ndarray], float]
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def take(
        self, phase: str, epoch: int, updates: int, means: Mapping[str, Any], weights: Mapping[str, Any] | None = None
    ) -> None:
        """Measure and write one line, with the detector's own weights where none are given."""
        if not hasattr(self.detector, "model"):
            return  # pre-training: the detector has no weights of its own yet
        began = time.monotonic()
        row = {"phase": phase, "epoch": epoch, "updates": updates, "seconds": round(began - self.started - self.spent)}
        trained = self.detector.model
        self.detector.model = copy.deepcopy(trained)  # scoring leaves the copy in evaluation mode
        if weights is not None:
            self.detector.model.load_state_dict(weights)
        quiet = Context(next(trained.parameters()).device)
        in_values = score(self.detector, self.in_images, quiet).values
        for out in self.out_datasets:
            row[out.name] = round(self.auroc(in_values, score(self.detector, out, quiet).values), 4)
        self.detector.model = trained
        row |= {name: means.get(name) for name in ("positive_energy", "negative_energy")}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
        self.spent += time.monotonic() - began


@dataclass
class Looking:
    """The checkpoints of a fit, with a measurement at each."""

    checkpoints: Checkpoints
    looks: Looks

    def load(self) -> dict[str, Any] | None:
        return self.checkpoints.load()

    def save(self, state: dict[str, Any]) -> None:
        self.checkpoints.save(state)
        epoch, step, *_, seen = state["counts"]
        means = {name: total.item() / seen for name, total in state["totals"].items()}
        self.looks.take(state["phase"], epoch, step, means, newest_weights(state))


def newest_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of a checkpoint, or their average if there is one."""
    average = state["parts"].get("average", {})
    averaged = {name.removeprefix("module."): tensor for name, tensor in average.items() if name.startswith("module.")}
    return averaged or dict(state["model"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--in", dest="in_dataset", required=True)
    parser.add_argument("--out", action="append", required=True)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-dir", type=Path, default=data_folder())
    parser.add_argument("--store", default="results/epochs", help="of the checkpoints")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="that is scored")
    parser.add_argument("--every", type=float, default=0, help="seconds from one look to the next, not one each epoch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = RunRequest(
        (given.detector,), (given.in_dataset,), tuple(given.out), (given.seed,), given.preset, tuple(given.set),
        given.precision,
    )  # fmt: skip
    curve(chosen, given.csv, given.data_dir, given.device, given.store, given.split, given.every)
