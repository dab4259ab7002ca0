"""Training of a classifier by cross-entropy: SGD, a cosine schedule, random crops and flips."""

from __future__ import annotations

import math

import torch
from torch import nn

from oodbench import Context, ImageSet, Params, param
from oodbench.nn.training import Phase, steps_per_epoch, train
from oodbench_classifier.wide_resnet import SeededDropout

OPENOOD = "OpenOOD 1.5, configs/pipelines/train/baseline.yml"
VALIDATION_BATCH = 256


class TrainingParams(Params):
    """Training parameters of a classifier."""

    epochs: int = param(100, "epochs", ge=1, reduces="lower", source=OPENOOD)
    batch_size: int = param(128, "images per update", ge=1, reduces="higher", source=OPENOOD)
    learning_rate: float = param(0.1, "of SGD, falling to 0 along half a cosine", gt=0, le=1e30, source=OPENOOD)
    momentum: float = param(0.9, "of SGD, Nesterov's where it is above 0", ge=0, lt=1, source=OPENOOD)
    weight_decay: float = param(5e-4, "of all weights", ge=0, source=OPENOOD)
    crop_padding: int = param(4, "pixels of black around an image, of which a crop of its size is taken", ge=0, le=64,
                              unit="pixels", source="OpenOOD 1.5, base preprocessor")  # fmt: skip
    flip: bool = param(True, "whether images are mirrored at random", source="OpenOOD 1.5, base preprocessor")


def augment(images: torch.Tensor, padding: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Return images (b, C, H, W), each mirrored with probability one half, padded with black and cropped at random."""
    count, _, height, width = images.shape
    device = images.device
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if padding:
        top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=device)
        rows = (top + torch.arange(height, device=device))[:, :, None]  # (b, H, 1)
        columns = (left + torch.arange(width, device=device))[:, None, :]  # (b, 1, W)
        padded = nn.functional.pad(images, [padding] * 4)
        image = torch.arange(count, device=device)[:, None, None]
        images = padded[image, :, rows, columns].permute(0, 3, 1, 2)
    return images.contiguous()


def fit_classifier(
    model: nn.Module, params: TrainingParams, train_set: ImageSet, validation: ImageSet, context: Context
) -> None:
    """Train the model, whose outputs are logits, on images with labels 0 to k - 1; it ends in evaluation mode.

    Raises FitError if the loss stops being finite before the first epoch is complete.
    """
    context.progress.plan({"training": 3.0 * params.epochs * len(train_set)})
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(
        trained, params.learning_rate, params.momentum, weight_decay=params.weight_decay, nesterov=params.momentum > 0
    )
    steps = params.epochs * steps_per_epoch(train_set, params.batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    dropouts = [module for module in model.modules() if isinstance(module, SeededDropout)]

    def train_step(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        seen = augment(images, params.crop_padding, params.flip, generator)
        for dropout in dropouts:
            dropout.generator = generator
        with context.autocast():
            logits = model(seen)
        for dropout in dropouts:
            dropout.generator = None  # a network that holds a generator cannot be copied
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return {"loss": loss, "accuracy": (logits.detach().argmax(1) == labels).double().mean()}

    def validate() -> dict[str, float]:
        model.eval()
        values = {"validation_loss": math.nan, "validation_accuracy": math.nan}
        return dict(zip(values, evaluate(model, validation, context), strict=True)) if len(validation) else {}

    phase = Phase(
        "training", params.epochs, params.batch_size, model, train_step, validate=validate, supervised=True,
        checkpointed={"optimizer": optimizer, "scheduler": scheduler},
        check_divergence=lambda values: None if all(map(math.isfinite, values.values())) else DIVERGED,
    )  # fmt: skip
    train(phase, train_set, context)


DIVERGED = "the loss is no longer finite; lower training.learning_rate"


@torch.no_grad()
def evaluate(model: nn.Module, images: ImageSet, context: Context) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy of the model on images with labels 0 to k - 1."""
    loss = right = 0.0
    for batch, labels in images.batches(VALIDATION_BATCH, context.device, labels=True):
        with context.autocast():
            logits = model(batch).float()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
    return loss / len(images), right / len(images)
