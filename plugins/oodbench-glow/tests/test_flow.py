"""The flow: it can be turned round, and its log-determinant is that of the whole Jacobian, taken by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from oodbench_glow.flow import ActNorm, Coupling, FlowStep, GlowNetwork, InvertibleConv, NormedConv

KINDS = ("affine", "additive")
SMALL = [(1, 4, 4), (3, 4, 4)]


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, with every parameter moved off its start, where couplings are nearly the identity."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module.double()


def images(n: int, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobian_log_det(function, x: torch.Tensor) -> torch.Tensor:
    """Of one input (1, C, H, W): the matrix of all derivatives, by autograd, and its log-determinant."""
    matrix = torch.autograd.functional.jacobian(lambda flat: function(flat.view_as(x)).flatten(), x.flatten())
    return torch.linalg.slogdet(matrix).logabsdet


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse_gives_back_the_image(shape, kind):
    torch.manual_seed(0)
    model = shaken(GlowNetwork(shape[0], 5, 7, kind))
    x = images(3, *shape)
    z, _ = model(x)
    assert z.shape == (3, 4 * shape[0], 2, 2)
    assert (z - torch.nn.functional.pixel_unshuffle(x, 2)).abs().max() > 0.1
    torch.testing.assert_close(model.inverse(z), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(model(model.inverse(2 * z))[0], 2 * z, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(shape, kind):
    torch.manual_seed(0)
    model = shaken(GlowNetwork(shape[0], 3, 5, kind))
    x = images(2, *shape)
    found = model(x)[1]
    expected = torch.stack([jacobian_log_det(lambda x: model(x)[0], one[None]) for one in x])
    assert expected.abs().min() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    if kind == "affine":
        assert found[0] != found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_by_itself(kind):
    torch.manual_seed(0)
    x = images(1, 4, 3, 3)
    norm, mix, coupling = (shaken(layer) for layer in (ActNorm(4), InvertibleConv(4), Coupling(4, 6, kind)))
    for layer in (norm, mix):
        torch.testing.assert_close(layer.log_det(9), jacobian_log_det(layer, x))
        torch.testing.assert_close(layer.inverse(layer(x)), x)
    y, log_det = coupling(x)
    torch.testing.assert_close(log_det[0], jacobian_log_det(lambda x: coupling(x)[0], x))
    assert torch.equal(y[:, :2], x[:, :2])
    assert not torch.allclose(y[:, 2:], x[:, 2:])


def test_the_convolution_begins_as_a_rotation():
    torch.manual_seed(0)
    weight = InvertibleConv(12).weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(12))
    assert InvertibleConv(12).log_det(256).abs() < 1e-3


def test_initialisation_brings_every_actnorm_to_zero_mean_and_unit_variance():
    torch.manual_seed(0)
    model = GlowNetwork(1, 3, 8, "affine")
    batch = 0.2 * images(32, 1, 8, 8).float() + 0.5
    model.initialise(batch, torch.Generator().manual_seed(3))
    seen = []
    for module in model.modules():
        if isinstance(module, FlowStep):
            module.register_forward_pre_hook(lambda step, inputs: seen.append(step.norm(inputs[0])))
        if isinstance(module, NormedConv):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    model.log_likelihood(batch, torch.Generator().manual_seed(3))
    assert len(seen) == 9
    for output in seen:
        std, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=1e-3, atol=0)
    before = model.state_dict()["steps.0.norm.bias"].clone()
    model.log_likelihood(torch.zeros(4, 1, 8, 8))
    assert torch.equal(model.state_dict()["steps.0.norm.bias"], before), "later batches leave it alone"


def test_the_likelihood_of_a_rotation_is_a_gaussian_in_image_space():
    """With couplings at the identity but for their constant scale, p(x) can be written down."""
    torch.manual_seed(0)
    model = GlowNetwork(1, 1, 4, "additive").double()
    x = (images(3, 1, 4, 4) * 255).round() / 255
    point = (x * 255 + 0.5) / 256 - 0.5
    expected = torch.distributions.Normal(0, 1).log_prob(point).sum(dim=(1, 2, 3)) - 16 * math.log(256)
    torch.testing.assert_close(model.log_likelihood(x), expected)
    torch.testing.assert_close(model.bits_per_dim(x), -expected / (16 * math.log(2)))


def test_noise_is_for_training_alone_and_stays_within_the_levels_cell():
    torch.manual_seed(0)
    model = shaken(GlowNetwork(1, 2, 4, "affine"))
    x = images(2, 1, 4, 4)
    assert torch.equal(model.log_likelihood(x), model.log_likelihood(x))
    first, same, other = (model.log_likelihood(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    points = []
    model.register_forward_pre_hook(lambda module, inputs: points.append(inputs[0]))
    model.log_likelihood(x, torch.Generator().manual_seed(2))
    assert torch.equal(((points[0] + 0.5) * 256).floor(), (x * 255).round())


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("channels", "kind", "expected"), [
    (1, "affine", 94_080), (3, "affine", 178_944), (1, "additive", 80_208), (3, "additive", 137_328),
])  # fmt: skip
def test_parameters_are_those_of_the_baselines_code(channels, kind, expected):
    """K = 12, L = 1, 64 hidden channels, in chaiyujin/glow-pytorch."""
    assert count(GlowNetwork(channels, 12, 64, kind)) == expected


def test_a_step_mixes_before_it_couples():
    torch.manual_seed(0)
    step = shaken(FlowStep(4, 5, "affine"))
    x = images(1, 4, 2, 2)
    torch.testing.assert_close(step(x)[0], step.coupling(step.mix(step.norm(x)))[0])
    torch.testing.assert_close(step.inverse(step(x)[0]), x)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_normed_convolution_is_a_convolution_and_then_the_norm(kernel):
    torch.manual_seed(0)
    layer = shaken(NormedConv(4, 6, kernel))
    x = images(2, 4, 5, 5)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=kernel // 2)
    torch.testing.assert_close(layer(x), layer.norm(plain))
    assert layer.norm.bias.abs().min() > 0
