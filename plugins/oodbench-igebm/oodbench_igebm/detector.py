"""IGEBM: implicit generation with an energy-based model.

A network maps an image to one number, its energy. Training follows the gradient of the log likelihood of
p(x) = exp(-E(x)) / Ω: it lowers the energy of data and raises that of samples of the model. Samples come from Langevin
chains in image space, most of which start from samples of earlier updates in a replay buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch

from oodbench import Context, ImageSet
from oodbench.nn.langevin import Energy, visible_chain
from oodbench.nn.network_detector import NetworkDetector
from oodbench.nn.replay import ReplayBuffer
from oodbench.nn.training import Phase
from oodbench.nn.training import train as run_phase
from oodbench_igebm.network import EnergyNetwork, build_network
from oodbench_igebm.params import PRESETS, IGEBMParams
from oodbench_igebm.spectral import frozen

PIXELS = (1, 2, 3)
BETA2 = 0.999


class IGEBM(NetworkDetector):
    """A detector that scores by a learnt energy E(x), in one forward pass of the clean image."""

    name = "igebm"
    summary = "energy-based model, a scalar energy learnt against its own Langevin samples"
    paper = "Du & Mordatch, Implicit Generation and Modeling with Energy-Based Models (2019)"
    Params = IGEBMParams
    presets = PRESETS
    shapes = ((1, 28, 28), (3, 32, 32))

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train a new network. Raises FitError if training diverges in the first epoch."""
        params = self.params
        context.progress.plan({"igebm": (2.0 * params.chain.steps + 6.0) * params.epochs * len(train)})
        with context.global_seed("weights"):
            self.model = self.build().to(context.device)
        run_phase(self.phase(validation, context), train, context)
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the energies (b,) of images (b, C, H, W) in [0, 1]."""
        return self.model(images.contiguous(memory_format=torch.channels_last))

    def build(self) -> EnergyNetwork:
        """Return the network with fresh weights."""
        return build_network(self.shape[0], self.params.width, self.params.spectral_norm)

    # ------------------------------------------------------------------------------ the algorithm

    def phase(self, validation: ImageSet, context: Context) -> Phase:
        """Return the training phase of the current model."""
        params, model = self.params, self.model
        optimizer = torch.optim.Adam(model.parameters(), lr=params.learning_rate, betas=(params.beta1, BETA2))
        # float16 halves the size of checkpoints; its error, 2⁻¹² at most, is far below the noise of one step.
        buffer = ReplayBuffer(params.buffer.size, self.shape, context.device, torch.float16)

        def train_step(images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            images = images.contiguous(memory_format=torch.channels_last)
            with frozen(model), context.autocast():
                negatives, diagnostics = draw_negatives(model, buffer, images.shape, params, generator)
            with context.autocast():
                terms = loss_terms(model, images, negatives, params.alpha)
            optimizer.zero_grad()
            terms["loss"].backward()
            if params.clip_parameters:
                clip_parameter_gradients(optimizer)
            optimizer.step()
            return {**terms, **diagnostics}

        return Phase(
            name="igebm",
            epochs=params.epochs,
            batch_size=params.batch_size,
            model=model,
            train_step=train_step,
            checkpointed={"optimizer": optimizer, "buffer": buffer},
            validate=lambda: {"validation_energy": mean_energy(model, validation, context)},
            check_divergence=lambda values: diverged(values, params.max_energy),
        )


def draw_negatives(
    energy: Energy, buffer: ReplayBuffer, shape: torch.Size, params: IGEBMParams, generator: torch.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Draw samples of the model (b, C, H, W), and append them to the buffer.

    Args:
        energy: maps images (b, C, H, W) to energies (b,).
        shape: (b, C, H, W) of the samples.

    Returns the samples, and scalar measurements of the chains by name.
    """
    start = chain_start(buffer, shape, params, generator).contiguous(memory_format=torch.channels_last)
    chain = params.chain
    sample = visible_chain(
        energy,
        start,
        chain.steps,
        chain.step_size,
        chain.noise_std,
        "none",
        chain.gradient_clip,
        "element",
        generator,
    )
    if len(buffer.samples):
        buffer.push(sample.end)
    displacement = (sample.end - start).square().sum(dim=PIXELS).sqrt().mean()
    return sample.end, {
        "energy_chain_start": sample.first_energy,
        "clip_fraction": sample.clip_fraction,
        "visible_displacement": displacement,
    }


def chain_start(
    buffer: ReplayBuffer, shape: torch.Size, params: IGEBMParams, generator: torch.Generator
) -> torch.Tensor:
    """Return images (b, C, H, W) at which chains start.

    Each comes from the buffer with probability ``replay_ratio``, and is uniform noise in [0, 1] otherwise.
    """
    device = buffer.samples.device
    start = torch.rand(shape, generator=generator, device=device)
    return buffer.replay(start, params.buffer.replay_ratio, generator)


def loss_terms(
    energy: Energy, positives: torch.Tensor, negatives: torch.Tensor, alpha: float
) -> dict[str, torch.Tensor]:
    """Return mean E(x⁺) - mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²) and its terms, as scalars.

    Both energies are computed in one pass, so that spectral normalisation gives them the same weights.

    Args:
        positives: data x⁺ (b, C, H, W).
        negatives: samples x⁻ (b, C, H, W).
    """
    positive, negative = energy(torch.cat([positives, negatives])).split([len(positives), len(negatives)])
    squares = positive.square().mean() + negative.square().mean()
    loss = positive.mean() - negative.mean() + alpha * squares
    return {"loss": loss, "positive_energy": positive.mean(), "negative_energy": negative.mean()}


def clip_parameter_gradients(optimizer: torch.optim.Adam) -> None:
    """Clip each element of the gradient to ±(3 √v̂ + 0.1), v̂ Adam's bias-corrected second moment of earlier steps.

    Before the first step there is no v̂, and nothing is clipped.
    """
    for group in optimizer.param_groups:
        beta2 = group["betas"][1]
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if state and parameter.grad is not None:
                correction = 1 - beta2 ** state["step"].item()  # Adam counts steps on the CPU, so nothing waits here
                bound = 3 * (state["exp_avg_sq"] / correction).sqrt() + 0.1
                parameter.grad.copy_(parameter.grad.clamp(-bound, bound))


def diverged(values: Mapping[str, Any], limit: float) -> str | None:
    """Return a reason to stop training, or None.

    Reasons are energies that are not finite, and a mean energy further than ``limit`` from 0.
    """
    positive, negative = values["positive_energy"], values["negative_energy"]
    if not abs(values["loss"]) < float("inf"):
        return "energies are no longer finite; lower learning_rate or chain.step_size"
    if max(abs(positive), abs(negative)) > limit:
        return f"energies {positive:.3g} and {negative:.3g} run away (max_energy); lower learning_rate"
    return None


@torch.no_grad()
def mean_energy(model: EnergyNetwork, images: ImageSet, context: Context) -> float:
    """Return the mean energy of a set of images."""
    total = torch.zeros((), dtype=torch.float64, device=context.device)
    with frozen(model), context.autocast():
        for batch in images.batches(512, context.device):
            total += model(batch.contiguous(memory_format=torch.channels_last)).double().sum()
    return (total / len(images)).item()
