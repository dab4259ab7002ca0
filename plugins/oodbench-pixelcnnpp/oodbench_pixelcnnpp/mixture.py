"""The discretised mixture of logistics: a distribution over the 256 levels of every value of a pixel.

Salimans et al., PixelCNN++ (2017), §2.1–2.2. The channels of a pixel share the mixture component; within it the mean of
green moves with red, and that of blue with red and green.
"""

from __future__ import annotations

import torch
from torch.nn import functional

STEP = 2 / 255
"""Between neighbouring levels on [-1, 1]."""
LEAST_LOG_SCALE = -7.0
"""As in the authors' code: a narrower logistic would put all its mass on one level anyway."""


def outputs(channels: int, mixtures: int) -> int:
    """Values that the network gives for each pixel: weights, means, log scales and, in colour, three coefficients."""
    return mixtures * (1 + 2 * channels + (3 if channels == 3 else 0))


def log_mass(x: torch.Tensor, means: torch.Tensor, log_scales: torch.Tensor) -> torch.Tensor:
    """ln of the mass that a logistic gives the level at x, a multiple of STEP above -1; the ends take the tails.

    σ(a) - σ(b) = σ(a) · σ(-b) · (1 - e^(b-a)), so the logarithm is exact however small the mass is, and the masses of
    the 256 levels sum to 1. (The authors' code takes an approximation where the difference is below 1e-5.)
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
    """x: (b, C, H, W) on the levels in [-1, 1]; parameters: (b, outputs, H, W), of M components.

    Returns ln of the mixture weights (b, M, H, W) and ln of each component's conditional masses (b, C, M, H, W): of
    each channel given those before it.
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
    """ln p of all pixels of images x (b, C, H, W) on the levels in [-1, 1], (b,)."""
    weights, masses = log_components(x, parameters)
    return torch.logsumexp(weights + masses.sum(dim=1), dim=1).sum(dim=(1, 2))
