"""Training of an autoencoder to reconstruct images: a method in itself, and the first phase of others.

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020); "NAE code" is the code of its published successor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import torch

from oodbench.api import Context, ImageSet, Params, param
from oodbench.errors import FitError
from oodbench.nn.autoencoder import Autoencoder
from oodbench.nn.initialization import channel_means, initialize_he
from oodbench.nn.training import Phase, train

CONSTANT = 1e-4
"""Variance of reconstructions over images, relative to the images' own, below which they look identical."""
EPOCHS_TO_JUDGE = 5
VALIDATION_BATCH = 512

Model = TypeVar("Model", bound=Autoencoder)
Loss = Callable[[Model, torch.Tensor, torch.Generator], Mapping[str, torch.Tensor]]
"""Maps a model, images (b, C, H, W) and a generator for noise to ``loss`` and, for the history, its terms; scalars."""


class ReconstructionParams(Params):
    """Training parameters of an autoencoder."""

    epochs: int = param(
        100, "epochs", ge=1, reduces="lower", source="EBAE supplement §3: 100 for MNIST, 120 for CIFAR-10"
    )
    learning_rate: float = param(
        1e-4, "of Adam; the EBAE supplement prints one rate for all training, 1e-5", gt=0, le=1e30, source="NAE code"
    )
    batch_size: int = param(
        128, "images per update", ge=1, reduces="higher", source="NAE code; not in the EBAE supplement"
    )
    encoder_l2: float = param(0.0, "weight of the sum of squares of all encoder parameters", ge=0, source="NAE code")
    gradient_clip: float = param(0.0, "greatest norm of the parameter gradient; 0 for none", ge=0, source="NAE code")
    keep: Literal["best", "last"] = param(
        "best",
        "weights to end with: of the best validation loss, or the last",
        source="EBAE supplement §3; NAE code: last",
    )
    patience: int = param(0, "stop after this many epochs in total without a better validation loss; 0: never", ge=0)
    dequantize: bool = param(False, "x·255/256 + U[0,1)/256 on training images", source="NAE code, CIFAR-10")
    horizontal_flip: float = param(0.0, "probability of mirroring a training image", ge=0, le=1, source="NAE code")
    initialization: Literal["torch", "he"] = param(
        "torch",
        "of the weights: torch's default, or He's with the last bias at the mean of the images",
        source="NAE code: torch's; not in the EBAE supplement",
    )
    restarts: int = param(3, "restarts after a collapse, with other weights and half the rate", ge=0, source="ours")


QUICK: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "encoder_l2": 0.0,
    "initialization": "he",
}
"""Training values of every ``quick`` preset. On so small a budget the autoencoder nearly collapses with encoder L2: in
40 epochs on 7,200 digits at this rate the energy of the data stayed at .068 with it, and fell to .008 without."""

CPU: dict[str, Any] = {**QUICK, "epochs": 5}
"""Training values of every ``cpu`` preset: for some 50,000 images on one core, where an epoch has 800 updates."""


def cost(params: ReconstructionParams, images: ImageSet) -> float:
    """Return the cost of the whole phase, in forward passes of one image.

    A training step costs three per image: forward, and backward to activations and to weights.
    """
    return 3.0 * params.epochs * len(images)


