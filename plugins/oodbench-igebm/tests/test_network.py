"""The energy network: its size, and what spectral normalisation makes of its convolutions."""

from __future__ import annotations

import pytest
import torch
from oodbench_igebm.network import EnergyNetwork, build_network
from oodbench_igebm.spectral import SpectralNorm, frozen
from torch import nn
from torch.nn.utils import parametrize


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(weight.detach().flatten(1).double())


@pytest.fixture
def network() -> EnergyNetwork:
    torch.manual_seed(0)
    return build_network(1, 0.07, True)


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_it_has_as_many_parameters_as_the_published_network(spectral_norm):
    network = build_network(3, 1.0, spectral_norm)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_134_593


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_one_energy_an_image_whatever_its_company(shape):
    torch.manual_seed(0)
    network = build_network(shape[0], 0.07, True).eval()
    images = torch.rand(5, *shape)
    together = network(images)
    assert together.shape == (5,)
    torch.testing.assert_close(together, torch.cat([network(image[None]) for image in images]))
    assert together.std() > 0


def test_features_are_summed_over_places(network):
    images = torch.rand(2, 1, 28, 28)
    network.eval()
    features = network.body(images)
    assert features.shape[2:] == (3, 3)
    by_hand = [
        sum(w * place.sum() for w, place in zip(network.head.weight[0], image, strict=True)) + network.head.bias[0]
        for image in features
    ]
    torch.testing.assert_close(network(images), torch.stack(by_hand))


def test_every_convolution_has_its_largest_singular_value_at_one(network):
    generator = torch.Generator().manual_seed(1)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 1 + 2 * 6 + 3
    for layer in layers:
        original = layer.parametrizations.weight.original
        with torch.no_grad():
            original.copy_(3 * torch.randn(original.shape, generator=generator))
        for _ in range(200):
            weight = layer.weight
        assert singular_values(weight).max().item() == pytest.approx(1, rel=1e-3)


def test_fresh_blocks_are_their_skip_path(network):
    """A bounded weight below 1 is left alone, so that a second convolution may start near zero."""
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer):
            largest = singular_values(layer.weight).max().item()
            assert largest < 1e-7 if name.endswith("second") else largest == pytest.approx(1, rel=0.2)


def test_one_power_iteration_is_the_formula():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    norm = SpectralNorm(weight, bound=False)
    matrix, u = weight.reshape(4, 12), norm.u.clone()
    v = matrix.T @ u / (matrix.T @ u).norm()
    u = matrix @ v / (matrix @ v).norm()
    v = matrix.T @ u / (matrix.T @ u).norm()
    torch.testing.assert_close(norm(weight), weight / (u @ matrix @ v))
    torch.testing.assert_close(norm.u, u)


def test_evaluation_leaves_the_power_method_where_it_is(network):
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.rand(2, 1, 28, 28))
    with frozen(network):
        network(torch.rand(2, 1, 28, 28))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_frozen_weights_give_the_same_energies_and_take_no_gradient(network):
    images = torch.rand(3, 1, 28, 28, requires_grad=True)
    network.eval()
    expected = network(images).detach()
    with frozen(network):
        torch.testing.assert_close(network(images), expected, rtol=0, atol=0)
        network(images).sum().backward()
    assert images.grad is not None
    originals = [p for name, p in network.named_parameters() if "original" in name]
    assert all(parameter.grad is None for parameter in originals)
