"""The flow of Glow: steps of actnorm, invertible 1×1 convolution and coupling, with known Jacobian determinants.

Source: Kingma & Dhariwal, Glow (2018), §3 and Table 1, at one scale (L = 1): images are squeezed once, and no channels
are split off between steps. The prior is the standard normal (``learn_top`` off).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from oodbench.nn.autoencoder import at_least_float32
from oodbench.nn.likelihood import LEVELS, DensityModel, to_levels

CouplingKind = Literal["affine", "additive"]


class ActNorm(nn.Module):
    """An affine layer per channel, y = (x + b) · e^s, set so that a first batch has mean 0 and variance 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y for x; both are (b, C, H, W)."""
        return (x + self.bias) * self.log_scale.exp()

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Return x for y; both are (b, C, H, W)."""
        return y * (-self.log_scale).exp() - self.bias

    def log_det(self, pixels: int) -> torch.Tensor:
        """Return ln |det ∂y/∂x| for images of this number of pixels, a scalar."""
        return pixels * self.log_scale.sum()

    @torch.no_grad()
    def normalise(self, x: torch.Tensor) -> None:
        """Set b and s from the mean and (biased) standard deviation of x (b, C, H, W) per channel."""
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean[:, None, None])
        self.log_scale.copy_(-(std + 1e-6).log()[:, None, None])


class InvertibleConv(nn.Module):
    """A 1×1 convolution with a square matrix W, initially a random orthogonal one."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x at every pixel; x and the result are (b, C, H, W)."""
        return self._multiply(self.weight, x)

    def after(self, norm: ActNorm, x: torch.Tensor) -> torch.Tensor:
        """Return this layer's output for ``norm(x)``, (b, C, H, W), computed as one convolution to save a pass."""
        matrix = self.weight * norm.log_scale.exp().flatten()
        return self._multiply(matrix, x, norm.bias.flatten())

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Return x for y; both are (b, C, H, W)."""
        return self._multiply(torch.linalg.inv(self.weight), y)

    def log_det(self, pixels: int) -> torch.Tensor:
        """Return pixels · ln |det W|, a scalar."""
        return pixels * torch.linalg.slogdet(self.weight).logabsdet

    @staticmethod
    def _multiply(matrix: torch.Tensor, x: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Return matrix · (x + shift) at every pixel."""
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 the determinant would differ
            return functional.conv2d(x, matrix[:, :, None, None], None if shift is None else matrix @ shift)


