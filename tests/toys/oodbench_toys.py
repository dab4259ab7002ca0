"""A plugin for the tests: a plain detector that works, one that fails in the way it is told to, and tiny data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from oodbench import DataError, Dataset, Detector, ImageSet, Params, hookimpl, param

if TYPE_CHECKING:
    import torch

    from oodbench import Context, Shape

calls: list[str] = []
"""What detectors of this plugin were asked to do, in order."""


class Blur(Params):
    strength: float = param(0.0, "share of the overall brightness mixed into the mean image", source="ours", ge=0, le=1)
    steps: int = param(5, "how often it is mixed in", unit="times", ge=0)


class MeanDistanceParams(Params):
    power: float = param(2.0, "power of the distance", source="table 1", gt=0)
    blur: Blur = Blur(steps=1)


class MeanDistance(Detector):
    """The distance of an image from the mean training image."""

    name = "mean-distance"
    summary = "distance from the mean training image"
    Params = MeanDistanceParams
    shapes = ((1, 8, 8), (1, 28, 28))
    presets = {"paper": {}, "quick": {"blur": {"strength": 0.5}}}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        calls.append(f"fit {train.name} seed {context.seed}")
        context.progress.plan({"averaging": 1.0})
        batches = [batch.sum(0) for batch in train.batches(100, context.device)]
        self.mean = sum(batches) / len(train)
        for _ in range(self.params.blur.steps):
            self.mean = self.mean.lerp(self.mean.mean().expand_as(self.mean), self.params.blur.strength)
        context.history.append({"phase": "averaging", "epoch": 1, "brightness": self.mean.mean().item()})
        context.progress.advance("averaging", 1.0, "1/1", {"brightness": self.mean.mean().item()})
        return self

    def score(self, images: torch.Tensor) -> torch.Tensor:
        calls.append("score")
        return (images - self.mean).abs().pow(self.params.power).mean((1, 2, 3))

    def state(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        calls.append("load_state")
        self.mean = state["mean"]


class BrokenParams(Params):
    fault: Literal["nan", "few", "flat", "list", "fit", "interrupt"] = param("nan", "what goes wrong")
    only: float = param(-1.0, "brightness of the only images it goes wrong with; below 0 for all")


class Broken(MeanDistance):
    """Fails in the way it is told to."""

    name = "broken"
    Params = BrokenParams
    shapes = None
    presets = {"paper": {}, "quick": {}}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        if self.params.fault == "fit":
            raise RuntimeError("the loss\nis not finite")
        if self.params.fault == "interrupt":
            raise KeyboardInterrupt
        self.mean = next(train.batches(len(train), context.device)).mean(0)
        return self

    def score(self, images: torch.Tensor) -> torch.Tensor:
        scores = (images - self.mean).square().mean((1, 2, 3))
        if self.params.only >= 0 and abs(images.mean().item() - self.params.only) > 0.1:
            return scores
        if self.params.fault == "nan":
            scores[:3] = float("nan")
        wrong = {"few": scores[:-3], "flat": scores[:, None], "list": scores.tolist()}
        return wrong.get(self.params.fault, scores)


SIZES = {"train": 40, "validation": 10, "test": 20}


def load_bars(split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Dark images with one bright row (class 0) or column (class 1)."""
    n = SIZES[split]
    indices = np.arange(n) + {"train": 0, "validation": 100, "test": 200}[split]
    images = np.zeros((n, 1, 8, 8), np.uint8)
    labels = np.arange(n) % 2
    for image, index, label in zip(images, indices, labels, strict=True):
        place = (0, index // 2 % 3) if label == 0 else (0, slice(None), index // 2 % 3)
        image[place] = 200 + index % 50
    return ImageSet("bars", split, images, labels, indices)


def load_absent(split: str, root: Path, shape: Shape | None) -> ImageSet:
    raise DataError(f"absent: {root / 'absent' / 'images.npy'} is missing; put it there, or choose another --data-dir")


def load_white(split: str, root: Path, shape: Shape | None) -> ImageSet:
    images = np.full((20, *(shape or (1, 8, 8))), 255, np.uint8)
    return ImageSet("white", split, images, np.zeros(20, np.int64), np.arange(20))


@hookimpl
def register_detectors() -> list[type[Detector]]:
    return [MeanDistance, Broken]


@hookimpl
def register_datasets() -> list[Dataset]:
    shape = (1, 8, 8)
    return [
        Dataset("bars", load_bars, shape, SIZES, classes=(0, 1), summary="rows and columns", source="made here"),
        Dataset("absent", load_absent, shape, SIZES, required_files=lambda root: [root / "absent" / "images.npy"]),
        Dataset("white", load_white, None, {"test": 20}),
    ]
