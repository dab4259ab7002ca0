"""The discretised mixture of logistics: masses against SciPy's logistic distribution, and sums over all 256 levels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from oodbench_pixelcnnpp.mixture import log_components, log_likelihood, log_mass, outputs
from scipy.stats import logistic

MIXTURES = 3
GRID = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def parameters(channels: int, seed: int = 0) -> torch.Tensor:
    """Of one pixel, (1, outputs, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, outputs(channels, MIXTURES), 1, 1, generator=generator, dtype=torch.float64)


def levels(*values: int) -> torch.Tensor:
    """One pixel, (1, C, 1, 1)."""
    return (torch.tensor(values, dtype=torch.float64) / 127.5 - 1).view(1, -1, 1, 1)


def mass(level: int, mean: float, scale: float) -> float:
    """By the distribution function, the ends with their tails."""
    above = 1.0 if level == 255 else logistic.cdf((level + 0.5) / 127.5 - 1, mean, scale)
    below = 0.0 if level == 0 else logistic.cdf((level - 0.5) / 127.5 - 1, mean, scale)
    return above - below


def by_hand(values: tuple[int, ...], vector: torch.Tensor) -> float:
    """ln p of the first channels of one pixel, the rest summed out, from the layout that the docstrings state."""
    vector = vector.flatten().numpy()
    weights, rest = np.exp(vector[:MIXTURES]), vector[MIXTURES:].reshape(-1, MIXTURES)
    channels = 3 if len(rest) == 9 else 1
    total = 0.0
    for k in range(MIXTURES):
        x = [value / 127.5 - 1 for value in values]
        means = [rest[c, k] for c in range(len(values))]
        if len(values) > 1:
            means[1] += np.tanh(rest[6, k]) * x[0]
        if len(values) > 2:
            means[2] += np.tanh(rest[7, k]) * x[0] + np.tanh(rest[8, k]) * x[1]
        scales = [np.exp(max(rest[channels + c, k], -7)) for c in range(len(values))]
        masses = [mass(*triple) for triple in zip(values, means, scales, strict=True)]
        total += weights[k] / weights.sum() * np.prod(masses)
    return np.log(total)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_a_grey_pixel_against_scipy(level):
    vector = parameters(1)
    assert log_likelihood(levels(level), vector).item() == pytest.approx(by_hand((level,), vector), rel=1e-9)


@pytest.mark.parametrize("values", [(0, 0, 0), (255, 3, 128), (12, 255, 0), (90, 100, 110)])
def test_a_colour_pixel_against_scipy(values):
    vector = parameters(3)
    assert log_likelihood(levels(*values), vector).item() == pytest.approx(by_hand(values, vector), rel=1e-9)


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -2.0), (0.3, -7.0), (5.0, -5.0), (-0.99, 1.0), (0.0, 30.0)])
def test_the_masses_of_one_logistic_sum_to_one(mean, log_scale):
    total = log_mass(GRID, torch.tensor(mean), torch.tensor(log_scale, dtype=torch.float64)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_the_distribution_of_a_grey_pixel_sums_to_one():
    every = torch.exp(log_likelihood(GRID.view(256, 1, 1, 1), parameters(1).expand(256, -1, 1, 1)))
    assert every.sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("values", [(0, 255), (17, 200), (255, 128)])
def test_each_channel_sums_to_one_given_those_before_it(values):
    """Σ_b p(r, g, b) = p(r, g) and Σ_g p(r, g) = p(r), Σ_r p(r) = 1, the marginals by SciPy."""
    vector = parameters(3, seed=1)
    red, green = values
    blues = torch.stack([levels(red, green, 0)[0]] * 256)
    blues[:, 2, 0, 0] = GRID
    summed = torch.logsumexp(log_likelihood(blues, vector.expand(256, -1, 1, 1)), dim=0)
    assert summed.item() == pytest.approx(by_hand((red, green), vector), rel=1e-9)
    greens = np.logaddexp.reduce([by_hand((red, level), vector) for level in range(256)])
    assert greens == pytest.approx(by_hand((red,), vector), rel=1e-9)
    assert np.logaddexp.reduce([by_hand((level,), vector) for level in range(256)]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("channel", range(3))
def test_every_components_channel_sums_to_one_over_its_levels(channel):
    pixels = torch.stack([levels(40, 90, 220)[0]] * 256)
    pixels[:, channel, 0, 0] = GRID
    masses = log_components(pixels, parameters(3).expand(256, -1, 1, 1))[1]
    torch.testing.assert_close(masses[:, channel].exp().sum(dim=0).flatten(), torch.ones(3, dtype=torch.float64))


def test_channels_depend_on_earlier_ones_alone():
    """Red on none, green on red, blue on red and green: through the component's means."""
    vector = parameters(3)
    base = log_components(levels(50, 100, 150), vector)[1][0, :, :, 0, 0]
    for changed in itertools.combinations(range(3), 1):
        values = [50, 100, 150]
        values[changed[0]] += 20
        masses = log_components(levels(*values), vector)[1][0, :, :, 0, 0]
        moved = [not torch.equal(masses[channel], base[channel]) for channel in range(3)]
        assert moved == [channel >= changed[0] for channel in range(3)]


def test_far_masses_and_their_gradients_are_finite_in_float32():
    means = torch.tensor([-300.0, 0.0, 300.0], requires_grad=True)
    log_scales = torch.tensor([-7.0, -7.0, -7.0], requires_grad=True)
    for level in (0, 128, 255):
        value = log_mass(torch.tensor(level / 127.5 - 1), means, log_scales)
        value.sum().backward()
        assert value.isfinite().all() and means.grad.isfinite().all() and log_scales.grad.isfinite().all()
