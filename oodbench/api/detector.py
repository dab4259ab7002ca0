"""Detectors: what a detector class declares and defines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pydantic

from oodbench.api.base import Base, FittedBase
from oodbench.api.context import Context
from oodbench.api.images import ImageSet, Shape, is_shape, shape_text
from oodbench.api.parameters import Params, group_defaults, is_smaller, merge
from oodbench.errors import FitError, OODBenchError, UnknownName

if TYPE_CHECKING:
    import torch


def check_fitted(name: str, fitted: object) -> None:
    """Raise FitError where ``fit`` returned no detector, or its state is not a dict of tensors."""
    if not isinstance(fitted, Detector):
        raise FitError(f"fit of {name} returned a {type(fitted).__name__}: end it with `return self`")
    state: object = fitted.state()
    if not isinstance(state, Mapping):
        raise FitError(f"state of {name} returned a {type(state).__name__}, not a dict from name to tensor")
    import torch

    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise FitError(f"state of {name} has a {type(value).__name__}, {key!r}: make it a torch.Tensor")


class Detector(ABC):
    """A method that learns one in-distribution data set, then scores images; higher is more out-of-distribution.

    A subclass declares ``name``, ``Params`` and ``presets`` and defines the four abstract methods. It never sees an
    out-data set. Presets are values that differ from the defaults of Params: ``paper`` as published, ``quick`` for a
    CPU.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    score_unit: ClassVar[str] = ""
    """Unit of the score, such as ``bits per dimension``; empty where it has none."""
    Params: ClassVar[type[Params]] = Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}
    shapes: ClassVar[tuple[Shape, ...] | None] = None
    """The image shapes it can be fitted to; None for any."""
    conditional_parameters: ClassVar[Mapping[str, str]] = {}
    """Parameters (dotted names) that matter only in rare cases → the case; the contract exempts them."""
    known_findings: ClassVar[Mapping[str, str]] = {}
    """Checks of the contract that fail by the nature of the method → the reason, which goes into the run's notes."""
    base: ClassVar[str] = ""
    """The registered name of the detector that this one uses as its base; empty for none (see ``base_of``)."""
    fitted_base: FittedBase
    """The fitted base, set before ``fit``, ``load_state`` and ``score`` are called; only where there is a base."""

    def __init__(self, params: pydantic.BaseModel, shape: Shape):
        """Take valid parameters, an instance of ``Params``, and the shape (C, H, W) of the images.

        Raises OODBenchError where they are something else.
        """
        if not isinstance(params, self.Params):
            raise OODBenchError(
                f"{self.name}: its parameters are a {self.Params.__name__}, not {type(params).__name__}; "
                f"oodbench.resolve makes them, and oodbench.detector({self.name!r}) all of it"
            )
        if not is_shape(shape):
            raise OODBenchError(f"{self.name}: a shape is (channels, height, width), not {shape}")
        self.params: Any = params
        self.shape = shape

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """Return the values of a preset; override where the paper's values depend on the images' shape."""
        if name not in cls.presets:
            raise UnknownName(f"preset of {cls.name}", name, cls.presets)
        return cls.presets[name]

    @classmethod
    def is_reduced(cls, params: Any, shape: Shape) -> bool:
        """Whether a run with these parameters is smaller than the published one, and so labelled reduced.

        It is if a parameter departs from the preset ``paper`` in the direction that its ``reduces`` declares, or if the
        parameters are those of ``quick`` where that differs from ``paper``. Override where more makes a run smaller.
        """
        found: dict[str, Any] = {}
        for name in ("paper", "quick"):
            with suppress(OODBenchError, pydantic.ValidationError):  # a preset that is missing or broken
                found[name] = cls.Params(**merge(group_defaults(cls.Params), cls.preset(name, shape)))
        is_quick = params == found.get("quick") and params != found.get("paper")
        return is_quick or ("paper" in found and is_smaller(params, found["paper"]))

    @classmethod
    def check_shape(cls, shape: Shape) -> None:
        """Raise OODBenchError where the detector cannot be fitted to images of this shape."""
        if cls.shapes is not None and shape not in cls.shapes:
            able = " or ".join(map(shape_text, cls.shapes))
            raise OODBenchError(f"{cls.name} can be fitted to images of {able}, not of {shape_text(shape)}")

    @classmethod
    def base_of(cls, params: Any, shape: Shape) -> Base | None:
        """Return the detector's base with these parameters; override where a parameter chooses the base.

        The base is a run of its own, fitted once for all detectors that use it with the same in-data and seed.
        Settings such as ``--set classifier.epochs=2`` apply to it.
        """
        return Base(cls.base) if cls.base else None

    @abstractmethod
    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Learn the in-distribution, and forget any earlier fit.

        Afterwards networks are on ``context.device``, in evaluation mode. Settings of the process, such as torch's
        default dtype, must be as before.
        """

    @abstractmethod
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return one finite score per image, (b,), given float32 images (b, C, H, W) in [0, 1]."""

    def outputs(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return outputs for detectors that use this one as base, name → (b, …), of images (b, C, H, W) in [0, 1].

        By default that is the score, under the name ``score``. A classifier also gives logits and features.
        """
        return {"score": self.score(images)}

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return reconstructions (b, C, H, W) in [0, 1] for figures; None from a detector that makes none."""
        return None

    def facts(self, test: ImageSet, context: Context) -> Mapping[str, float]:
        """Return facts of the fitted detector on the in-data's test split, such as ``{"accuracy": 0.97}``.

        They go into the run's record; the detector must not learn from them or change. A value that is not a finite
        number is left out, with a note.
        """
        return {}

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Return all that was learned, as named tensors."""

    @abstractmethod
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what ``state`` returned, on the tensors' device, with networks in evaluation mode."""
