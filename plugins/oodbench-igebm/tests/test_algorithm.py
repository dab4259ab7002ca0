"""The chain, its buffer, the loss and the clip, each against the formula written out by hand."""

from __future__ import annotations

import pytest
import torch
from oodbench_igebm.detector import chain_start, clip_parameter_gradients, diverged, draw_negatives, loss_terms
from oodbench_igebm.network import build_network
from oodbench_igebm.params import BufferParams, ChainParams, IGEBMParams

from oodbench.nn.replay import ReplayBuffer

SHAPE = (1, 5, 5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(n: int = 0, size: int = 10) -> ReplayBuffer:
    """A buffer with n images that count up from the brightness 0."""
    buffer = ReplayBuffer(size, SHAPE, dtype=torch.float16)
    if n:
        buffer.push((torch.arange(n) / n).view(n, 1, 1, 1).expand(n, *SHAPE))
    return buffer


def far_from_half(x: torch.Tensor) -> torch.Tensor:
    """E(x) = Σ (x - ½)² / 50, whose gradient is (x - ½) / 25: up to .02, so that the clip of .01 binds on some."""
    return (x - 0.5).square().sum(dim=(1, 2, 3)) / 50


def test_the_chain_is_the_formula():
    """Uniform noise, then x - λ clip(∇E) + σ ε kept in [0, 1], with fresh noise at each step."""
    params = IGEBMParams(chain=ChainParams(steps=3, step_size=10, noise_std=0.3))
    samples, diagnostics = draw_negatives(far_from_half, kept(), torch.Size((4, *SHAPE)), params, generator(3))
    source = generator(3)
    x = start = torch.rand(4, *SHAPE, generator=source)
    shares = []
    for _ in range(3):
        slope = (x - 0.5) / 25
        shares.append((slope.abs() > 0.01).double().mean())
        moved = x - 10 * slope.clamp(-0.01, 0.01) + 0.3 * torch.randn(4, *SHAPE, generator=source)
        x = moved.clamp(0, 1)
    torch.testing.assert_close(samples, x)
    torch.testing.assert_close(diagnostics["clip_fraction"], torch.stack(shares).mean())
    assert 0 < diagnostics["clip_fraction"] < 1, "the clip must bind on some and not on others here"
    torch.testing.assert_close(diagnostics["energy_chain_start"], far_from_half(start).mean())
    distances = [(a - b).square().sum().sqrt() for a, b in zip(x, start, strict=True)]
    torch.testing.assert_close(diagnostics["visible_displacement"], torch.stack(distances).mean())


def test_the_buffer_keeps_ends_of_chains_and_they_go_on():
    params = IGEBMParams(chain=ChainParams(steps=1, step_size=0, noise_std=0), buffer=BufferParams(replay_ratio=1))
    buffer = kept()
    first, _ = draw_negatives(far_from_half, buffer, torch.Size((3, *SHAPE)), params, generator(1))
    assert len(buffer) == 3
    torch.testing.assert_close(buffer.samples[:3].float(), first, rtol=0, atol=2**-12)
    second, _ = draw_negatives(far_from_half, buffer, torch.Size((3, *SHAPE)), params, generator(2))
    assert all(any(torch.equal(image, stored.float()) for stored in buffer.samples[:3]) for image in second)


def test_first_in_first_out():
    buffer = kept(4, size=4)
    buffer.push(torch.ones(3, *SHAPE))
    assert sorted(buffer.samples[:, 0, 0, 0].tolist()) == [0.75, 1, 1, 1]
    copy = ReplayBuffer(4, SHAPE, dtype=torch.float16)
    copy.load_state_dict(buffer.state_dict())
    assert torch.equal(copy.samples, buffer.samples)
    assert torch.equal(copy.draw(9, generator()), buffer.draw(9, generator()))


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.95, 1.0])
def test_restart_rate(ratio):
    """Starts from the buffer are told by being all of one brightness; the rest are uniform noise."""
    n = 5000
    params = IGEBMParams(buffer=BufferParams(replay_ratio=ratio))
    starts = chain_start(kept(10), torch.Size((n, *SHAPE)), params, generator())
    replayed = starts.flatten(1).std(dim=1) == 0
    assert replayed.double().mean().item() == pytest.approx(ratio, abs=5 * (ratio * (1 - ratio) / n) ** 0.5)
    noise = starts[~replayed]
    if len(noise):
        assert noise.mean().item() == pytest.approx(0.5, abs=0.03)
        assert noise.var().item() == pytest.approx(1 / 12, abs=0.01)


