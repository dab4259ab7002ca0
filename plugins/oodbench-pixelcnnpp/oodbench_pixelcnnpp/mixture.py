"""The discretised mixture of logistics: a distribution over the 256 levels of every channel of a pixel.

Source: Salimans et al., PixelCNN++ (2017), §2.1–2.2. The channels of a pixel share the mixture component; within it the
mean of green depends linearly on red, and that of blue on red and green.
"""

from __future__ import annotations

import torch
from torch.nn import functional

STEP = 2 / 255
"""Distance of neighbouring levels in [-1, 1]."""
LEAST_LOG_SCALE = -7.0
"""Lower bound on log scales, as in the authors' code: a narrower logistic has all its mass on one level anyway."""


def outputs(channels: int, mixtures: int) -> int:
    """Return the number of values that the network outputs per pixel.

    These are weights, means and log scales of the mixture and, in colour, three coefficients per component.
    """
    return mixtures * (1 + 2 * channels + (3 if channels == 3 else 0))


def log_mass(x: torch.Tensor, means: torch.Tensor, log_scales: torch.Tensor) -> torch.Tensor:
    """Return ln of the mass that a logistic assigns to the level at x; the first and last level include the tails.

    As σ(a) - σ(b) = σ(a) · σ(-b) · (1 - e^(b-a)), the logarithm is exact however small the mass is, and the masses of
    the 256 levels sum to 1. (The authors' code uses an approximation where the difference is below 1e-5.)

    Args:
        x: levels in [-1, 1], multiples of STEP above -1.
        means, log_scales: of the logistic. The three shapes broadcast to that of the result.
    """
    inverse = torch.exp(-log_scales)
    upper = (x - means + STEP / 2) * inverse
    lower = (x - means - STEP / 2) * inverse
    below_upper = functional.logsigmoid(upper)
    above_lower = functional.logsigmoid(-lower)
    within = below_upper + above_lower + torch.log(-torch.expm1(-STEP * inverse))
    half = 1 - STEP / 2
    return torch.where(x < -half, below_upper, torch.where(x > half, above_lower, within))


def log_components(x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ln of the mixture weights, (b, M, H, W), and ln of the masses of x in each component, (b, C, M, H, W).

    The mass of a channel is conditional on the channels before it.

    Args:
        x: images (b, C, H, W), on the levels in [-1, 1].
        parameters: outputs of the network, (b, outputs, H, W), for M components.
    """
    channels = x.shape[1]
    mixtures = parameters.shape[1] // outputs(channels, 1)
    weights, rest = parameters.split([mixtures, parameters.shape[1] - mixtures], dim=1)
    rest = rest.unflatten(1, (-1, mixtures))  # (b, 2C or 2C + 3, M, H, W)
    means, log_scales = rest[:, :channels], rest[:, channels : 2 * channels].clamp_min(LEAST_LOG_SCALE)
    x = x.unsqueeze(2)
    if channels == 3:
        to_green, to_blue, green_to_blue = torch.tanh(rest[:, 6:]).unbind(1)
        red, green = x[:, 0], x[:, 1]
        means = torch.stack(
            [means[:, 0], means[:, 1] + to_green * red, means[:, 2] + to_blue * red + green_to_blue * green], dim=1
        )
    return functional.log_softmax(weights, dim=1), log_mass(x, means, log_scales)


def log_likelihood(x: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Return ln p of images x, summed over pixels and channels, (b,).

    Args:
        x: images (b, C, H, W), on the levels in [-1, 1].
        parameters: outputs of the network, (b, outputs, H, W).
    """
    weights, masses = log_components(x, parameters)
    return torch.logsumexp(weights + masses.sum(dim=1), dim=1).sum(dim=(1, 2))
