"""Detectors for arrays: fit one to images in memory, and score others. Nothing is read from or written to a store."""

from __future__ import annotations

import json
import operator
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np

from oodbench.api import Detector, FittedBase, ImageSet, Progress, Shape
from oodbench.api.parameters import flatten
from oodbench.builtin.own_dataset import VALIDATION_RATIO
from oodbench.builtin.vision import choose
from oodbench.errors import DataError, OODBenchError, UnknownName
from oodbench.notebook.arrays import UNLABELLED, Layout, image_set
from oodbench.notebook.scorers import ArrayScorer, progress_display
from oodbench.plan.bases import Configuration, Configurator
from oodbench.plan.settings import check_used, values_by_detector
from oodbench.plan.tasks import PRECISIONS
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.devices import find_device
from oodbench.runs.isolation import isolated
from oodbench.store.records import FitFacts
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd
    import torch

ANY_SHAPE: Shape = (1, 28, 28)
"""Shape that parameters are checked with before the images are known, where a detector takes any shape."""


def detector(
    name: str,
    *,
    preset: str = "paper",
    seed: SupportsIndex = 0,
    precision: str = "float32",
    device: str = "auto",
    quiet: bool = False,
    **params: Any,
) -> ArrayDetector:
    """Return the detector of this name, to be fitted to arrays.

    Example::

        det = oodbench.detector("ae", preset="quick", latent_dim=8).fit(images)
        scores = det.score(others)  # (n,) float64; higher is more out-of-distribution

    Args:
        name: as in ``oodbench list detectors``.
        preset: ``paper`` as published, for which most need a GPU; ``quick`` for a CPU; or another that it has.
        seed: of all random numbers of the fit.
        precision: of matrix products and convolutions, ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        quiet: show no progress.
        params: parameters that override the preset; those of a group as a mapping, ``training={"epochs": 3}``, or by
            dotted name, ``**{"training.epochs": 3}``. Those of the detector's base are under the base's name:
            ``classifier={"training": {"epochs": 3}}``.

    Raises OODBenchError where a name or a value is invalid.
    """
    registry = load_registry()
    found = registry.detector(name)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    whole = _whole(seed)
    settings = values_by_detector(as_settings(params), {found.name: found}, registry)
    made = ArrayDetector(found, preset, settings, registry, find_device(device), whole, precision, quiet)
    made.check()
    return made


def _whole(seed: SupportsIndex) -> int:
    """Return a seed as a Python int, also if it is one of NumPy's integers, which records cannot contain."""
    try:
        whole = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        whole = -1
    if not 0 <= whole < 2**63:
        raise OODBenchError(f"a seed is a whole number from 0, not {shorten(repr(seed))}")
    return whole


