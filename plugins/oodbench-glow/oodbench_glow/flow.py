"""The flow of Glow: steps of actnorm, invertible 1×1 convolution and coupling, whose Jacobian determinants are known.

Kingma & Dhariwal, Glow (2018), §3 and Table 1, at one scale (L = 1): images are squeezed once, and no half of the
channels leaves early. The prior is the standard normal (``learn_top`` off).
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
    """y = (x + b) · e^s, one b and s a channel; the first batch is brought to zero mean and unit variance."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.bias) * self.log_scale.exp()

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return y * (-self.log_scale).exp() - self.bias

    def log_det(self, pixels: int) -> torch.Tensor:
        return pixels * self.log_scale.sum()

    @torch.no_grad()
    def normalise(self, x: torch.Tensor) -> None:
        """Take bias and scale from x (b, C, H, W), the biased standard deviation."""
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean[:, None, None])
        self.log_scale.copy_(-(std + 1e-6).log()[:, None, None])


class InvertibleConv(nn.Module):
    """A 1×1 convolution with a square matrix W, a random rotation at first; log-determinant H·W·ln|det W|."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._multiply(self.weight, x)

    def after(self, norm: ActNorm, x: torch.Tensor) -> torch.Tensor:
        """What this makes of the norm's output, as one convolution: a pass over the images less."""
        matrix = self.weight * norm.log_scale.exp().flatten()
        return self._multiply(matrix, x, norm.bias.flatten())

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return self._multiply(torch.linalg.inv(self.weight), y)

    def log_det(self, pixels: int) -> torch.Tensor:
        return pixels * torch.linalg.slogdet(self.weight).logabsdet

    @staticmethod
    def _multiply(matrix: torch.Tensor, x: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """The matrix times x + shift at every pixel."""
        with torch.autocast(x.device.type, enabled=False):  # rounded to bfloat16 it would have another determinant
            return functional.conv2d(x, matrix[:, :, None, None], None if shift is None else matrix @ shift)


class NormedConv(nn.Conv2d):
    """A convolution and actnorm after it, as one convolution: the norm scales the weights and gives the bias."""

    def __init__(self, channels: int, out: int, kernel: int):
        super().__init__(channels, out, kernel, padding=kernel // 2, bias=False)
        self.norm = ActNorm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.norm.log_scale.exp()
        return self._conv_forward(x, self.weight * scale[:, None], (self.norm.bias * scale).flatten())

    def normalise(self, x: torch.Tensor) -> None:
        self.norm.normalise(super().forward(x))


class ZeroConv(nn.Conv2d):
    """A convolution that begins as zero, its output times e^(3s): the coupling begins as nearly the identity."""

    def __init__(self, channels: int, out: int):
        super().__init__(channels, out, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(out, 1, 1))
        nn.init.zeros_(self.weight)
        self.bias: nn.Parameter
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = (3 * self.log_scale).exp()
        return self._conv_forward(x, self.weight * scale[:, None], self.bias * scale.flatten())


class Coupling(nn.Module):
    """Half the channels stay; the other half is shifted, and if affine scaled, by what a network makes of the first."""

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
        """y (b, C, H, W) and its log-determinant (b,)."""
        first, second = x.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(first)
        return torch.cat([first, (second + shift) * log_scale.exp()], dim=1), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        first, second = y.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(first)
        return torch.cat([first, second * (-log_scale).exp() - shift], dim=1)

    def _shift_and_log_scale(self, first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = at_least_float32(self.network(first))
        if not self.affine:
            return output, torch.zeros_like(output)
        shift, raw = output.chunk(2, dim=1)
        return shift, functional.logsigmoid(raw + 2)  # the authors' code: scales below 1, near .88 at first


class FlowStep(nn.Module):
    """Actnorm, invertible 1×1 convolution, coupling."""

    def __init__(self, channels: int, hidden: int, kind: CouplingKind):
        super().__init__()
        self.norm = ActNorm(channels)
        self.mix = InvertibleConv(channels)
        self.coupling = Coupling(channels, hidden, kind)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = x.shape[2] * x.shape[3]
        y, log_det = self.coupling(self.mix.after(self.norm, x))
        return y, log_det + self.norm.log_det(pixels) + self.mix.log_det(pixels)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return self.norm.inverse(self.mix.inverse(self.coupling.inverse(y)))

    def normalise(self, x: torch.Tensor) -> None:
        self.norm.normalise(x)


class GlowNetwork(DensityModel):
    """z = f(x), ln p(x) = ln N(f(x); 0, I) + ln |det ∂f/∂x|."""

    def __init__(self, channels: int, depth: int, hidden: int, kind: CouplingKind):
        super().__init__()
        self.steps = nn.ModuleList(FlowStep(4 * channels, hidden, kind) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (b, C, H, W), H and W even → z (b, 4C, H/2, W/2) and ln |det ∂z/∂x| (b,)."""
        z = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        log_det = x.new_zeros(len(x))
        for step in self.steps:
            z, more = step(z)
            log_det = log_det + more
        return z, log_det

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        """The x of which z was made."""
        for step in reversed(self.steps):
            assert isinstance(step, FlowStep)
            z = step.inverse(z)
        return functional.pixel_shuffle(z, 2)

    def log_likelihood(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """ln of the mass of each image's cell of the 8-bit grid, its sides 1/256, (b,).

        That is the density at a random point of the cell, drawn from the generator (uniform dequantisation: a bound on
        the mass, in training), or at its centre.
        """
        levels = to_levels(images)
        place = 0.5 if generator is None else torch.rand(levels.shape, generator=generator, device=levels.device)
        z, log_det = self((levels + place) / LEVELS - 0.5)
        # in float64: squares of what lies far out would overflow float32
        log_prior = -0.5 * (z.double().square() + math.log(2 * math.pi)).sum(dim=(1, 2, 3))
        return log_prior + log_det - images[0].numel() * math.log(LEVELS)

    @torch.no_grad()
    def initialise(self, images: torch.Tensor, generator: torch.Generator) -> None:
        """Bring every actnorm's output on these images to zero mean and unit variance, one after the other."""
        hooks = [
            module.register_forward_pre_hook(lambda module, inputs: module.normalise(inputs[0]))
            for module in self.modules()
            if isinstance(module, FlowStep | NormedConv)
        ]
        self.log_likelihood(images, generator)
        for hook in hooks:
            hook.remove()
