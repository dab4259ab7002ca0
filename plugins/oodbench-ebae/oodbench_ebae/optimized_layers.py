"""Cheaper ways to compute layers of an autoencoder, for when gradients are needed with respect to inputs only.

A chain uses the same weights for dozens of passes. Each layer here gives the same result as torch's, up to rounding:

- a convolution that covers its whole image, and a transposed one of a single pixel, are matrix products;
- the gradient of a convolution of one channel, and a transposed convolution to one channel, are sums of shifted images;
- bilinear upsampling and the transposed convolution after it are linear: channels are mixed before upsampling, on a
  quarter of the pixels, and what remains are two small matrix products, along rows and along columns;
- max-pooling and the ReLU before it swap places, and a ReLU works in place where nothing else needs its input.
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
"""Least number of input channels for which mixing them before upsampling is faster."""
KEEP_NO_OUTPUT = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d)
"""Layers whose gradients do not need their output."""
PART_BYTES = 2**21
"""Bytes of intermediate results at a time on a CPU: about what the caches of a few cores hold."""


def frozen_copy(model: Autoencoder) -> Autoencoder:
    """Return a copy of the model with its current weights, optimized layers, and no parameter gradients.

    Under autocast, weights of convolutions are copied in its precision.
    """
    copied = copy.deepcopy(model).requires_grad_(False)
    device = next(copied.parameters()).device.type
    if torch.is_autocast_enabled(device):
        for layer in copied.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.to(torch.get_autocast_dtype(device))
    copied.encoder, copied.decoder = optimize_layers(copied.encoder), optimize_layers(copied.decoder)
    return copied


def optimize_layers(network: nn.Module) -> nn.Module:
    """Return an nn.Sequential with cheaper layers where there are any; any other network is returned as it is."""
    return nn.Sequential(*_cheaper(list(network))) if isinstance(network, nn.Sequential) else network


def _cheaper(layers: list[nn.Module]) -> Iterator[nn.Module]:
    before: nn.Module | None = None
    while layers:
        layer, *layers = layers
        following = layers[0] if layers else None
        if isinstance(layer, nn.ReLU) and isinstance(following, nn.MaxPool2d):
            yield following
            before, layers[0] = following, layer
            continue
        if isinstance(layer, nn.ReLU) and isinstance(before, KEEP_NO_OUTPUT):
            yield nn.ReLU(inplace=True)
        elif _doubles(layer) and isinstance(following, nn.ConvTranspose2d) and _is_wide(following):
            yield UpsampledConvolution(following)
            layer, layers = following, layers[1:]
        elif isinstance(layer, nn.Conv2d) and _is_plain(layer):
            yield FromOneChannel(layer) if layer.in_channels == 1 else FullKernelConv(layer)
        elif isinstance(layer, nn.ConvTranspose2d) and _is_plain(layer):
            yield ToOneChannel(layer) if layer.out_channels == 1 else FromOnePixel(layer)
        else:
            yield layer
        before = layer


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    settings = layer.stride, layer.padding, layer.dilation, layer.groups, getattr(layer, "output_padding", (0, 0))
    return settings == ((1, 1), (0, 0), (1, 1), 1, (0, 0)) and layer.bias is not None


def _is_wide(layer: nn.ConvTranspose2d) -> bool:
    return _is_plain(layer) and layer.in_channels >= WIDE and layer.kernel_size[0] == layer.kernel_size[1]


def _doubles(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Upsample):
        return False
    return (layer.scale_factor, layer.mode, layer.align_corners) == (2, "bilinear", True)


class _Layer(nn.Module):
    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer


class FullKernelConv(_Layer):
    """A convolution that is computed as a matrix product if its kernel covers the image.

    In that case it maps (b, i, k, k) to (b, o, 1, 1).
    """

    @cached_property
    def matrix(self) -> torch.Tensor:
        """The weights as a matrix (o, k·k·i)."""
        return self.layer.weight.permute(0, 2, 3, 1).flatten(1)  # (o, k·k·i): the order of channels-last images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x (b, i, H, W)."""
        if x.shape[2:] != self.layer.kernel_size:
            return self.layer(x)
        return functional.linear(x.permute(0, 2, 3, 1).flatten(1), self.matrix, self.layer.bias)[:, :, None, None]


