"""A detector to be checked, with parameters that make its fits quick; the checks share its fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pydantic
import torch

from oodbench.api import Context, Detector, FittedBase, ImageSet, Params, Progress, Shape
from oodbench.api.detector import check_fitted
from oodbench.api.parameters import fields_by_path, flatten, get_path
from oodbench.plan.settings import resolve
from oodbench.plugin.registry import load_registry
from oodbench.runs.isolation import isolated
from oodbench.testing.faults import Fault, NotFinite
from oodbench.testing.images import easy_images, held_out, noise

FULL_BUDGET = {"epochs": 4, "steps": 4, "batch_size": 16}
SHORT_BUDGET = {"epochs": 2, "steps": 2, "batch_size": 8}
MINIMAL_BUDGET = {"epochs": 0, "steps": 0, "batch_size": 2}
"""Upper limits on integer parameters of these names, in any group; a limit out of bounds becomes the least valid value.

The budgets are for a fit that should learn, for one that should run every step once, and for one that hardly trains.
"""
SHORT_IMAGES = 20
"""Number of images of a short fit: two full batches and a part of one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Fit:
    """A finished fit: detector, context, a copy of the state, and float64 scores (12,) of ``some_images``."""

    detector: Detector
    context: Context
    state: dict[str, torch.Tensor]
    scores: torch.Tensor

    def difference(self, other: Fit) -> str:
        """Return the first part that differs from the other fit, in words; empty for none. Times are ignored."""
        if different := different_tensors(self.state, other.state):
            return f"the state ({different})"
        if not same(self.scores, other.scores):
            return "the scores"
        if _timeless(self.context.history) != _timeless(other.context.history):
            return "the history"
        if (self.context.phase_results, self.context.notes) != (other.context.phase_results, other.context.notes):
            return "the outcomes and notes"
        return ""


