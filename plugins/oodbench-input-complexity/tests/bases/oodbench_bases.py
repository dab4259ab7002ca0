"""Detectors for the tests: small genuine likelihoods in bits per dimension, and two that are none."""

from __future__ import annotations

import torch

from oodbench import Detector, Params, hookimpl, param


class PixelParams(Params):
    smoothing: float = param(0.01, "mean count that each level starts with", gt=0)


class Pixels(Detector):
    """-log2 p(x) / D of independent pixels, each with a histogram of its own over 256 levels."""

    name = "pixels"
    score_unit = "bits per dimension"
    Params = PixelParams
    presets = {"paper": {}, "quick": {"smoothing": 0.03}}

    def fit(self, train, validation, context):
        self.bits = -self.counts(self.levels(next(train.batches(len(train), context.device))), context).log2()
        self.bits += self.bits.neg().exp2().sum(dim=-1, keepdim=True).log2()  # so that probabilities sum to 1
        return self

    def counts(self, levels, context):
        """How often each pixel had each level, (C, H, W, 256), over a start at random that the seed decides."""
        places = torch.arange(levels[0].numel()).view(self.shape) * 256
        seen = torch.bincount((levels + places).flatten(), minlength=256 * places.numel()).view(*self.shape, 256)
        start = torch.rand(seen.shape, generator=context.generator("start")) + 0.5
        return seen + self.params.smoothing * start

    def levels(self, images):
        return (images * 255).round().long()

    def score(self, images):
        bits = self.bits.expand(len(images), *self.bits.shape)
        return bits.gather(-1, self.levels(images)[..., None]).mean((1, 2, 3, 4))

    def state(self):
        return {"bits": self.bits}

    def load_state(self, state):
        self.bits = state["bits"]


class Levels(Pixels):
    """The same with one histogram for all pixels."""

    name = "levels"

    def counts(self, levels, context):
        counts = super().counts(levels, context)
        return counts.sum(dim=(0, 1, 2), keepdim=True).expand_as(counts).contiguous()


class Distance(Pixels):
    """Says that its score is something else."""

    name = "distance"
    score_unit = "squared error"


class Plain(Pixels):
    """Does not say what its score is."""

    name = "plain"
    score_unit = ""


@hookimpl
def register_detectors():
    return [Pixels, Levels, Distance, Plain]
