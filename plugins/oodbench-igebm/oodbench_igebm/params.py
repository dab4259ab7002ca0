"""The parameters of IGEBM, with defaults and sources, and its presets."""

from __future__ import annotations

from typing import Any

from oodbench import Params, param

CODE = "rosinality's IGEBM code and the NAE code after it"


class ChainParams(Params):
    """Parameters of the Langevin chain in image space."""

    steps: int = param(60, "number of steps", ge=0, reduces="lower", source=f"Du & Mordatch; {CODE}")
    step_size: float = param(10.0, "λ", ge=0, source=f"Du & Mordatch; {CODE}")
    noise_std: float = param(0.005, "σ of the noise of each step", ge=0, source=f"Du & Mordatch; {CODE}")
    gradient_clip: float = param(
        0.01,
        "each element of the gradient is held within ±this; the NAE code limits the norm of each image row instead",
        gt=0,
        source="Du & Mordatch's and rosinality's code",
    )


class BufferParams(Params):
    """Parameters of the replay buffer."""

    size: int = param(10_000, "images kept; 0 for no buffer", ge=0, source=f"Du & Mordatch; {CODE}")
    replay_ratio: float = param(0.95, "probability that a chain starts from the buffer", ge=0, le=1, source=CODE)


class IGEBMParams(Params):
    """Parameters of IGEBM."""

    width: float = param(
        1.0, "factor on the hidden channels", ge=0.001, le=64, reduces="lower", source="ours; 1 is the paper's network"
    )
    spectral_norm: bool = param(True, "normalise every convolution", source=f"Du & Mordatch; {CODE}")
    chain: ChainParams = param(ChainParams(), "Langevin chain on E(x)")
    buffer: BufferParams = param(BufferParams(), "replay buffer of the chain")
    epochs: int = param(
        100, "epochs", ge=1, reduces="lower", source="MPDR's configuration of IGEBM, by the EBAE authors"
    )
    batch_size: int = param(128, "images, and chains, per update", ge=1, reduces="higher", source=CODE)
    learning_rate: float = param(
        1e-4, "of Adam; the default of Du & Mordatch's code is 3e-4", gt=0, le=1e30, source="rosinality's IGEBM code"
    )
    beta1: float = param(0.0, "of Adam; β₂ is .999", ge=0, lt=1, source=CODE)
    alpha: float = param(1.0, "weight of the mean squared energies", ge=0, source=f"Du & Mordatch; {CODE}")
    clip_parameters: bool = param(
        True, "clip each element of the parameter gradient to ±(3 √v̂ + 0.1), v̂ Adam's second moment", source=CODE
    )
    max_energy: float = param(
        20.0, "a mean energy further than this from 0 is divergence", gt=0, source="ours: α = 1 aims at ∓½"
    )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {
        "width": 0.125,
        "chain": {"steps": 8},
        "buffer": {"size": 2000},
        "epochs": 2,
        "batch_size": 64,
        "learning_rate": 1e-3,
    },
    "cpu": {
        "width": 0.125,
        "chain": {"steps": 8},
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 1e-3,
    },
}
"""Values that differ from the defaults."""
