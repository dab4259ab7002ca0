"""A plugin for the tests of bases: detectors that stand on one, on each other, on nothing that is there."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from oodbench_toys import MeanDistance

from oodbench import Base, Context, Detector, ImageSet, Params, PostHocDetector, hookimpl, param

if TYPE_CHECKING:
    from oodbench import Shape


def log(text: str) -> None:
    """Note what was done, by whichever process, in a file that the test reads."""
    with Path(os.environ["STANDING_LOG"]).open("a") as file:
        file.write(f"{text}\n")


class CentreParams(Params):
    power: float = param(2.0, "power of the distance", gt=0)
    fails: bool = param(False, "whether the fit fails")


class Centre(MeanDistance):
    """The base: the distance from the mean image, and the brightness."""

    name = "centre"
    Params = CentreParams
    shapes = ((1, 8, 8), (1, 28, 28))
    presets = {"paper": {}, "quick": {"power": 1.0}}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        log(f"fit centre seed {context.seed}")
        if self.params.fails:
            raise RuntimeError("the centre cannot hold")
        self.mean = next(train.batches(len(train), context.device)).mean(0)
        jitter = torch.rand(self.mean.shape, generator=context.generator("jitter", device="cpu")) * 1e-3
        self.mean = self.mean + jitter.to(context.device)
        context.note("it holds")
        return self

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        log(f"outputs {len(images)}")
        return {"score": self.score(images), "brightness": images.mean((1, 2, 3))}


class OffsetParams(Params):
    weight: float = param(1.0, "of the brightness", ge=0)
    kill: str = param("", "file whose absence ends the process in fit, once")


class Offset(PostHocDetector):
    """The base's score, less its mean over the training images, with the brightness."""

    name = "offset"
    base = "centre"
    Params = OffsetParams

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        log(f"fit {self.name} seed {context.seed}")
        if self.params.kill and not Path(self.params.kill).exists():
            Path(self.params.kill).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.mean = self.fitted_base.outputs_of(train)["score"].mean().to(context.device)
        return self

    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return outputs["score"] - self.mean + self.params.weight * outputs["brightness"]

    def state(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.mean = state["mean"]


class Other(Offset):
    name = "other"


class Upon(Offset):
    """Stands on what stands on something: its base's score is its own output, too."""

    name = "upon"
    base = "offset"

    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return outputs["score"] - self.mean


class Given(Offset):
    """Gives its base a parameter of its own."""

    name = "given"

    @classmethod
    def base_of(cls, params: Any, shape: Shape) -> Base:
        return Base("centre", values={"power": 3.0})


class Meddler(Offset):
    """Changes its base."""

    name = "meddler"

    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        self.fitted_base.detector.mean += 0.01  # type: ignore[attr-defined]
        return super().score_outputs(outputs, images)


class Unlike(Offset):
    """Scores images otherwise than what is kept of them."""

    name = "unlike"

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return super().score(images) * 1.01


class Finder(Offset):
    """Declares a check that it fails, and one that it passes."""

    name = "finder"
    known_findings = {"noise_scores_higher_than_data": "it looks the wrong way", "scores_are_not_constant": "too dull"}

    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return -outputs["score"]


class CircleA(Offset):
    name, base = "circle-a", "circle-b"


class CircleB(Offset):
    name, base = "circle-b", "circle-a"


class Lost(Offset):
    name, base = "lost", "centr"


class Narrow(Centre):
    name = "narrow"
    shapes = ((3, 32, 32),)


class Wide(Offset):
    name, base = "wide", "narrow"


@hookimpl
def register_detectors() -> list[type[Detector]]:
    return [Centre, Offset, Other, Upon, Given, Meddler, Unlike, Finder, CircleA, CircleB, Lost, Narrow, Wide]
