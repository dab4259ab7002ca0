"""Checks of a detector that learns from labels, or that has a base."""

from __future__ import annotations

import torch

from oodbench.api import PostHocDetector
from oodbench.runs.isolation import isolated
from oodbench.runs.scoring import score
from oodbench.testing.case import SHORT_BUDGET, SHORT_IMAGES, DetectorCase, different_tensors, same, some_images
from oodbench.testing.images import easy_images, held_out
from oodbench.testing.results import Skip

RELATIVE = 1e-4
"""Greatest relative difference of scores due to rounding: the order of sums depends on the batch size."""


def labels_are_used_only_through_fit(case: DetectorCase) -> None:
    """Check that scores do not change with the labels of the training images after fit."""
    _ = case.short_fit  # raises where scores are not finite: these could not change
    sets = case.sets(case.shape, SHORT_IMAGES)
    detector = case.new(case.params(SHORT_BUDGET), SHORT_IMAGES)
    with isolated(case.device, case.detector.name):
        detector = detector.fit(*sets, case.context())
    before = case.scores(detector, some_images(case.shape))
    for images in sets:
        images.labels[:] = 0
    after = case.scores(detector, some_images(case.shape))
    assert same(before, after), (
        "scores changed with the labels of the training images after fit: what is learned from labels belongs into the "
        "state, and score is given images alone"
    )


def base_is_left_alone(case: DetectorCase) -> None:
    """Check that fit and score change neither the base's state nor its outputs. Raises Skip without a base."""
    detector = case.new(case.params(SHORT_BUDGET), images=SHORT_IMAGES)
    _needs_base(case, detector)
    base, images = detector.fitted_base.detector, some_images(case.shape).to(case.device)
    state = {name: tensor.detach().clone() for name, tensor in base.state().items()}
    outputs = {name: tensor.detach().clone() for name, tensor in base.outputs(images).items()}
    detector.fit(*case.sets(case.shape, SHORT_IMAGES), case.context())
    case.scores(detector, some_images(case.shape))
    changed = different_tensors(state, base.state()) or different_tensors(outputs, base.outputs(images))
    assert not changed, (
        f"fit or score changed the base {base.name} ({changed}), on which other detectors stand: work on a copy of its "
        "network, take hooks away again, and put modes back"
    )


def kept_outputs_give_the_same_scores(case: DetectorCase) -> None:
    """Check that ``score_outputs``, given the base's outputs for a whole set, equals ``score``.

    Raises Skip for a detector that does not score outputs of a base.
    """
    detector = case.trained.detector
    if not isinstance(detector, PostHocDetector):
        raise Skip("is no PostHocDetector")
    images = easy_images(case.shape, "held out")
    kept = torch.from_numpy(score(detector, images, case.context()).values)
    now = case.scores(detector, held_out(case.shape), batch_size=7)
    worst = float((kept - now).abs().max())
    assert bool(((kept - now).abs() <= RELATIVE * (now.abs() + now.std())).all()), (
        f"scores from kept outputs differ from those of the images by up to {worst:.3g}: score_outputs must take all "
        "that it uses from the outputs and the images"
    )


def _needs_base(case: DetectorCase, detector: object) -> None:
    if "fitted_base" not in vars(detector):
        raise Skip(f"{case.detector.name} stands on no other detector")
