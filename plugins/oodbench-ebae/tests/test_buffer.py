"""The replay buffer: order, length, and how often a chain starts anew."""

from __future__ import annotations

import pytest
import torch
from oodbench_ebae.detector import chain_start
from oodbench_ebae.params import BufferParams, EBAEParams

from oodbench.nn.replay import ReplayBuffer


def codes(first: int, n: int) -> torch.Tensor:
    return torch.arange(first, first + n, dtype=torch.float32).reshape(n, 1)


def contents(buffer: ReplayBuffer) -> list[float]:
    """What the buffer holds, oldest first."""
    slots = (torch.arange(len(buffer)) + buffer.oldest) % len(buffer.samples)
    return buffer.samples[slots].flatten().tolist()


def test_fifo_keeps_the_newest():
    buffer = ReplayBuffer(5, (1,))
    for first in (0, 3, 6):
        buffer.push(codes(first, 3))
    assert len(buffer) == 5
    assert contents(buffer) == [4, 5, 6, 7, 8]


def test_a_batch_larger_than_the_buffer_leaves_its_last_codes():
    buffer = ReplayBuffer(4, (1,))
    buffer.push(codes(0, 10))
    assert contents(buffer) == [6, 7, 8, 9]


def test_drawing_removes_nothing_and_repeats():
    buffer = ReplayBuffer(10, (1,))
    buffer.push(codes(0, 3))
    drawn = buffer.draw(1000, torch.Generator().manual_seed(0)).flatten()
    assert len(buffer) == 3
    counts = torch.bincount(drawn.long())
    assert counts.tolist() == pytest.approx([333, 333, 333], abs=60)


def test_state_round_trip():
    buffer, copy = ReplayBuffer(5, (1,)), ReplayBuffer(5, (1,))
    buffer.push(codes(0, 7))
    copy.load_state_dict(buffer.state_dict())
    assert contents(copy) == contents(buffer) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.95, 1.0])
def test_restart_rate(ratio):
    """Starts from the buffer are told by their one direction; the rest are uniform on the sphere."""
    params = EBAEParams(latent_dim=8, buffer=BufferParams(size=100, replay_ratio=ratio))
    buffer = ReplayBuffer(100, (8,))
    stored = torch.nn.functional.normalize(torch.ones(1, 8))
    buffer.push(3 * stored.repeat(100, 1))  # stored off the sphere: projected again on use
    starts = chain_start(buffer, 20_000, params, torch.Generator().manual_seed(0))
    replayed = (starts - stored).norm(dim=1) < 1e-5
    deviation = (ratio * (1 - ratio) / 20_000) ** 0.5
    assert replayed.double().mean().item() == pytest.approx(ratio, abs=5 * deviation)
    torch.testing.assert_close(starts.norm(dim=1), torch.ones(20_000))


def test_an_empty_buffer_starts_everything_at_random_on_the_sphere():
    params = EBAEParams(latent_dim=3)
    starts = chain_start(ReplayBuffer(10, (3,)), 20_000, params, torch.Generator().manual_seed(0))
    assert starts.mean(dim=0).abs().max() < 0.02
    covariance = starts.T @ starts / len(starts)
    torch.testing.assert_close(covariance, torch.eye(3) / 3, atol=0.02, rtol=0)


def test_without_a_sphere_chains_start_from_a_gaussian():
    params = EBAEParams(latent_dim=2, spherical=False)
    starts = chain_start(ReplayBuffer(10, (2,)), 20_000, params, torch.Generator().manual_seed(0))
    assert starts.std().item() == pytest.approx(1, abs=0.02)
