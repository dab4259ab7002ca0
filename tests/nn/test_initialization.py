"""Weights begin where a network can learn: the output at the mean of the images, and signals of one size throughout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from oodbench.api import Context, ImageSet
from oodbench.nn.autoencoder import build_autoencoder
from oodbench.nn.initialization import channel_means, initialize_he
from oodbench.nn.reconstruction import ReconstructionParams, fit_reconstruction


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("spherical", [False, True])
def test_the_output_begins_near_the_mean_of_the_images(shape, spherical):
    model = build_autoencoder("auto", shape, 16, 0.25, spherical)
    mean = torch.linspace(0.1, 0.6, shape[0])
    torch.manual_seed(0)
    initialize_he(model, mean)
    images = torch.zeros(64, *shape)
    for place, image in enumerate(images):
        image[:, place // 4 : place // 4 + 5, 8:20] = 1
    with torch.no_grad():
        output = model(images)
    torch.testing.assert_close(output.mean(dim=(0, 2, 3)), mean, atol=0.12, rtol=0.0)
    assert output.std(dim=0).max() > 1e-3, "and depends on the image"


def test_weights_are_normal_with_variance_2_over_fan_in_and_biases_0():
    model = build_autoencoder("auto", (1, 28, 28), 64, 1.0)
    torch.manual_seed(0)
    initialize_he(model, torch.tensor([0.2]))
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for layer in layers:
        fan_in = layer.in_channels * math.prod(layer.kernel_size)
        if layer.weight.numel() > 1000:
            assert layer.weight.var().item() == pytest.approx(2 / fan_in, rel=0.1)
    assert all((layer.bias == 0).all() for layer in layers[:-1])
    assert torch.sigmoid(layers[-1].bias).item() == pytest.approx(0.2)


def test_channel_means_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 3, 4, 5), np.uint8)
    images = ImageSet("random", "train", pixels, np.zeros(1500, np.int64), np.arange(1500))
    means = channel_means(images, torch.device("cpu"))
    np.testing.assert_allclose(means, pixels.mean(axis=(0, 2, 3)) / 255, rtol=1e-6)


def digits(count: int) -> ImageSet:
    """Mostly black images with one bright stroke each, as handwritten digits are."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for image, (row, column, length) in zip(images, generator.integers(4, 16, (count, 3)), strict=True):
        image[0, row : row + 3, column : column + length] = 255
    return ImageSet("strokes", "train", images, np.zeros(count, np.int64), np.arange(count))


@pytest.mark.parametrize("seed", [0, 1])
def test_no_start_is_dead(seed):
    """At this rate torch's weights reach a saturated, constant output in some of the seeds."""
    images = digits(320)
    params = ReconstructionParams(epochs=4, batch_size=16, learning_rate=1e-3, initialization="he", restarts=0)
    context = Context(torch.device("cpu"), seed)
    fit_reconstruction(lambda: build_autoencoder("auto", (1, 28, 28), 16, 0.25), params, images, images, context)
    constant = (images.images / 255).var(axis=0).mean()
    assert context.history[-1]["validation_loss"] < 0.7 * constant
    assert context.history[-1]["output_variance"] > 0.3


def attempts(*losses: tuple[bool, list[float]]):
    """A trainer whose attempts end with these validation losses; True for those that end with one output."""
    left = list(losses)

    def train(phase, images, context):
        is_constant, values = left.pop(0)
        for value in values:
            row = {"phase": phase.name, "validation_loss": value, "output_variance": 0.0 if is_constant else 1.0}
            context.history.append(row)
        return {"trouble": math.isnan(values[-1]), "epochs": len(values)}

    return train, left


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        ([(False, [0.1] * 9)], 0),
        ([(True, [0.0816] * 9), (False, [0.1005] * 9), (False, [0.05] * 9)], 0),  # .1005 is worse than one output
        ([(True, [0.03, *[0.11] * 8]), (False, [0.05] * 9), (False, [0.01] * 9)], 1),  # .03 was before the collapse
        ([(False, [0.01, math.nan]), (False, [0.05] * 9), (False, [0.01] * 9)], 1),  # who diverged sets no standard
    ],
)
def test_an_attempt_must_do_better_than_one_with_a_single_output(monkeypatch, losses, left):
    train, rest = attempts(*losses)
    monkeypatch.setattr("oodbench.nn.reconstruction.train", train)
    images = digits(4)
    context = Context(torch.device("cpu"), 0)
    fit_reconstruction(
        lambda: build_autoencoder("auto", (1, 28, 28), 2, 0.01), ReconstructionParams(), images, images, context
    )
    assert len(rest) == left
