"""Bits per dimension, and what the training of density models does with clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodbench import Context, ImageSet
from oodbench.nn.likelihood import (
    AT_ONCE,
    LARGE,
    DensityModel,
    LikelihoodParams,
    at_once,
    fit_likelihood,
    mean_bits,
    score_bits,
    to_levels,
)


class Uniform(DensityModel):
    """Every level as likely as any other."""

    def log_likelihood(self, images, generator=None):
        return torch.full((len(images),), -images[0].numel() * math.log(256), dtype=torch.float64)


class Weighted(DensityModel):
    """A density whose gradient is known: 100 for the first weight, 1 for the second, in bits per dimension."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(2))

    def log_likelihood(self, images, generator=None):
        bits = self.weights @ torch.tensor([100.0, 1.0])
        return -bits.expand(len(images)) * images[0].numel() * math.log(2)


def images(n: int, split: str = "train") -> ImageSet:
    return ImageSet("zeros", split, np.zeros((n, 1, 2, 2), np.uint8), np.zeros(n, np.int64), np.arange(n))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_a_uniform_model_needs_8_bits_per_dimension(shape):
    scores = score_bits(Uniform(), torch.rand(300, *shape))
    torch.testing.assert_close(scores, torch.full((300,), 8.0))
    assert mean_bits(Uniform(), images(700), Context(torch.device("cpu"))) == pytest.approx(8)


@pytest.mark.parametrize(("widest", "expected"), [(1, AT_ONCE), (1600, 3), (10**6, 1)])
def test_fewer_images_are_scored_at_once_where_layers_are_wide(widest, expected):
    model, stack = Uniform(), torch.rand(5, 1, 28, 28)
    model.widest = widest
    assert at_once(model, stack) == expected
    assert expected == 1 or expected * widest * 28 * 28 * 4 <= LARGE
    torch.testing.assert_close(score_bits(model, stack), torch.full((5,), 8.0))


def test_levels_survive_the_way_through_unit_range():
    every = torch.arange(256, dtype=torch.float32)
    assert torch.equal(to_levels(every / 255), every)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({}, [100, 1]), ({"clip_value": 5.0}, [5, 1]), ({"clip_norm": 1.0}, [100 / 10001**0.5, 1 / 10001**0.5])],
)
def test_gradients_are_clipped_as_asked(limits, expected):
    model = Weighted()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    params = LikelihoodParams(epochs=1, batch_size=4, **limits)
    fit_likelihood(
        model, optimizer, scheduler, params, images(4), images(4, "validation"), Context(torch.device("cpu"))
    )
    assert model.weights.tolist() == pytest.approx([-value for value in expected], rel=1e-4)
