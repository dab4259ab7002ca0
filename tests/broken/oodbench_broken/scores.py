"""Detectors that score wrongly."""

from __future__ import annotations

import torch

from oodbench_broken.working import Working


class Inverted(Working):
    """A likelihood where an energy is meant."""

    name = "inverted"

    def score(self, images):
        return -super().score(images)


class DividesByContrast(Working):
    """A black image has none."""

    def score(self, images):
        return super().score(images) / images.std(dim=(1, 2, 3))


class Column(Working):
    """The shape of a network's last layer."""

    def score(self, images):
        return super().score(images)[:, None]


class Coarse(Working):
    """A verdict, not a score."""

    def score(self, images):
        return (super().score(images) * 4).round() / 4


class Noisy(Working):
    """Scores a noisy image, with noise from the world's generator."""

    def score(self, images):
        return super().score(images) + 1e-3 * torch.randn(len(images))


class MinusTheBatchMean(Working):
    """What a batch normalisation does that was left in training mode."""

    def score(self, images):
        scores = super().score(images)
        return scores - scores.mean() / 2


class OneDrawForTheBatch(Working):
    """Seeded and so deterministic, but each place in the batch gets noise of its own."""

    def score(self, images):
        generator = torch.Generator().manual_seed(0)
        return super().score(images) + 1e-2 * torch.rand(len(images), generator=generator)


class InPlace(Working):
    """Saves memory at its caller's expense."""

    def score(self, images):
        difference = images.sub_(self.model(images).detach().float())
        return difference.square().mean(dim=(1, 2, 3))


class Hoards(Working):
    """Keeps what it has scored, for a figure perhaps."""

    def score(self, images):
        self.seen = [*getattr(self, "seen", []), images]
        return super().score(images)


class ThroughNumpy(Working):
    """Numpy has no bfloat16."""

    @torch.no_grad()
    def score(self, images):
        made = torch.from_numpy(self.model(images).cpu().numpy()).to(images.device)
        return (images - made).square().mean(dim=(1, 2, 3))


class StaysOnCPU(Working):
    """Makes a tensor without saying where."""

    def score(self, images):
        return super().score(images) + torch.zeros(len(images))
