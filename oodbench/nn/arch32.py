"""Arch32, the autoencoder of the EBAE supplement for 3×32×32 images (Table 2, right).

Table 2 prints a ReLU between the last convolution of the encoder and ResAtt. The authors' code has none, and neither
has ``arch32``: with the ReLU, the skip path is never negative, which would hold the codes near one orthant of the
sphere. ``arch32-relu`` follows the table exactly.
"""

from __future__ import annotations

import torch
from torch import nn

SHAPE = (3, 32, 32)
ATTENTION_HIDDEN = 1024


class Res(nn.Module):
    """A residual block, y = x + F2(ReLU(F1(ReLU(x)))), with F1 and F2 fully connected (as 1×1 convolutions)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 1)
        self.second = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y for features x; both are (b, channels, H, W)."""
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class ResAtt(nn.Module):
    """A gated residual block, y = x + R1(x) ⊙ Sigmoid(R2(x)), with two ``Res`` blocks R1, R2 that share no weights."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.value = Res(channels, hidden)
        self.gate = Res(channels, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y for features x; both are (b, channels, H, W)."""
        return x + self.value(x) * torch.sigmoid(self.gate(x))


def encoder32(latent_dim: int, width: float = 1.0, relu_before_attention: bool = False) -> nn.Sequential:
    """Return a network that maps images (b, 3, 32, 32) to codes (b, latent_dim).

    Args:
        width: factor on the number of hidden channels.
        relu_before_attention: put a ReLU between the last convolution and ResAtt, as Table 2 prints.
    """
    c32, c64, c128, c256, hidden = (max(1, round(c * width)) for c in (32, 64, 128, 256, ATTENTION_HIDDEN))
    return nn.Sequential(
        nn.Conv2d(3, c32, 4, 2),  # 15×15
        nn.ReLU(),
        nn.Conv2d(c32, c64, 4, 2),  # 6×6
        nn.ReLU(),
        nn.Conv2d(c64, c128, 4, 2),  # 2×2
        nn.ReLU(),
        nn.Conv2d(c128, c256, 2, 2),  # 1×1
        nn.ReLU(),
        nn.Conv2d(c256, latent_dim, 1),
        nn.ReLU() if relu_before_attention else nn.Identity(),
        ResAtt(latent_dim, hidden),
        nn.Flatten(),
    )


def decoder32(latent_dim: int, width: float = 1.0) -> nn.Sequential:
    """Return a network that maps codes (b, latent_dim) to images (b, 3, 32, 32) in (0, 1).

    Args:
        width: factor on the number of hidden channels.
    """
    c64, c128, c256 = (max(1, round(channels * width)) for channels in (64, 128, 256))
    return nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, c256, 6),  # 6×6
        nn.ReLU(),
        nn.ConvTranspose2d(c256, c128, 4, 2),  # 14×14
        nn.ReLU(),
        nn.ConvTranspose2d(c128, c64, 4, 2),  # 30×30
        nn.ReLU(),
        nn.ConvTranspose2d(c64, 3, 3),  # 32×32
        nn.Sigmoid(),
    )
