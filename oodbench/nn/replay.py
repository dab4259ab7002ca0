"""A replay buffer of samples: the ends of earlier Langevin chains, from which later chains start."""

from __future__ import annotations

from typing import Any

import torch


class ReplayBuffer:
    """A first-in, first-out buffer of samples. The end of every chain is appended; samples are drawn with replacement.

    Du & Mordatch (2019) write a chain's end back to the slot it was drawn from. This follows later implementations,
    which append it instead, so that several chains may continue from the same sample. The samples are on the device;
    their count is on the CPU, so that reading it does not wait for the device.

    Args:
        capacity: samples kept at most.
        shape: of one sample, without the batch dimension.
        dtype: type in which samples are kept; float16 halves the memory.
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
        """Return n stored samples (n, …), drawn uniformly with replacement, float32."""
        return self.samples[torch.randint(self.filled, (n,), generator=generator, device=self.samples.device)].float()

    def replay(self, starts: torch.Tensor, ratio: float, generator: torch.Generator) -> torch.Tensor:
        """Return ``starts`` (n, …), each replaced by a stored sample with probability ``ratio``, if there are any."""
        if not len(self):
            return starts
        each = (len(starts), *(1 for _ in starts.shape[1:]))
        replayed = torch.rand(each, generator=generator, device=self.samples.device) < ratio
        return torch.where(replayed, self.draw(len(starts), generator), starts)

    def push(self, samples: torch.Tensor) -> None:
        """Append samples (n, …); the oldest are overwritten when the buffer is full."""
        capacity = len(self.samples)
        samples = samples.detach()[-capacity:]
        first = self.oldest + self.filled
        slots = torch.arange(first, first + len(samples), device=self.samples.device) % capacity
        self.samples[slots] = samples.to(self.samples.dtype)
        overflow = max(0, self.filled + len(samples) - capacity)
        self.oldest = (self.oldest + overflow) % capacity
        self.filled = min(capacity, self.filled + len(samples))

    def state_dict(self) -> dict[str, Any]:
        """Return the samples and the position of the oldest, for a checkpoint."""
        return {"samples": self.samples, "filled": self.filled, "oldest": self.oldest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.samples.copy_(state["samples"])
        self.filled, self.oldest = state["filled"], state["oldest"]
