"""Architectures: layer shapes and parameter counts of the supplement's Table 2."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from oodbench.errors import OODBenchError
from oodbench.nn.arch28 import decoder28, encoder28
from oodbench.nn.arch32 import decoder32, encoder32
from oodbench.nn.autoencoder import build_autoencoder, to_sphere
from oodbench.nn.resnet32 import resnet_decoder32, resnet_encoder32

COUNTS = {
    2: (2_229_826, 133_697, 307_686, 675_971),
    4: (2_231_876, 137_793, 316_396, 694_403),
    8: (2_235_976, 145_985, 333_816, 731_267),
    16: (2_244_176, 162_369, 368_656, 804_995),
    32: (2_260_576, 195_137, 438_336, 952_451),
    64: (2_293_376, 260_673, 577_696, 1_247_363),
    128: (2_358_976, 391_745, 856_416, 1_837_187),
    256: (2_490_176, 653_889, 1_413_856, 3_016_835),
}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(network: nn.Sequential, x: torch.Tensor, kinds: tuple[type[nn.Module], ...]) -> list[tuple[int, ...]]:
    """Shapes after each layer of these kinds, without the batch."""
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, kinds):
            found.append(tuple(x.shape[1:]))
    return found


@pytest.mark.parametrize("latent_dim", COUNTS)
def test_parameter_counts(latent_dim):
    built = encoder28(latent_dim), decoder28(latent_dim), encoder32(latent_dim), decoder32(latent_dim)
    assert tuple(map(parameters, built)) == COUNTS[latent_dim]


def test_resnet_parameter_counts():
    assert parameters(resnet_encoder32(32)) == 5_142_560
    assert parameters(resnet_encoder32(128)) == 5_167_232
    assert parameters(resnet_decoder32(32)) == 956_419


def filled(network: nn.Module) -> nn.Module:
    """The network in float64 with weights of a plain formula, alike on every machine: a wave through each tensor."""
    network = network.double()
    with torch.no_grad():
        for place, parameter in enumerate(network.parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + place)
            parameter.copy_((wave / parameter[0].numel() ** 0.5).view(parameter.shape))
    return network


def group_norm(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Each group of channels of each image to mean 0 and variance 1, then an affine map a channel."""
    parts = []
    for part in x.chunk(groups, dim=1):
        mean = part.mean(dim=(1, 2, 3), keepdim=True)
        variance = (part - mean).square().mean(dim=(1, 2, 3), keepdim=True)
        parts.append((part - mean) / (variance + 1e-5).sqrt())
    return torch.cat(parts, dim=1) * weight[:, None, None] + bias[:, None, None]


