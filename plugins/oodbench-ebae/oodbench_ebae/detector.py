"""EBAE: the energy-based autoencoder.

The reconstruction error is the energy of a normalised density, p(x) = exp(-E(x)) / Ω. Training follows the gradient of
its log likelihood: it lowers the energy of data and raises that of samples of the model. Samples come from a Langevin
chain in the spherical latent space, started from a replay buffer, followed by one in image space. Source: supplement to
Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution Detection (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from oodbench import Context, ImageSet, OODBenchError, Shape, shape_text
from oodbench.nn.autoencoder import Autoencoder, build_autoencoder, to_sphere
from oodbench.nn.autoencoder_detector import ReconstructionDetector
from oodbench.nn.langevin import Chain, Gradient, input_gradient, visible_chain
from oodbench.nn.reconstruction import augment, cost, fit_reconstruction, squared_norm
from oodbench.nn.replay import ReplayBuffer
from oodbench.nn.training import Phase
from oodbench.nn.training import train as run_phase
from oodbench_ebae.acceleration import Chains, accelerated, chosen_mode, compiled_gradient
from oodbench_ebae.langevin import latent_chain
from oodbench_ebae.optimized_layers import frozen_copy
from oodbench_ebae.params import MADE_FOR, PAPER_32, PRESETS, EBAEParams

PIXELS = (1, 2, 3)
RUNAWAY = 1.5
"""Mean energy of samples to that of data in an epoch above which a fit is noted; sound ones have .4 to 1.1."""


class EBAE(ReconstructionDetector):
    """A detector that scores by E(x) = ‖x - f_d(f_e(x) / ‖f_e(x)‖)‖² / D, in one forward pass of the clean image."""

    name = "ebae"
    summary = "energy-based autoencoder, reconstruction error as a learnt energy"
    paper = "Anonymous, supplement to Suppressing Outlier Reconstruction in Autoencoders (2020)"
    Params = EBAEParams
    presets = PRESETS
    conditional_parameters: ClassVar = {
        "pretraining.keep": "when the last epoch is not the best",
        "pretraining.patience": "when validation gets no better",
        "pretraining.restarts": "when pre-training collapses",
    }

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """Return the values of a preset. Raises OODBenchError if it is for images of another shape (C, H, W)."""
        values = super().preset(name, shape)
        if MADE_FOR.get(name, shape) != shape:
            raise OODBenchError(
                f"ebae: preset {name} is for images of {shape_text(MADE_FOR[name])}, not of {shape_text(shape)}"
            )
        return PAPER_32 if name == "paper" and shape == (3, 32, 32) else values

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Pre-train an autoencoder, then train it by EBAE. Raises FitError if pre-training collapses."""
        params = self.params
        context.progress.plan({"pretraining": cost(params.pretraining, train), "ebae": self._cost(train)})
        self.model = fit_reconstruction(self.build, params.pretraining, train, validation, context, "pretraining")
        if params.epochs:
            worst = max(mean_image_error(train, context.device), 2 * pretrained_energy(context))
            phase = self.phase(context, worst)
            outcome = run_phase(phase, train, context)
            note_runaway(context)
            average = phase.checkpointed.get("average")
            if isinstance(average, AveragedModel) and not outcome["trouble"]:
                self.model.load_state_dict(average.module.state_dict())
        return self

    def build(self) -> Autoencoder:
        """Return the autoencoder with fresh weights."""
        params = self.params
        return build_autoencoder(params.architecture, self.shape, params.latent_dim, params.width, params.spherical)

    # ------------------------------------------------------------------------------ the algorithm

    def phase(self, context: Context, worst: float) -> Phase:
        """Return the EBAE training phase of the current model.

        Args:
            worst: mean energy of the data above which training stops.
        """
        params, model = self.params, self.model
        optimizer = torch.optim.Adam(
            model.parameters(), lr=params.learning_rate, fused=True if context.device.type == "cuda" else None
        )
        buffer = ReplayBuffer(params.buffer.size, (params.latent_dim,), context.device)
        chains = fast_chains(model, params, context)
        checkpointed: dict[str, Any] = {"optimizer": optimizer, "buffer": buffer}
        average = None
        if params.weight_average:
            average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(params.weight_average))
            checkpointed["average"] = average

        def train_step(images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            images = augment(images, generator, params.pretraining).contiguous(memory_format=torch.channels_last)
            with context.autocast():
                negatives, sampling = draw_negatives(chains, buffer, len(images), params, generator)
                terms = loss_terms(model, images, negatives, params)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(model)
            norm = squared_norm(model.encoder).sqrt()
            return {**terms, **sampling, "encoder_norm": norm}

        return Phase(
            name="ebae",
            epochs=params.epochs,
            batch_size=params.batch_size,
            model=model,
            train_step=train_step,
            checkpointed=checkpointed,
            check_divergence=lambda values: diverged(values, params, worst),
        )

    def _cost(self, images: ImageSet) -> float:
        """Return the cost in forward passes of one image; a latent step is decode, encode, decode, forward and back."""
        chains = 3 * self.params.latent_chain.steps + 2 * self.params.visible_chain.steps
        return (chains + 7.0) * self.params.epochs * len(images)


class Negatives(NamedTuple):
    """Samples of the model (n, C, H, W), the codes (n, D_z) at the end of their latent chains, and measurements."""

    images: torch.Tensor
    codes: torch.Tensor
    diagnostics: dict[str, torch.Tensor]


def fast_chains(model: Autoencoder, params: EBAEParams, context: Context) -> Chains[Negatives]:
    """Return both chains, in the mode set by device and user; they read the model's current weights at each call."""
    mode = chosen_mode(context.device)

    def chains(start: torch.Tensor, generator: torch.Generator) -> Negatives:
        if mode == "compile":  # torch.compile knows the model by identity, and optimizes layers itself
            return run_chains(model, start, params, generator, compiled_gradient())
        return run_chains(frozen_copy(model), start, params, generator)

    return accelerated(chains, mode, context.device, context.note)


def draw_negatives(
    chains: Chains[Negatives], buffer: ReplayBuffer, n: int, params: EBAEParams, generator: torch.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return n samples of the model (n, C, H, W), and scalar measurements; append the samples' codes to the buffer."""
    negatives = chains(chain_start(buffer, n, params, generator), generator)
    if len(buffer.samples):
        buffer.push(negatives.codes)
    return negatives.images, negatives.diagnostics


def run_chains(
    model: Autoencoder,
    start: torch.Tensor,
    params: EBAEParams,
    generator: torch.Generator,
    gradient_of: Gradient = input_gradient,
) -> Negatives:
    """Run the latent chain from codes, decode its end, and run the visible chain from there.

    Args:
        start: codes (n, D_z).
        gradient_of: computes gradient and energies, as ``input_gradient`` does.
    """
    latent = params.latent_chain
    on_manifold = latent_chain(
        lambda z: model.energy(model.decode(z)),
        start,
        latent.steps,
        latent.step_size,
        latent.noise_std,
        params.spherical,
        generator,
        gradient_of,
    )
    with torch.no_grad():
        decoded = model.decode(on_manifold.end).clamp(0, 1)
    visible = params.visible_chain
    sample = visible_chain(
        model.energy,
        decoded,
        visible.steps,
        visible.step_size,
        visible.noise_std,
        visible.anneal,
        visible.gradient_clip,
        visible.clip,
        generator,
        gradient_of=gradient_of,
    )
    return Negatives(sample.end, on_manifold.end, _diagnostics(start, on_manifold, decoded, sample))


def chain_start(buffer: ReplayBuffer, n: int, params: EBAEParams, generator: torch.Generator) -> torch.Tensor:
    """Return codes (n, D_z) at which latent chains start.

    Each comes from the buffer with probability ``replay_ratio``, and is random otherwise.
    """
    shape, device = (n, params.latent_dim), buffer.samples.device
    start = torch.randn(shape, generator=generator, device=device)
    start = buffer.replay(start, params.buffer.replay_ratio, generator)
    return to_sphere(start) if params.spherical else start


def loss_terms(
    model: Autoencoder, positives: torch.Tensor, negatives: torch.Tensor, params: EBAEParams
) -> dict[str, torch.Tensor]:
    """Return mean E(x⁺) - mean E(x⁻) + γ mean E(x⁻)² + c ‖θ_enc‖² and its terms, as scalars.

    Args:
        positives: data x⁺ (b, C, H, W).
        negatives: samples x⁻ (b, C, H, W).
    """
    positive, negative = model.energy(positives), model.energy(negatives)
    loss = (
        positive.mean()
        - negative.mean()
        + params.gamma * negative.square().mean()
        + params.encoder_l2 * squared_norm(model.encoder)
    )
    return {
        "loss": loss,
        "positive_energy": positive.mean(),
        "negative_energy": negative.mean(),
        "energy_after_visible_chain": negative.mean(),
    }


def diverged(values: Mapping[str, float], params: EBAEParams, worst: float) -> str | None:
    """Return a reason to stop training, or None.

    Reasons are energies that are not finite, a mean energy of samples above ``max_negative_energy``, and a mean energy
    of data above ``worst``.
    """
    positive, negative = values["positive_energy"], values["negative_energy"]
    if not abs(values["loss"]) < float("inf"):
        return "energies are no longer finite; lower learning_rate or the chains' step sizes"
    if negative > params.max_negative_energy:
        return f"the negative energy {negative:.3g} is above max_negative_energy; lower learning_rate"
    if positive > worst:
        return f"the positive energy {positive:.3g} is above {worst:.3g}: data are badly fitted; lower learning_rate"
    return None


def note_runaway(context: Context) -> None:
    """Add a note to the run if samples had more than 1.5 times the mean energy of data in an epoch of EBAE.

    The chains then no longer reach images of low energy. Training raises energies that are already high, and the energy
    of some data with them. Such fits can end with finite energies and bad scores.
    """
    epochs = [row for row in context.history if row["phase"] == "ebae"]
    if any(row["negative_energy"] > RUNAWAY * row["positive_energy"] for row in epochs):
        context.note(
            f"in an epoch of EBAE samples had more than {RUNAWAY} times the energy of data: "
            "raise gamma or lower learning_rate"
        )


def pretrained_energy(context: Context) -> float:
    """Return the mean energy of the training data in the last epoch of pre-training."""
    rows = [row for row in context.history if row["phase"].startswith("pretraining")]
    return rows[-1]["positive_energy"]


@torch.no_grad()
def mean_image_error(images: ImageSet, device: torch.device) -> float:
    """Return the mean energy of the images if each is reconstructed as their mean image, as if nothing were learnt."""
    total = torch.zeros(2, *images.shape, dtype=torch.float64, device=device)
    for batch in images.batches(1024, device):
        batch = batch.double()
        total += torch.stack([batch.sum(dim=0), batch.square().sum(dim=0)])
    mean, mean_square = total / len(images)
    return (mean_square - mean.square()).mean().item()


def _diagnostics(start: torch.Tensor, latent: Chain, decoded: torch.Tensor, sample: Chain) -> dict[str, torch.Tensor]:
    return {
        "energy_chain_start": latent.first_energy,
        "energy_after_latent_chain": sample.first_energy,
        "clip_fraction": sample.clip_fraction,
        "latent_cosine": torch.cosine_similarity(start, latent.end).mean(),
        "visible_displacement": (sample.end - decoded).square().sum(dim=PIXELS).sqrt().mean(),
    }
