"""Settings of the experiment of Figure 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """Values that the EBAE supplement, §4, does not give for the experiment of Figure 2.

    The standard deviations of the noise are those of its §3 for Arch28. EBAE trains for as many epochs as the
    autoencoder, at a tenth of its learning rate, which is the ratio in the authors' later code. As §4 mentions no γ,
    it is 0.
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
