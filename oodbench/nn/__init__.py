"""Networks, training loops and base classes that detectors are built from.

This package holds what several detectors share, and what authors of others can build on. What only one detector needs
is in its plugin. The core never imports this package. The names below are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.lazy import lazy_names

if TYPE_CHECKING:
    from oodbench.nn.autoencoder import Autoencoder, build_autoencoder, build_networks
    from oodbench.nn.autoencoder_detector import AutoencoderDetector, AutoencoderParams, ReconstructionDetector
    from oodbench.nn.likelihood_detector import LikelihoodDetector
    from oodbench.nn.network_detector import NetworkDetector
    from oodbench.nn.reconstruction import ReconstructionParams, fit_reconstruction
    from oodbench.nn.replay import ReplayBuffer
    from oodbench.nn.training import Phase, steps_per_epoch, train, weights_of

_HOME = {
    "oodbench.nn.autoencoder": "Autoencoder build_autoencoder build_networks",
    "oodbench.nn.autoencoder_detector": "AutoencoderDetector AutoencoderParams ReconstructionDetector",
    "oodbench.nn.likelihood_detector": "LikelihoodDetector",
    "oodbench.nn.network_detector": "NetworkDetector",
    "oodbench.nn.reconstruction": "ReconstructionParams fit_reconstruction",
    "oodbench.nn.replay": "ReplayBuffer",
    "oodbench.nn.training": "Phase steps_per_epoch train weights_of",
}

__all__ = [
    "Autoencoder",
    "AutoencoderDetector",
    "AutoencoderParams",
    "LikelihoodDetector",
    "NetworkDetector",
    "Phase",
    "ReconstructionDetector",
    "ReconstructionParams",
    "ReplayBuffer",
    "build_autoencoder",
    "build_networks",
    "fit_reconstruction",
    "steps_per_epoch",
    "train",
    "weights_of",
]

__getattr__ = lazy_names("oodbench.nn", _HOME)