def reference_decoder(weights: list[torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """The generator of Miyato et al. (2018) with group normalisation: one group in the blocks, two at the end.

    The weights are in the order of their use.
    """
    take = iter(weights)

    def double(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    x = functional.conv_transpose2d(z[:, :, None, None], next(take), next(take))
    for _ in range(3):
        y = double(group_norm(x, 1, next(take), next(take)).clamp_min(0))
        y = functional.conv2d(y, next(take), next(take), padding=1)
        y = group_norm(y, 1, next(take), next(take)).clamp_min(0)
        x = functional.conv2d(y, next(take), next(take), padding=1) + double(x)
    x = group_norm(x, 2, next(take), next(take)).clamp_min(0)
    x = functional.conv2d(x, next(take), next(take), padding=1)
    assert next(take, None) is None
    return 1 / (1 + (-x).exp())


AUTHORS_NUMBERS = [
    0.3048558712, 0.0943304349, 0.3483521391, 0.2763747079, 0.3028299664, 0.4365003264, 0.1647203608,
]  # fmt: skip
CODES = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)


@torch.no_grad()
def test_resnet_decoder_is_the_plain_reference():
    decoder = filled(resnet_decoder32(4, width=0.0625))
    expected = reference_decoder(list(decoder.parameters()), CODES)
    torch.testing.assert_close(decoder(CODES), expected)


@torch.no_grad()
def test_resnet_decoder_gives_the_numbers_of_the_authors_module():
    """Computed once by their GeneratorGN (num_groups=2) from these weights and codes; other groups give others."""
    images = filled(resnet_decoder32(4, width=0.0625))(CODES)
    found = [images.mean(), images.std(), *images[1, :, 5, 7], images[0, 0, 0, 0], images[2, 2, 31, 16]]
    torch.testing.assert_close(torch.stack(found), torch.tensor(AUTHORS_NUMBERS, dtype=torch.float64))


def test_arch28_encoder_layers():
    found = shapes(encoder28(16), torch.zeros(1, 1, 28, 28), (nn.Conv2d, nn.MaxPool2d))
    assert found == [
        (32, 26, 26), (64, 24, 24), (64, 12, 12), (64, 10, 10), (128, 8, 8), (128, 4, 4), (1024, 1, 1), (16, 1, 1),
    ]  # fmt: skip


def test_arch28_decoder_layers():
    found = shapes(decoder28(16), torch.zeros(1, 16), (nn.ConvTranspose2d, nn.Upsample))
    assert found == [
        (128, 4, 4), (128, 8, 8), (64, 10, 10), (64, 12, 12), (64, 24, 24), (32, 26, 26), (1, 28, 28),
    ]  # fmt: skip


def test_arch32_layers():
    found = shapes(encoder32(16), torch.zeros(1, 3, 32, 32), (nn.Conv2d,))
    assert found == [(32, 15, 15), (64, 6, 6), (128, 2, 2), (256, 1, 1), (16, 1, 1)]
    found = shapes(decoder32(16), torch.zeros(1, 16), (nn.ConvTranspose2d,))
    assert found == [(256, 6, 6), (128, 14, 14), (64, 30, 30), (3, 32, 32)]


def test_arch32_attention_is_the_supplements_formula():
    """y = x + R1(x) ⊙ σ(R2(x)), R(x) = x + F2(ReLU(F1(ReLU(x))))."""
    torch.manual_seed(0)
    block = encoder32(4, width=0.01)[-2]
    x = torch.randn(3, 4, 1, 1)

    def full(layer: nn.Conv2d, v: torch.Tensor) -> torch.Tensor:
        return v @ layer.weight[:, :, 0, 0].T + layer.bias

    def res(part: nn.Module, v: torch.Tensor) -> torch.Tensor:
        return v + full(part.second, full(part.first, v.clamp_min(0)).clamp_min(0))

    v = x[:, :, 0, 0]
    expected = v + res(block.value, v) * torch.sigmoid(res(block.gate, v))
    torch.testing.assert_close(block(x)[:, :, 0, 0], expected)


@torch.no_grad()
def test_arch32_relu_is_arch32_with_the_printed_relu_before_attention():
    torch.manual_seed(0)
    plain, printed = (build_autoencoder(name, (3, 32, 32), 8, width=0.1).encoder for name in ("arch32", "arch32-relu"))
    printed.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    before = plain[:-3](images)
    assert (before < 0).any()
    torch.testing.assert_close(plain(images), plain[-2:](before))
    torch.testing.assert_close(printed(images), plain[-2:](before.clamp_min(0)))


@pytest.mark.parametrize(
    ("architecture", "shape"), [("arch28", (1, 28, 28)), ("arch32", (3, 32, 32)), ("resnet32", (3, 32, 32))]
)
@pytest.mark.parametrize("latent_dim", [2, 5])
def test_autoencoders_reconstruct_their_shape_through_the_sphere(architecture, shape, latent_dim):
    model = build_autoencoder(architecture, shape, latent_dim, width=0.1, spherical=True)
    images = torch.rand(3, *shape)
    torch.testing.assert_close(model.encode(images).norm(dim=1), torch.ones(3))
    output = model(images)
    assert output.shape == images.shape
    assert output.min() >= 0 and output.max() <= 1
    torch.testing.assert_close(model.energy(images), ((images - output) ** 2).flatten(1).mean(dim=1))


def test_projection_keeps_the_direction_and_bears_zero():
    z = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    torch.testing.assert_close(to_sphere(z), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_energy_stays_float32_under_autocast():
    model = build_autoencoder("auto", (1, 28, 28), 4, width=0.1, spherical=True)
    images = torch.rand(4, 1, 28, 28)
    exact = model.energy(images)
    with torch.autocast("cpu", torch.bfloat16):
        energy = model.energy(images)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy, exact, rtol=0.02, atol=1e-3)


def test_unsupported_shapes_are_refused():
    with pytest.raises(OODBenchError, match="no autoencoder for images of 1×8×8"):
        build_autoencoder("auto", (1, 8, 8), 4)
    with pytest.raises(OODBenchError, match="arch28 takes images of 1×28×28, not of 3×32×32"):
        build_autoencoder("arch28", (3, 32, 32), 4)
