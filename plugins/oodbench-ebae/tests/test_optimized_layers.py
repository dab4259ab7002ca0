"""The cheaper forms of layers give what the layers give, and the same gradients, to rounding; in float64 all but."""

from __future__ import annotations

import pytest
import torch
from oodbench_ebae import optimized_layers
from oodbench_ebae.optimized_layers import (
    FromOneChannel,
    FromOnePixel,
    FullKernelConv,
    ToOneChannel,
    UpsampledConvolution,
    frozen_copy,
    optimize_layers,
)
from torch import nn

from oodbench.nn.autoencoder import build_autoencoder
from oodbench.nn.langevin import input_gradient, visible_chain

CASES = {
    FullKernelConv: ([nn.Conv2d(3, 5, 4)], (3, 4, 4)),
    FromOnePixel: ([nn.ConvTranspose2d(3, 5, 4)], (3, 1, 1)),
    FromOneChannel: ([nn.Conv2d(1, 5, (3, 2))], (1, 7, 6)),
    ToOneChannel: ([nn.ConvTranspose2d(5, 1, (3, 2))], (5, 7, 6)),
    UpsampledConvolution: (
        [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.ConvTranspose2d(64, 5, 3)],
        (64, 3, 4),
    ),
    nn.MaxPool2d: ([nn.ReLU(), nn.MaxPool2d(2)], (3, 6, 6)),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_layer_and_its_input_gradient(kind):
    layers, shape = CASES[kind]
    plain = nn.Sequential(*layers).double().requires_grad_(False)
    cheap = optimize_layers(plain)
    assert isinstance(cheap[0], kind)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for network in (plain, cheap):
        entry = x.clone().requires_grad_()
        out = network(entry)
        weights = torch.arange(out.numel(), dtype=torch.float64).reshape(out.shape).cos()
        outcomes.append((out.detach(), *torch.autograd.grad((out * weights).sum(), entry)))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_upsampling_takes_as_many_images_at_a_time_as_it_may(images, monkeypatch):
    layers, shape = CASES[UpsampledConvolution]
    cheap = optimize_layers(nn.Sequential(*layers).requires_grad_(False))
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    at_once = cheap(x)
    gradient = torch.autograd.grad(at_once.square().sum(), x)[0]
    monkeypatch.setattr(optimized_layers, "PART_BYTES", images * 3 * 4 * 9 * 5 * 4)
    sliced = list(optimized_layers.parts_of(x, 3 * 4 * 9 * 5))
    assert [len(x[part]) for part in sliced] == [images] * (5 // images) + [5 % images] * (5 % images > 0)
    out = cheap(x)
    torch.testing.assert_close(out, at_once)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], gradient)


def test_a_relu_overwrites_only_what_nothing_else_needs():
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    cheap = optimize_layers(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sigmoid(), nn.ReLU()))
    cheap(x).sum().backward()
    assert torch.equal(x, before)
    assert [layer.inplace for layer in cheap if isinstance(layer, nn.ReLU)] == [False, True, False]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, 3), (3, 7, 7)),
        (nn.ConvTranspose2d(3, 5, 3), (3, 2, 2)),
        (nn.Conv2d(1, 5, 3, stride=2), (1, 7, 7)),
        (nn.ConvTranspose2d(3, 1, 3, padding=1), (3, 4, 4)),
    ],
)
def test_what_does_not_fit_a_cheaper_form_is_computed_as_it_is(layer, shape):
    x = torch.rand(2, *shape)
    assert torch.equal(optimize_layers(nn.Sequential(layer))(x), layer(x))


@pytest.fixture(params=[("arch28", (1, 28, 28), 0.6), ("arch32", (3, 32, 32), 0.1), ("resnet32", (3, 32, 32), 0.05)])
def model_and_images(request):
    architecture, shape, width = request.param
    torch.manual_seed(0)
    return build_autoencoder(architecture, shape, 4, width, spherical=True), torch.rand(3, *shape)


def test_an_autoencoder_in_float32(model_and_images):
    model, images = model_and_images
    cheap = frozen_copy(model)
    for one, other in zip(input_gradient(cheap.energy, images), input_gradient(model.energy, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    codes = model.encode(images).detach()
    one, other = (input_gradient(lambda z, m=m: m.energy(m.decode(z)), codes)[0] for m in (cheap, model))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_a_chain_with_the_same_noise_ends_where_the_plain_one_does(model_and_images):
    model, images = model_and_images
    settings = dict(steps=5, step_size=20, noise_std=0.05, anneal="supplement", limit=0.01, clip="row")
    plain, cheap = (
        visible_chain(of.energy, images, **settings, generator=torch.Generator().manual_seed(3))
        for of in (model, frozen_copy(model))
    )
    torch.testing.assert_close(cheap.end, plain.end, rtol=1e-4, atol=1e-5)


def test_a_copy_is_of_the_weights_as_they_were_and_asks_for_no_gradient(model_and_images):
    model, images = model_and_images
    cheap, before = frozen_copy(model), model.energy(images).detach()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(cheap.energy(images), before)
    assert not cheap.energy(images).requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_under_autocast_weights_are_cast_once_and_energies_stay_float32(model_and_images):
    model, images = model_and_images
    exact = model.energy(images).detach()
    with torch.autocast("cpu", torch.bfloat16):
        cheap = frozen_copy(model)
        gradient, energies = input_gradient(cheap.energy, images)
    assert energies.dtype == gradient.dtype == torch.float32
    kernels = [layer.weight for layer in cheap.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert kernels and all(weight.dtype == torch.bfloat16 for weight in kernels)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    torch.testing.assert_close(energies, exact, rtol=0.02, atol=1e-3)
