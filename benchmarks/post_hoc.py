"""Twenty post-hoc detectors on one in-set and five out-sets: through the harness, and in a plain loop over pytorch-ood.

python -m benchmarks.post_hoc
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_ood.api import FeatureMapsDetector
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.machine import describe, median, table
from oodbench import Context, ImageSet, OODBenchError, resolve
from oodbench.data.loading import open_loader
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import load_detector
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.store.store import Store

IN = "mnist5k:0-8"
OUT = ("mnist5k:9", "halfmnist5k", "chimeramnist5k", "noise", "constant")
NAMES = (
    "po-msp", "po-max-logit", "po-energy", "po-entropy", "po-gen", "po-kl-matching", "po-temperature",
    "po-mahalanobis", "po-rmd", "po-knn", "po-vim", "po-she", "po-nnguide", "po-nci", "po-gmm", "po-pnml", "po-dice",
    "po-lts", "po-fdbd", "po-react",
)  # fmt: skip
LOOP, HARNESS = "a plain loop over pytorch-ood", "through the harness"
BATCH = 256
SETTINGS = ("classifier.training.epochs=2",)


@dataclass
class Sets:
    """The images for both ways, in memory."""

    train: ImageSet
    scored: dict[str, ImageSet]

    def loader(self, images: ImageSet) -> DataLoader[Any]:
        pixels = torch.from_numpy(np.ascontiguousarray(images.images)).float() / 255
        labels = torch.from_numpy(images.with_class_indices(np.unique(images.labels)).labels)
        return DataLoader(TensorDataset(pixels, labels), batch_size=BATCH)


def own_detector(kind: Any, network: Any, values: dict[str, Any]) -> Any:
    """Return pytorch-ood's detector, with the network passed to it as its documentation says."""
    parts = {
        "model": network, "encoder": network.features, "head": network.fc, "w": network.fc.weight,
        "b": network.fc.bias,
    }  # fmt: skip
    if issubclass(kind, FeatureMapsDetector):
        parts["backbone"] = lambda images: network.features(images)[:, :, None, None]
        parts["head"] = lambda maps: network.fc(maps[:, :, 0, 0])
    names = inspect.signature(kind.__init__).parameters
    return kind(**{name: part for name, part in {**parts, **values}.items() if name in names})


def loop(registry: Registry, network: Any, sets: Sets) -> dict[tuple[str, str], np.ndarray]:
    """Fit and score each detector by itself, as one would with pytorch-ood alone. Returns the scores of each set."""
    scores = {}
    loaders = {name: sets.loader(images) for name, images in sets.scored.items()}
    train = sets.loader(sets.train)
    for name in NAMES:
        kind: Any = registry.detector(name)
        detector = own_detector(kind.inner_class, network, resolve(kind, "quick", sets.train.shape, {}).model_dump())
        if detector.requires_fit:
            detector.to("cpu").fit(train)
        with torch.no_grad():
            for dataset, loader in loaders.items():
                scores[name, dataset] = torch.cat([detector.predict(images) for images, _ in loader]).numpy()
    return scores


def largest_difference(store: Store, keys: list[str], scores: dict[tuple[str, str], np.ndarray]) -> float:
    """Return the largest difference between scores of the store and those of the loop, as a share of their range."""
    worst = 0.0
    for key in keys:
        for dataset in (IN, *OUT):
            own = scores[store.read_run(key)[0].detector, dataset]
            ours = store.read_scores(key, None if dataset == IN else dataset).values
            worst = max(worst, float(np.abs(ours - own).max() / max(float(np.ptp(own)), 1e-30)))
    return worst


def measure(repetitions: int = 3) -> str:
    """Return a section of the page."""
    registry, cpu = load_registry(), "cpu"
    loader = open_loader(registry)
    splits = {split: loader.load(IN, split) for split in ("train", "validation", "test")}
    scored = {IN: splits["test"]} | {name: loader.load(name, "test", splits["test"].shape) for name in OUT}
    sets = Sets(splits["train"], scored)
    seconds: dict[str, list[float]] = {LOOP: [], HARNESS: []}
    of_process: dict[str, list[float]] = {LOOP: [], HARNESS: []}
    with tempfile.TemporaryDirectory() as folder:
        fitted = Store(f"{folder}/fitted")
        base = RunRequest(("classifier",), (IN,), OUT[:1], preset="quick", sets=SETTINGS)
        (key,) = run(base, options=ExecutionOptions(fitted.address, device=cpu), registry=registry).keys
        classifier: Any = load_detector(
            fitted.read_run(key)[0], splits, registry, fitted.read_weights, Context(torch.device(cpu))
        )
        request = RunRequest(NAMES, (IN,), OUT, preset="quick", sets=SETTINGS)
        worst = 0.0
        for number in range(repetitions):
            options = ExecutionOptions(f"{folder}/{number}", device=cpu)
            shutil.copytree(f"{folder}/fitted", options.store)
            outcome = timed(lambda: run(request, options=options, registry=registry), HARNESS, seconds, of_process)  # noqa: B023
            if outcome.failures:
                raise OODBenchError(f"a run failed: {outcome.failures[0]}")
            scores = timed(lambda: loop(registry, classifier.model, sets), LOOP, seconds, of_process)
            worst = max(worst, largest_difference(Store(options.store), outcome.keys, scores))
    return section(seconds, of_process, worst, sets)


def timed(
    task: Callable[[], Any], name: str, seconds: dict[str, list[float]], of_process: dict[str, list[float]]
) -> Any:
    """Return what the task returns; append its elapsed seconds and its processor seconds to the lists."""
    start, start_of_process = time.perf_counter(), time.process_time()
    found = task()
    seconds[name].append(time.perf_counter() - start)
    of_process[name].append(time.process_time() - start_of_process)
    return found


def section(seconds: dict[str, list[float]], of_process: dict[str, list[float]], worst: float, sets: Sets) -> str:
    count = sum(map(len, sets.scored.values()))
    ratio = median([own / ours for own, ours in zip(of_process[LOOP], of_process[HARNESS], strict=True)])
    more = {"processor seconds": {name: f"{median(values):.3g}" for name, values in of_process.items()}}
    return (
        f"### Post-hoc detectors\n\n{len(NAMES)} detectors of logits and features, preset quick, fitted to the "
        f"{len(sets.train):,} images of {IN} and scored on it and {len(OUT)} out-sets ({count:,} images), by one "
        f"fitted classifier (`whitened`, width 0.25), cpu, rounds: {len(seconds[LOOP])}. The harness also keeps every "
        f"score and computes all metrics.\n\n{table(seconds, LOOP, 'seconds', more)}\n\nBy processor seconds: "
        f"{ratio:.1f} times as fast. The scores differ by at most {worst:.1g} of their range."
    )


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
