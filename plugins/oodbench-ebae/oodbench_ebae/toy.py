"""The experiment of Figure 2 of the EBAE supplement (§4): an autoencoder of two clusters in the plane, trained by EBAE.

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020). A point is an image of two channels and one pixel, so that energy, chains and loss are those of the
detector.
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
"""Horizontal ranges of the two uniform distributions; the vertical range of both is HEIGHT."""
HEIGHT = (-0.5, 0.5)
PLANE = ((-3.0, 3.0), (-1.5, 1.5))
"""Horizontal and vertical range that is drawn and measured."""
EACH = 200
AE_EPOCHS = 200
BATCH = 128
LEARNING_RATE = 1e-3
CHAIN_STEPS, CHAIN_STEP_SIZE = 10, 0.1
LATENT_BOX = (-1.0, 1.0)


@dataclass(frozen=True)
class Snapshot:
    """Energies of the autoencoder at one point of training.

    Args:
        plane: energy on the grid of ``grid()``, (rows, columns).
        data: energy of the data, (n,).
        curve: points that the decoder outputs for codes in [-1, 1], (k, 2).
        curve_energy: energy of these points, (k,).
    """

    plane: np.ndarray
    data: np.ndarray
    curve: np.ndarray
    curve_energy: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """The data (n, 2), and snapshots of the autoencoder before and after EBAE."""

    data: np.ndarray
    before: Snapshot
    after: Snapshot


def run(settings: Settings, tick: Callable[[], Any] = lambda: None) -> Outcome:
    """Train the autoencoder, then its encoder by EBAE, and return data and snapshots.

    Args:
        tick: called after each epoch of both trainings.
    """
    context = Context(torch.device("cpu"), settings.seed)
    data = two_clusters(context.generator("data"))
    with context.global_seed("weights"):
        model = build()
    train_autoencoder(model, data, settings, context, tick)
    before = snapshot(model, data, settings)
    train_encoder(model, data, settings, context, tick)
    return Outcome(data.flatten(1).numpy(), before, snapshot(model, data, settings))


def two_clusters(generator: torch.Generator) -> torch.Tensor:
    """Return EACH points of each of the two uniform distributions, (n, 2, 1, 1)."""
    corner = torch.tensor([[low, HEIGHT[0]] for low, _ in CLUSTERS]).repeat_interleave(EACH, dim=0)
    size = torch.tensor([[high - low, HEIGHT[1] - HEIGHT[0]] for low, high in CLUSTERS]).repeat_interleave(EACH, dim=0)
    return (corner + size * torch.rand(corner.shape, generator=generator))[:, :, None, None]


def build() -> Autoencoder:
    """Return the autoencoder with fresh weights.

    Encoder: FC(2, 200)-ReLU-FC(200, 200)-ReLU-FC(200, 1)-tanh. Decoder: FC(1, 200)-ReLU-FC(200, 200)-ReLU-FC(200, 2).
    """
    encoder = nn.Sequential(nn.Flatten(), *_layers(2, 1), nn.Tanh())
    return Autoencoder(encoder, nn.Sequential(*_layers(1, 2), nn.Unflatten(1, (2, 1, 1))), spherical=False)


def _layers(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, outputs)]


# --------------------------------------------------------------------------------------- training


def train_autoencoder(
    model: Autoencoder, data: torch.Tensor, settings: Settings, context: Context, tick: Callable[[], Any]
) -> None:
    """Train encoder and decoder to reconstruct data (n, 2, 1, 1)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    generator = context.generator("autoencoder")
    for _ in range(AE_EPOCHS):
        for batch in batches(data, generator):
            _step(optimizer, energy(model, settings)(batch).mean())
        tick()


def train_encoder(
    model: Autoencoder, data: torch.Tensor, settings: Settings, context: Context, tick: Callable[[], Any]
) -> None:
    """Train the encoder on data (n, 2, 1, 1) by EBAE; the decoder's weights stay as they are."""
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
    """Return n samples of the model, (n, 2, 1, 1).

    A latent chain, clamped to [-1, 1], starts from uniform codes; its end is decoded, and a visible chain follows.
    """
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
    """Return the energy: the mean or sum, as in the settings, of the squared error over the two coordinates."""
    factor = {"mean": 1, "sum": 2}[settings.energy]
    return lambda x: factor * model.energy(x)


def batches(data: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Return the data (n, 2, 1, 1) in random order, in batches of up to BATCH points."""
    return iter(data[torch.randperm(len(data), generator=generator)].split(BATCH))


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# -------------------------------------------------------------------------------------- measuring


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of the grid on the plane: columns (c,) and rows (r,)."""
    (left, right), (bottom, top) = PLANE
    return np.linspace(left, right, 241), np.linspace(bottom, top, 121)


@torch.no_grad()
def snapshot(model: Autoencoder, data: torch.Tensor, settings: Settings) -> Snapshot:
    """Return the energies of the model on the plane, on data (n, 2, 1, 1), and on the decoder's curve."""
    columns, rows = grid()
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2, 1, 1)
    curve = model.decode(torch.linspace(*LATENT_BOX, 1001)[:, None])
    of = energy(model, settings)
    plane = of(torch.tensor(points, dtype=torch.float32)).reshape(len(rows), len(columns))
    return Snapshot(plane.numpy(), of(data).numpy(), curve.flatten(1).numpy(), of(curve).numpy())


def measure(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Return measurements under ``before`` and ``after`` EBAE.

    These are mean energies of the data, of the plane between the clusters, of the plane outside, and of the decoder's
    curve off the clusters; and AUROCs of the data against the plane off the clusters and against that between them.
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
    """Return the region of each point: ``inside`` a cluster's box, ``between`` them, or ``outside``."""
    level = (y >= HEIGHT[0]) & (y <= HEIGHT[1])
    inside = level & np.logical_or(*((x >= low) & (x <= high) for low, high in CLUSTERS))
    between = level & (x > CLUSTERS[0][1]) & (x < CLUSTERS[1][0])
    return np.where(inside, "inside", np.where(between, "between", "outside"))
