"""Checks of ``score``: one finite number per image, which depends on this image alone."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from itertools import pairwise

import torch

from oodbench.api import Detector
from oodbench.testing.case import DetectorCase
from oodbench.testing.images import held_out, noise, odd_images
from oodbench.testing.results import Skip

RELATIVE = 1e-4
"""Greatest relative change of a score due to rounding: the order of sums depends on the batch size."""
WINDOWS, BATCHES, BATCH_BYTES = 5, 16, 1 << 17


def one_finite_score_an_image(case: DetectorCase) -> None:
    """Check that images (b, C, H, W) get finite floating-point scores (b,), for unusual images too."""
    needs_evaluation_mode(case)
    detector = case.trained.detector
    kinds = {
        "held-out data": held_out(case.shape, 5),
        "noise": noise(case.shape, 5),
        "black, white, grey and nearly black images": odd_images(case.shape),
        "one image": held_out(case.shape, 1),
    }
    for kind, images in kinds.items():
        scores = detector.score(images.to(case.device))
        assert isinstance(scores, torch.Tensor), f"score gave a {type(scores).__name__} for {kind}, not a tensor (b,)"
        assert scores.shape == (len(images),), (
            f"score gave shape {tuple(scores.shape)} for {len(images)} images ({kind}): give one number per image, (b,)"
        )
        assert scores.is_floating_point(), f"score gave {scores.dtype} for {kind}: return floats"
        bad = int((~torch.isfinite(scores)).sum())
        assert not bad, f"{bad} of {len(images)} scores are NaN or infinite for {kind}: guard the division or logarithm"


def scores_are_not_constant(case: DetectorCase) -> None:
    """Check that different held-out images get different scores."""
    scores = case.scores(case.trained.detector, held_out(case.shape))
    few = len(scores.unique())
    assert few > len(scores) // 10, (
        f"only {few} different scores for {len(scores)} different held-out images: the network may have collapsed to a "
        "constant output, or the score is clamped or rounded"
    )


def noise_scores_higher_than_data(case: DetectorCase) -> None:
    """Check that uniform noise scores higher than held-out data, with an AUROC above 0.8."""
    detector = case.trained.detector
    share = separation(case.scores(detector, held_out(case.shape)), case.scores(detector, noise(case.shape)))
    assert share > 0.8, (
        f"AUROC {share:.2f} of uniform noise against held-out data: a higher score must mean more out-of-distribution"
        + ("; the sign of the score is reversed" if share < 0.2 else "; it has not learnt the data")
    )


def networks_are_in_evaluation_mode(case: DetectorCase) -> None:
    """Check for evaluation mode after ``fit`` and ``load_state``: dropout and batch statistics are for training."""
    loaded = case.new()
    loaded.load_state(case.trained.state)
    for detector, after in ((case.trained.detector, "fit"), (loaded, "load_state")):
        training = _in_training_mode(detector)
        assert not training, f"after {after}, {' and '.join(training)} is in training mode: call its eval()"


def _in_training_mode(detector: Detector) -> list[str]:
    """Return the names of networks in training mode, also of those in lists or dicts and those of an inner detector."""
    found = []
    for name, value in vars(detector).items():
        if isinstance(value, Detector):
            found += [f"{name}.{inner}" for inner in _in_training_mode(value)]
            continue
        parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
        networks = [part for part in parts if isinstance(part, torch.nn.Module)]
        if any(module.training for network in networks for module in network.modules()):
            found.append(name)
    return found


def needs_evaluation_mode(case: DetectorCase) -> None:
    """Raise Skip where a network is in training mode: its dropout and batch statistics would explain any fault."""
    if training := _in_training_mode(case.trained.detector):
        named = " and ".join(training)
        raise Skip(f"after fit, {named} is in training mode: see networks_are_in_evaluation_mode")


def scoring_is_deterministic(case: DetectorCase) -> None:
    """Check that the same images scored twice get the same scores."""
    needs_evaluation_mode(case)
    assert _is_deterministic(case), (
        "the same images scored twice got different scores: draw noise for scoring from a generator seeded in score, "
        "and switch dropout off"
    )


def scores_do_not_depend_on_the_batch(case: DetectorCase) -> None:
    """Check that a score does not depend on the size or order of the batch, or on the other images in it."""
    needs_evaluation_mode(case)
    if not _is_deterministic(case):
        raise Skip("scores are not even deterministic: see scoring_is_deterministic")
    detector, images = case.trained.detector, held_out(case.shape, 24)
    together = case.scores(detector, images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    strangers = noise(case.shape, 8)
    ways = {
        "one at a time instead of together": case.scores(detector, images, batch_size=1),
        "in batches of 7 instead of together": case.scores(detector, images, batch_size=7),
        "in another order": case.scores(detector, images[order])[order.argsort()],
        "together with noise": case.scores(detector, torch.cat([strangers, images]))[len(strangers) :],
    }
    tolerance = RELATIVE * (together.abs() + together.std())
    for way, scores in ways.items():
        worst = float((scores - together).abs().max())
        assert bool(((scores - together).abs() <= tolerance).all()), (
            f"scored {way}, an image's score changed by up to {worst:.3g}: use no statistics over the batch in score "
            "(batch normalisation in training mode, normalised scores, one draw of noise for the whole batch)"
        )


def scoring_leaves_its_images_alone(case: DetectorCase) -> None:
    """Check that score does not modify the images that it is given."""
    images = held_out(case.shape, 8).to(case.device)
    given = images.clone()
    case.trained.detector.score(given)
    assert torch.equal(given, images), "score wrote into the images it was given: work on a copy"


def memory_does_not_grow(case: DetectorCase) -> None:
    """Check that scoring many batches does not use ever more memory.

    The growth is the median over five windows, as an allocator may take another page at any time.
    """
    detector = case.trained.detector
    batch_size = 1 + BATCH_BYTES // noise(case.shape, 1).nbytes  # the allocator hides smaller leaks
    batches = [noise(case.shape, batch_size) for _ in range(BATCHES)]
    sizes, kept = [], []
    for _ in range(WINDOWS + 2):
        for batch in batches:
            detector.score(batch.to(case.device, copy=True))
        gc.collect(1)  # what the windows left in cycles; a full collection would take long
        sizes.append(_memory(case.device))
        kept.append(_tensor_bytes())  # a process that has freed much before does not grow at first
    growth = max(sorted(after - before for before, after in pairwise(each[1:]))[WINDOWS // 2] for each in (sizes, kept))
    scored = sum(batch.nbytes for batch in batches)
    assert growth < scored / 2, (
        f"memory grows by {growth / 2**20:.1f} MiB for every {scored / 2**20:.1f} MiB of images scored: "
        "score keeps images or graphs; detach what is kept, or keep nothing"
    )


def separation(in_scores: torch.Tensor, out_scores: torch.Tensor) -> float:
    """Return the AUROC of in-scores (n,) and out-scores (m,): the share of pairs with a higher out-score, ties half."""
    difference = out_scores[:, None] - in_scores[None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def _is_deterministic(case: DetectorCase) -> bool:
    """Whether scores are equal (on the CPU exactly) with two different seeds of torch's global generator."""
    images = torch.cat([held_out(case.shape, 8), noise(case.shape, 8)]).to(case.device)
    scored = []
    with torch.random.fork_rng():
        for seed in (0, 1):
            torch.manual_seed(seed)
            scored.append(torch.as_tensor(case.trained.detector.score(images.clone())).detach().cpu())
    one, other = scored
    return torch.allclose(one, other, rtol=0.0 if case.device.type == "cpu" else 1e-5, atol=0.0, equal_nan=True)


def _tensor_bytes() -> int:
    """Return the bytes of all tensors that Python objects hold."""
    return sum(each.nbytes for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter))


def _memory(device: torch.device) -> int:
    """Return the bytes that this process holds: on the GPU what torch has allocated there, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        try:
            import resource
        except ImportError:
            raise Skip("this system does not report how much memory a process holds") from None
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
