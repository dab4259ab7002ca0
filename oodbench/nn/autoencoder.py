"""An autoencoder whose reconstruction error is an energy, and the architectures it can be built from."""

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
    """z / ‖z‖, each row (b, D_z) onto the unit sphere. The zero vector, which has no direction, stays zero."""
    return z / z.norm(dim=1, keepdim=True).clamp_min(1e-12)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """What a network gave in bfloat16 under autocast, as float32: codes and energies are never rounded further."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Autoencoder(nn.Module):
    """Encoder f_e and decoder f_d, with or without the projection onto the unit sphere between them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, spherical: bool):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.spherical = spherical

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Images (b, C, H, W) → codes (b, D_z), float32."""
        z = at_least_float32(self.encoder(x))
        return to_sphere(z) if self.spherical else z

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Codes (b, D_z) → images (b, C, H, W) in (0, 1), float32."""
        return at_least_float32(self.decoder(z))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction, (b, C, H, W)."""
        return self.decode(self.encode(x))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        """E(x) = ‖x - f_d(f_e(x))‖² / D, the mean over pixels and channels of the squared error, (b,)."""
        return (x - self(x)).square().mean(dim=(1, 2, 3))


def build_autoencoder(
    architecture: str, shape: Shape, latent_dim: int, width: float = 1.0, spherical: bool = False
) -> Autoencoder:
    """An autoencoder with fresh weights, channels-last. ``auto`` chooses the supplement's Arch28 or Arch32 by shape."""
    model = Autoencoder(*build_networks(architecture, shape, latent_dim, width), spherical)
    return model.to(memory_format=torch.channels_last)


def build_networks(
    architecture: str, shape: Shape, latent_dim: int, width: float = 1.0, outputs: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """A fresh encoder and decoder; ``outputs`` is how many numbers the encoder gives an image where not D_z."""
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