def reconstruction_error(
    model: Autoencoder, images: torch.Tensor, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Return the plain autoencoder's loss and its only term, both the mean energy of images (b, C, H, W), scalars.

    The generator is not used.
    """
    energy = model.energy(images).mean()
    return {"loss": energy, "positive_energy": energy}


def fit_reconstruction(
    build: Callable[[], Model],
    params: ReconstructionParams,
    train_set: ImageSet,
    validation: ImageSet,
    context: Context,
    name: str = "training",
    loss: Loss[Model] = reconstruction_error,
    may_be_constant: bool = False,
) -> Model:
    """Build an autoencoder, train it, and return it; restart if it collapsed to a constant output.

    A restart draws other weights and halves the learning rate, as too high a rate collapses most initial weights.

    Args:
        build: returns a model with fresh weights.
        name: of the training phase in progress and history.
        loss: maps model, images (b, C, H, W) and generator to ``loss`` and its terms.
        may_be_constant: do not treat one output for every image as a collapse, because the loss may demand it.

    Raises FitError if the first training and every restart collapsed.
    """
    constants_loss = math.inf  # least loss of a network with constant output: any that does no better has collapsed too
    for attempt in range(params.restarts + 1):
        phase_name = name if attempt == 0 else f"{name}-restart-{attempt}"
        with context.global_seed(phase_name, "weights"):
            model = _initialized(build().to(context.device), params, train_set, context)
        slower = params.model_copy(update={"learning_rate": params.learning_rate / 2**attempt})
        outcome = train(_phase(phase_name, name, model, loss, slower, validation, context), train_set, context)
        is_dead = outcome["trouble"] if may_be_constant else collapsed(outcome, context.history, phase_name)
        losses = [row["validation_loss"] for row in context.history if row["phase"] == phase_name] or [math.inf]
        if not is_dead and min(losses) <= constants_loss:
            return model
        constants_loss = constants_loss if outcome["trouble"] else min(constants_loss, losses[-1])
        if attempt < params.restarts:
            context.note(f"{phase_name} collapsed and was restarted with other weights at half the rate")
    raise FitError(
        f"{name} gave a dead network, or one output for every image, {params.restarts + 1} times; "
        "lower its learning_rate or encoder_l2, or give it more epochs"
    )


def _initialized(model: Model, params: ReconstructionParams, train_set: ImageSet, context: Context) -> Model:
    if params.initialization == "he":
        initialize_he(model, channel_means(train_set, context.device))
    return model


def collapsed(outcome: dict[str, Any], history: list[dict[str, Any]], phase: str) -> bool:
    """Whether training diverged, or ended with one output for every image.

    A constant output counts only from EPOCHS_TO_JUDGE epochs on.

    Args:
        outcome: what ``train`` returned.
        history: rows of the context's history.
        phase: name of the phase in these rows.
    """
    rows = [row for row in history if row["phase"] == phase]
    constant = bool(rows) and rows[-1]["output_variance"] < CONSTANT
    return outcome["trouble"] or (constant and len(rows) >= EPOCHS_TO_JUDGE)


def augment(batch: torch.Tensor, generator: torch.Generator, params: ReconstructionParams) -> torch.Tensor:
    """Return training images (b, C, H, W), mirrored and dequantized as the parameters say."""
    if params.horizontal_flip:
        flip = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < params.horizontal_flip
        batch = torch.where(flip, batch.flip(3), batch)
    if params.dequantize:
        noise = torch.rand(batch.shape, generator=generator, device=batch.device)
        batch = batch * (255 / 256) + noise / 256
    return batch


def squared_norm(module: torch.nn.Module) -> torch.Tensor:
    """Return the sum of squares of all parameters, biases included, as a scalar."""
    return torch.stack([parameter.square().sum() for parameter in module.parameters()]).sum()


def _phase(
    name: str,
    display_name: str,
    model: Model,
    loss: Loss[Model],
    params: ReconstructionParams,
    validation: ImageSet,
    context: Context,
) -> Phase:
    optimizer = torch.optim.Adam(model.parameters(), lr=params.learning_rate)

    def train_step(batch: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        batch = augment(batch, generator, params).contiguous(memory_format=torch.channels_last)
        with context.autocast():
            terms = dict(loss(model, batch, generator))
        if params.encoder_l2:
            terms["loss"] = terms["loss"] + params.encoder_l2 * squared_norm(model.encoder)
        optimizer.zero_grad()
        terms["loss"].backward()
        if params.gradient_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), params.gradient_clip)
        optimizer.step()
        return terms

    return Phase(
        name=name,
        epochs=params.epochs,
        batch_size=params.batch_size,
        model=model,
        train_step=train_step,
        checkpointed={"optimizer": optimizer},
        validate=lambda: _validate(model, loss, validation, context),
        keep=params.keep,
        patience=params.patience,
        check_divergence=_check_divergence,
        restartable=True,
        display_name=display_name,
    )


def _check_divergence(values: Mapping[str, float]) -> str | None:
    if not abs(values["loss"]) < float("inf"):
        return "the loss is no longer finite; lower learning_rate"
    if values.get("code_spread") == 0:
        return "the encoder is dead: one code for every image"
    return None


@torch.no_grad()
def _validate(model: Model, loss: Loss[Model], validation: ImageSet, context: Context) -> dict[str, float]:
    """Return the mean loss, with the same noise every time, the encoder's norm, and the spread of codes and outputs."""
    generator = context.generator("validation")
    total = torch.zeros((), dtype=torch.float64, device=context.device)
    model.eval()
    for batch in validation.batches(VALIDATION_BATCH, context.device):
        with context.autocast():
            terms = loss(model, batch.contiguous(memory_format=torch.channels_last), generator)
        total += terms["loss"].double() * len(batch)
    spread = _spread(model, next(validation.batches(VALIDATION_BATCH, context.device)))
    model.train()
    return {
        "validation_loss": (total / len(validation)).item(),
        "encoder_norm": squared_norm(model.encoder).sqrt().item(),
        **spread,
    }


def _spread(model: Autoencoder, images: torch.Tensor) -> dict[str, float]:
    """Return the greatest range of a code dimension over these images, and output variance relative to the images' own.

    It is computed outside autocast: bfloat16 may round small differences away.
    """
    if len(images) < 2:  # one image has no spread
        return {"code_spread": math.nan, "output_variance": math.nan}
    codes, outputs = model.encoder(images), model(images).double()  # float32 rounding would look like variance
    variance = images.double().var(dim=0, correction=0).sum()
    return {
        "code_spread": (codes.amax(dim=0) - codes.amin(dim=0)).max().item(),
        "output_variance": (outputs.var(dim=0, correction=0).sum() / variance.clamp_min(1e-30)).item(),
    }
