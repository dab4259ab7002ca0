"""Detectors that are fitted wrongly."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import torch

from oodbench import ImageSet
from oodbench.nn.training import train
from oodbench_broken.working import LinearAutoencoder, Working


class NeverTrains(Working):
    """The optimiser holds the parameters of another copy: the loss falls, the network stays as it was."""

    def build(self):
        return super().build().eval()

    def phase(self, model, context):
        return super().phase(copy.deepcopy(model), context)


class OwnEntropy(Working):
    """Other weights every time."""

    def build(self):
        model = super().build()
        generator = torch.Generator()
        generator.seed()
        torch.nn.init.normal_(model.encode.weight, std=0.1, generator=generator)
        return model


class OwnSeed(Working):
    """Deterministic, and deaf to the seed."""

    def fit(self, train_set, validation, context):
        with torch.random.fork_rng():
            torch.manual_seed(42)
            self.model = self.build()
        fixed = dataclasses.replace(context, seed=42)
        train(self.phase(self.model, fixed), train_set, fixed)
        return self


class WorldsWeights(Working):
    """Draws weights from the world's random numbers: they move, and another program state gives other weights."""

    def fit(self, train_set, validation, context):
        self.model = self.build()
        train(self.phase(self.model, context), train_set, context)
        return self


class SeedsTheWorld(Working):
    def fit(self, train_set, validation, context):
        torch.manual_seed(context.seed)
        self.model = self.build()
        train(self.phase(self.model, context), train_set, context)
        return self


class WritesIntoItsInput(Working):
    def fit(self, train_set, validation, context):
        np.clip(train_set.images, 10, 255, out=train_set.images)
        return super().fit(train_set, validation, context)


class TakesOutliers(Working):
    """Outlier exposure through the back door."""

    def fit(self, train_set, validation, context, outliers=None):
        return super().fit(train_set, validation, context)


class DropsTheLastBatch(Working):
    """And with it all there is, where there is less than one."""

    def fit(self, train_set, validation, context):
        whole = len(train_set) // self.params.batch_size * self.params.batch_size
        parts = (train_set.images[:whole], train_set.labels[:whole], train_set.indices[:whole])
        return super().fit(ImageSet("whole batches", "train", *parts), validation, context)


class CountsFullBatches(Working):
    """Divides by their number."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        context.history[-1]["loss"] /= len(train_set) // self.params.batch_size
        return self


class Remembers(Working):
    """Goes on from the last fit."""

    def build(self):
        return self.model if hasattr(self, "model") else super().build()


class ForgetsItsOptimiser(Working):
    """Resumes with the weights, but with Adam's averages at nought."""

    def phase(self, model, context):
        return dataclasses.replace(super().phase(model, context), checkpointed={})


class UnsavedScale(Working):
    """Divides by a constant that is found in fit and is not in the state."""

    scale = 1.0

    def fit(self, train_set, validation, context):
        self.scale = 1.0
        super().fit(train_set, validation, context)
        self.scale = self.score(next(train_set.batches(100, context.device))).mean()
        return self

    def score(self, images):
        return super().score(images) / self.scale


class ChangesTheDefaultDtype(Working):
    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        torch.set_default_dtype(torch.float64)
        return self


class Raises(Working):
    """In every fit, behind a call."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        return self._finish()

    def _finish(self):
        raise ValueError("nothing comes of it")  # the line that is to be named


class DividesByWhatIsLeft(Working):
    """Learns a scale from the images beyond the first thirty; of fewer it is the mean of none, which is NaN."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        self.scale = 1 + self._errors(next(train_set.batches(100, context.device)))[30:].mean()
        return self

    def score(self, images):
        return self._errors(images) / self.scale

    def _errors(self, images):
        return super().score(images)

    def state(self):
        return super().state() | {"scale": self.scale}

    def load_state(self, state):
        self.scale = state["scale"]
        super().load_state({name: tensor for name, tensor in state.items() if name != "scale"})


class Normalising(LinearAutoencoder):
    """With batch normalisation, whose mode matters: in training mode the other images of a batch have a say."""

    def __init__(self, size, latent_dim, channels):
        super().__init__(size, latent_dim)
        self.norm = torch.nn.BatchNorm2d(channels)

    def forward(self, images):
        return super().forward(self.norm(images))


class LeftInTraining(Working):
    """Its fit switches its network, which is in a list, back to training."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        self.networks = [self.model.train()]
        return self

    def build(self):
        return Normalising(math.prod(self.shape), self.params.latent_dim, self.shape[0])


class DrawsElsewhere(Working):
    """Noise on the CPU from a generator that is on the context's device: an error on a GPU alone."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        torch.rand(3, generator=context.generator("right", device="cpu"))
        torch.rand(3, generator=context.generator("right"), device=context.device)
        self.noise = torch.randn(3, generator=context.generator("noise"))
        return self


class DrawsThere(Working):
    """The other way round."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        torch.randperm(3, generator=context.generator("order", device="cpu"), device=context.device)
        return self


class Exits(Working):
    def fit(self, train_set, validation, context):
        print("this must not be taken for a result")
        raise SystemExit(3)


class StaysInTraining(Working):
    """Dropout would make its scores random; here nothing shows it but the mode."""

    def load_state(self, state):
        super().load_state(state)
        self.model.train()


class KeepsLabels(Working):
    """Divides by the number of classes of the training set, which it looks up while it scores."""

    def fit(self, train_set, validation, context):
        super().fit(train_set, validation, context)
        self.labels = train_set.labels
        return self

    def score(self, images):
        found = len(set(self.labels.tolist())) if hasattr(self, "labels") else 0
        return super().score(images) / (1.0 if found != 1 else 2.0)
