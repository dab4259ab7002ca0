"""Checks of ``fit``: it learns, is reproducible, resumes after an interruption, and has no side effects."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from oodbench.errors import OODBenchError
from oodbench.runs.isolation import changed_state, global_state
from oodbench.testing.case import (
    FULL_BUDGET,
    MINIMAL_BUDGET,
    SHORT_BUDGET,
    SHORT_IMAGES,
    DetectorCase,
    Fit,
    finite,
    nearly_same,
    same,
)
from oodbench.testing.faults import NotFinite
from oodbench.testing.images import held_out
from oodbench.testing.interruption import InMemoryCheckpoints, Killed
from oodbench.testing.results import Skip
from oodbench.testing.scoring import separation

CEILING = 0.95
"""AUROC above which training need not raise it further."""
GLOBAL_GENERATORS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch": (
        lambda: torch.random.get_rng_state().tolist(),
        lambda state: torch.random.set_rng_state(torch.tensor(state, dtype=torch.uint8)),
    ),
    "numpy": (
        lambda: [np.asarray(part).tolist() for part in np.random.get_state()],
        lambda state: np.random.set_state(tuple(state)),
    ),
    "python": (random.getstate, random.setstate),
}
"""Functions that read and set the state of each global generator, as plain values."""


def training_helps(case: DetectorCase) -> None:
    """Check that training changes the state, and separates data from their negatives better than almost no training.

    Either side may score higher: ``noise_scores_higher_than_data`` checks the direction.
    """
    least = MINIMAL_BUDGET | {"batch_size": FULL_BUDGET["batch_size"]}
    try:
        untrained = case.fit(case.params(least), FULL_BUDGET["batch_size"])
    except OODBenchError as error:
        raise Skip(f"cannot be fitted to {FULL_BUDGET['batch_size']} images for comparison: {error}") from None
    learnt = case.trained
    if not learnt.state:
        raise Skip("there is nothing to learn: the state is empty")
    changed = learnt.state.keys() != untrained.state.keys() or any(
        not nearly_same(tensor, untrained.state[name]) for name, tensor in learnt.state.items()
    )
    assert changed, (
        "the state after a full fit equals that after a fit of one step: the training loop trains nothing (does the "
        "optimizer have the parameters that state returns? is its step called?)"
    )
    before, after = (_told_apart(case, fit) for fit in (untrained, learnt))
    assert after > before or after >= CEILING, (
        f"data and their negatives are separated with AUROC {after:.3f} when trained, {before:.3f} untrained: training "
        "does not lower the score of data (is the sign of the loss right? is the learning rate of quick too low?)"
    )


def _told_apart(case: DetectorCase, fit: Fit) -> float:
    share = separation(
        case.scores(fit.detector, held_out(case.shape)), case.scores(fit.detector, held_out(case.shape, negative=True))
    )
    return max(share, 1 - share)


# ---------------------------------------------------------------------------------- seeds


def same_seed_same_scores(case: DetectorCase) -> None:
    """Check that two fits with the same seed have the same state, scores, history and notes."""
    difference = case.short_fit.difference(case.short_fit_repeat)
    assert not difference, (
        f"two fits with the same seed differ in {difference}: draw weights inside context.global_seed(…), noise from "
        "context.generator(…), and nothing from global generators, clocks or sets"
    )


def another_seed_gives_other_weights(case: DetectorCase) -> None:
    """Check that another seed gives another state. Raises Skip if fit draws no random numbers."""
    detector, context = case.new(case.params(SHORT_BUDGET), SHORT_IMAGES, seed=1), case.context(seed=1)
    with _RandomNumbers() as drawn:
        fitted = detector.fit(*case.sets(case.shape, SHORT_IMAGES), context)
    state = fitted.state()
    if case.short_fit.state.keys() == state.keys() and all(
        same(tensor, state[name]) for name, tensor in case.short_fit.state.items()
    ):
        if not drawn.operations:
            raise Skip("fit draws no random numbers, so that no seed can matter")
        raise AssertionError(
            f"seeds 0 and 1 learn the same though fit draws random numbers ({', '.join(sorted(drawn.operations))}): "
            "take every generator from the context, none with a seed of its own"
        )


class _RandomNumbers(TorchDispatchMode):
    """Records which of torch's random operations are used."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.operations.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


# --------------------------------------------------------------------------------- what fit leaves alone


def fit_leaves_its_inputs_alone(case: DetectorCase) -> None:
    """Check that fit does not modify the images, labels or indices that it is given."""
    given, untouched = (case.sets(case.shape, SHORT_IMAGES) for _ in range(2))
    case.new(case.params(SHORT_BUDGET), SHORT_IMAGES).fit(*given, case.context())
    for one, other in zip(given, untouched, strict=True):
        for part in ("images", "labels", "indices"):
            assert np.array_equal(getattr(one, part), getattr(other, part)), (
                f"fit wrote into the {part} of the {one.split} set: work on a copy"
            )


def fit_leaves_global_random_numbers_alone(case: DetectorCase) -> None:
    """Check that fit does not draw from or seed the global generators of torch, numpy and Python."""
    _ = case.short_fit  # what is imported in the first fit of a process may draw from them
    before = {name: get() for name, (get, _) in GLOBAL_GENERATORS.items()}
    detector = case.new(case.params(SHORT_BUDGET), SHORT_IMAGES)
    try:
        _stir()
        stirred = {name: get() for name, (get, _) in GLOBAL_GENERATORS.items()}
        detector.fit(*case.sets(case.shape, SHORT_IMAGES), case.context())
        moved = [name for name, (get, _) in GLOBAL_GENERATORS.items() if get() != stirred[name]]
    finally:
        for name, (_, put) in GLOBAL_GENERATORS.items():
            put(before[name])
    assert not moved, (
        f"fit drew from or seeded the global random numbers of {' and '.join(moved)}: use context.global_seed(…) for "
        "weights and context.generator(…) for noise"
    )


