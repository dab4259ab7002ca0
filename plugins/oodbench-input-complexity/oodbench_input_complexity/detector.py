"""Input complexity: a negative log-likelihood, corrected for the complexity of the image.

The likelihood of an image under a generative model depends above all on its complexity: simple images are likely
whatever the model was trained on. The length of the losslessly compressed image measures this complexity. Their
difference is the score: the log-likelihood ratio of compressor and model.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import pydantic
import torch

from oodbench import Context, Detector, ImageSet, OODBenchError, Params, Shape, find_detector, param, resolve
from oodbench_input_complexity.compression import bits_per_dimension, compressors, libraries

UNIT = "bits per dimension"


class InputComplexityParams(Params):
    """Parameters of InputComplexity."""

    base: str = param("glow", "detector whose score is the negative log-likelihood", source="paper: Glow, PixelCNN++")
    base_preset: str = param("paper", "preset of the base's parameters", source="ours")
    base_version: str = param("", "version of the base's plugin, filled in, as it identifies the run", source="ours")
    compressor: Literal["min", "png", "jpeg2000", "webp", "zlib", "bz2", "lzma"] = param(
        "min", "of image files, or of pixel bytes; min: the shorter of PNG and JPEG2000", source="paper: FLIF too"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _base_is_a_likelihood(cls, values: Any) -> Any:
        """Refuse an unsuitable base before anything is run, and fill in its version, which identifies the run."""
        if not isinstance(values, dict):
            return values
        name = values.get("base", cls.model_fields["base"].default)
        _, version = likelihood(name)
        return {**values, "base_version": values.get("base_version") or version}


class InputComplexity(Detector):
    """A detector that scores S(x) = (-log₂ p(x) - L(x)) / D, with p of a base detector and L the compressed bits."""

    name = "input-complexity"
    summary = "negative log-likelihood minus compressed length, in bits per dimension"
    paper = (
        "Serrà et al., Input Complexity and Out-of-distribution Detection with Likelihood-based Generative Models "
        "(ICLR 2020), arXiv:1909.11480"
    )
    Params = InputComplexityParams
    presets: ClassVar = {"paper": {}, "quick": {"base_preset": "quick"}}
    shapes = ((1, 28, 28), (3, 32, 32))

    @classmethod
    def is_reduced(cls, params: Any, shape: Shape) -> bool:
        base, _ = likelihood(params.base)
        return base.is_reduced(resolve(base, params.base_preset, shape, {}), shape)

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Fit a new base. Raises OODBenchError if a compressor is missing, and what the base's fit raises."""
        compressors(self.params.compressor)  # fail before training if one is missing
        self.base = self.build().fit(train, validation, context)
        context.note(f"compressed lengths are those of {libraries()}")
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return S(x) of images (b, C, H, W) in [0, 1], in bits per dimension, (b,)."""
        return self.base.score(images) - bits_per_dimension(images, self.params.compressor)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state of the base."""
        return self.base.state()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Build the base and load what ``state`` returned."""
        self.base = self.build()
        self.base.load_state(state)

    def build(self) -> Detector:
        """Return the base with its preset's parameters, not fitted. Raises OODBenchError if its version is another."""
        base, version = likelihood(self.params.base)
        if version != self.params.base_version:
            raise OODBenchError(
                f"input-complexity: this run is of {self.params.base} {self.params.base_version}, but {version} is "
                "installed; leave base_version to be filled in, or install that version"
            )
        return base(resolve(base, self.params.base_preset, self.shape, {}), self.shape)


def likelihood(name: str) -> tuple[type[Detector], str]:
    """Return the detector of this name, and its plugin's version.

    Raises OODBenchError if its score is not a negative log-likelihood in bits per dimension.
    """
    base, version = find_detector(name)
    unit = base.score_unit
    if unit != UNIT:
        raise OODBenchError(
            f"input-complexity: base {name} gives no likelihood: its score_unit is {unit or 'not declared'!r}, "
            f"not {UNIT!r}; choose one such as glow or pixelcnnpp"
        )
    return base, version