class NormedConv(nn.Conv2d):
    """A convolution followed by actnorm, computed as one: the norm scales the weights and provides the bias."""

    def __init__(self, channels: int, out: int, kernel: int):
        super().__init__(channels, out, kernel, padding=kernel // 2, bias=False)
        self.norm = ActNorm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (b, channels, H, W) to (b, out, H, W)."""
        scale = self.norm.log_scale.exp()
        return self._conv_forward(x, self.weight * scale[:, None], (self.norm.bias * scale).flatten())

    def normalise(self, x: torch.Tensor) -> None:
        """Set actnorm from the convolution of x (b, channels, H, W)."""
        self.norm.normalise(super().forward(x))


class ZeroConv(nn.Conv2d):
    """A convolution initialised to zero, its output times e^(3s), so that a coupling starts close to the identity."""

    def __init__(self, channels: int, out: int):
        super().__init__(channels, out, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(out, 1, 1))
        nn.init.zeros_(self.weight)
        self.bias: nn.Parameter
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (b, channels, H, W) to (b, out, H, W)."""
        scale = (3 * self.log_scale).exp()
        return self._conv_forward(x, self.weight * scale[:, None], self.bias * scale.flatten())


class Coupling(nn.Module):
    """A coupling layer, y₁ = x₁ and y₂ = (x₂ + t(x₁)) · e^s(x₁), on the two halves of the channels.

    Shift t and log-scale s are outputs of a network; an additive coupling has s = 0.

    Args:
        channels: of x and y; an even number.
        hidden: channels of the network's hidden layers.
    """

    def __init__(self, channels: int, hidden: int, kind: CouplingKind):
        super().__init__()
        self.affine = kind == "affine"
        half = channels // 2
        self.network = nn.Sequential(
            NormedConv(half, hidden, 3),
            nn.ReLU(inplace=True),
            NormedConv(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            ZeroConv(hidden, channels if self.affine else half),
        )
        for layer in (self.network[0], self.network[2]):
            nn.init.normal_(layer.weight, std=0.05)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y (b, C, H, W) for x (b, C, H, W), and ln |det ∂y/∂x|, (b,)."""
        first, second = x.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(first)
        return torch.cat([first, (second + shift) * log_scale.exp()], dim=1), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Return x for y; both are (b, C, H, W)."""
        first, second = y.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(first)
        return torch.cat([first, second * (-log_scale).exp() - shift], dim=1)

    def _shift_and_log_scale(self, first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = at_least_float32(self.network(first))
        if not self.affine:
            return output, torch.zeros_like(output)
        shift, raw = output.chunk(2, dim=1)
        return shift, functional.logsigmoid(raw + 2)  # as in the authors' code: scales below 1, at first near .88


class FlowStep(nn.Module):
    """A step of the flow: actnorm, invertible 1×1 convolution, coupling."""

    def __init__(self, channels: int, hidden: int, kind: CouplingKind):
        super().__init__()
        self.norm = ActNorm(channels)
        self.mix = InvertibleConv(channels)
        self.coupling = Coupling(channels, hidden, kind)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y (b, C, H, W) for x (b, C, H, W), and ln |det ∂y/∂x|, (b,)."""
        pixels = x.shape[2] * x.shape[3]
        y, log_det = self.coupling(self.mix.after(self.norm, x))
        return y, log_det + self.norm.log_det(pixels) + self.mix.log_det(pixels)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """Return x for y; both are (b, C, H, W)."""
        return self.norm.inverse(self.mix.inverse(self.coupling.inverse(y)))

    def normalise(self, x: torch.Tensor) -> None:
        """Set actnorm from x (b, C, H, W)."""
        self.norm.normalise(x)


class GlowNetwork(DensityModel):
    """A flow z = f(x), with ln p(x) = ln N(f(x); 0, I) + ln |det ∂f/∂x|.

    Args:
        channels: C of the images.
        depth: K, the number of steps.
        hidden: channels of the hidden layers of a coupling.
    """

    def __init__(self, channels: int, depth: int, hidden: int, kind: CouplingKind):
        super().__init__()
        self.steps = nn.ModuleList(FlowStep(4 * channels, hidden, kind) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z (b, 4C, H/2, W/2) for x (b, C, H, W), H and W even, and ln |det ∂z/∂x|, (b,)."""
        z = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        log_det = x.new_zeros(len(x))
        for step in self.steps:
            z, more = step(z)
            log_det = log_det + more
        return z, log_det

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        """Return x (b, C, H, W) for z (b, 4C, H/2, W/2)."""
        for step in reversed(self.steps):
            assert isinstance(step, FlowStep)
            z = step.inverse(z)
        return functional.pixel_shuffle(z, 2)

    def log_likelihood(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return ln p of 8-bit images (b, C, H, W) in [0, 1], in nats, (b,).

        The mass p of an image is the density times the volume of its cell in the 8-bit grid, whose sides are 1/256. The
        density is taken at the centre of the cell, or with a generator at a random point of it (uniform dequantisation,
        in training: a bound on the mass).
        """
        levels = to_levels(images)
        place = 0.5 if generator is None else torch.rand(levels.shape, generator=generator, device=levels.device)
        z, log_det = self((levels + place) / LEVELS - 0.5)
        # in float64: squares of large z would overflow float32
        log_prior = -0.5 * (z.double().square() + math.log(2 * math.pi)).sum(dim=(1, 2, 3))
        return log_prior + log_det - images[0].numel() * math.log(LEVELS)

    @torch.no_grad()
    def initialise(self, images: torch.Tensor, generator: torch.Generator) -> None:
        """Set every actnorm, one after the other, so that its output on these images has mean 0 and variance 1.

        Args:
            images: (b, C, H, W) in [0, 1].
            generator: source of the dequantisation noise.
        """
        hooks = [
            module.register_forward_pre_hook(lambda module, inputs: module.normalise(inputs[0]))
            for module in self.modules()
            if isinstance(module, FlowStep | NormedConv)
        ]
        self.log_likelihood(images, generator)
        for hook in hooks:
            hook.remove()