def as_settings(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return parameters, in groups or by dotted names, in the form of ``--set``: ``training.epochs=3``.

    Raises OODBenchError for a value that no parameter can have.
    """
    _check_groups(params)
    return tuple(f"{path}={_json(path, value)}" for path, value in flatten(params).items())


def _check_groups(params: Mapping[str, Any]) -> None:
    """Raise OODBenchError for a group without parameters: a wrong name of it would go unnoticed."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            if not value:
                raise OODBenchError(f"{name} is an empty group: give its parameters, or leave it out")
            _check_groups(value)


def _json(path: str, value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    try:
        return json.dumps(plain)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise OODBenchError(f"{path} cannot be a {kind}: give a number, a text or a truth value") from None


class ArrayDetector(ArrayScorer):
    """A detector that is fitted to arrays. ``oodbench.detector`` makes one.

    Args:
        settings: detector → dotted name → value, for this one and its bases.
    """

    def __init__(
        self,
        detector: type[Detector],
        preset: str,
        settings: Mapping[str, Mapping[str, Any]],
        registry: Registry,
        device: torch.device,
        seed: int,
        precision: str,
        quiet: bool,
    ):
        super().__init__(detector.name, device, seed, precision, quiet)
        self._class, self._preset, self._settings, self._registry = detector, preset, settings, registry
        self._history: list[dict[str, Any]] = []
        self._configuration: Configuration | None = None
        self._images = ""
        self.fit_seconds = 0.0
        """Duration of the last fit, including that of its base."""

    def fit(
        self,
        images: Any,
        labels: Any = None,
        *,
        validation: Any = None,
        validation_labels: Any = None,
        layout: Layout | None = None,
    ) -> Self:
        """Fit to in-distribution images, and forget any earlier fit. If the detector uses a base, that is fitted too.

        With the same images, validation images and seed the result is that of ``oodbench run``.

        Args:
            images: uint8 from 0 to 255, or floats from 0 to 1, which are rounded to 256 levels: array or tensor
                (n, H, W), (n, C, H, W) or (n, H, W, C); or an ImageSet, such as ``load_dataset`` returns.
            labels: whole numbers (n,), for a detector that learns from classes or uses a classifier as base.
            validation: as ``images``; None to draw a tenth of these at random, always the same.
            validation_labels: as ``labels``.
            layout: ``NCHW`` or ``NHWC``, where both axes could be channels.

        Raises DataError where the images are invalid, OODBenchError where the detector cannot be fitted to images of
        this shape, FitError where training gives no usable detector.
        """
        self._fitted, self._history, self.notes = None, [], []
        train, held_out = _two_sets(images, labels, validation, validation_labels, layout)
        self._configuration, self._images = self._configure(train.shape), train.name
        start = time.perf_counter()
        with progress_display(self.quiet) as progress:
            self._fitted = self._fit(self._configuration, train, held_out, progress)
        self.fit_seconds = time.perf_counter() - start
        return self

    def history(self) -> pd.DataFrame:
        """Return the training curve: one row per epoch, as the detector recorded it; empty where it recorded none."""
        import pandas

        return pandas.DataFrame(self._history)

    def check(self) -> None:
        """Raise OODBenchError where parameters are invalid, whatever the shape of the images."""
        shape = (self._class.shapes or (ANY_SHAPE,))[0]
        if self._class.shapes is None:
            try:
                self._class.check_shape(shape)
            except OODBenchError:
                return  # fit checks them, with the images' shape
        self._configure(shape)

    def _configure(self, shape: Shape) -> Configuration:
        found = Configurator(self._preset, shape, self._settings, self._registry).configure(self._class)
        used = {each.detector.name: set(each.settings) for each in found.chain}
        check_used(self._settings, [self.name], used)
        return found

    def _fit(self, configuration: Configuration, train: ImageSet, validation: ImageSet, progress: Progress) -> Detector:
        context = self._context(progress)
        made = configuration.detector
        below = self._fit(configuration.base, train, validation, progress) if configuration.base else None
        with isolated(self.device, made.name):
            fresh = made(configuration.params, train.shape)
            if below is not None:
                fresh.fitted_base = FittedBase(lambda: below, context)
            fitted = fresh.fit(train, validation, context)
        self.notes += context.notes if made is self._class else [f"{made.name}: {note}" for note in context.notes]
        self._history = context.history
        return fitted

    def _fit_facts(self) -> FitFacts:
        import torch

        assert self._configuration is not None, "it is fitted"
        run = self._configuration.run(self._images, self.seed, self.precision, self._registry)
        software = {
            "oodbench": metadata.version("oodbench"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        return FitFacts(run, self.shape, software, self.notes)


def _two_sets(
    images: Any, labels: Any, validation: Any, validation_labels: Any, layout: Layout | None
) -> tuple[ImageSet, ImageSet]:
    """Return the images to train with and those to validate with."""
    train = image_set(images, labels, split="train", layout=layout)
    if validation is not None:
        held_out = image_set(validation, validation_labels, split="validation", layout=layout, expected=train.shape)
        _check_both_labelled(train, held_out)
        return train, held_out
    if validation_labels is not None:
        raise DataError("there are validation_labels, but no validation images")
    count = len(train)
    if count < 2:
        raise DataError("there is one train image, and one must be held out for validation: give more")
    ratio = VALIDATION_RATIO if count >= sum(VALIDATION_RATIO) else (count - 1, 1, 0)
    return _part(train, "train", ratio), _part(train, "validation", ratio)


def _check_both_labelled(train: ImageSet, validation: ImageSet) -> None:
    """Raise DataError where one has labels and the other none: images without labels would count as class 0."""
    without = {each.split for each in (train, validation) if each.name == UNLABELLED}
    classes = len(np.unique((validation if "train" in without else train).labels))
    if len(without) == 1 and classes > 1:
        lacking, other = ("train", "validation") if "train" in without else ("validation", "train")
        name = "labels" if lacking == "train" else "validation_labels"
        raise DataError(
            f"the {other} images have labels, and the {lacking} images none: give {name}, or leave out both"
        )


def _part(images: ImageSet, split: str, ratio: tuple[int, int, int]) -> ImageSet:
    chosen = choose(split, len(images), ratio)
    return ImageSet(images.name, split, images.images[chosen], images.labels[chosen], images.indices[chosen])