class FromOnePixel(_Layer):
    """A transposed convolution that is computed as a matrix product if the image is one pixel.

    In that case it maps (b, i, 1, 1) to (b, o, k, k).
    """

    @cached_property
    def matrix(self) -> torch.Tensor:
        """The weights as a matrix (k·k·o, i)."""
        return self.layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (k·k·o, i)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the transposed convolution of x (b, i, H, W)."""
        if x.shape[2:] != (1, 1):
            return self.layer(x)
        rows, columns = self.layer.kernel_size
        flat = functional.linear(x.flatten(1), self.matrix, self.layer.bias.repeat(rows * columns))
        return flat.view(len(x), rows, columns, -1).permute(0, 3, 1, 2)


class FromOneChannel(_Layer):
    """A convolution of images of one channel, from (b, 1, H, W) to (b, o, H-k+1, W-k+1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x (b, 1, H, W)."""
        return _SingleChannelConv.apply(x, self.layer.weight, self.layer.bias)


class ToOneChannel(_Layer):
    """A transposed convolution to one channel, from (b, i, H, W) to (b, 1, H+k-1, W+k-1), at least float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the transposed convolution of x (b, i, H, W)."""
        return _Gather.apply(x, self.layer.weight) + at_least_float32(self.layer.bias)


class _SingleChannelConv(torch.autograd.Function):
    """Convolution of x (b, 1, H, W) with fixed weights (o, 1, k, k) and bias (o,)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return functional.conv2d(x.to(weight.dtype), weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return shifted_sum(gradient, *ctx.saved_tensors), None, None


class _Gather(torch.autograd.Function):
    """Transposed convolution of x (b, i, H, W) with fixed weights (i, 1, k, k)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return shifted_sum(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,) = ctx.saved_tensors
        return functional.conv2d(gradient.to(weight.dtype), weight), None


def shifted_sum(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the transposed convolution of x (b, i, H, W) with weights (i, 1, k, k), (b, 1, H+k-1, W+k-1).

    One image per element of the kernel is computed, shifted and added. The result is at least float32.
    """
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
    """Bilinear upsampling by 2 with aligned corners, followed by a transposed convolution with a k×k kernel.

    It maps (b, i, h, w) to (b, o, 2h+k-1, 2w+k-1). The channels of each input pixel are first mixed for all elements of
    the kernel at once. The output is then a weighted sum over input pixels and kernel elements, first along rows, then
    along columns.

    Args:
        layer: the transposed convolution.
    """

    def __init__(self, layer: nn.ConvTranspose2d):
        super().__init__(layer)
        self.matrices: dict[int, torch.Tensor] = {}

    @cached_property
    def mixing(self) -> torch.Tensor:
        """The weights as a matrix (i, k·k·o) that mixes channels for every element of the kernel."""
        return self.layer.weight.permute(0, 3, 2, 1).flatten(1).contiguous()  # (i, k_x·k_y·o)

    def upsampling_matrix(self, n: int) -> torch.Tensor:
        """Return the matrix (2n+k-1, n·k) for n input pixels along a dimension, computed once."""
        if n not in self.matrices:
            self.matrices[n] = upsampling(n, self.layer.kernel_size[0], self.mixing)
        return self.matrices[n]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the upsampled convolution (b, o, 2h+k-1, 2w+k-1) of x (b, i, h, w)."""
        down, across = self.upsampling_matrix(x.shape[2]), self.upsampling_matrix(x.shape[3])
        return _Upsampled.apply(x.to(self.mixing.dtype), self.mixing, down, across, self.layer.bias)


class _Upsampled(torch.autograd.Function):
    """Upsampling and convolution of x (b, i, h, w) to (b, o, H, W) with fixed weights.

    The weights are ``mixing`` (i, k·k·o), ``down`` (H, h·k), ``across`` (W, w·k) and bias (o,). The map is linear, so
    no image is stored for the gradient. A CPU processes few images at a time, so that intermediate results stay in its
    cache.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, mixing: torch.Tensor, down: torch.Tensor, across: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(mixing, down, across)
        channels, h, w = x.shape[1:]
        high, wide, out, k = len(down), len(across), len(bias), down.shape[1] // h
        ctx.k = k
        image = empty_images(x, out, high, wide)
        rows = image.permute(0, 2, 3, 1).flatten(2)
        bias = bias.repeat(wide)
        for part in parts_of(x, h * w * mixing.shape[1]):
            n = len(x[part])
            mixed = x[part].permute(0, 2, 3, 1).reshape(-1, channels) @ mixing
            taps = across.expand(n * h, -1, -1) @ mixed.view(n * h, w * k, k * out)
            taps = taps.view(n, h, wide, k, out).transpose(2, 3).reshape(n, h * k, -1)
            torch.baddbmm(bias.expand(n, high, -1), down.expand(n, -1, -1), taps, out=rows[part])
        return image

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        mixing, down, across = ctx.saved_tensors
        (out, high, wide), channels, k = gradient.shape[1:], len(mixing), ctx.k
        h, w = down.shape[1] // k, across.shape[1] // k
        x = empty_images(gradient, channels, h, w)
        pixels = x.permute(0, 2, 3, 1)
        for part in parts_of(gradient, h * w * mixing.shape[1]):
            n = len(gradient[part])
            rows = gradient[part].permute(0, 2, 3, 1).reshape(n, high, wide * out)
            taps = (down.t().expand(n, -1, -1) @ rows).view(n, h, k, wide, out)
            mixed = across.t().expand(n * h, -1, -1) @ taps.transpose(2, 3).reshape(n * h, wide, -1)
            torch.mm(mixed.view(n * h * w, -1), mixing.t(), out=pixels[part].view(-1, channels))
        return x, None, None, None, None


def empty_images(like: torch.Tensor, channels: int, height: int, width: int) -> torch.Tensor:
    """Return uninitialised images (b, channels, height, width), channels-last, with b, type and device of ``like``."""
    shape = len(like), channels, height, width
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def parts_of(x: torch.Tensor, numbers: int) -> Iterator[slice]:
    """Return slices of x (b, …): on a GPU one for all rows, on a CPU one for each part of about PART_BYTES.

    Args:
        numbers: values per row of x in the intermediate results, which limit the size of a part.
    """
    n = max(1, PART_BYTES // (numbers * x.element_size())) if x.device.type == "cpu" else len(x)
    return (slice(start, start + n) for start in range(0, len(x), n))


def upsampling(n: int, k: int, like: torch.Tensor) -> torch.Tensor:
    """Return the matrix (2n+k-1, n·k) of upsampling and convolution along one dimension.

    Column p·k+t has the weights with which input pixel p contributes to each output pixel through kernel element t.

    Args:
        n: input pixels.
        k: kernel size.
        like: tensor whose type and device the matrix has.
    """
    places = torch.arange(2 * n, device=like.device, dtype=torch.float64) * ((n - 1) / (2 * n - 1))
    shares = (1 - (places[:, None] - torch.arange(n, device=like.device)).abs()).clamp_min(0)  # (2n, n)
    shifted = [functional.pad(shares, (0, 0, tap, k - 1 - tap)) for tap in range(k)]
    return torch.stack(shifted, dim=2).flatten(1).to(like.dtype)
