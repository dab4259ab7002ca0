"""Step 2: a run → a fitted detector → the score of every image."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.api import SPLITS, Checkpoints, Context, Detector, ImageSet, Progress, Provenance, Run, Scores
from oodbench.errors import ScoreError
from oodbench.runs.devices import (
    device_name,
    first_batch_size,
    is_out_of_memory,
    next_batch_size,
    peak_memory,
    reset_peak_memory,
    smaller_batch_size,
    wait_for,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    from oodbench.plugin.registry import Registry


def run_key(run: Run, splits: Mapping[str, ImageSet]) -> str:
    """The run's key, from the images of all three splits of its in-data set."""
    return run.key(_images_of(splits))


def _images_of(splits: Mapping[str, ImageSet]) -> str:
    prints = "-".join(splits[split].fingerprint for split in SPLITS)
    return hashlib.sha256(prints.encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------- fit


@dataclass(frozen=True)
class FitResult:
    """A detector that was just fitted, with its record."""

    detector: Detector
    provenance: Provenance
    history: list[dict[str, Any]]


@dataclass
class ResumeAwareCheckpoints:
    """Checkpoints that know whether a fit went on from one."""

    checkpoints: Checkpoints
    saved: bool = field(default=False, init=False)
    resumed: bool = field(default=False, init=False)

    def save(self, state: dict[str, Any]) -> None:
        self.saved = True
        self.checkpoints.save(state)

    def load(self) -> dict[str, Any] | None:
        state = self.checkpoints.load()
        self.resumed = self.resumed or (state is not None and not self.saved)  # else it is this fit's own
        return state


def fit(
    run: Run,
    splits: Mapping[str, ImageSet],
    registry: Registry,
    device: torch.device,
    progress: Progress,
    checkpoints: Checkpoints,
    notes: Sequence[str] = (),
) -> FitResult:
    """Fit the run's detector to its in-data set. ``notes`` on the data go into the record."""
    watched = ResumeAwareCheckpoints(checkpoints)
    context = Context(device, run.seed, run.precision, progress, watched)
    if "OODBENCH_CHECKPOINT_SECONDS" in os.environ:  # so that a test need not wait for one
        context.checkpoint_seconds = float(os.environ["OODBENCH_CHECKPOINT_SECONDS"])
    reset_peak_memory(device)
    start = time.perf_counter()
    with repeatable(device):
        detector = new_detector(run, splits, registry).fit(splits["train"], splits["validation"], context)
    wait_for(device)
    seconds = time.perf_counter() - start
    parameters = sum(tensor.numel() for tensor in detector.state().values() if tensor.is_floating_point())
    resumed = ["went on from a checkpoint: its seconds count from there"] if watched.resumed else []
    provenance = Provenance(
        **software(run, registry),
        device=device_name(device),
        fit_seconds=seconds,
        peak_memory_mib=peak_memory(device) / 2**20,
        parameters=parameters,
        images={split: len(images) for split, images in splits.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        in_images=_images_of(splits),
        notes=[*notes, *context.notes, *resumed],
    )
    return FitResult(detector, provenance, context.history)


def new_detector(run: Run, splits: Mapping[str, ImageSet], registry: Registry) -> Detector:
    """The run's detector, not yet fitted."""
    detector = registry.detector(run.detector)
    return detector(detector.Params.model_validate_json(run.params), splits["train"].shape)


def software(run: Run, registry: Registry) -> dict[str, str]:
    """The versions of all that computes, and the commit."""
    import torch

    return {
        "oodbench": metadata.version("oodbench"),
        "plugin": registry.plugin_of["detector", run.detector],
        "plugin_version": run.version,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the checkout that oodbench runs from, ``-dirty`` if files were changed; empty if there is none."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return ""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside, a GPU uses algorithms that give the same numbers each time, where there are any; a CPU does anyway."""
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = filled


# ----------------------------------------------------------------------------------------- score


def score(detector: Detector, images: ImageSet, context: Context) -> Scores:
    """Score every image. Raises ScoreError unless the detector gives one finite number an image."""
    import torch

    start = time.perf_counter()
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
    )


def reconstruct(detector: Detector, images: np.ndarray, device: torch.device) -> np.ndarray | None:
    """What the detector makes of uint8 images (k, C, H, W), as float; None from one that does not reconstruct."""
    import torch

    made = detector.reconstruct(torch.from_numpy(images.copy()).to(device).float() / 255)
    return None if made is None else made.detach().float().cpu().numpy()


def _values(detector: Detector, images: ImageSet, context: Context) -> torch.Tensor:
    """All scores, float64 on the CPU. They stay on the device until the end: no batch waits for the one before.

    They are put into one array: what is kept of every batch would keep the allocator from using its memory again.
    """
    import torch

    context.progress.plan({f"scoring {images.name}": len(images)})
    values = torch.empty(len(images), dtype=torch.float64, device=context.device)
    left, size = len(images), first_batch_size(context.device)
    with context.autocast():
        while left:
            try:
                for done, fitting in _put_values(values, detector, images, context, len(images) - left, size):
                    left, size = len(images) - done, fitting
            except (RuntimeError, MemoryError) as error:
                if min(size, left) == 1 or not is_out_of_memory(error):
                    raise
                size = smaller_batch_size(size, left)
    return values.cpu()


def _put_values(
    values: torch.Tensor, detector: Detector, images: ImageSet, context: Context, done: int, size: int
) -> Iterator[tuple[int, int]]:
    """Go on after the first ``done`` values; after each batch how many there are, and how large the next may be.

    It ends after the first batch of all, which shows how large the others may be.
    """
    first = done == 0
    for batch in images.batches(size, context.device, skip=done):
        before = reset_peak_memory(context.device)
        got = detector.score(batch)
        _check_one_each(got, len(batch), detector, images)
        values[done : done + len(batch)] = got.detach()  # no no_grad around it: a score may itself take gradients
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
    if got.shape != (count,):
        gave = f"{len(got):,} scores" if got.ndim == 1 else f"scores of shape {tuple(got.shape)}"
        raise ScoreError(f"{detector.name} gave {gave} for {count:,} images of {images.name}")
