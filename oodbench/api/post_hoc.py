"""Post-hoc detectors: their score is a function of a fitted base's outputs for an image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from oodbench.api.detector import Detector

if TYPE_CHECKING:
    import torch


class PostHocDetector(Detector):
    """A detector that scores the outputs of its base, such as logits and features of a classifier.

    A subclass names its base (see ``Detector.base``) and defines ``score_outputs`` in place of ``score``; the harness
    calls it with outputs that were computed once for all detectors on the same base. In ``fit``,
    ``self.fitted_base.outputs_of(train)`` returns those of the training images. Where ``base_of`` returns None, as for
    a detector that can be set to score pixels, ``outputs`` is empty.

    Example::

        class MaximumLogit(PostHocDetector):
            name, base = "max-logit", "classifier"

            def fit(self, train, validation, context):
                return self  # nothing to learn

            def score_outputs(self, outputs, images):
                return -outputs["logits"].amax(dim=1)  # (b, k) → (b,)

            def state(self): return {}
            def load_state(self, state): pass
    """

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores (b,) of images (b, C, H, W), after computing the base's outputs for them."""
        return self.score_outputs(self.fitted_base.outputs(images) if self.has_base else {}, images)

    @property
    def has_base(self) -> bool:
        """Whether the detector uses a base with its parameters."""
        return self.base_of(self.params, self.shape) is not None

    @abstractmethod
    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return one finite score per image, (b,), given the base's outputs, name → (b, …), of images (b, C, H, W)."""
