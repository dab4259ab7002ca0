"""One detector to be checked, with parameters that make it quick; what it learns once is shared by the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pydantic
import torch

from oodbench.api import Context, Detector, ImageSet, Params, Progress, Shape
from oodbench.api.parameters import fields_by_path, get_path
from oodbench.plan.settings import resolve
from oodbench.testing.images import easy_images, held_out, noise

FULL_BUDGET = {"epochs": 4, "steps": 4, "batch_size": 16}
SHORT_BUDGET = {"epochs": 2, "steps": 2, "batch_size": 8}
MINIMAL_BUDGET = {"epochs": 0, "steps": 0, "batch_size": 2}
"""Every integer parameter of these names, in whatever group, is at most this, or the least its bounds allow: the budget
of a fit that should learn something, of one that should only do everything once, and of one that hardly trains."""
SHORT_IMAGES = 20
"""Two full batches and a part of one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Fit:
    """What is to be seen of a fit: all that was learnt, some scores, and what it put into the record."""

    detector: Detector
    context: Context
    state: dict[str, torch.Tensor]
    scores: torch.Tensor

    def difference(self, other: Fit) -> str:
        """What differs first, in words; empty if everything is the same. Seconds are not compared."""
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
    """A detector, a shape, and how to fit quickly.

    values: parameters by dotted name; they override the preset ``quick`` and the budgets below.
    alternatives: for a parameter for which no other valid value can be guessed from its type and bounds, some.
    """

    detector: type[Detector]
    shape: Shape = (1, 28, 28)
    values: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"
    progress: Progress = field(default_factory=Progress)
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def params(
        self,
        budget: Mapping[str, int] = FULL_BUDGET,
        values: Mapping[str, Any] | None = None,
        preset: str = "quick",
        shape: Shape | None = None,
    ) -> Params:
        """The parameters of a quick fit; ``values`` come on top of the case's own. OODBenchError where not valid."""
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
        return Context(self.device, seed, **{"precision": self.precision, "progress": self.progress, **settings})

    def fit(
        self,
        params: Params,
        images: int | None = None,
        negative: bool = False,
        context: Context | None = None,
        detector: Detector | None = None,
    ) -> Fit:
        """Fit (a new detector) to the first images of easy data, or of their negatives."""
        shape = self.shape if detector is None else detector.shape
        sets = self.sets(shape, images, negative)
        context = context or self.context()
        fitted = (detector or self.detector(params, shape)).fit(*sets, context)
        state = {name: tensor.detach().clone() for name, tensor in fitted.state().items()}
        return Fit(fitted, context, state, self.scores(fitted, some_images(shape)))

    def sets(self, shape: Shape, images: int | None = None, negative: bool = False) -> tuple[ImageSet, ImageSet]:
        """Train and validation, fresh copies."""
        train, validation = (easy_images(shape, split, images, negative) for split in ("train", "validation"))
        return train, validation

    def scores(self, detector: Detector, images: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
        """All scores, float64 (n,) on the CPU; the global generators stand the same at the start of each call."""
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
        """The one fit that should have learnt something; only to be read."""
        return self.once("trained", lambda: self.fit(self.params(FULL_BUDGET)))

    @property
    def short_fit(self) -> Fit:
        """A fit that did everything once, but hardly learnt; only to be read."""
        return self.once("short_fit", lambda: self.fit(self.params(SHORT_BUDGET), SHORT_IMAGES))

    @property
    def short_fit_repeat(self) -> Fit:
        """The same again, while the world's own random numbers stand elsewhere."""

        def again() -> Fit:
            with torch.random.fork_rng():
                torch.manual_seed(1)
                return self.fit(self.params(SHORT_BUDGET), SHORT_IMAGES)

        return self.once("short_fit_repeat", again)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gave, or raised, the first time."""
        if name not in self._kept:
            try:
                self._kept[name] = make()
            except (Exception, SystemExit) as error:
                self._kept[name] = error
        if isinstance(self._kept[name], BaseException):
            raise self._kept[name]
        kept: T = self._kept[name]
        return kept


def some_images(shape: Shape) -> torch.Tensor:
    """Data, their negatives and noise, (12, C, H, W)."""
    return torch.cat([held_out(shape, 4), held_out(shape, 4, negative=True), noise(shape, 4)])


def least(info: pydantic.fields.FieldInfo) -> int:
    """The least value that the bounds of an integer parameter allow; 0 if they name none."""
    bounds = [getattr(rule, "ge", getattr(rule, "gt", -1) + 1) for rule in info.metadata]
    return max([0, *bounds])


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit; on a GPU, where sums are taken in any order, nearly."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.device.type == "cpu" and other.device.type == "cpu":
        return torch.equal(one, other)
    return torch.allclose(one.cpu().double(), other.cpu().double(), rtol=1e-3, atol=1e-5)


def nearly_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """All but rounding: a step of 1e-30 is none."""
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-6, atol=1e-12)


def different_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> str:
    """The names of tensors that only one state has or that differ, the first three."""
    names = dict.fromkeys([*one, *other])
    different = [name for name in names if name not in one or name not in other or not same(one[name], other[name])]
    return ", ".join(different[:3]) + ("…" if len(different) > 3 else "")


def digest(fit: Fit) -> str:
    """Equal for two fits exactly where ``difference`` finds nothing, on a CPU; it keeps no network in memory."""
    whole = hashlib.sha256()
    for name, tensor in fit.state.items():
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    whole.update(fit.scores.numpy().tobytes())
    whole.update(repr((_timeless(fit.context.history), fit.context.phase_results, fit.context.notes)).encode())
    return whole.hexdigest()


def _timeless(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items() if "second" not in name} for row in history]
