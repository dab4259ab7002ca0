"""The network of PixelCNN++: two causal streams through three resolutions, up and back down with shortcuts.

Salimans et al. (2017), §2.3–2.5. The first stream (``above``) sees the rows above a pixel, the second (``left``) also
the pixels to its left in its own row. Convolutions are weight-normalised and see only what is above, or above and left;
the first layer is shifted by one pixel, so that no pixel sees itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from oodbench.nn.autoencoder import at_least_float32
from oodbench.nn.likelihood import DensityModel, to_levels
from oodbench_pixelcnnpp.mixture import log_likelihood, outputs

Stream = Literal["above", "left"]
Shift = tuple[int, int]
KERNELS: dict[Stream, tuple[int, int]] = {"above": (2, 3), "left": (2, 2)}
RESOLUTIONS = 3


def concat_elu(x: torch.Tensor) -> torch.Tensor:
    """ELU of x and of -x, (b, C, H, W) → (b, 2C, H, W)."""
    return functional.elu(torch.cat([x, -x], dim=1), inplace=True)


class ShiftedConv(nn.Module):
    """A weight-normalised convolution whose output at a pixel sees only what is above it, or above and left, and it.

    shift: move the output so many pixels down and right, zeros before it, so that the pixel itself is out of sight.
    """

    def __init__(
        self, stream: Stream, channels: int, out: int, kernel: tuple[int, int], stride: int = 1, shift: Shift = (0, 0)
    ):
        super().__init__()
        rows, columns = kernel
        sides = (columns // 2, columns // 2) if stream == "above" else (columns - 1, 0)
        self.padding = (*sides, rows - 1, 0)
        self.shift = shift
        self.conv = weight_norm(nn.Conv2d(channels, out, kernel, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, right = self.shift
        y = self.conv(functional.pad(x, self.padding))
        return functional.pad(y, (right, -right, down, -down)) if down or right else y


class ShiftedUpsampling(nn.Module):
    """A weight-normalised transposed convolution that doubles the image and keeps the stream's view."""

    def __init__(self, stream: Stream, channels: int):
        super().__init__()
        self.start = 1 if stream == "above" else 0
        self.conv = weight_norm(nn.ConvTranspose2d(channels, channels, KERNELS[stream], 2, output_padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return self.conv(x)[:, :, :height, self.start : self.start + width]


class GatedResnet(nn.Module):
    """x + a · σ(b), where a and b come from two convolutions of x and, between them, of a shortcut."""

    def __init__(self, stream: Stream, filters: int, shortcut: int, dropout: float):
        super().__init__()
        kernel = KERNELS[stream]
        self.first = ShiftedConv(stream, 2 * filters, filters, kernel)
        self.shortcut = weight_norm(nn.Conv2d(2 * shortcut, filters, 1)) if shortcut else None
        self.second = ShiftedConv(stream, 2 * filters, 2 * filters, kernel)
        self.dropout = dropout

    def forward(
        self, x: torch.Tensor, shortcut: torch.Tensor | None, generator: torch.Generator | None
    ) -> torch.Tensor:
        y = self.first(concat_elu(x))
        if self.shortcut is not None and shortcut is not None:
            y = y + self.shortcut(concat_elu(shortcut))
        y = drop_channels(concat_elu(y), self.dropout, generator)
        a, b = self.second(y).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


def drop_channels(x: torch.Tensor, probability: float, generator: torch.Generator | None) -> torch.Tensor:
    """Dropout of whole feature maps, in training alone: with a generator, which the masks are drawn from."""
    if generator is None or not probability:
        return x
    kept = torch.rand(*x.shape[:2], 1, 1, generator=generator, device=x.device) >= probability
    return x * (kept / (1 - probability)).to(x.dtype)


class Pair(nn.Module):
    """One gated resnet of each stream; the left one has a shortcut from the one above, and on the way down both have
    one from the way up.
    """

    def __init__(self, filters: int, dropout: float, down: bool):
        super().__init__()
        self.above = GatedResnet("above", filters, filters if down else 0, dropout)
        self.left = GatedResnet("left", filters, 2 * filters if down else filters, dropout)

    def forward(
        self, above: torch.Tensor, left: torch.Tensor, earlier: tuple[torch.Tensor, torch.Tensor] | None,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        above = self.above(above, earlier[0] if earlier else None, generator)
        left = self.left(left, torch.cat([above, earlier[1]], dim=1) if earlier else above, generator)
        return above, left


class Rescale(nn.Module):
    """Halves or doubles both streams' images."""

    def __init__(self, filters: int, up: bool):
        super().__init__()
        self.above, self.left = (
            ShiftedUpsampling(stream, filters) if up else ShiftedConv(stream, filters, filters, kernel, stride=2)
            for stream, kernel in KERNELS.items()
        )

    def forward(self, above: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.above(above), self.left(left)


class PixelCNNPPNetwork(DensityModel):
    """p(x) = Π_i p(x_i | x_<i), pixels in raster order, channels red, green, blue."""

    def __init__(self, channels: int, resnets: int, filters: int, mixtures: int, dropout: float):
        super().__init__()
        self.widest = 2 * filters
        seen = channels + 1  # a plane of ones tells the padding from the image
        self.first_above = ShiftedConv("above", seen, filters, (2, 3), shift=(1, 0))
        self.first_left_above = ShiftedConv("above", seen, filters, (1, 3), shift=(1, 0))
        self.first_left = ShiftedConv("left", seen, filters, (2, 1), shift=(0, 1))
        self.up, self.down = nn.ModuleList(), nn.ModuleList()
        for level in range(RESOLUTIONS):
            back = resnets if level == 0 else resnets + 1  # one more for what the rescaling gave on the way up
            self.up.extend(Pair(filters, dropout, down=False) for _ in range(resnets))
            self.down.extend(Pair(filters, dropout, down=True) for _ in range(back))
            if level < RESOLUTIONS - 1:
                self.up.append(Rescale(filters, up=False))
                self.down.append(Rescale(filters, up=True))
        self.last = weight_norm(nn.Conv2d(filters, outputs(channels, mixtures), 1))

    def forward(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Images (b, C, H, W) in [-1, 1], H and W multiples of 4 → parameters of the mixtures, (b, outputs, H, W)."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1).contiguous(memory_format=torch.channels_last)
        above, left = self.first_above(x), self.first_left_above(x) + self.first_left(x)
        passed = [(above, left)]
        for layer in self.up:
            above, left = layer(above, left) if isinstance(layer, Rescale) else layer(above, left, None, generator)
            passed.append((above, left))
        above, left = passed.pop()
        for layer in self.down:
            if isinstance(layer, Rescale):
                above, left = layer(above, left)
            else:
                above, left = layer(above, left, passed.pop(), generator)
        return at_least_float32(self.last(functional.elu(left)))

    def log_likelihood(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        x = to_levels(images) / 127.5 - 1
        return log_likelihood(x, self(x, generator))
