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
    """Raise FitError where what ``fit`` returned, or its state, is none."""
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
    """Learns one in-distribution data set and then gives every image a score; higher is more out-of-distribution.

    A subclass declares ``name``, ``Params`` and ``presets`` and defines the four methods below. It never sees an
    out-data set. Presets are values that differ from the defaults of Params: ``paper`` as published, ``quick`` for a
    CPU.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    score_unit: ClassVar[str] = ""
    """What a score is measured in, as in ``bits per dimension``; empty where it has no unit."""
    Params: ClassVar[type[Params]] = Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}
    shapes: ClassVar[tuple[Shape, ...] | None] = None
    """The image shapes it can be fitted to; None for any."""
    conditional_parameters: ClassVar[Mapping[str, str]] = {}
    """Parameters by dotted name that matter in rare cases alone, each with the case: its contract spares them."""
    known_findings: ClassVar[Mapping[str, str]] = {}
    """Checks of the contract that fail by the nature of the method, each with the reason: readers are told of them."""
    base: ClassVar[str] = ""
    """The registered name of the detector that this one stands on; empty for none (see ``base_of``)."""
    fitted_base: FittedBase
    """The fitted base, there before ``fit``, ``load_state`` and ``score`` are called; only where there is a base."""

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

        It is if a parameter declared with ``reduces`` departs from the preset ``paper``, or if the parameters are those
        of the preset ``quick`` where that differs. Override where more makes a run smaller.
        """
        found: dict[str, Any] = {}
        for name in ("paper", "quick"):
            with suppress(OODBenchError, pydantic.ValidationError):  # a preset that is not there, or is broken
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
        """Return what the detector stands on with these parameters; override where a parameter chooses it.

        The base is a run of its own, fitted once for all detectors that stand on it with the same in-data and seed.
        A setting such as ``--set classifier.epochs=2`` reaches it.
        """
        return Base(cls.base) if cls.base else None

    @abstractmethod
    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Learn the in-distribution, and forget any earlier fit.

        Networks are on ``context.device`` afterwards, and in evaluation mode. Settings of the process, such as torch's
        default dtype, are as before.
        """

    @abstractmethod
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return one finite score per image, (b,), given float32 images (b, C, H, W) in [0, 1]."""

    def outputs(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return what detectors that stand on this one may share, name → (b, …), given images (b, C, H, W) in [0, 1].

        By default that is the score, under the name ``score``. A classifier also gives logits and features.
        """
        return {"score": self.score(images)}

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return reconstructions (b, C, H, W) in [0, 1] for figures; None from a detector that makes none."""
        return None

    def facts(self, test: ImageSet, context: Context) -> Mapping[str, float]:
        """Return facts of the fitted detector on the in-data's test split, as ``{"accuracy": 0.97}`` of a classifier.

        They go into the run's record, and teach the detector nothing: it must be afterwards as it was. What is no
        finite number is left out, with a note.
        """
        return {}

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Return all that was learned, as named tensors."""

    @abstractmethod
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up what ``state`` gave, on the device that the tensors are on; networks are in evaluation mode then."""
