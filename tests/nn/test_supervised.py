"""Supervised phases: each image comes with its label, and a fit that is killed goes on with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oodbench.api import Context, ImageSet
from oodbench.nn.training import Phase, train
from oodbench.testing import kill_and_resume

N = 50


def fit_classes(images: ImageSet, **interruption) -> tuple[dict[str, torch.Tensor], list]:
    """A linear classifier of labelled images in two shuffled epochs: its weights and the labels it was given."""
    torch.manual_seed(0)
    model, given = nn.Linear(16, 3), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def train_step(batch: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        given.append((batch, labels))
        noise = torch.randn(batch.flatten(1).shape, generator=generator)
        loss = nn.functional.cross_entropy(model(batch.flatten(1) + noise), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    phase = Phase("classes", 2, 8, model, train_step, checkpointed={"optimizer": optimizer}, supervised=True)
    train(phase, images, Context(torch.device("cpu"), seed=3, **interruption))
    return model.state_dict(), given


@pytest.fixture
def labelled() -> ImageSet:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (N, 1, 4, 4), dtype=np.uint8)
    return ImageSet("random", "train", pixels, random.choice([0, 2, 9], N), np.arange(N)).with_class_indices([0, 2, 9])


def test_a_supervised_phase_is_given_the_label_of_each_image(labelled):
    _, given = fit_classes(labelled)
    label_of = {image.tobytes(): label for image, label in zip(labelled.images, labelled.labels, strict=True)}
    pixels = torch.cat([batch for batch, _ in given]).mul(255).round().to(torch.uint8).numpy()
    labels = torch.cat([labels for _, labels in given])
    assert [label_of[image.tobytes()] for image in pixels] == labels.tolist()
    assert len(labels) == 2 * N


@pytest.mark.parametrize("kill_at", [1, 3, 7, 9])
def test_an_interrupted_supervised_fit_ends_with_the_same_weights(labelled, kill_at):
    whole, _ = fit_classes(labelled)
    resumed, given = kill_and_resume(lambda **interruption: fit_classes(labelled, **interruption), kill_at)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert sum(len(labels) for _, labels in given) < 2 * N, "it went on, and did not begin again"
