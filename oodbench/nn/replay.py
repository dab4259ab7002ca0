"""The sample replay buffer: ends of earlier chains, from which later ones go on."""

from __future__ import annotations

from typing import Any

import torch


class ReplayBuffer:
    """First in, first out; every chain's end is appended, and what is drawn stays (with replacement).

    It lives on the device, and how full it is is known without asking the device. (Du & Mordatch write back to the slot
    that was drawn; this follows the later codes: a lineage may have many descendants.)

    shape: of one sample, without the batch. dtype: samples are kept as; half the bytes in float16.
    """

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.samples = torch.zeros(capacity, *shape, device=device, dtype=dtype)
        self.filled = 0
        self.oldest = 0

    def __len__(self) -> int:
        return self.filled

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """n stored samples, uniformly with replacement, (n, …), float32."""
        return self.samples[torch.randint(self.filled, (n,), generator=generator, device=self.samples.device)].float()

    def replay(self, starts: torch.Tensor, ratio: float, generator: torch.Generator) -> torch.Tensor:
        """Return new starts (n, …), each with probability ``ratio`` replaced by a stored sample if there are any."""
        if not len(self):
            return starts
        each = (len(starts), *(1 for _ in starts.shape[1:]))
        replayed = torch.rand(each, generator=generator, device=self.samples.device) < ratio
        return torch.where(replayed, self.draw(len(starts), generator), starts)

    def push(self, samples: torch.Tensor) -> None:
        """Append samples (n, …); the oldest make room."""
        capacity = len(self.samples)
        samples = samples.detach()[-capacity:]
        first = self.oldest + self.filled
        slots = torch.arange(first, first + len(samples), device=self.samples.device) % capacity
        self.samples[slots] = samples.to(self.samples.dtype)
        overflow = max(0, self.filled + len(samples) - capacity)
        self.oldest = (self.oldest + overflow) % capacity
        self.filled = min(capacity, self.filled + len(samples))

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "filled": self.filled, "oldest": self.oldest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples.copy_(state["samples"])
        self.filled, self.oldest = state["filled"], state["oldest"]
