"""An autoencoder whose reconstruction error is an energy, and the architectures it can be built from.

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from oodbench.api import Shape, shape_text
from oodbench.errors import OODBenchError
from oodbench.nn import arch28, arch32, resnet32

Builder = Callable[[int, float], nn.Module]
ARCHITECTURES: dict[str, tuple[Shape, Builder, Builder]] = {
    "arch28": (arch28.SHAPE, arch28.encoder28, arch28.decoder28),
    "arch32": (arch32.SHAPE, arch32.encoder32, arch32.decoder32),
    "arch32-relu": (arch32.SHAPE, partial(arch32.encoder32, relu_before_attention=True), arch32.decoder32),
    "resnet32": (resnet32.SHAPE, resnet32.resnet_encoder32, resnet32.resnet_decoder32),
}
SHAPES = tuple(dict.fromkeys(shape for shape, _, _ in ARCHITECTURES.values()))


def to_sphere(z: torch.Tensor) -> torch.Tensor:
    """Return z / ‖z‖: each row of z (b, D_z) projected onto the unit sphere. A zero row stays zero."""
    return z / z.norm(dim=1, keepdim=True).clamp_min(1e-12)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return x in float32 if its type is narrower, such as bfloat16 under autocast; else return it unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Autoencoder(nn.Module):
    """An encoder f_e and a decoder f_d, with an optional projection of the codes onto the unit sphere between them.

    Args:
        encoder: maps images (b, C, H, W) to codes (b, D_z).
        decoder: maps codes (b, D_z) to images (b, C, H, W) in (0, 1).
        spherical: project codes onto the unit sphere.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, spherical: bool):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.spherical = spherical

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (b, C, H, W) to codes (b, D_z), float32."""
        z = at_least_float32(self.encoder(x))
        return to_sphere(z) if self.spherical else z

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes (b, D_z) to images (b, C, H, W) in (0, 1), float32."""
        return at_least_float32(self.decoder(z))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of images x; both are (b, C, H, W)."""
        return self.decode(self.encode(x))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        """Return E(x) = ‖x - f_d(f_e(x))‖² / D of images x (b, C, H, W), D = C·H·W, as (b,).

        This is the mean squared error over pixels and channels.
        """
        return (x - self(x)).square().mean(dim=(1, 2, 3))


def build_autoencoder(
    architecture: str, shape: Shape, latent_dim: int, width: float = 1.0, spherical: bool = False
) -> Autoencoder:
    """Return an autoencoder with fresh weights, in channels-last memory format.

    Args:
        architecture: a name in ARCHITECTURES, or ``auto``: Arch28 or Arch32 of the EBAE supplement, by the shape.
        shape: (C, H, W) of the images.
        latent_dim: D_z, the length of a code.
        width: factor on the number of hidden channels.
        spherical: project codes onto the unit sphere.

    Raises OODBenchError if no architecture takes images of this shape, or the named one does not.
    """
    model = Autoencoder(*build_networks(architecture, shape, latent_dim, width), spherical)
    return model.to(memory_format=torch.channels_last)


def build_networks(
    architecture: str, shape: Shape, latent_dim: int, width: float = 1.0, outputs: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Return an encoder and a decoder with fresh weights.

    Args:
        architecture, shape, latent_dim, width: as for ``build_autoencoder``.
        outputs: number of values that the encoder outputs per image; None for ``latent_dim``.

    Raises OODBenchError if no architecture takes images of this shape, or the named one does not.
    """
    if architecture == "auto":
        architecture = next((name for name, entry in ARCHITECTURES.items() if entry[0] == shape), "auto")
    takes, encoder, decoder = ARCHITECTURES.get(architecture, ((0, 0, 0), None, None))
    if encoder is None or decoder is None:
        raise OODBenchError(f"no autoencoder for images of {shape_text(shape)}; there are: {_table()}")
    if takes != shape:
        raise OODBenchError(f"{architecture} takes images of {shape_text(takes)}, not of {shape_text(shape)}")
    return encoder(latent_dim if outputs is None else outputs, width), decoder(latent_dim, width)


def _table() -> str:
    return ", ".join(f"{name} for {shape_text(shape)}" for name, (shape, _, _) in ARCHITECTURES.items())
