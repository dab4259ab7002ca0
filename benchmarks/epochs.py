"""AUROC after every epoch of a fit: the curve that a single number at the end hides.

The fit itself never sees the out-data; after each epoch its weights as they are score the test splits, or the
validation splits, by which settings may be chosen. A CSV grows by a line an epoch, and the fit can be interrupted and
goes on.

    python -m benchmarks.epochs curve.csv --detector ebae --in mnist:0,2-9 --out mnist:1 --out constant \
        --data-dir data --set width=0.25 --precision bfloat16 --threads 2
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch

from oodbench.api import Context, Progress
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


def curve(words: RunRequest, path: Path, data_dir: Path, device: str, store: str, split: str = "test") -> None:
    """Fit the one run that the words name and write its curve on the split "test" or "validation"."""
    registry = load_registry()
    loader = Loader(registry, data_dir, cache_folder())
    (task,) = plan([words], registry, loader)
    splits = {name: loader.load(task.run.in_dataset, name) for name in ("train", "validation", "test")}
    out_datasets = [loader.load(name, split, splits[split].shape) for name in task.out_datasets]
    key = run_key(task.run, splits)
    detector = new_detector(task.run, splits["train"].shape, registry)
    auroc = registry.metric("auroc").compute
    started = time.monotonic()

    def on_epoch_end(phase: str, epoch: int) -> None:
        if not hasattr(detector, "model"):
            return  # pre-training: the detector has no weights of its own yet
        quiet = Context(context.device, precision=context.precision)
        in_values = score(detector, splits[split], quiet).values
        row = {"phase": phase, "epoch": epoch, "seconds": round(time.monotonic() - started)}
        row |= {out.name: round(auroc(in_values, score(detector, out, quiet).values), 4) for out in out_datasets}
        row |= {name: context.history[-1].get(name) for name in ("positive_energy", "negative_energy")}
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)

    context = Context(
        find_device(device), task.run.seed, task.run.precision, Spoken(), Store(store).checkpoints(key),
        on_epoch_end=on_epoch_end,
    )  # fmt: skip
    print(key, {name: len(images) for name, images in splits.items()}, task.run.params, sep="\n", flush=True)
    detector.fit(splits["train"], splits["validation"], context)


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
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = RunRequest(
        (given.detector,), (given.in_dataset,), tuple(given.out), (given.seed,), given.preset, tuple(given.set),
        given.precision,
    )  # fmt: skip
    curve(chosen, given.csv, given.data_dir, given.device, given.store, given.split)
