"""The sample replay buffer: ends of earlier latent chains, from which later ones go on."""

from __future__ import annotations

from typing import Any

import torch


class ReplayBuffer:
    """First in, first out; every chain's end is appended, and what is drawn stays (with replacement).

    It holds codes, never images, on the device, and how full it is is known without asking the device. (Du & Mordatch
    write back to the slot that was drawn; this follows the authors' code: a lineage may have many descendants.)
    """

    def __init__(self, capacity: int, latent_dim: int, device: torch.device | str = "cpu"):
        self.codes = torch.zeros(capacity, latent_dim, device=device)
        self.filled = 0
        self.oldest = 0

    def __len__(self) -> int:
        return self.filled

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """n stored codes, uniformly with replacement, (n, D_z)."""
        return self.codes[torch.randint(self.filled, (n,), generator=generator, device=self.codes.device)]

    def push(self, codes: torch.Tensor) -> None:
        """Append codes (n, D_z); the oldest make room."""
        capacity = len(self.codes)
        codes = codes.detach()[-capacity:]
        slots = torch.arange(self.oldest + self.filled, self.oldest + self.filled + len(codes))
        self.codes[(slots % capacity).to(self.codes.device)] = codes
        overflow = max(0, self.filled + len(codes) - capacity)
        self.oldest = (self.oldest + overflow) % capacity
        self.filled = min(capacity, self.filled + len(codes))

    def state_dict(self) -> dict[str, Any]:
        return {"codes": self.codes, "filled": self.filled, "oldest": self.oldest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.codes.copy_(state["codes"])
        self.filled, self.oldest = state["filled"], state["oldest"]
