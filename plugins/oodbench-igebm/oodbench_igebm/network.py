"""The energy: a residual network of Du & Mordatch (2019) for 3×32×32, and the same blocks for 1×28×28.

It is the network of their conditional CIFAR-10 model, ``ResNet32``, which rosinality's and the NAE code adopted: 6
blocks, of 128 and 256 channels. (Their unconditional one has 9 blocks of up to 512, and for MNIST they have another.)
On 1×28×28 halving rounds down: 28, 14, 7, 3. There is no class embedding, as the data have no labels here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from oodbench.nn.autoencoder import at_least_float32
from oodbench.nn.resnet32 import EncoderBlock
from oodbench_igebm.spectral import SpectralNorm

NEAR_ZERO = 1e-10
"""Initial standard deviation of the weights of a block's second convolution, so that only the skip path matters."""


class EnergyNetwork(nn.Module):
    """A residual network that maps images (b, C, H, W) to energies (b,), float32.

    Args:
        channels: C of the images.
        width: factor on the number of hidden channels.
        spectral_norm: apply spectral normalisation to every convolution.
    """

    def __init__(self, channels: int, width: float = 1.0, spectral_norm: bool = True):
        super().__init__()
        c128, c256 = max(1, round(128 * width)), max(1, round(256 * width))
        self.body = nn.Sequential(
            nn.Conv2d(channels, c128, 3, padding=1),
            nn.LeakyReLU(0.2),
            EncoderBlock(c128, c128, pool=True),
            EncoderBlock(c128, c128, pool=False),
            EncoderBlock(c128, c256, pool=True),
            EncoderBlock(c256, c256, pool=False),
            EncoderBlock(c256, c256, pool=True),
            EncoderBlock(c256, c256, pool=False),
            nn.ReLU(),
        )
        self.head = nn.Linear(c256, 1)
        if spectral_norm:
            _normalise(self.body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the energies (b,) of images (b, C, H, W), float32."""
        features = self.body(x).sum(dim=(2, 3))
        return at_least_float32(self.head(features)).squeeze(1)


def build_network(channels: int, width: float, spectral_norm: bool) -> EnergyNetwork:
    """Return a network with fresh weights in channels-last memory format; see EnergyNetwork for the arguments."""
    return EnergyNetwork(channels, width, spectral_norm).to(memory_format=torch.channels_last)


def _normalise(body: nn.Module) -> None:
    """Apply spectral normalisation to every convolution, with weights drawn as in the published implementations.

    These are N(0, 1), and near zero for the second convolution of a block.
    """
    for name, layer in list(body.named_modules()):
        if isinstance(layer, nn.Conv2d):
            second = name.endswith("second")
            nn.init.normal_(layer.weight, std=NEAR_ZERO if second else 1.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight, bound=second))
