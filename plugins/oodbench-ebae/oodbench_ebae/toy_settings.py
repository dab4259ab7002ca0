"""What the toy of Figure 2 leaves open, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """What the supplement's §4 leaves open.

    The noises are those of its §3 for Arch28. EBAE runs as long as the autoencoder and at a tenth of its learning rate,
    which is the ratio of the authors' later code. §4 names no γ.
    """

    seed: int = 0
    epochs: int = 200
    learning_rate: float = 1e-4
    latent_noise: float = 0.05
    visible_noise: float = 0.05
    anneal: Literal["supplement", "code", "none"] = "supplement"
    box: float = 3.0
    energy: Literal["mean", "sum"] = "mean"
    gamma: float = 0.0
