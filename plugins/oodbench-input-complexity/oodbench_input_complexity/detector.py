"""Input complexity: a negative log-likelihood, corrected for the complexity of the image.

The likelihood of an image under a generative model depends above all on its complexity: simple images are likely
whatever the model was trained on. The length of the losslessly compressed image measures this complexity. Their
difference is the score: the log-likelihood ratio of compressor and model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch

from oodbench import Base, Context, ImageSet, OODBenchError, Params, PostHocDetector, Shape, find_detector, param
from oodbench_input_complexity.compression import bits_per_dimension, compressors, libraries

UNIT = "bits per dimension"


class InputComplexityParams(Params):
    """Parameters of InputComplexity."""

    base: str = param("glow", "detector whose score is the negative log-likelihood", source="paper: Glow, PixelCNN++")
    compressor: Literal["min", "png", "jpeg2000", "webp", "zlib", "bz2", "lzma"] = param(
        "min", "of image files, or of pixel bytes; min: the shorter of PNG and JPEG2000", source="paper: FLIF too"
    )


class InputComplexity(PostHocDetector):
    """A detector that scores by S(x) = (-log₂ p(x) - L(x)) / D, with p of its base and L the bits after compression."""

    name = "input-complexity"
    summary = "negative log-likelihood minus compressed length, in bits per dimension"
    paper = (
        "Serrà et al., Input Complexity and Out-of-distribution Detection with Likelihood-based Generative Models "
        "(ICLR 2020), arXiv:1909.11480"
    )
    base = "glow"
    Params = InputComplexityParams
    presets: ClassVar = {"paper": {}, "quick": {}, "cpu": {}}
    shapes = ((1, 28, 28), (3, 32, 32))

    @classmethod
    def base_of(cls, params: Any, shape: Shape) -> Base:
        """Return the base that the parameter names.

        Raises OODBenchError if its score is not a negative log-likelihood in bits per dimension.
        """
        unit = find_detector(params.base)[0].score_unit
        if unit != UNIT:
            raise OODBenchError(
                f"{cls.name}: base {params.base} gives no likelihood: its score_unit is {unit or 'not declared'!r}, "
                f"not {UNIT!r}; choose one such as glow or pixelcnnpp"
            )
        return Base(params.base)

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Learn nothing: the base is fitted already. Raises OODBenchError if a compressor is missing."""
        compressors(self.params.compressor)
        context.note(f"compressed lengths are those of {libraries()}")
        return self

    @torch.no_grad()
    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return S(x) in bits per dimension, (b,), given the base's score, of images (b, C, H, W) in [0, 1]."""
        return outputs["score"] - bits_per_dimension(images, self.params.compressor)

    def state(self) -> dict[str, torch.Tensor]:
        """Return an empty dict: all that was learned belongs to the base."""
        return {}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Do nothing."""
