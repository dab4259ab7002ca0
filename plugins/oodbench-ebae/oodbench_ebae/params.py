"""The parameters of EBAE, with defaults and sources, and its presets.

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020), "NAE code" the code of its published successor, "hold-out code" the authors' later code.
"""

from __future__ import annotations

from typing import Any, Literal

from oodbench import Params, Shape, param
from oodbench.nn.autoencoder_detector import AutoencoderNetworkParams
from oodbench.nn.reconstruction import CPU, QUICK, ReconstructionParams

SUPPLEMENT = "EBAE supplement §3"


class LatentChainParams(Params):
    """Parameters of the Langevin chain in latent space."""

    steps: int = param(10, "number of steps", ge=0, reduces="lower", source=f"{SUPPLEMENT}: Arch28 10, Arch32 50")
    step_size: float = param(0.4, "λ_z", ge=0, source=f"{SUPPLEMENT}: Arch28 0.4, Arch32 2.0; NAE 0.2, CIFAR 1")
    noise_std: float = param(0.05, "σ_z", ge=0, source=f"{SUPPLEMENT}: Arch28 0.05, Arch32 0.02")


class VisibleChainParams(Params):
    """Parameters of the Langevin chain in image space."""

    steps: int = param(50, "number of steps", ge=0, reduces="lower", source=SUPPLEMENT)
    step_size: float = param(20.0, "λ_x, for the mean energy", ge=0, source=f"{SUPPLEMENT}; NAE 10")
    noise_std: float = param(0.05, "σ_x before annealing", ge=0, source=SUPPLEMENT)
    anneal: Literal["supplement", "code", "none"] = param(
        "supplement", "σ_t: σ/(1+t); code: σ, σ, σ/2, σ/3, …; none: σ", source=f"{SUPPLEMENT}; NAE code"
    )
    gradient_clip: float = param(0.01, "limit on the gradient", gt=0, source=SUPPLEMENT)
    clip: Literal["row", "element", "none"] = param(
        "row", "limit the L2 norm of each image row, or each element", source="EBAE/NAE code; hold-out code: element"
    )


class BufferParams(Params):
    """Parameters of the replay buffer."""

    size: int = param(10_000, "codes kept; 0 for no buffer", ge=0, source=SUPPLEMENT)
    replay_ratio: float = param(0.95, "probability that a chain starts from the buffer", ge=0, le=1, source=SUPPLEMENT)


class EBAEParams(AutoencoderNetworkParams):
    """Parameters of EBAE."""

    spherical: bool = param(True, "codes on the unit sphere", source="EBAE supplement, Table 3")
    pretraining: ReconstructionParams = param(
        ReconstructionParams(encoder_l2=1e-4), "as a plain autoencoder", source=f"{SUPPLEMENT}; NAE code: L2 here too"
    )
    latent_chain: LatentChainParams = param(LatentChainParams(), "Langevin chain on H(z) = E(f_d(z))")
    visible_chain: VisibleChainParams = param(VisibleChainParams(), "Langevin chain on E(x)")
    buffer: BufferParams = param(BufferParams(), "replay buffer of the latent chain")
    epochs: int = param(50, "of EBAE training", ge=0, reduces="lower", source=SUPPLEMENT)
    learning_rate: float = param(
        1e-5, "of Adam, fresh after pre-training", gt=0, le=1e30, source=f"{SUPPLEMENT}, its one rate"
    )
    batch_size: int = param(
        128, "images, and chains, per update", ge=1, reduces="higher", source="NAE code; not in the EBAE supplement"
    )
    gamma: float = param(
        1.0, "weight of the mean squared negative energy", ge=0, source="NAE code; not in the EBAE supplement"
    )
    encoder_l2: float = param(1e-4, "weight of ‖θ_enc‖², all encoder parameters", ge=0, source=SUPPLEMENT)
    weight_average: float = param(
        0.0,
        "decay per update of the moving average of the weights that scores come from; 0: the last weights",
        ge=0,
        lt=1,
        source="ours",
    )
    max_negative_energy: float = param(
        0.5,
        "a mean negative energy above this is divergence",
        gt=0,
        source="ours: where γ = 1 reverses the gradient",
    )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {
        "latent_dim": 16,
        "width": 0.25,
        "pretraining": {**QUICK, "epochs": 12},
        "latent_chain": {"steps": 5},
        "visible_chain": {"steps": 12},
        "epochs": 5,
        "learning_rate": 3e-4,
        "batch_size": 64,
        "weight_average": 0.95,
    },
    "cpu": {
        "latent_dim": 32,
        "width": 0.25,
        "pretraining": CPU,
        "latent_chain": {"steps": 5},
        "visible_chain": {"steps": 12},
        "epochs": 1,
        "learning_rate": 1e-4,
        "batch_size": 64,
        "gamma": 10.0,  # stops raising energies at 1 / (2γ) = .05; at 1 energies ran away in three of fourteen fits
        "weight_average": 0.95,
    },
    "nae-mnist": {
        "pretraining": {"gradient_clip": 0.1, "keep": "last"},
        "latent_chain": {"step_size": 0.2},
        "visible_chain": {"step_size": 10.0, "anneal": "code"},
    },
    "nae-cifar10": {
        "architecture": "resnet32",
        "pretraining": {
            "epochs": 180,
            "encoder_l2": 0.0,
            "gradient_clip": 0.1,
            "keep": "last",
            "patience": 4,
            "dequantize": True,
            "horizontal_flip": 0.5,
        },
        "latent_chain": {"steps": 20, "step_size": 1.0, "noise_std": 0.02},
        "visible_chain": {"steps": 40, "step_size": 10.0, "noise_std": 0.02, "anneal": "code"},
        "epochs": 10,
        "encoder_l2": 0.0,
    },
    "nae-holdout": {
        "pretraining": {"keep": "last", "patience": 4},
        "latent_chain": {"step_size": 0.2},
        "visible_chain": {"step_size": 10.0, "anneal": "code", "clip": "element"},
    },
}
"""Values that differ from the defaults. The ``nae-*`` presets are those of the published successor, NAE."""

PAPER_32: dict[str, Any] = {
    "pretraining": {"epochs": 120},
    "latent_chain": {"steps": 50, "step_size": 2.0, "noise_std": 0.02},
}
"""Values of the EBAE supplement for Arch32 that differ from those for Arch28."""

MADE_FOR: dict[str, Shape] = {"nae-mnist": (1, 28, 28), "nae-holdout": (1, 28, 28), "nae-cifar10": (3, 32, 32)}
