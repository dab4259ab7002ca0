"""Detectors that declare something wrongly."""

from __future__ import annotations

import pydantic

from oodbench import param
from oodbench_broken.working import LinearAutoencoder, Working, WorkingParams


class BadPreset(Working):
    presets = {"paper": {"latent_dim": 0}, "quick": {}}


class NoPaper(Working):
    presets = {"quick": {}}


class GreyOnly(Working):
    """Leaves the channels out of account, and says so nowhere."""

    def build(self):
        return LinearAutoencoder(self.shape[1] * self.shape[2], self.params.latent_dim)


class LenientParams(WorkingParams):
    model_config = pydantic.ConfigDict(extra="ignore")


class Lenient(Working):
    Params = LenientParams


class MuteParams(WorkingParams):
    latent_dim: int = 4


class Mute(Working):
    Params = MuteParams


class IdleParams(WorkingParams):
    momentum: float = param(0.9, "read by nobody", ge=0, lt=1)


class Idle(Working):
    Params = IdleParams
