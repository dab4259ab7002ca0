"""The surroundings of a fit (device, seed, precision, checkpoints), and the progress that it reports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Progress:
    """Receives the progress of a fit; this class ignores it."""

    def plan(self, phases: Mapping[str, float]) -> None:
        """Announce the phases of the fit, each with its total cost in any one unit, so that an ETA is known early."""

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        """Report that ``share`` (0 to 1) of the phase is done, in ``epoch``, with the latest losses and energies."""

    def message(self, text: str) -> None:
        """Show a text that a person should read."""

    def for_run(self, run: str) -> Progress:
        """Return the progress of one of several parallel runs; ``close`` ends it."""
        return self

    def close(self) -> None:
        """End the progress of this run."""


class Checkpoints(Protocol):
    """Where a fit saves its state so that it can resume after an interruption."""

    def save(self, state: dict[str, Any]) -> None: ...

    def load(self) -> dict[str, Any] | None: ...


@dataclass
class Context:
    """All that ``fit`` may know of its surroundings."""

    device: torch.device
    seed: int = 0
    precision: str = "float32"
    progress: Progress = field(default_factory=Progress)
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 30.0
    """How many seconds of a fit an interruption may lose."""
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    phase_results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each finished phase of the fit ended."""
    on_epoch_end: Callable[[str, int], None] | None = None
    """Called with phase and epoch after each epoch, when the model has that epoch's weights; for curves over epochs."""

    finished_models: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """The model of each finished phase, for checkpoints of later phases that train another model."""

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """Return a random generator that depends only on the seed and the purpose."""
        import torch

        digest = hashlib.sha256(repr((self.seed, *purpose)).encode()).digest()
        generator = torch.Generator(self.device if device is None else device)
        generator.manual_seed(int.from_bytes(digest[:7], "little"))
        return generator

    def global_seed(self, *purpose: str | int) -> AbstractContextManager[None]:
        """Return a context in which torch's global generators, which initialise weights, are seeded for the purpose."""
        return _seeded(self.generator(*purpose, device="cpu").initial_seed(), self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context of the requested precision: bfloat16 matrix products over float32 weights, or float32."""
        import torch

        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def note(self, text: str) -> None:
        """Record a text that a reader of the run's numbers must know, and show it.

        The same text is noted only once, also when a resumed fit passes the same place again.
        """
        if text not in self.notes:
            self.notes.append(text)
            self.progress.message(text)


class _seeded(AbstractContextManager[None]):
    def __init__(self, seed: int, device: torch.device):
        import torch

        self.seed = seed
        self.fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        import torch

        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)