def test_without_a_buffer_every_chain_starts_from_noise():
    params = IGEBMParams(chain=ChainParams(steps=0), buffer=BufferParams(size=0))
    buffer = kept(size=0)
    for _ in range(2):
        samples, _ = draw_negatives(far_from_half, buffer, torch.Size((3, *SHAPE)), params, generator(5))
        assert torch.equal(samples, torch.rand(3, *SHAPE, generator=generator(5)))


# ---------------------------------------------------------------------------------------- the loss


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(1, 0.02, True).double().eval()


@pytest.fixture
def images():
    return [torch.rand(n, 1, 28, 28, generator=generator(n), dtype=torch.float64) for n in (3, 2)]


def test_each_term_of_the_loss(network, images):
    terms = loss_terms(network, *images, alpha=0.7)
    plus, minus = ([network(image[None]).item() for image in stack] for stack in images)
    assert terms["positive_energy"].item() == pytest.approx(sum(plus) / 3, rel=1e-12)
    assert terms["negative_energy"].item() == pytest.approx(sum(minus) / 2, rel=1e-12)
    squares = sum(e**2 for e in plus) / 3 + sum(e**2 for e in minus) / 2
    assert terms["loss"].item() == pytest.approx(sum(plus) / 3 - sum(minus) / 2 + 0.7 * squares, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_parameter_gradients_equal_finite_differences(network, images, alpha):
    """Through the spectral norm too, whose σ is a function of the weight."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "second" in name:
                parameter.normal_(generator=generator(9))  # else the gradients behind them vanish
    loss_terms(network, *images, alpha)["loss"].backward()
    for name, parameter in network.named_parameters():
        for index in {0, parameter.numel() - 1}:
            place = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), parameter.shape))
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[place] += sign * 1e-6
                    sides.append(loss_terms(network, *images, alpha)["loss"].item())
                    parameter[place] -= sign * 1e-6
            difference = (sides[0] - sides[1]) / 2e-6
            assert parameter.grad[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-8), name


def test_chains_leave_no_parameter_gradient_and_negatives_no_graph(network):
    params = IGEBMParams(chain=ChainParams(steps=2))
    buffer = ReplayBuffer(4, (1, 28, 28))
    samples, _ = draw_negatives(network.float(), buffer, torch.Size((2, 1, 28, 28)), params, generator())
    assert not samples.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_parameter_gradients_are_held_within_three_deviations():
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight], lr=1e-3, betas=(0.0, 0.999))
    gradients = torch.tensor([[1.0, 0.01, -5.0], [2.0, 4.0, -40.0], [-9.0, -9.0, 0.5]])
    second, expected = torch.zeros(3), []
    for step, gradient in enumerate(gradients):
        weight.grad = gradient.clone()
        clip_parameter_gradients(optimizer)
        if step:
            bound = 3 * torch.sqrt(second / (1 - 0.999**step)) + 0.1
            gradient = torch.minimum(torch.maximum(gradient, -bound), bound)
        torch.testing.assert_close(weight.grad, gradient)
        expected.append(gradient)
        second = 0.999 * second + 0.001 * gradient**2
        optimizer.step()
    assert not torch.equal(torch.stack(expected), gradients)
    assert torch.equal(expected[0], gradients[0]), "there is nothing to go by before the first step"


@pytest.mark.parametrize(
    ("positive", "negative", "loss", "reason"),
    [
        (0.1, 0.2, float("nan"), "no longer finite"),
        (0.1, float("inf"), float("-inf"), "no longer finite"),
        (-30.0, 0.2, 1.0, "energies -30 and 0.2 run away"),
        (0.1, 31.0, 1.0, "run away"),
        (-0.5, 0.5, -0.5, None),
    ],
)
def test_signs_of_divergence(positive, negative, loss, reason):
    found = diverged({"positive_energy": positive, "negative_energy": negative, "loss": loss}, 20.0)
    assert found is None if reason is None else reason in found
