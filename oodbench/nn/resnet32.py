"""The residual autoencoder for 3×32×32 images of the EBAE supplement's ImageNet32 experiment.

Encoder: Du & Mordatch, Implicit Generation and Modeling with Energy-Based Models (2019), its last representation
average-pooled, without spectral normalisation. Decoder: the generator of Miyato et al., Spectral Normalization for
GANs (2018), with group instead of batch normalisation, as in the authors' later code (``GeneratorGN``): with batch
statistics, the energy of an image would depend on the rest of its batch. That code applies its number of groups, 2,
only to the last normalisation; those within the blocks have one group.

The supplement's encoder is "the same as one used in" Du & Mordatch, whose code has four: ``ResNet32``, 6 blocks of 128
and 256 channels (conditional CIFAR-10; also rosinality's and the NAE code's); a large one, 9 blocks of up to 512
(unconditional CIFAR-10); ``ResNet32Wider``, 256 filters (ImageNet32); ``MnistNet``. That the first is meant, as
implemented here, is our reading.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SHAPE = (3, 32, 32)


class EncoderBlock(nn.Module):
    """A residual block: conv-LeakyReLU-conv plus skip, optional 2×2 average pooling, LeakyReLU.

    Args:
        channels: input channels.
        out: output channels.
        pool: halve height and width by average pooling.
    """

    def __init__(self, channels: int, out: int, pool: bool):
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1, bias=False) if pool or channels != out else nn.Identity()
        self.pool = nn.AvgPool2d(2) if pool else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features (b, channels, H, W) to (b, out, H, W), or to (b, out, H/2, W/2) with pooling."""
        y = self.second(functional.leaky_relu(self.first(x), 0.2))
        return functional.leaky_relu(self.pool(y + self.skip(x)), 0.2)


class DecoderBlock(nn.Module):
    """A residual block that doubles height and width: norm-ReLU-upsample-conv-norm-ReLU-conv plus an upsampled skip.

    Upsampling is nearest-neighbour. Each normalisation has one group.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.first_norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm = nn.GroupNorm(1, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features (b, channels, H, W) to (b, channels, 2H, 2W)."""
        y = functional.interpolate(torch.relu(self.first_norm(x)), scale_factor=2)
        y = self.second(torch.relu(self.second_norm(self.first(y))))
        return y + functional.interpolate(x, scale_factor=2)


def resnet_encoder32(latent_dim: int, width: float = 1.0) -> nn.Sequential:
    """Return a network that maps images (b, 3, 32, 32) to codes (b, latent_dim).

    Args:
        width: factor on the number of hidden channels.
    """
    c128, c256 = max(1, round(128 * width)), max(1, round(256 * width))
    return nn.Sequential(
        nn.Conv2d(3, c128, 3, padding=1),  # 32×32
        nn.LeakyReLU(0.2),
        EncoderBlock(c128, c128, pool=True),  # 16×16
        EncoderBlock(c128, c128, pool=False),
        EncoderBlock(c128, c256, pool=True),  # 8×8
        EncoderBlock(c256, c256, pool=False),
        EncoderBlock(c256, c256, pool=True),  # 4×4
        EncoderBlock(c256, c256, pool=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(c256, latent_dim, 1),
        nn.Flatten(),
    )


def resnet_decoder32(latent_dim: int, width: float = 1.0, groups: int = 2) -> nn.Sequential:
    """Return a network that maps codes (b, latent_dim) to images (b, 3, 32, 32) in (0, 1).

    Args:
        width: factor on the number of hidden channels, which is rounded to a multiple of ``groups``.
        groups: groups of the last normalisation.
    """
    hidden = max(groups, groups * round(128 * width / groups))
    decoder = nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, hidden, 4),  # 4×4
        DecoderBlock(hidden),  # 8×8
        DecoderBlock(hidden),  # 16×16
        DecoderBlock(hidden),  # 32×32
        nn.GroupNorm(groups, hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, 3, 3, padding=1),
        nn.Sigmoid(),
    )
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return decoder
