"""The MMD against its definition, pair by pair, and against what it is in theory."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from oodbench_wae.mmd import median_heuristic, mmd


def sample(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def squared_distance(a: list[float], b: list[float]) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def brute_force(x: list[list[float]], y: list[list[float]], b2: float) -> float:
    def mean(pairs: list[tuple[list[float], list[float]]]) -> float:
        return sum(math.exp(-squared_distance(a, b) / (2 * b2)) for a, b in pairs) / len(pairs)

    within_x = [(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
    within_y = [(y[i], y[j]) for i in range(len(y)) for j in range(len(y)) if i != j]
    return mean(within_x) + mean(within_y) - 2 * mean([(a, b) for a in x for b in y])


def brute_median(x: list[list[float]]) -> float:
    return statistics.median(squared_distance(x[i], x[j]) for i in range(len(x)) for j in range(i))


@pytest.mark.parametrize(("n", "m", "d"), [(7, 7, 3), (12, 5, 1), (2, 2, 8)])
def test_against_brute_force(n, m, d):
    x, y = sample(n, d, 0), sample(m, d, 1, scale=2.0, shift=0.5)
    b2 = (brute_median(x.tolist()) + brute_median(y.tolist())) / 2
    assert median_heuristic(x, y).item() == pytest.approx(b2, rel=1e-10)
    estimate = mmd(x, y, median_heuristic(x, y)).item()
    assert estimate == pytest.approx(brute_force(x.tolist(), y.tolist(), b2), rel=1e-9, abs=1e-12)


def test_it_is_unbiased():
    """The mean over many small samples is the true MMD² of N(0, 1) and N(1, 1), which a Gaussian integral gives.

    E k(a, b) for a - b ~ N(δ, 2) and bandwidth b² is √(b² / (b² + 2)) exp(-δ² / 2(b² + 2)).
    """
    b2 = torch.tensor(1.5, dtype=torch.float64)

    def expected_kernel(shift: float) -> float:
        return math.sqrt(1.5 / 3.5) * math.exp(-(shift**2) / (2 * 3.5))

    estimates = [mmd(sample(4, 1, 2 * seed), sample(4, 1, 2 * seed + 1, shift=1), b2).item() for seed in range(4000)]
    error = statistics.stdev(estimates) / math.sqrt(len(estimates))
    truth = 2 * expected_kernel(0) - 2 * expected_kernel(1)
    assert statistics.fmean(estimates) == pytest.approx(truth, abs=4 * error)
    assert error < 0.1 * truth, "the test must be able to tell"


def test_equal_sources_average_to_zero_and_go_below():
    estimates = []
    for seed in range(300):
        x, y = sample(8, 2, 2 * seed), sample(8, 2, 2 * seed + 1)
        estimates.append(mmd(x, y, torch.tensor(2.0)).item())
    error = statistics.stdev(estimates) / math.sqrt(len(estimates))
    assert statistics.fmean(estimates) == pytest.approx(0, abs=4 * error)
    assert min(estimates) < 0


def test_the_bandwidth_takes_no_gradient():
    x, y = sample(6, 2, 0), sample(6, 2, 1).requires_grad_()
    heuristic = median_heuristic(x, y)
    assert not heuristic.requires_grad
    (through,) = torch.autograd.grad(mmd(x, y, heuristic), y)
    (fixed,) = torch.autograd.grad(mmd(x, y, torch.tensor(heuristic.item())), y)
    torch.testing.assert_close(through, fixed)


def test_gradient_is_finite_where_codes_coincide():
    x, y = sample(6, 2, 0), torch.zeros(6, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mmd(x, y, median_heuristic(x, y)), y)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_one_code_says_nothing():
    x, y = sample(1, 2, 0), sample(1, 2, 1).requires_grad_()
    value = mmd(x, y, median_heuristic(x, y))
    assert value == 0


def test_lowering_it_turns_codes_into_the_prior():
    generator = torch.Generator().manual_seed(0)
    codes = (0.5 + 0.3 * torch.randn(100, 3, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([codes], 0.05)
    for _ in range(500):
        prior = torch.randn(100, 3, generator=generator)
        optimizer.zero_grad()
        mmd(prior, codes, median_heuristic(prior, codes)).backward()
        optimizer.step()
    assert codes.mean(dim=0).abs().max() < 0.15
    assert codes.var(dim=0).sub(1).abs().max() < 0.25
