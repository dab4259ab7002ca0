"""Arch28, the autoencoder for 1×28×28 images (EBAE supplement, Table 2, left).

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020). The table's last decoder layer, ConvT2d(32, 1, 4, 1), would output 29×29; the authors' later code has
a kernel of 3, as here. As in that code, fully connected layers are 1×1 convolutions, and upsampling aligns corners.
"""

from __future__ import annotations

from torch import nn

SHAPE = (1, 28, 28)


def encoder28(latent_dim: int, width: float = 1.0) -> nn.Sequential:
    """Return a network that maps images (b, 1, 28, 28) to codes (b, latent_dim).

    Args:
        width: factor on the number of hidden channels.
    """
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
    """Return a network that maps codes (b, latent_dim) to images (b, 1, 28, 28) in (0, 1).

    Args:
        width: factor on the number of hidden channels.
    """
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
