"""The toy of the supplement's Figure 2 (§4): two clusters in the plane, an autoencoder, and what EBAE makes of it.

A point is an image of two channels and one pixel, so that energy, chains and loss are those of the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from oodbench import Context, find_metric
from oodbench.nn.autoencoder import Autoencoder
from oodbench.nn.langevin import Anneal, Energy, visible_chain
from oodbench_ebae.detector import loss_terms
from oodbench_ebae.params import EBAEParams
from oodbench_ebae.toy_settings import Settings

CLUSTERS = ((-2.0, -1.0), (1.0, 2.0))
"""Where the two uniform distributions lie horizontally; vertically both fill HEIGHT."""
HEIGHT = (-0.5, 0.5)
PLANE = ((-3.0, 3.0), (-1.5, 1.5))
"""What is drawn and measured, horizontally and vertically."""
EACH = 200
AE_EPOCHS = 200
BATCH = 128
LEARNING_RATE = 1e-3
CHAIN_STEPS, CHAIN_STEP_SIZE = 10, 0.1
LATENT_BOX = (-1.0, 1.0)


@dataclass(frozen=True)
class Snapshot:
    """The autoencoder at one moment.

    plane: energy on the grid of ``grid()``, (rows, columns). data: energy of the data, (n,). curve: the decoder's curve
    over [-1, 1], (k, 2), and its energy, (k,).
    """

    plane: np.ndarray
    data: np.ndarray
    curve: np.ndarray
    curve_energy: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """Data (n, 2), and the autoencoder before and after EBAE."""

    data: np.ndarray
    before: Snapshot
    after: Snapshot


def run(settings: Settings, tick: Callable[[], Any] = lambda: None) -> Outcome:
    """Train the autoencoder, then its encoder by EBAE; ``tick`` is called after each epoch of either."""
    context = Context(torch.device("cpu"), settings.seed)
    data = two_clusters(context.generator("data"))
    with context.global_seed("weights"):
        model = build()
    train_autoencoder(model, data, settings, context, tick)
    before = snapshot(model, data, settings)
    train_encoder(model, data, settings, context, tick)
    return Outcome(data.flatten(1).numpy(), before, snapshot(model, data, settings))


def two_clusters(generator: torch.Generator) -> torch.Tensor:
    """EACH points of either uniform distribution, (n, 2, 1, 1)."""
    corner = torch.tensor([[low, HEIGHT[0]] for low, _ in CLUSTERS]).repeat_interleave(EACH, dim=0)
    size = torch.tensor([[high - low, HEIGHT[1] - HEIGHT[0]] for low, high in CLUSTERS]).repeat_interleave(EACH, dim=0)
    return (corner + size * torch.rand(corner.shape, generator=generator))[:, :, None, None]


def build() -> Autoencoder:
    """FC(2, 200)-ReLU-FC(200, 200)-ReLU-FC(200, 1)-tanh, and FC(1, 200)-ReLU-FC(200, 200)-ReLU-FC(200, 2)."""
    encoder = nn.Sequential(nn.Flatten(), *_layers(2, 1), nn.Tanh())
    return Autoencoder(encoder, nn.Sequential(*_layers(1, 2), nn.Unflatten(1, (2, 1, 1))), spherical=False)


def _layers(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, outputs)]


# --------------------------------------------------------------------------------------- training


def train_autoencoder(
    model: Autoencoder, data: torch.Tensor, settings: Settings, context: Context, tick: Callable[[], Any]
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    generator = context.generator("autoencoder")
    for _ in range(AE_EPOCHS):
        for batch in batches(data, generator):
            _step(optimizer, energy(model, settings)(batch).mean())
        tick()


def train_encoder(
    model: Autoencoder, data: torch.Tensor, settings: Settings, context: Context, tick: Callable[[], Any]
) -> None:
    """The gradient of EBAE's likelihood, on the encoder alone: the decoder's weights stay as they are."""
    model.decoder.requires_grad_(False)
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=settings.learning_rate)
    generator = context.generator("ebae")
    params = EBAEParams(gamma=settings.gamma, encoder_l2=0.0)
    for _ in range(settings.epochs):
        for batch in batches(data, generator):
            negatives = draw_negatives(model, len(batch), settings, generator)
            _step(optimizer, loss_terms(model, batch, negatives, params)["loss"])
        tick()


def draw_negatives(model: Autoencoder, n: int, settings: Settings, generator: torch.Generator) -> torch.Tensor:
    """n samples of the model, (n, 2, 1, 1): a latent chain that is kept in [-1, 1], decoded, then a visible chain."""
    low, high = LATENT_BOX
    start = low + (high - low) * torch.rand(n, 1, generator=generator)
    visible_energy = energy(model, settings)

    def chain(of: Energy, x: torch.Tensor, noise: float, anneal: Anneal, box: tuple[float, float]) -> torch.Tensor:
        return visible_chain(of, x, CHAIN_STEPS, CHAIN_STEP_SIZE, noise, anneal, 1.0, "none", generator, box).end

    codes = chain(lambda z: visible_energy(model.decode(z)), start, settings.latent_noise, "none", LATENT_BOX)
    with torch.no_grad():
        decoded = model.decode(codes)
    return chain(visible_energy, decoded, settings.visible_noise, settings.anneal, (-settings.box, settings.box))


def energy(model: Autoencoder, settings: Settings) -> Energy:
    """The squared error, its mean or its sum over the two coordinates."""
    factor = {"mean": 1, "sum": 2}[settings.energy]
    return lambda x: factor * model.energy(x)


def batches(data: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
    return iter(data[torch.randperm(len(data), generator=generator)].split(BATCH))


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# -------------------------------------------------------------------------------------- measuring


def grid() -> tuple[np.ndarray, np.ndarray]:
    """The coordinates of the grid on the plane: columns (c,) and rows (r,)."""
    (left, right), (bottom, top) = PLANE
    return np.linspace(left, right, 241), np.linspace(bottom, top, 121)


@torch.no_grad()
def snapshot(model: Autoencoder, data: torch.Tensor, settings: Settings) -> Snapshot:
    columns, rows = grid()
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2, 1, 1)
    curve = model.decode(torch.linspace(*LATENT_BOX, 1001)[:, None])
    of = energy(model, settings)
    plane = of(torch.tensor(points, dtype=torch.float32)).reshape(len(rows), len(columns))
    return Snapshot(plane.numpy(), of(data).numpy(), curve.flatten(1).numpy(), of(curve).numpy())


def measure(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Before and after: the mean energy of the data, of the plane between the clusters and of the rest of it outside
    them, and of the decoder's curve off them; and the AUROC of the data against all of the plane off the clusters, and
    against what is between them.
    """
    auroc = find_metric("auroc").compute
    x, y = np.meshgrid(*grid())
    plane, curve = _regions(x, y), _regions(*outcome.before.curve.T)
    return {
        name: {
            "data": float(state.data.mean()),
            "between": float(state.plane[plane == "between"].mean()),
            "outside": float(state.plane[plane == "outside"].mean()),
            "decoder_curve_off_data": float(state.curve_energy[curve != "inside"].mean()),
            "auroc": auroc(state.data, state.plane[plane != "inside"]),
            "auroc_between": auroc(state.data, state.plane[plane == "between"]),
        }
        for name, state in (("before", outcome.before), ("after", outcome.after))
    }


def _regions(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each point: in one of the clusters' boxes, between them, or outside."""
    level = (y >= HEIGHT[0]) & (y <= HEIGHT[1])
    inside = level & np.logical_or(*((x >= low) & (x <= high) for low, high in CLUSTERS))
    between = level & (x > CLUSTERS[0][1]) & (x < CLUSTERS[1][0])
    return np.where(inside, "inside", np.where(between, "between", "outside"))
