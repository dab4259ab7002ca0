"""The variational autoencoder as a plugin of oodbench: two detectors, one for each of its two scores."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_vae.detector import VAE, VAELikelihood

    return [VAE, VAELikelihood]
