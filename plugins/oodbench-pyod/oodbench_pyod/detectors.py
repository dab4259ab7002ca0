"""One detector class for each offered detector of PyOD, made from a table: PyOD is imported only in a fit."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pydantic
import torch

from oodbench import Base, Context, Detector, FitError, ImageSet, Params, PostHocDetector, Shape, param
from oodbench_pyod.methods import METHODS, Method

SEEDS = 2**31
NOISE = "features of noise may lie among those of data: it depends on the classifier, and on pixels on the data"


class PyODParams(Params):
    """Parameters that all detectors of PyOD share."""

    on: Literal["features", "pixels"] = param(
        "features", "what is scored: the features of a classifier, or flattened pixels without one", source="ours"
    )
    images: int = param(
        10_000, "training images at most, drawn at random; they are the state", ge=2, reduces="lower", source="ours"
    )


class PyODDetector(PostHocDetector):
    """An outlier detector of PyOD, fitted to features or pixels of the training images, without their labels.

    Its state is those values and the seed of the fit; loading the state fits it again.
    """

    base = "classifier"
    method: Method
    given: torch.Tensor
    """The training values, float32 (n, D)."""
    seed: int
    inner: Any

    @classmethod
    def base_of(cls, params: Any, shape: Shape) -> Base | None:
        """Return the classifier; None for pixels."""
        return Base(cls.base) if params.on == "features" else None

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Fit to the values of the training images. Raises FitError if PyOD refuses them."""
        chosen = torch.arange(len(train))
        if len(train) > self.params.images:
            order = torch.randperm(len(train), generator=context.generator("images", device="cpu"))
            chosen = order[: self.params.images].sort().values
        if self.params.on == "features":
            self.given = self.fitted_base.outputs_of(train)["features"][chosen]
        else:
            self.given = torch.from_numpy(train.images[chosen.numpy()].reshape(len(chosen), -1)).float() / 255
        self.seed = context.generator("fit", device="cpu").initial_seed() % SEEDS if self.method.is_random else 0
        self._fit_inner()
        return self

    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return PyOD's ``decision_function``, float64 (b,), of features (b, D), or of images (b, C, H, W)."""
        values = outputs["features"] if self.params.on == "features" else images
        scores = self.inner.decision_function(_array(values.flatten(1)))
        return torch.from_numpy(np.asarray(scores, dtype=np.float64)).to(images.device)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the training values, and the seed of the fit."""
        return {"given": self.given, "seed": torch.tensor(self.seed)}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Fit again to what ``state`` returned."""
        self.given, self.seed = state["given"], int(state["seed"])
        self._fit_inner()

    def _fit_inner(self) -> None:
        arguments = self.params.model_dump(exclude={"on", "images"})
        if self.method.is_random:
            arguments["random_state"] = self.seed
        module, _, name = self.method.place.partition(":")
        self.inner = getattr(importlib.import_module(module), name)(**arguments)
        before = np.random.get_state()  # OneClassSVM draws from it, without effect on the fit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about constant dimensions, such as pixels of a black frame
                self.inner.fit(_array(self.given))
        except (ValueError, np.linalg.LinAlgError) as error:
            raise FitError(f"{self.name} cannot be fitted to {len(self.given):,} images: {error}") from error
        finally:
            np.random.set_state(before)


def _array(values: torch.Tensor) -> np.ndarray:
    found: np.ndarray = values.detach().cpu().double().numpy()
    return found


def _detector_class(name: str, method: Method) -> type[Detector]:
    own = method.place.partition(":")[2]
    params = pydantic.create_model(f"{own}Params", __base__=PyODParams, __module__=__name__, **method.params)
    made = type(own, (PyODDetector,), {
        "__doc__": f"PyOD's {own} on a classifier's features, or on pixels.",
        "__module__": __name__,
        "name": name,
        "summary": f"PyOD's {own} on a classifier's features: {method.summary}",
        "paper": method.paper,
        "Params": params,
        "presets": {"paper": {}, "quick": method.quick},
        "known_findings": {"noise_scores_higher_than_data": NOISE, **method.findings},
        "method": method,
    })  # fmt: skip
    globals()[own] = made  # so that another process can import it
    return made


DETECTORS = tuple(_detector_class(name, method) for name, method in METHODS.items())
"""One class for each of METHODS."""
