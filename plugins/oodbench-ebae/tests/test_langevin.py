"""Both chains, a single step at a time, against formulas written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from oodbench_ebae.langevin import latent_chain, latent_step

from oodbench.nn.autoencoder import build_autoencoder
from oodbench.nn.langevin import annealed, clip_gradient, input_gradient, visible_chain, visible_step


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quadratic(x: torch.Tensor) -> torch.Tensor:
    """E(x) = Σ x², whose gradient is 2x."""
    return x.flatten(1).square().sum(dim=1)


def test_input_gradient_is_that_of_each_sample():
    x = noise(3, 5)
    gradient, energies = input_gradient(quadratic, x)
    torch.testing.assert_close(gradient, 2 * x)
    torch.testing.assert_close(energies, (x**2).sum(dim=1))


def test_latent_step_is_the_formula_then_the_sphere():
    z, gradient, epsilon = noise(4, 6), noise(4, 6, seed=1), noise(4, 6, seed=2)
    moved = torch.stack([z[i] - 0.4 * gradient[i] + 0.05 * epsilon[i] for i in range(4)])
    torch.testing.assert_close(latent_step(z, gradient, epsilon, 0.4, 0.05, spherical=False), moved)
    on_sphere = torch.stack([row / math.sqrt(sum(float(v) ** 2 for v in row)) for row in moved])
    torch.testing.assert_close(latent_step(z, gradient, epsilon, 0.4, 0.05, spherical=True), on_sphere)


def test_visible_step_is_the_formula_kept_in_the_unit_box():
    x, gradient, epsilon = noise(2, 1, 3, 3).sigmoid(), noise(2, 1, 3, 3, seed=1), noise(2, 1, 3, 3, seed=2)
    expected = torch.clamp(x - 20 * gradient + 0.025 * epsilon, 0.0, 1.0)
    result = visible_step(x, gradient, epsilon, 20, 0.025)
    torch.testing.assert_close(result, expected)
    assert result.min() == 0 and result.max() == 1, "this step must reach both walls of the box"


def test_row_clip_scales_each_image_row_alone():
    gradient = torch.tensor([[[[3.0, 4.0], [0.003, 0.004]], [[0.0, 0.0], [0.0, -1.0]]]])  # (1, 2, 2, 2)
    clipped, share = clip_gradient(gradient, 0.01, "row")
    expected = torch.tensor([[[[0.006, 0.008], [0.003, 0.004]], [[0.0, 0.0], [0.0, -0.01]]]])
    torch.testing.assert_close(clipped, expected)
    assert share == 0.5


def test_element_clip_clamps_each_number():
    gradient = torch.tensor([[[[3.0, -4.0], [0.003, 0.0]]]])
    clipped, share = clip_gradient(gradient, 0.01, "element")
    torch.testing.assert_close(clipped, torch.tensor([[[[0.01, -0.01], [0.003, 0.0]]]]))
    assert share == 0.5


def test_no_clip_leaves_the_gradient():
    gradient = noise(2, 1, 3, 3)
    clipped, share = clip_gradient(gradient, 0.01, "none")
    assert torch.equal(clipped, gradient) and share == 0


@pytest.mark.parametrize(
    ("anneal", "expected"),
    [
        ("supplement", [0.05, 0.025, 0.05 / 3, 0.0125]),
        ("code", [0.05, 0.05, 0.025, 0.05 / 3]),
        ("none", [0.05] * 4),
    ],
)
def test_anneal(anneal, expected):
    assert [annealed(0.05, step, anneal) for step in range(4)] == pytest.approx(expected)


def test_latent_chain_repeats_the_step_with_fresh_noise():
    z = torch.nn.functional.normalize(noise(4, 6))
    chain = latent_chain(quadratic, z, 3, 0.1, 0.2, False, torch.Generator().manual_seed(7))
    generator, expected = torch.Generator().manual_seed(7), z
    for _ in range(3):
        expected = expected - 0.1 * 2 * expected + 0.2 * torch.randn(4, 6, generator=generator)
    torch.testing.assert_close(chain.end, expected)
    torch.testing.assert_close(chain.first_energy, torch.tensor(1.0))


def test_spherical_chain_never_leaves_the_sphere():
    seen = []

    def energy(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.detach().norm(dim=1))
        return quadratic(z + 1)

    z = torch.nn.functional.normalize(noise(4, 6))
    end = latent_chain(energy, z, 5, 0.5, 0.5, True, torch.Generator().manual_seed(0)).end
    torch.testing.assert_close(torch.stack([*seen, end.norm(dim=1)]), torch.ones(6, 4))


def test_visible_chain_repeats_the_step_with_clipped_gradient_and_annealed_noise():
    x = noise(2, 1, 4, 4).sigmoid()
    settings = dict(steps=3, step_size=0.5, noise_std=0.05, anneal="supplement", limit=0.3, clip="row")
    chain = visible_chain(quadratic, x, **settings, generator=torch.Generator().manual_seed(7))
    generator, expected, clipped = torch.Generator().manual_seed(7), x, []
    for step in range(3):
        rows = 2 * expected
        norms = rows.square().sum(dim=-1, keepdim=True).sqrt()
        clipped.append((norms > 0.3).double().mean())
        rows = torch.where(norms > 0.3, 0.3 * rows / norms, rows)
        epsilon = torch.randn(2, 1, 4, 4, generator=generator)
        expected = (expected - 0.5 * rows + 0.05 / (1 + step) * epsilon).clamp(0, 1)
    torch.testing.assert_close(chain.end, expected)
    torch.testing.assert_close(chain.clip_fraction, torch.stack(clipped).mean())
    torch.testing.assert_close(chain.first_energy, quadratic(x).mean())


def test_no_steps_leave_the_start_and_measure_its_energy():
    x = noise(2, 1, 4, 4).sigmoid()
    visible = visible_chain(quadratic, x, 0, 1, 1, "none", 1, "row", torch.Generator())
    latent = latent_chain(quadratic, x.flatten(1), 0, 1, 1, True, torch.Generator())
    assert torch.equal(visible.end, x) and torch.equal(latent.end, x.flatten(1))
    for chain in (visible, latent):
        torch.testing.assert_close(chain.first_energy, quadratic(x).mean())
        assert not chain.first_energy.requires_grad


@pytest.mark.parametrize(("steps", "evaluations"), [(0, 1), (1, 1), (3, 3)])
def test_the_first_energy_costs_nothing_where_there_are_steps(steps, evaluations):
    seen = []

    def energy(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return quadratic(x)

    x, generator = noise(2, 1, 4, 4).sigmoid(), torch.Generator()
    visible_chain(energy, x, steps, 0.1, 0.1, "none", 1, "row", generator)
    assert len(seen) == evaluations
    latent_chain(energy, x.flatten(1), steps, 0.1, 0.1, True, generator)
    assert len(seen) == 2 * evaluations


def test_chains_accumulate_no_parameter_gradient():
    torch.manual_seed(0)
    model = build_autoencoder("arch28", (1, 28, 28), 4, width=0.1, spherical=True)
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(noise(2, 4))
    latent_chain(lambda z: model.energy(model.decode(z)), z, 2, 0.4, 0.05, True, generator)
    visible_chain(model.energy, noise(2, 1, 28, 28).sigmoid(), 2, 20, 0.05, "supplement", 0.01, "row", generator)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_mean_energy_is_what_the_step_sizes_are_made_for():
    """With the mean energy the clip of 0.01 hardly binds; with the sum it would bind on every row, silently."""
    torch.manual_seed(0)
    model = build_autoencoder("arch28", (1, 28, 28), 8, width=0.1, spherical=True)
    images = noise(8, 1, 28, 28).sigmoid()
    mean_gradient, _ = input_gradient(model.energy, images)
    sum_gradient, _ = input_gradient(lambda x: 784 * model.energy(x), images)
    assert clip_gradient(mean_gradient, 0.01, "row")[1] < 0.05
    assert clip_gradient(sum_gradient, 0.01, "row")[1] == 1