@dataclass
class DetectorCase:
    """A detector to be checked, the shape of its images, and parameters that make its fits quick.

    Args:
        shape: (C, H, W) of the images.
        values: parameters by dotted name; they override the preset ``quick`` and the budgets.
        alternatives: other valid values by dotted name, where type and bounds do not suggest any.
        base_settings: base of the detector → parameters by dotted name, as after ``--set``.
        device, precision, progress: passed to the context of every fit.
    """

    detector: type[Detector]
    shape: Shape = (1, 28, 28)
    values: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    base_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"
    progress: Progress = field(default_factory=Progress)
    faults: dict[Fault, str] = field(default_factory=dict, init=False, repr=False)
    """Faults of the detector's own code → the first check that each made fail."""
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def params(
        self,
        budget: Mapping[str, int] = FULL_BUDGET,
        values: Mapping[str, Any] | None = None,
        preset: str = "quick",
        shape: Shape | None = None,
    ) -> Params:
        """Return the parameters of a quick fit.

        Args:
            budget: upper limits on integer parameters, by the last part of their name.
            values: parameters by dotted name, which override the case's own.
            shape: (C, H, W); None for the case's.

        Raises OODBenchError if a value is invalid.
        """
        shape = shape or self.shape
        whole = resolve(self.detector, preset, shape, {})
        lowered = {
            name: limit
            for name, info in fields_by_path(self.detector.Params).items()
            for limit in [max(budget.get(name.rpartition(".")[2], 0), least(info))]
            if name.rpartition(".")[2] in budget and type(get_path(whole, name)) is int
            if get_path(whole, name) > limit
        }
        return resolve(self.detector, preset, shape, {**lowered, **self.values, **(values or {})})

    def context(self, seed: int = 0, **settings: Any) -> Context:
        """Return a new context with the case's device, precision and progress, and these settings."""
        return Context(self.device, seed, **{"precision": self.precision, "progress": self.progress, **settings})

    def fit(
        self,
        params: Params,
        images: int | None = None,
        negative: bool = False,
        context: Context | None = None,
        detector: Detector | None = None,
    ) -> Fit:
        """Fit a detector to easy data and return the fit.

        Args:
            images: fit to at most this number of training images; None for all.
            negative: fit to the photographic negatives instead.
            context: None for a new one with seed 0.
            detector: fit this one again; None for a new one with ``params``.
        """
        context = context or self.context()
        shape = self.shape if detector is None else detector.shape
        detector = detector or self.detector(params, shape)
        self._give_base(detector, images, negative, context.seed)
        sets = self.sets(shape, images, negative)
        # As in a run, changes that fit makes to the process are undone; a check of its own reports them.
        with isolated(self.device, self.detector.name):
            fitted = detector.fit(*sets, context)
        check_fitted(self.detector.name, fitted)
        state = {name: tensor.detach().clone() for name, tensor in fitted.state().items()}
        return Fit(fitted, context, state, self.scores(fitted, some_images(shape)))

    def new(self, params: Params | None = None, images: int | None = None, seed: int = 0) -> Detector:
        """Return a detector to be fitted or loaded, with its fitted base.

        Args:
            params: None for those of a full budget.
            images: number of training images of the base's fit; None for all.
            seed: of the base's fit.
        """
        detector = self.detector(params or self.params(), self.shape)
        self._give_base(detector, images, negative=False, seed=seed)
        return detector

    def _give_base(self, detector: Detector, images: int | None, negative: bool, seed: int) -> None:
        """Give the detector its base, if any, fitted to the same images with the same seed."""
        base = detector.base_of(detector.params, detector.shape)
        if base is None:
            return
        found = self.once("registry", load_registry).detector(base.detector)
        values = {**self.base_settings.get(base.detector, {}), **flatten(base.values)}
        case = DetectorCase(
            found, detector.shape, values, base_settings=self.base_settings, device=self.device,
            precision=self.precision, progress=self.progress, _kept=self._kept,
        )  # fmt: skip
        params = case.params(FULL_BUDGET if images is None else SHORT_BUDGET, preset=base.preset or "quick")
        name = f"{base.detector} {params.canonical()} {detector.shape} {images} {negative} {seed}"
        fit = self.once(name, lambda: case.fit(params, images, negative, case.context(seed)))
        detector.fitted_base = FittedBase(lambda: fit.detector, case.context(seed))

    def sets(self, shape: Shape, images: int | None = None, negative: bool = False) -> tuple[ImageSet, ImageSet]:
        """Return fresh copies of the train and validation sets, of at most ``images`` images each."""
        train, validation = (easy_images(shape, split, images, negative) for split in ("train", "validation"))
        return train, validation

    def scores(self, detector: Detector, images: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
        """Return scores of images (n, C, H, W), float64 (n,) on the CPU, with torch's global seed set to 0."""
        parts = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            with self.context().autocast():
                for part in images.split(batch_size):
                    given = part.to(self.device, copy=True)
                    parts.append(torch.as_tensor(detector.score(given)).detach().cpu().double().flatten())
        return torch.cat(parts)

    # ---------------------------------------------------------------------------- shared by checks

    @property
    def trained(self) -> Fit:
        """The shared fit that should have learnt something; do not modify it. Raises NotFinite as ``finite`` does."""
        return self.once("trained", lambda: finite(self.fit(self.params(FULL_BUDGET)), len(self.sets(self.shape)[0])))

    @property
    def short_fit(self) -> Fit:
        """The shared fit that ran every step but hardly learnt; do not modify it. Raises NotFinite as ``trained``."""
        return self.once("short_fit", lambda: finite(self.fit(self.params(SHORT_BUDGET), SHORT_IMAGES), SHORT_IMAGES))

    @property
    def short_fit_repeat(self) -> Fit:
        """A repetition of ``short_fit`` with another seed of torch's global generator; do not modify it."""

        def again() -> Fit:
            with torch.random.fork_rng():
                torch.manual_seed(1)
                return self.fit(self.params(SHORT_BUDGET), SHORT_IMAGES)

        return self.once("short_fit_repeat", again)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned, or raise what it raised, when first called under this name."""
        if name not in self._kept:
            try:
                self._kept[name] = make()
            except (Exception, SystemExit) as error:
                self._kept[name] = error
        if isinstance(self._kept[name], BaseException):
            raise self._kept[name]
        kept: T = self._kept[name]
        return kept


def finite(fit: Fit, images: int) -> Fit:
    """Return the fit, to this number of images. Raises NotFinite where neither its state nor its scores are finite."""
    bad = [name for name, tensor in fit.state.items() if not torch.isfinite(tensor).all()]
    if not bad or torch.isfinite(fit.scores).all():
        return fit
    what = "NaN" if any(torch.isnan(fit.state[name]).any() for name in bad) else "infinite"
    precision = "" if fit.context.precision == "float32" else f" in {fit.context.precision}"
    raise NotFinite(
        f"fitted to {images:,} images{precision}, its state is {what} ({_first_three(bad)}), and so are its scores: "
        "guard the division, logarithm or variance that gives it, or refuse too few images with a FitError"
    )


def some_images(shape: Shape) -> torch.Tensor:
    """Return four held-out images, four negatives of such images, and four of noise: (12, C, H, W) in [0, 1]."""
    return torch.cat([held_out(shape, 4), held_out(shape, 4, negative=True), noise(shape, 4)])


def least(info: pydantic.fields.FieldInfo) -> int:
    """Return the least value that the bounds of an integer parameter allow, and 0 if they have no lower bound."""
    bounds = [getattr(rule, "ge", getattr(rule, "gt", -1) + 1) for rule in info.metadata]
    return max([0, *bounds])


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal: exactly on the CPU, closely on a GPU, where the order of sums varies.

    NaN equals NaN: two fits that both end there do not differ.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.device.type == "cpu" and other.device.type == "cpu":
        return torch.equal(one, other) or (
            one.is_floating_point() and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)
        )
    return torch.allclose(one.cpu().double(), other.cpu().double(), rtol=1e-3, atol=1e-5, equal_nan=True)


def nearly_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal up to rounding, so that a change of 1e-30 does not count."""
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=1e-6, atol=1e-12, equal_nan=True
    )


def different_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> str:
    """Return the names of the first three tensors that differ or that only one state has."""
    names = dict.fromkeys([*one, *other])
    different = [name for name in names if name not in one or name not in other or not same(one[name], other[name])]
    return _first_three(different)


def _first_three(names: list[str]) -> str:
    return ", ".join(names[:3]) + ("…" if len(names) > 3 else "")


def digest(fit: Fit) -> str:
    """Return a hash of a fit: on a CPU, equal for two fits exactly if ``difference`` finds none.

    It allows comparing fits without keeping their networks in memory.
    """
    whole = hashlib.sha256()
    for name, tensor in fit.state.items():
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    whole.update(fit.scores.numpy().tobytes())
    whole.update(repr((_timeless(fit.context.history), fit.context.phase_results, fit.context.notes)).encode())
    return whole.hexdigest()


def _timeless(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items() if "second" not in name} for row in history]
