"""The variational autoencoder, with both its scores, as detector plugins of oodbench."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    from oodbench_vae.detector import VAE, VAELikelihood

    return [VAE, VAELikelihood]
