"""The same autoencoder with its layers computed in other ways, cheaper where only inputs get gradients.

A chain passes the same weights dozens of times. Each layer here gives what torch's own gives, to rounding:

- a convolution that covers its whole image, and a transposed one of a single pixel, are matrix products;
- a convolution from one channel, or a transposed one to one, is a sum of shifted images on its one-channel side;
- bilinear upsampling and the transposed convolution after it are linear: channels are mixed before the image grows,
  while it has a quarter of the pixels, and what remains along rows and along columns are two small matrix products;
- pooling comes before the ReLU that stood before it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from oodbench.nn.autoencoder import Autoencoder, at_least_float32

WIDE = 64
"""Channels from which on it pays to mix them before the image grows."""


def frozen_copy(model: Autoencoder) -> Autoencoder:
    """The model as it is now, without parameter gradients; under autocast with weights already in that precision."""
    copied = copy.deepcopy(model).requires_grad_(False)
    device = next(copied.parameters()).device.type
    if torch.is_autocast_enabled(device):
        for layer in copied.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.to(torch.get_autocast_dtype(device))
    copied.encoder, copied.decoder = rearranged(copied.encoder), rearranged(copied.decoder)
    return copied


def rearranged(network: nn.Module) -> nn.Module:
    """A sequence of layers, each in its cheaper form where it has one; any other network as it is."""
    return nn.Sequential(*_cheaper(list(network))) if isinstance(network, nn.Sequential) else network


def _cheaper(layers: list[nn.Module]) -> Iterator[nn.Module]:
    while layers:
        layer, *layers = layers
        following = layers[0] if layers else None
        if isinstance(layer, nn.ReLU) and isinstance(following, nn.MaxPool2d):
            yield following
            layers[0] = layer
        elif _doubles(layer) and isinstance(following, nn.ConvTranspose2d) and _is_wide(following):
            yield UpsampledConvolution(following)
            layers = layers[1:]
        elif isinstance(layer, nn.Conv2d) and _is_plain(layer):
            yield FromOneChannel(layer) if layer.in_channels == 1 else Covering(layer)
        elif isinstance(layer, nn.ConvTranspose2d) and _is_plain(layer):
            yield ToOneChannel(layer) if layer.out_channels == 1 else FromOnePixel(layer)
        else:
            yield layer


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    settings = layer.stride, layer.padding, layer.dilation, layer.groups, getattr(layer, "output_padding", (0, 0))
    return settings == ((1, 1), (0, 0), (1, 1), 1, (0, 0)) and layer.bias is not None


def _is_wide(layer: nn.ConvTranspose2d) -> bool:
    return _is_plain(layer) and layer.in_channels >= WIDE


def _doubles(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Upsample):
        return False
    return (layer.scale_factor, layer.mode, layer.align_corners) == (2, "bilinear", True)


class _Layer(nn.Module):
    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer


class Covering(_Layer):
    """A convolution, (b, i, k, k) → (b, o, 1, 1) as a matrix product where its kernel covers the image."""

    @cached_property
    def matrix(self) -> torch.Tensor:
        return self.layer.weight.permute(0, 2, 3, 1).flatten(1)  # (o, k·k·i): the order of channels-last images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2:] != self.layer.kernel_size:
            return self.layer(x)
        return functional.linear(x.permute(0, 2, 3, 1).flatten(1), self.matrix, self.layer.bias)[:, :, None, None]


class FromOnePixel(_Layer):
    """A transposed convolution, (b, i, 1, 1) → (b, o, k, k) as a matrix product where the image is one pixel."""

    @cached_property
    def matrix(self) -> torch.Tensor:
        return self.layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (k·k·o, i)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2:] != (1, 1):
            return self.layer(x)
        rows, columns = self.layer.kernel_size
        flat = functional.linear(x.flatten(1), self.matrix, self.layer.bias.repeat(rows * columns))
        return flat.view(len(x), rows, columns, -1).permute(0, 3, 1, 2)


class FromOneChannel(_Layer):
    """A convolution of images of one channel, (b, 1, H, W) → (b, o, H-k+1, W-k+1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Spread.apply(x, self.layer.weight, self.layer.bias)


class ToOneChannel(_Layer):
    """A transposed convolution to one channel, (b, i, H, W) → (b, 1, H+k-1, W+k-1), float32 at least."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Gather.apply(x, self.layer.weight) + at_least_float32(self.layer.bias)


class _Spread(torch.autograd.Function):
    """The convolution of x (b, 1, H, W) with fixed weights (o, 1, k, k) and bias (o,)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return functional.conv2d(x.to(weight.dtype), weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return shifted_sum(gradient, *ctx.saved_tensors), None, None


class _Gather(torch.autograd.Function):
    """The transposed convolution of x (b, i, H, W) with fixed weights (i, 1, k, k)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return shifted_sum(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,) = ctx.saved_tensors
        return functional.conv2d(gradient.to(weight.dtype), weight), None


def shifted_sum(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The transposed convolution of x (b, i, H, W) with weights (i, 1, k, k): one image a tap, shifted and added."""
    b, channels, height, width = x.shape
    rows, columns = weight.shape[2:]
    taps = weight.flatten(1).t() @ x.permute(0, 2, 3, 1).reshape(-1, channels).t()
    taps = at_least_float32(taps).view(rows, columns, b, height, width)
    wide = taps.new_zeros(rows, b, height, width + columns - 1)
    for column in range(columns):
        wide[..., column : column + width] += taps[:, column]
    image = taps.new_zeros(b, height + rows - 1, width + columns - 1)
    for row in range(rows):
        image[:, row : row + height] += wide[row]
    return image[:, None]


class UpsampledConvolution(_Layer):
    """Bilinear upsampling to twice the size, corners aligned, and then a transposed convolution with a k×k kernel.

    (b, i, h, w) → (b, o, 2h+k-1, 2w+k-1). The channels of each small pixel are mixed for all taps of the kernel at
    once; what comes out along rows, and then along columns, is a weighted sum over small pixels and taps.
    """

    def __init__(self, layer: nn.ConvTranspose2d):
        super().__init__(layer)
        self.lines: dict[int, torch.Tensor] = {}

    @cached_property
    def mixing(self) -> torch.Tensor:
        return self.layer.weight.permute(0, 3, 2, 1).flatten(1)  # (i, k_x·k_y·o)

    def line(self, n: int) -> torch.Tensor:
        if n not in self.lines:
            self.lines[n] = upsampling(n, self.layer.kernel_size[0], self.mixing)
        return self.lines[n]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, channels, height, width = x.shape
        k, out = self.layer.kernel_size[0], self.layer.out_channels
        down, across = self.line(height), self.line(width)
        mixed = x.permute(0, 2, 3, 1).reshape(-1, channels).to(self.mixing.dtype) @ self.mixing
        wide = across @ mixed.view(b * height, width * k, k * out)
        taps = wide.view(b, height, len(across), k, out).transpose(2, 3).reshape(b, height * k, -1)
        bias = self.layer.bias.repeat(len(across)).expand(b, len(down), -1)
        image = torch.baddbmm(bias, down.expand(b, -1, -1), taps).view(b, len(down), len(across), out)
        return image.permute(0, 3, 1, 2)


def upsampling(n: int, k: int, like: torch.Tensor) -> torch.Tensor:
    """(2n+k-1, n·k): what pixel p and tap t of a line of n, at column p·k+t, give to each pixel of the long line."""
    places = torch.arange(2 * n, device=like.device, dtype=torch.float64) * ((n - 1) / (2 * n - 1))
    shares = (1 - (places[:, None] - torch.arange(n, device=like.device)).abs()).clamp_min(0)  # (2n, n)
    shifted = [functional.pad(shares, (0, 0, tap, k - 1 - tap)) for tap in range(k)]
    return torch.stack(shifted, dim=2).flatten(1).to(like.dtype)
