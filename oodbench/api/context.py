"""What a fit knows of its surroundings, and where it says how far it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Progress:
    """Where a fit says how far it is; this one is silent."""

    def plan(self, phases: Mapping[str, float]) -> None:
        """The phases of the fit, each with its whole cost in any one unit, so that an ETA can be given at once."""

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        """``share`` of the phase is done (0 to 1), in ``epoch``; ``values`` are the latest losses and energies."""

    def message(self, text: str) -> None:
        """Something a person should read."""

    def for_run(self, run: str) -> Progress:
        """The progress of one of several runs that are under way at once; ``done`` ends it."""
        return self

    def close(self) -> None:
        """This run is over."""


class Checkpoints(Protocol):
    """Where a fit keeps its state so that it can go on after an interruption."""

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
    """How much of a fit an interruption may lose."""
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    phase_results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each finished phase of the fit ended."""
    on_epoch_end: Callable[[str, int], None] | None = None
    """Called with phase and epoch after each epoch, the weights as they are; for curves over epochs."""

    finished_models: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """The model of each finished phase, for checkpoints of later phases that have another."""

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """A random generator that depends on the seed and the purpose alone."""
        import torch

        digest = hashlib.sha256(repr((self.seed, *purpose)).encode()).digest()
        generator = torch.Generator(self.device if device is None else device)
        generator.manual_seed(int.from_bytes(digest[:7], "little"))
        return generator

    def global_seed(self, *purpose: str | int) -> AbstractContextManager[None]:
        """Inside, torch's global generators, which weights are drawn from, are seeded for the purpose."""
        return _seeded(self.generator(*purpose, device="cpu").initial_seed(), self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision asked for: bfloat16 matrix products over float32 weights, or plain float32."""
        import torch

        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def note(self, text: str) -> None:
        """Put something into the record of the run that a reader of its numbers must know, and show it.

        A text that is noted already is not noted again, as when a resumed fit passes the same place.
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
