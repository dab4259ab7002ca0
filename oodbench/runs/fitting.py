"""Step 2: a run and the images of its in-data set → a fitted detector and its record."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.api import Checkpoints, Context, Detector, ImageSet, Progress, Provenance, Run
from oodbench.api.detector import check_fitted
from oodbench.errors import OODBenchError, reason
from oodbench.plan.tasks import images_hash, new_detector, title_of
from oodbench.runs.devices import device_name, peak_memory, reset_peak_memory, wait_for
from oodbench.runs.isolation import isolated
from oodbench.text import shorten

if TYPE_CHECKING:
    import torch

    from oodbench.plugin.registry import Registry
    from oodbench.runs.bases import StoredBase


BASE_FIT = "fit of the base"


@dataclass(frozen=True)
class FitResult:
    """A detector that was just fitted, with its record."""

    detector: Detector
    provenance: Provenance
    history: list[dict[str, Any]]


@dataclass
class ResumeAwareCheckpoints:
    """Checkpoints that record whether a fit resumed from one, and ignore one made with another fit of the base."""

    checkpoints: Checkpoints
    base_fit: str = ""
    saved: bool = field(default=False, init=False)
    resumed: bool = field(default=False, init=False)

    def save(self, state: dict[str, Any]) -> None:
        self.saved = True
        self.checkpoints.save({**state, BASE_FIT: self.base_fit} if self.base_fit else state)

    def load(self) -> dict[str, Any] | None:
        state = self.checkpoints.load()
        if state is not None and state.get(BASE_FIT, "") != self.base_fit:
            return None
        self.resumed = self.resumed or (state is not None and not self.saved)  # not if this fit saved it
        return state


def fit(
    run: Run,
    splits: Mapping[str, ImageSet],
    registry: Registry,
    device: torch.device,
    progress: Progress,
    checkpoints: Checkpoints,
    notes: Sequence[str] = (),
    base: StoredBase | None = None,
) -> FitResult:
    """Fit the run's detector to its in-data set, with its base if it has one. ``notes`` on the data are recorded."""
    watched = ResumeAwareCheckpoints(checkpoints, base.fit_id if base else "")
    context = Context(device, run.seed, run.precision, progress, watched)
    context.checkpoint_seconds = checkpoint_seconds(context.checkpoint_seconds)
    reset_peak_memory(device)
    start = time.perf_counter()
    with isolated(device, title_of(run)):
        detector = new_detector(run, splits["train"].shape, registry, base)
        reduced = detector.is_reduced(detector.params, detector.shape) or bool(base and base.provenance.reduced)
        detector = detector.fit(splits["train"], splits["validation"], context)
        check_fitted(run.detector, detector)
        wait_for(device)
        seconds = time.perf_counter() - start
        facts = _facts(detector, splits["test"], context)
    resumed = ["resumed from a checkpoint: its seconds count from there"] if watched.resumed else []
    provenance = Provenance(
        **software(run, registry),
        device=device_name(device),
        fit_seconds=seconds,
        peak_memory_mib=peak_memory(device) / 2**20,
        parameters=sum(tensor.numel() for tensor in detector.state().values() if tensor.is_floating_point()),
        images={split: len(images) for split, images in splits.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        in_images=images_hash(splits),
        shape=splits["train"].shape,
        reduced=reduced,
        facts={**(base.provenance.facts if base else {}), **facts},
        notes=[*_local_note(run), *notes, *context.notes, *resumed, *_remarks(detector, facts, base)],
        base_run=base.key if base else "",
        base_fit=base.fit_id if base else "",
    )
    return FitResult(detector, provenance, context.history)


def _facts(detector: Detector, test: ImageSet, context: Context) -> dict[str, float]:
    """Return the detector's facts as plain numbers. A bad fact is left out, with a note: it must not fail the fit."""
    facts: dict[str, float] = {}
    try:
        found = dict(detector.facts(test, context))
    except Exception as error:
        context.note(f"its facts could not be found ({reason(error)}), and are left out")
        found = {}
    for name, value in found.items():
        number = math.nan
        with suppress(Exception):  # tensors raise many kinds of errors
            number = float(value)
        if math.isfinite(number):
            facts[str(name)] = number
        else:
            context.note(f"its fact {name} is no finite number, and left out")
    return facts


def _local_note(run: Run) -> list[str]:
    return [f"its code is a local file, {run.distribution}, which no package has"] if run.is_local else []


KNOWN = "known of the method"


def _remarks(detector: Detector, facts: Mapping[str, float], base: StoredBase | None) -> list[str]:
    """Return notes on the fitted detector for readers: its facts, its known findings, its base and the base's notes."""
    remarks = [f"test {name} {value:.4g}" for name, value in facts.items()]
    remarks += [f"{KNOWN} ({check}): {why}" for check, why in detector.known_findings.items()]
    if base:
        run = base.run
        named = f"{run.detector} {run.version.partition('+')[0]}" + (f" ({run.preset})" if run.preset else "")
        remarks.append(f"stands on {named}, whose fit is not counted in its seconds")
        remarks += [f"{run.detector}: {note}" for note in base.provenance.notes if not note.startswith(KNOWN)]
    return remarks


def checkpoint_seconds(default: float) -> float:
    """Return the time between checkpoints: ``OODBENCH_CHECKPOINT_SECONDS`` if it is set, else the default.

    Raises OODBenchError where the variable is not a finite number of at least 0.
    """
    text = os.environ.get("OODBENCH_CHECKPOINT_SECONDS", "")
    if not text:
        return default
    with suppress(ValueError):
        if math.isfinite(float(text)) and float(text) >= 0:
            return float(text)
    raise OODBenchError(f"OODBENCH_CHECKPOINT_SECONDS is {shorten(repr(text))}: give a number of seconds from 0")


def software(run: Run, registry: Registry) -> dict[str, str]:
    """Return the versions and commits of all software that computes: field of Provenance → text."""
    import torch

    return {
        "oodbench": metadata.version("oodbench"),
        "plugin": registry.plugin_of["detector", run.detector],
        "plugin_version": run.version,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit_of(Path(__file__)),
        "plugin_commit": commit_of(registry.source("detector", run.detector).file),
    }


def commit_of(file: Path | None) -> str:
    """Return the commit of the repository that tracks the file, with ``-dirty`` if there are uncommitted changes.

    Empty where there is none, such as for an installed package, even if its environment lies inside a repository.
    """
    if file is None or not _git(file.parent, "ls-files", "--error-unmatch", file.name):
        return ""
    return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str:
    """Return what git prints; empty where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