def fit_leaves_the_process_alone(case: DetectorCase) -> None:
    """Check that fit and score change no setting that other detectors in the same process depend on."""
    detector = case.new(case.params(SHORT_BUDGET), SHORT_IMAGES)
    before = global_state()
    try:
        detector.fit(*case.sets(case.shape, SHORT_IMAGES), case.context())
        case.scores(detector, held_out(case.shape, 4))
        changed = [name for name in changed_state(before) if "random numbers" not in name]  # another check covers these
    finally:
        for value, put in before.values():
            put(value)
    assert not changed, (
        f"fit or score changed {' and '.join(changed)} for all other detectors in the same process: set it back, in a "
        "finally block"
    )


def _stir() -> None:
    """Advance the global generators to a state that no seeding gives, so that a fit that seeds them is detected."""
    torch.rand(1)
    np.random.rand()
    random.random()


def fit_sees_no_out_data(case: DetectorCase) -> None:
    """Check that fit takes exactly train, validation and context, and so no out-data."""
    names = list(inspect.signature(case.detector.fit).parameters.values())[1:]
    plain = all(name.kind in (name.POSITIONAL_ONLY, name.POSITIONAL_OR_KEYWORD) for name in names)
    assert len(names) == 3 and plain, (
        f"fit takes ({', '.join(map(str, names))}): it must take exactly train, validation and context, so that no "
        "out-data can reach it"
    )


# ---------------------------------------------------------------------------------------- few, again, interrupted


def fits_fewer_images_than_a_batch(case: DetectorCase) -> None:
    """Check that fit learns from three images, and from one more than a batch holds, and can then score one image.

    Raises Skip if it refuses to be fitted to so few images.
    """
    for count in (3, SHORT_BUDGET["batch_size"] + 1):
        try:
            fit = finite(case.fit(case.params(SHORT_BUDGET), count), count)
        except NotFinite:
            raise
        except OODBenchError as error:
            raise Skip(f"refuses to be fitted to {count} images: {error}") from None
        except Exception as error:
            raise AssertionError(
                f"fitted to {count} images, it gave {type(error).__name__}: {error}; the last batch may "
                "be smaller than batch_size, and may be the only one: do not drop it, or refuse with a FitError"
            ) from error
        learns = not fit.state or fit.difference(case.fit(case.params(SHORT_BUDGET), count, negative=True))
        assert learns, f"fitted to {count} images it learns nothing: a batch that is not full is left out"
        score = case.scores(fit.detector, held_out(case.shape, 1))
        assert score.shape == (1,) and torch.isfinite(score).all(), f"fitted to {count} images, it scores {score}"


def refit_forgets(case: DetectorCase) -> None:
    """Check that a second fit of the same detector equals the fit of a new one."""
    _needs_repeatable_fits(case)
    params = case.params(SHORT_BUDGET)
    used = case.fit(params, SHORT_IMAGES, negative=True, context=case.context(seed=1)).detector
    difference = case.fit(params, SHORT_IMAGES, detector=used).difference(case.short_fit)
    assert not difference, (
        f"a detector fitted a second time differs in {difference} from a new one: fit must start again, with fresh "
        "networks, optimizers, buffers and statistics"
    )


def interrupted_fit_ends_the_same(case: DetectorCase) -> None:
    """Check that a fit that is killed right after a checkpoint and resumed ends like an uninterrupted one.

    It is killed at the first, two intermediate and the last checkpoint. Raises Skip if it saves none.
    """
    _needs_repeatable_fits(case)
    params, counted = case.params(SHORT_BUDGET), InMemoryCheckpoints()
    whole = case.fit(params, SHORT_IMAGES, context=case.context(checkpoints=counted, checkpoint_seconds=0))
    if not counted.saves:
        raise Skip("saves no checkpoints: a fit that is killed starts from the beginning")
    assert not (difference := whole.difference(case.short_fit)), f"saving checkpoints changes {difference}"
    for kill_at in sorted({1, counted.saves // 3, 2 * counted.saves // 3, counted.saves} - {0}):
        checkpoints = InMemoryCheckpoints(kill_at)
        settings: dict[str, Any] = {"checkpoints": checkpoints, "checkpoint_seconds": 0}
        try:
            case.fit(params, SHORT_IMAGES, context=case.context(**settings))
        except Killed:
            pass
        else:
            raise AssertionError("fit swallowed a BaseException: an interruption must end it")
        resumed = case.fit(params, SHORT_IMAGES, context=case.context(**settings))
        difference = resumed.difference(case.short_fit)
        assert not difference, (
            f"killed at checkpoint {kill_at} of {counted.saves} and resumed, the fit differs in {difference}: "
            "a checkpoint must hold all that the rest depends on (weights, optimizer, buffers, generators, epoch and "
            "step), and the step before it must not be repeated"
        )


def _needs_repeatable_fits(case: DetectorCase) -> None:
    if case.short_fit.difference(case.short_fit_repeat):
        raise Skip("two fits with the same seed differ anyway: see same_seed_same_scores")
