"""Speed of updates and scoring of PixelCNN++, Glow and the VAE, the share of the matrix product that they reach, and
the gain of two changes: Glow's norms inside its convolutions, and parts of a batch that fit a CPU's memory allocator.

    python -m benchmarks.likelihood
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from oodbench_glow.detector import Glow
from oodbench_glow.flow import FlowStep, GlowNetwork, NormedConv
from oodbench_pixelcnnpp.detector import PixelCNNPP
from oodbench_vae.detector import VAELikelihood

from benchmarks.ceilings import ceilings, work_of
from benchmarks.machine import describe, in_turn, median, table
from oodbench.plan.settings import resolve

SHAPE = (1, 28, 28)
CASES: list[tuple[Any, str, dict[str, Any], int, int]] = [
    (PixelCNNPP, "quick", {}, 16, 256),
    (PixelCNNPP, "paper", {}, 8, 8),
    (Glow, "quick", {}, 32, 512),
    (Glow, "paper", {}, 64, 128),
    (VAELikelihood, "quick", {}, 64, 256),
    (VAELikelihood, "paper", {"samples": 5}, 64, 64),
]
"""Detector, preset, changed parameters, images per update, images scored."""


def built(kind: Any, preset: str, values: dict[str, Any], device: torch.device) -> Any:
    """Return a detector with fresh weights."""
    torch.manual_seed(0)
    detector = kind(resolve(kind, preset, SHAPE, values), SHAPE)
    detector.model = detector.build().to(device)
    if kind is VAELikelihood:
        detector.noise = torch.randn(detector.params.samples, detector.params.latent_dim, device=device)
    return detector


def update(detector: Any, images: torch.Tensor) -> Callable[[], object]:
    """Return a function that makes one step of Adam on the detector's own loss."""
    model = detector.model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    generator = torch.Generator(images.device).manual_seed(0)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        if isinstance(detector, VAELikelihood):
            loss = detector.loss(model, images, generator)["loss"]
        else:
            loss = model.bits_per_dim(images, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class PlainConv(NormedConv):
    """A convolution with its norm applied afterwards."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.nn.Conv2d.forward(self, x))


class PlainStep(FlowStep):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = x.shape[2] * x.shape[3]
        y, log_det = self.coupling(self.mix(self.norm(x)))
        return y, log_det + self.norm.log_det(pixels) + self.mix.log_det(pixels)


def plain(model: GlowNetwork) -> GlowNetwork:
    """Return the same network, changed so that its norms are separate passes over the images."""
    for module in model.modules():
        if isinstance(module, NormedConv):
            module.__class__ = PlainConv
        elif isinstance(module, FlowStep):
            module.__class__ = PlainStep
    return model


def rates(device: torch.device, repetitions: int) -> str:
    most = ceilings(device.type).flops["float32"]
    lines = [
        "| | images | seconds an update | of the matrix product | images | scored a second | of the matrix product |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, preset, values, trained, scored in CASES:
        detector = built(kind, preset, values, device)
        images = torch.rand(max(trained, scored), *SHAPE, device=device)
        tasks = {
            "update": update(detector, images[:trained]),
            "score": lambda d=detector, x=images[:scored]: d.score(x),
        }
        seconds = {name: median(values) for name, values in in_turn(tasks, repetitions).items()}
        share = {name: f"{work_of(task).flops / seconds[name] / most:.0%}" for name, task in tasks.items()}
        label = ", ".join([kind.name, preset, *(f"{name}={value}" for name, value in values.items())])
        first = f"| {label} | {trained} | {seconds['update']:.3g} | {share['update']}"
        lines.append(f"{first} | {scored} | {scored / seconds['score']:.3g} | {share['score']} |")
    return "\n".join(lines)


def norms(device: torch.device, repetitions: int) -> str:
    """Return the time of Glow at paper width, with its norms by themselves and inside the convolutions."""
    images = torch.rand(64, *SHAPE, device=device)
    sides = {"norms by themselves": plain, "inside the convolutions": lambda model: model}
    tasks: dict[str, Callable[[], object]] = {}
    for name, change in sides.items():
        detector = built(Glow, "paper", {}, device)
        change(detector.model)
        tasks[f"update, {name}"] = update(detector, images)
        tasks[f"score, {name}"] = lambda d=detector: d.score(images)
    seconds = in_turn(tasks, repetitions)
    tables = [
        table({name: seconds[name] for name in seconds if name.startswith(what)}, f"{what}, {first}", "seconds")
        for what in ("update", "score")
        for first in [next(iter(sides))]
    ]
    return "\n\n".join(tables)


def parts(device: torch.device, repetitions: int) -> str:
    """Return the time of PixelCNN++ at paper width, one of five resnets: 128 images at once, and parts below LARGE."""
    images = torch.rand(128, *SHAPE, device=device)
    tasks: dict[str, Callable[[], object]] = {}
    for name in ("128 at once", "in smaller parts on a CPU"):
        detector = built(PixelCNNPP, "paper", {"resnets": 1}, device)
        detector.model.widest = 1 if not tasks else detector.model.widest
        tasks[name] = lambda d=detector: d.score(images)
    return table(in_turn(tasks, repetitions), "128 at once", "seconds")


def measure(repetitions: int = 3) -> str:
    """Return a section of the page."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return (
        f"### Likelihoods\n\n1×28×28, {device.type}, float32, {repetitions} rounds.\n\n{rates(device, repetitions)}\n\n"
        f"Glow, 64 images, its norms taken up by its convolutions or not:\n\n{norms(device, repetitions)}\n\n"
        "PixelCNN++, 80 filters, one of its five resnets, 128 images scored:\n\n" + parts(device, repetitions)
    )


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
