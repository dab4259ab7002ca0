"""Arch28, the autoencoder of the EBAE supplement for 1×28×28 images (Table 2, left).

The supplement's last decoder layer, ConvT2d(32, 1, 4, 1), would give 29×29: a slip for a kernel of 3, which the
authors' later code has. FC layers are 1×1 convolutions, and the upsampling aligns corners, as in that code.
"""

from __future__ import annotations

from torch import nn

SHAPE = (1, 28, 28)


def encoder28(latent_dim: int, width: float = 1.0) -> nn.Sequential:
    """Images (b, 1, 28, 28) → codes (b, latent_dim). ``width`` multiplies the hidden channels."""
    c32, c64, c128, c1024 = (max(1, round(channels * width)) for channels in (32, 64, 128, 1024))
    return nn.Sequential(
        nn.Conv2d(1, c32, 3),  # 26×26
        nn.ReLU(),
        nn.Conv2d(c32, c64, 3),  # 24×24
        nn.ReLU(),
        nn.MaxPool2d(2),  # 12×12
        nn.Conv2d(c64, c64, 3),  # 10×10
        nn.ReLU(),
        nn.Conv2d(c64, c128, 3),  # 8×8
        nn.ReLU(),
        nn.MaxPool2d(2),  # 4×4
        nn.Conv2d(c128, c1024, 4),  # 1×1
        nn.ReLU(),
        nn.Conv2d(c1024, latent_dim, 1),
        nn.Flatten(),
    )


def decoder28(latent_dim: int, width: float = 1.0) -> nn.Sequential:
    """Codes (b, latent_dim) → images (b, 1, 28, 28) in (0, 1)."""
    c32, c64, c128 = (max(1, round(channels * width)) for channels in (32, 64, 128))
    return nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, c128, 4),  # 4×4
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),  # 8×8
        nn.ConvTranspose2d(c128, c64, 3),  # 10×10
        nn.ReLU(),
        nn.ConvTranspose2d(c64, c64, 3),  # 12×12
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),  # 24×24
        nn.ConvTranspose2d(c64, c32, 3),  # 26×26
        nn.ReLU(),
        nn.ConvTranspose2d(c32, 1, 3),  # 28×28
        nn.Sigmoid(),
    )
