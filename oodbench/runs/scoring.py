"""Step 3: a fitted detector and a set of images → one score per image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from oodbench.api import Context, Detector, ImageSet, PostHocDetector, Scores
from oodbench.errors import ScoreError
from oodbench.runs.devices import (
    device_name,
    first_batch_size,
    is_out_of_memory,
    next_batch_size,
    peak_memory,
    reset_peak_memory,
    smaller_batch_size,
)
from oodbench.runs.isolation import isolated

if TYPE_CHECKING:
    import torch


def score(detector: Detector, images: ImageSet, context: Context, fit_id: str = "", note: str = "") -> Scores:
    """Score every image of the set. ``fit_id`` and ``note`` go into the record.

    A post-hoc detector scores its base's stored outputs for the set.

    The values are float64 (n,). Raises ScoreError unless the detector returns one finite number per image.
    """
    import torch

    start = time.perf_counter()
    with isolated(context.device, f"{detector.name} on {images.name}"):
        values = _values(detector, images, context)
    seconds = time.perf_counter() - start
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ScoreError(f"{detector.name} gave NaN or infinity for {bad:,} of {len(images):,} images of {images.name}")
    return Scores(
        dataset=images.name,
        split=images.split,
        fingerprint=images.fingerprint,
        indices=images.indices,
        labels=images.labels,
        values=values.numpy(),
        images_per_second=len(images) / seconds,
        device=device_name(context.device),
        fit_id=fit_id,
        note=note,
    )


def _values(detector: Detector, images: ImageSet, context: Context) -> torch.Tensor:
    """Return all scores, float64 on the CPU. They stay on the device until the end, so that no batch waits for another.

    They are written into one array: a tensor kept from each batch would keep the allocator from reusing its memory.
    """
    import torch

    score_rows = _row_scorer(detector, images, context)
    context.progress.plan({f"scoring {images.name}": len(images)})
    values = torch.empty(len(images), dtype=torch.float64, device=context.device)
    left, size = len(images), first_batch_size(context.device)
    with context.autocast():
        while left:
            try:
                done_before = len(images) - left
                for done, fitting in _put_values(values, score_rows, detector, images, context, done_before, size):
                    left, size = len(images) - done, fitting
            except (RuntimeError, MemoryError) as error:
                if min(size, left) == 1 or not is_out_of_memory(error):
                    raise
                size = smaller_batch_size(size, left)
    return values.cpu()


def _row_scorer(detector: Detector, images: ImageSet, context: Context) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return a function that takes a batch and the number of images before it, and returns the batch's scores."""
    if not isinstance(detector, PostHocDetector):
        return lambda batch, start: detector.score(batch)
    outputs = detector.fitted_base.outputs_of(images) if detector.has_base else {}

    def score_rows(batch: torch.Tensor, start: int) -> torch.Tensor:
        rows = {name: tensor[start : start + len(batch)].to(context.device) for name, tensor in outputs.items()}
        return detector.score_outputs(rows, batch)

    return score_rows


def _put_values(
    values: torch.Tensor,
    score_rows: Callable[[torch.Tensor, int], torch.Tensor],
    detector: Detector,
    images: ImageSet,
    context: Context,
    done: int,
    size: int,
) -> Iterator[tuple[int, int]]:
    """Score the images after the first ``done``; after each batch yield how many are done and the next batch size.

    Stops after the very first batch, which shows how large the others may be.
    """
    first = done == 0
    for batch in images.batches(size, context.device, skip=done):
        before = reset_peak_memory(context.device)
        got = score_rows(batch, done)
        _check_one_each(got, len(batch), detector, images)
        values[done : done + len(batch)] = got.detach()  # not under no_grad: a score may itself take gradients
        done += len(batch)
        context.progress.advance(f"scoring {images.name}", done / len(images), "", {})
        if first:
            size = next_batch_size(context.device, size, (peak_memory(context.device) - before) / len(batch))
        yield done, size
        if first:
            return


def _check_one_each(got: object, count: int, detector: Detector, images: ImageSet) -> None:
    import torch

    if not isinstance(got, torch.Tensor):
        raise ScoreError(f"{detector.name} gave a {type(got).__name__} for images of {images.name}, not a tensor (b,)")
    if got.is_complex():
        raise ScoreError(f"{detector.name} gave complex scores for images of {images.name}; a score is one real number")
    if got.shape != (count,):
        gave = f"{len(got):,} scores" if got.ndim == 1 else f"scores of shape {tuple(got.shape)}"
        raise ScoreError(f"{detector.name} gave {gave} for {count:,} images of {images.name}")
