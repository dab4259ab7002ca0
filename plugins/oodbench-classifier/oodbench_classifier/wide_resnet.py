"""WRN-40-2: a wide residual network for 32×32 images, with the parameter names of its published checkpoints.

Source: Zagoruyko & Komodakis, Wide Residual Networks (BMVC 2016), arXiv:1605.07146; names, dropout and initial weights
as in Hendrycks' and Liu's code (wetliu/energy_ood, CIFAR/models/wrn.py), whose checkpoints pytorch-ood offers.
"""

from __future__ import annotations

import math

import torch
from torch import nn

WIDTHS = (16, 32, 64, 128)
BLOCKS = 6
"""Residual blocks of each of the three groups: 40 = 6 · 6 + 4 layers."""
DROPOUT = 0.3


class SeededDropout(nn.Dropout):
    """Dropout whose masks come from ``generator``, if it is set, instead of torch's global generator.

    The training loop's generator depends on the seed, and a checkpoint saves its state.
    """

    generator: torch.Generator | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.generator is None:
            return super().forward(input)
        kept = torch.rand(input.shape, generator=self.generator, device=input.device) >= self.p
        return input * kept / (1 - self.p)


class Block(nn.Module):
    """A block (b, C, H, W) → (b, width, H / stride, W / stride): two convolutions, each after a norm and a ReLU."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.dropout = SeededDropout(DROPOUT)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        is_same = channels == width
        self.convShortcut = None if is_same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.relu1(self.bn1(x))
        found: torch.Tensor = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(normal)))))
        return found + (x if self.convShortcut is None else self.convShortcut(normal))


class Group(nn.Module):
    """A sequence of residual blocks, of which the first may halve height and width."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        first = Block(channels, width, stride)
        self.layer = nn.Sequential(first, *(Block(width, width, 1) for _ in range(BLOCKS - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x)
        return found


class WideResNet(nn.Module):
    """The network without its last layer; it maps images (b, C, H, W) to features (b, 128, 1, 1)."""

    features = WIDTHS[-1]

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.block1 = Group(WIDTHS[0], WIDTHS[1], 1)
        self.block2 = Group(WIDTHS[1], WIDTHS[2], 2)
        self.block3 = Group(WIDTHS[2], WIDTHS[3], 2)
        self.bn1, self.relu = nn.BatchNorm2d(WIDTHS[3]), nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for each in self.modules():
            if isinstance(each, nn.Conv2d):
                fan_out = each.kernel_size[0] * each.kernel_size[1] * each.out_channels
                nn.init.normal_(each.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        features: torch.Tensor = self.avgpool(maps)
        return features
