"""Execution of Langevin chains: step by step, as one captured CUDA graph, or with compiled gradients.

The environment variable ``OODBENCH_CHAINS=eager|graph|compile`` selects the mode. The noise is the same in every mode,
and results are equal up to rounding, so the mode is not part of a run's identity. On a GPU, launching many small
kernels takes longer than running them: by default, whole chains are captured there and replayed as one graph.
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
"""Runs before a capture, in which libraries select their kernels and allocate persistent memory."""

Drawn = TypeVar("Drawn")
Chains = Callable[[torch.Tensor, torch.Generator], Drawn]
"""Map starts (b, …) and a generator for the noise to the tensors with which chains end."""
Prepare = Callable[[Chains[Drawn], torch.Tensor, torch.Generator], Chains[Drawn]]
"""Return faster chains for starts of one shape and one generator, whose state the caller restores afterwards."""


def chosen_mode(device: torch.device) -> str:
    """Return the mode to use on this device: that of OODBENCH_CHAINS, else ``graph``, which is ``eager`` without a GPU.

    Raises OODBenchError if OODBENCH_CHAINS is not a mode.
    """
    mode = os.environ.get(VARIABLE) or "graph"
    if mode not in MODES:
        raise OODBenchError(f"{VARIABLE} is {mode!r}; set it to {', '.join(MODES)}, or leave it unset")
    return "eager" if mode == "graph" and device.type != "cuda" else mode


def accelerated(
    chains: Chains[Drawn], mode: str, device: torch.device, note: Callable[[str], None] = print
) -> Chains[Drawn]:
    """Return the chains in a form that runs in this mode.

    The returned chains may overwrite the tensors of one call in the next call with starts of the same shape.

    Args:
        note: receives one line if acceleration fails, in which case the plain chains run.
    """
    if mode == "eager":
        return chains
    return Accelerated(chains, capture if device.type == "cuda" else warm_up, note)


class Accelerated(Generic[Drawn]):
    """Chains that are prepared at the first call with starts of a new shape; once that fails, they run unprepared.

    Args:
        prepare: makes chains faster; see ``Prepare``.
        note: receives one line if preparing fails.
    """

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
        except Exception as error:  # any error of compiler or driver: the plain chains need neither
            self.failed = True
            self.prepared.clear()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.note(f"chains run without acceleration ({VARIABLE}=eager avoids this note): {reason}")
        finally:
            generator.set_state(noise)


def warm_up(chains: Chains[Drawn], start: torch.Tensor, generator: torch.Generator) -> Chains[Drawn]:
    """Run the chains once, so that the functions they call are compiled, and return them."""
    chains(start, generator)
    return chains


def capture(chains: Chains[Drawn], start: torch.Tensor, generator: torch.Generator) -> Chains[Drawn]:
    """Return the chains as one CUDA graph. Every replay reads the current weights, and draws new noise.

    Streams belong to the current device; capturing on a device other than that of the chains would record nothing.
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
        torch.clear_autocast_cache()  # the graph must not read cast weights that autocast frees
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):  # other threads may use the GPU
            drawn = chains(static, generator)
        torch.clear_autocast_cache()
    return replaying(graph, static, drawn)


def replaying(graph: torch.cuda.CUDAGraph, static: torch.Tensor, drawn: Drawn) -> Chains[Drawn]:
    """Return chains that copy the starts to where the graph reads them, replay the graph, and return its output.

    Args:
        static: starts (b, …) that the graph reads.
        drawn: tensors that the graph writes.
    """

    def replay(start: torch.Tensor, generator: torch.Generator) -> Drawn:
        static.copy_(start)
        graph.replay()
        return drawn

    return replay


def functional_gradient(energy: Energy, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇_x E(x) of each sample, (b, …), and E(x), (b,), in a form that torch.compile can trace."""

    def total(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energies = energy(x)
        return energies.sum(), energies

    gradient, (_, energies) = torch.func.grad_and_value(total, has_aux=True)(x)
    return gradient, energies.detach()


@cache
def compiled_gradient() -> Gradient:
    """Return ``functional_gradient``, compiled once per process."""
    return torch.compile(functional_gradient, dynamic=False)
