"""How chains are driven: step by step, as one captured CUDA graph, or with compiled gradients.

``OODBENCH_CHAINS=eager|graph|compile`` chooses. The noise is the same, and the numbers are to rounding, so that it is
no part of what a run is. On a GPU one small kernel after another costs more to launch than to run: there whole chains
are captured and replayed as one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

import torch

from oodbench import OODBenchError
from oodbench.nn.langevin import Energy, Gradient

VARIABLE = "OODBENCH_CHAINS"
MODES = ("eager", "graph", "compile")
WARM_UPS = 2
"""Runs before a capture, in which libraries choose their kernels and allocate what they keep."""

Drawn = TypeVar("Drawn")
Chains = Callable[[torch.Tensor, torch.Generator], Drawn]
"""From where chains start (b, …), with a generator for their noise, to whatever tensors they end with."""
Prepare = Callable[[Chains[Drawn], torch.Tensor, torch.Generator], Chains[Drawn]]
"""Makes chains faster for starts of one shape and one generator; it may run them, the caller puts the noise back."""


def chosen_mode(device: torch.device) -> str:
    """What the environment asks for; by default graphs on a GPU. There are no graphs elsewhere."""
    mode = os.environ.get(VARIABLE) or "graph"
    if mode not in MODES:
        raise OODBenchError(f"{VARIABLE} is {mode!r}; set it to {', '.join(MODES)}, or leave it unset")
    return "eager" if mode == "graph" and device.type != "cuda" else mode


def accelerated(
    chains: Chains[Drawn], mode: str, device: torch.device, note: Callable[[str], None] = print
) -> Chains[Drawn]:
    """The chains, driven as the mode says; what they return is overwritten by the next call on starts of that shape."""
    if mode == "eager":
        return chains
    return Accelerated(chains, capture if device.type == "cuda" else warm_up, note)


class Accelerated(Generic[Drawn]):
    """Chains that are prepared when starts of a new shape come, and run as they are once that has failed."""

    def __init__(self, chains: Chains[Drawn], prepare: Prepare[Drawn], note: Callable[[str], None]):
        self.chains, self.prepare, self.note = chains, prepare, note
        self.prepared: dict[tuple[torch.Size, torch.Generator], Chains[Drawn]] = {}
        self.failed = False

    def __call__(self, start: torch.Tensor, generator: torch.Generator) -> Drawn:
        key = (start.shape, generator)
        if key not in self.prepared and not self.failed:
            self._prepare(start, generator)
        return self.prepared.get(key, self.chains)(start, generator)

    def _prepare(self, start: torch.Tensor, generator: torch.Generator) -> None:
        noise = generator.get_state()
        try:
            self.prepared[start.shape, generator] = self.prepare(self.chains, start, generator)
        except Exception as error:  # whatever a compiler or a driver may raise: the plain chains need neither
            self.failed = True
            self.prepared.clear()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.note(f"chains run without acceleration ({VARIABLE}=eager does so quietly): {reason}")
        finally:
            generator.set_state(noise)


def warm_up(chains: Chains[Drawn], start: torch.Tensor, generator: torch.Generator) -> Chains[Drawn]:
    """The chains themselves, after one run in which what they call is compiled."""
    chains(start, generator)
    return chains


def capture(chains: Chains[Drawn], start: torch.Tensor, generator: torch.Generator) -> Chains[Drawn]:
    """The chains as one CUDA graph: weights are read, and noise goes on, at every replay.

    Streams belong to the current device, which need not be the chains': a capture on another one records nothing.
    """
    with torch.cuda.device(start.device):
        static = start.clone()
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                chains(static, generator)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        torch.clear_autocast_cache()  # weights that autocast has cast are freed with it, and the graph would read on
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):  # other threads may go on
            drawn = chains(static, generator)
        torch.clear_autocast_cache()
    return replaying(graph, static, drawn)


def replaying(graph: torch.cuda.CUDAGraph, static: torch.Tensor, drawn: Drawn) -> Chains[Drawn]:
    """Copies starts to where the graph reads them, and returns what it writes."""

    def replay(start: torch.Tensor, generator: torch.Generator) -> Drawn:
        static.copy_(start)
        graph.replay()
        return drawn

    return replay


def functional_gradient(energy: Energy, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """∇_x E(x) for each sample, and E(x) (b,), in the form that torch.compile can trace."""

    def total(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energies = energy(x)
        return energies.sum(), energies

    gradient, (_, energies) = torch.func.grad_and_value(total, has_aux=True)(x)
    return gradient, energies.detach()


@cache
def compiled_gradient() -> Gradient:
    return torch.compile(functional_gradient, dynamic=False)
