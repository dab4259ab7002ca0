"""The network of PixelCNN++: two causal streams through three resolutions, up and back down with shortcuts.

Source: Salimans et al., PixelCNN++ (2017), §2.3–2.5. At each pixel the first stream (``above``) depends on the rows
above, the second (``left``) also on the pixels to the left in the same row. Convolutions are weight-normalised and
causal in this sense; the first layer is shifted by one pixel, so that no output depends on its own pixel.
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
    """Return ELU(x) and ELU(-x) of x (b, C, H, W), concatenated to (b, 2C, H, W)."""
    return functional.elu(torch.cat([x, -x], dim=1), inplace=True)


class ShiftedConv(nn.Module):
    """A weight-normalised convolution that depends on the pixel itself and on those above, or above and to the left.

    Args:
        stream: ``above`` for the pixels above only, ``left`` for those to the left too.
        channels, out: input and output channels.
        kernel: rows and columns.
        shift: pixels by which the output moves down and right, filled with zeros, so that it does not depend on the
            pixel itself.
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
        """Map features (b, channels, H, W) to (b, out, H, W), or to half of H and W for a stride of 2."""
        down, right = self.shift
        y = self.conv(functional.pad(x, self.padding))
        return functional.pad(y, (right, -right, down, -down)) if down or right else y


class ShiftedUpsampling(nn.Module):
    """A weight-normalised transposed convolution that doubles height and width, and is causal like its stream."""

    def __init__(self, stream: Stream, channels: int):
        super().__init__()
        self.start = 1 if stream == "above" else 0
        self.conv = weight_norm(nn.ConvTranspose2d(channels, channels, KERNELS[stream], 2, output_padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features (b, channels, H, W) to (b, channels, 2H, 2W)."""
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return self.conv(x)[:, :, :height, self.start : self.start + width]


class GatedResnet(nn.Module):
    """A gated residual block, x + a · σ(b), where a and b are the output of two convolutions of x.

    Args:
        filters: channels of x.
        shortcut: channels of a further input, which is added between the convolutions; 0 for none.
        dropout: probability of dropping a feature map in training.
    """

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
        """Return features (b, filters, H, W) for x of that shape and a shortcut (b, shortcut, H, W)."""
        y = self.first(concat_elu(x))
        if self.shortcut is not None and shortcut is not None:
            y = y + self.shortcut(concat_elu(shortcut))
        y = drop_channels(concat_elu(y), self.dropout, generator)
        a, b = self.second(y).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


def drop_channels(x: torch.Tensor, probability: float, generator: torch.Generator | None) -> torch.Tensor:
    """Return features x (b, C, H, W) with whole feature maps dropped.

    Args:
        generator: source of the masks in training; None for no dropout.
    """
    if generator is None or not probability:
        return x
    kept = torch.rand(*x.shape[:2], 1, 1, generator=generator, device=x.device) >= probability
    return x * (kept / (1 - probability)).to(x.dtype)


class Pair(nn.Module):
    """A gated resnet per stream. The left stream has a shortcut from the other; on the way down, both have one from
    the way up.
    """

    def __init__(self, filters: int, dropout: float, down: bool):
        super().__init__()
        self.above = GatedResnet("above", filters, filters if down else 0, dropout)
        self.left = GatedResnet("left", filters, 2 * filters if down else filters, dropout)

    def forward(
        self, above: torch.Tensor, left: torch.Tensor, earlier: tuple[torch.Tensor, torch.Tensor] | None,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Return both streams (b, filters, H, W), given those and, on the way down, ``earlier`` ones of that shape."""
        above = self.above(above, earlier[0] if earlier else None, generator)
        left = self.left(left, torch.cat([above, earlier[1]], dim=1) if earlier else above, generator)
        return above, left


class Rescale(nn.Module):
    """A layer that halves or doubles height and width of both streams."""

    def __init__(self, filters: int, up: bool):
        super().__init__()
        self.above, self.left = (
            ShiftedUpsampling(stream, filters) if up else ShiftedConv(stream, filters, filters, kernel, stride=2)
            for stream, kernel in KERNELS.items()
        )

    def forward(self, above: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both streams (b, filters, H, W) at half or twice the height and width."""
        return self.above(above), self.left(left)


class PixelCNNPPNetwork(DensityModel):
    """An autoregressive model, p(x) = Π_i p(x_i | x_<i), with pixels in raster order and channels red, green, blue.

    Args:
        channels: C of the images, 1 or 3.
        resnets: gated resnets per stream and resolution, on the way up.
        filters: channels of the hidden layers.
        mixtures: logistics per pixel.
        dropout: probability of dropping a feature map in training.
    """

    def __init__(self, channels: int, resnets: int, filters: int, mixtures: int, dropout: float):
        super().__init__()
        self.widest = 2 * filters
        seen = channels + 1  # a plane of ones distinguishes the image from the padding
        self.first_above = ShiftedConv("above", seen, filters, (2, 3), shift=(1, 0))
        self.first_left_above = ShiftedConv("above", seen, filters, (1, 3), shift=(1, 0))
        self.first_left = ShiftedConv("left", seen, filters, (2, 1), shift=(0, 1))
        self.up, self.down = nn.ModuleList(), nn.ModuleList()
        for level in range(RESOLUTIONS):
            back = resnets if level == 0 else resnets + 1  # one more for the output of the rescaling on the way up
            self.up.extend(Pair(filters, dropout, down=False) for _ in range(resnets))
            self.down.extend(Pair(filters, dropout, down=True) for _ in range(back))
            if level < RESOLUTIONS - 1:
                self.up.append(Rescale(filters, up=False))
                self.down.append(Rescale(filters, up=True))
        self.last = weight_norm(nn.Conv2d(filters, outputs(channels, mixtures), 1))

    def forward(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the mixture parameters (b, outputs, H, W) of images x (b, C, H, W) in [-1, 1].

        H and W are multiples of 4. With a generator, dropout is applied to feature maps.
        """
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
        """Return ln p of images (b, C, H, W) in [0, 1], in nats, (b,); with dropout if there is a generator."""
        x = to_levels(images) / 127.5 - 1
        return log_likelihood(x, self(x, generator))
