"""How chains are driven: what is prepared and when, what a failure does, and that the noise does not depend on it."""

from __future__ import annotations

import shutil

import pytest
import torch
from oodbench_ebae import acceleration
from oodbench_ebae.acceleration import (
    Accelerated,
    accelerated,
    chosen_mode,
    compiled_gradient,
    functional_gradient,
    replaying,
)

from oodbench.errors import OODBenchError
from oodbench.nn.autoencoder import build_autoencoder
from oodbench.nn.langevin import input_gradient

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def chains(start: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return start + torch.randn(start.shape, generator=generator)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize(
    ("said", "device", "mode"),
    [
        ("", CPU, "eager"),
        ("", CUDA, "graph"),
        ("graph", CPU, "eager"),
        ("eager", CUDA, "eager"),
        ("compile", CPU, "compile"),
    ],
)
def test_mode(monkeypatch, said, device, mode):
    monkeypatch.setenv(acceleration.VARIABLE, said)
    assert chosen_mode(device) == mode


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv(acceleration.VARIABLE, "quick")
    with pytest.raises(OODBenchError, match="OODBENCH_CHAINS is 'quick'; set it to eager, graph, compile"):
        chosen_mode(CPU)


def test_eager_chains_are_left_alone():
    assert accelerated(chains, "eager", CUDA) is chains


class Preparing:
    """Stands in for a capture: runs the chains, which uses up noise, and counts."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, chains, start, generator):
        self.shapes.append(tuple(start.shape))
        chains(start, generator)
        return lambda start, generator: chains(start, generator)


def test_each_shape_is_prepared_once_and_the_noise_is_as_if_it_never_were():
    prepare, generator, plain = Preparing(), seeded(), seeded()
    driven = Accelerated(chains, prepare, print)
    for n in (4, 4, 3, 4, 3):
        assert torch.equal(driven(torch.zeros(n, 2), generator), chains(torch.zeros(n, 2), plain))
    assert prepare.shapes == [(4, 2), (3, 2)]


def test_another_generator_is_prepared_anew():
    prepare = Preparing()
    driven = Accelerated(chains, prepare, print)
    for generator in (seeded(), seeded()):
        driven(torch.zeros(4, 2), generator)
    assert len(prepare.shapes) == 2


def test_chains_whose_preparation_fails_run_as_they_are_and_say_so_once():
    said, tried = [], []

    def fails(chains, start, generator):
        tried.append(start.shape)
        torch.randn(5, generator=generator)
        raise RuntimeError("operation not permitted when stream is capturing")

    driven, generator, plain = Accelerated(chains, fails, said.append), seeded(), seeded()
    for n in (4, 3, 4):
        assert torch.equal(driven(torch.zeros(n, 2), generator), chains(torch.zeros(n, 2), plain))
    assert len(tried) == len(said) == 1
    assert "without acceleration" in said[0] and "stream is capturing" in said[0]


def test_a_replay_reads_new_starts_from_where_the_graph_reads_them():
    static, drawn = torch.zeros(3), torch.zeros(3)

    class Graph:
        def replay(self) -> None:
            drawn.copy_(2 * static)

    replay = replaying(Graph(), static, drawn)
    for start in (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 0.0, -1.0])):
        assert torch.equal(replay(start, seeded()), 2 * start)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_autoencoder("arch28", (1, 28, 28), 4, width=0.1, spherical=True)


def test_the_gradient_that_can_be_compiled_is_the_gradient(model):
    images = torch.rand(3, 1, 28, 28)
    found, expected = functional_gradient(model.energy, images), input_gradient(model.energy, images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not found[1].requires_grad


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("default")
def test_the_compiled_gradient_equals_the_eager_one(model):
    images = torch.rand(3, 1, 28, 28)
    for one, other in zip(compiled_gradient()(model.energy, images), input_gradient(model.energy, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_graph_gives_the_noise_and_the_numbers_of_eager_chains_and_sees_new_weights():
    weight = torch.ones(3, device=CUDA)

    def chains(start: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        for _ in range(3):
            start = start * weight + torch.randn(start.shape, generator=generator, device=CUDA)
        return start

    said: list[str] = []
    driven = accelerated(chains, "graph", CUDA, said.append)
    generator, plain = (torch.Generator(CUDA).manual_seed(1) for _ in range(2))
    for n in (4, 4, 2, 4):
        start = torch.rand(n, 3, device=CUDA)
        torch.testing.assert_close(driven(start, generator), chains(start, plain))
        weight.mul_(0.5)
        assert torch.equal(generator.get_state(), plain.get_state()), "a checkpoint must hold where the noise is"
    state = generator.get_state()
    start = torch.rand(4, 3, device=CUDA)
    first = driven(start, generator).clone()
    generator.set_state(state)
    assert torch.equal(driven(start, generator), first), "a resumed fit must get the same noise"
    assert not said
