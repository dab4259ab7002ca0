"""The loss: term by term, and its parameter gradients against finite differences in float64."""

from __future__ import annotations

import pytest
import torch
from oodbench_ebae.detector import draw_negatives, loss_terms, run_chains
from oodbench_ebae.params import EBAEParams

from oodbench.nn.autoencoder import build_autoencoder
from oodbench.nn.replay import ReplayBuffer


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_autoencoder("arch28", (1, 28, 28), 3, width=0.06, spherical=True).double()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 1, 28, 28, generator=generator, dtype=torch.float64) for _ in range(2)]


def chains_on(model, params: EBAEParams):
    return lambda start, generator: run_chains(model, start, params, generator)


def energies(model, images: torch.Tensor) -> list[float]:
    """Reconstruction error by plain loops: the mean over pixels of the squared difference."""
    rows = []
    for image in images:
        z = model.encoder(image[None])[0]
        z = z / torch.sqrt(sum(value**2 for value in z))
        difference = image - model.decoder(z[None])[0]
        rows.append(sum(d.item() ** 2 for d in difference.flatten()) / (28 * 28))
    return rows


def test_energy_is_the_mean_over_pixels(model, images):
    assert model.energy(images[0]).tolist() == pytest.approx(energies(model, images[0]), rel=1e-12)


def test_each_term_of_the_loss(model, images):
    params = EBAEParams(gamma=0.7, encoder_l2=0.3)
    terms = loss_terms(model, *images, params)
    positive, negative = energies(model, images[0]), energies(model, images[1])
    assert terms["positive_energy"].item() == pytest.approx(sum(positive) / 3, rel=1e-12)
    assert terms["negative_energy"].item() == pytest.approx(sum(negative) / 3, rel=1e-12)
    squares = sum(energy**2 for energy in negative) / 3
    theta = sum(p.item() ** 2 for parameter in model.encoder.parameters() for p in parameter.flatten())
    expected = sum(positive) / 3 - sum(negative) / 3 + 0.7 * squares + 0.3 * theta
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("gamma", "l2"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1e-2), (1.0, 1e-4)])
def test_parameter_gradients_equal_finite_differences(model, images, gamma, l2):
    params = EBAEParams(gamma=gamma, encoder_l2=l2)
    loss_terms(model, *images, params)["loss"].backward()
    step = 1e-6
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        for index in {0, parameter.numel() // 2, parameter.numel() - 1}:
            place = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), parameter.shape))
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[place] += sign * step
                    sides.append(loss_terms(model, *images, params)["loss"].item())
                    parameter[place] -= sign * step
            difference = (sides[0] - sides[1]) / (2 * step)
            assert gradient[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-9), name


def test_negatives_carry_no_graph_and_leave_no_gradient(model):
    params = EBAEParams(latent_dim=3)
    model = model.float()
    buffer = ReplayBuffer(10, (3,))
    negatives, diagnostics = draw_negatives(
        chains_on(model, params), buffer, 2, params, torch.Generator().manual_seed(0)
    )
    assert not negatives.requires_grad
    assert negatives.min() >= 0 and negatives.max() <= 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(buffer) == 2
    assert diagnostics["energy_after_latent_chain"] <= diagnostics["energy_chain_start"]


def test_no_latent_chain_and_no_buffer_decode_random_points(model):
    """Row 2 of the supplement's Table 3."""
    params = EBAEParams(latent_dim=3, latent_chain={"steps": 0}, buffer={"size": 0}, visible_chain={"steps": 0})
    buffer = ReplayBuffer(0, (3,))
    model = model.float()
    negatives, diagnostics = draw_negatives(
        chains_on(model, params), buffer, 4, params, torch.Generator().manual_seed(0)
    )
    z = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(negatives, model.decode(z))
    expected = model.energy(model.decode(z)).mean()
    for name in ("energy_chain_start", "energy_after_latent_chain"):
        torch.testing.assert_close(diagnostics[name], expected)
