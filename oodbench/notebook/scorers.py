"""Fitted detectors that score arrays, whether they come from a fit, a store, or a file."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Context, Detector, Params, Progress, Shape, shape_text
from oodbench.errors import OODBenchError
from oodbench.notebook.arrays import Layout, image_set
from oodbench.notebook.saved import open_saved, read_detector, write_detector
from oodbench.plugin.registry import load_registry
from oodbench.runs.devices import find_device
from oodbench.runs.isolation import isolated
from oodbench.runs.scoring import score
from oodbench.store.records import FitFacts
from oodbench.text import shorten

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch


def load_detector(
    path: str | os.PathLike[str], *, file: str = "", device: str = "auto", quiet: bool = False
) -> ArrayScorer:
    """Return the fitted detector of a file that ``save`` wrote.

    Its scores are those of the saved detector, to the last bit on the same device with the same number of threads.
    Nothing in the file is executed: the code is that of the installed plugin, which must be of the saved version.

    Args:
        file: file and class of a detector in a user's own file: ``./my_method.py:MyMethod``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        quiet: show no progress.

    Raises OODBenchError where the file is missing, damaged or no saved detector, and where the installed code is not
    the detector's.
    """
    facts, states = read_detector(Path(path))
    registry = load_registry(files=[file] if file else ())
    run = facts.run
    context = Context(find_device(device), run.seed, run.precision)
    try:
        fitted = open_saved(run, facts.shape, states, registry, context)
    except OODBenchError as error:
        raise OODBenchError(f"{shorten(os.fspath(path))} cannot be used here: {error}") from None
    return ArrayScorer(run.detector, context.device, run.seed, run.precision, quiet, fitted, facts)


class ArrayScorer:
    """A detector that scores arrays; ``StoreReader.detector`` opens one from a run, ``load_detector`` from a file."""

    def __init__(
        self,
        name: str,
        device: torch.device,
        seed: int,
        precision: str,
        quiet: bool,
        fitted: Detector | None = None,
        facts: FitFacts | None = None,
    ):
        self.name = name
        self.seed, self.precision = seed, precision
        self.device, self.quiet = device, quiet
        self._fitted, self._facts = fitted, facts
        self.notes: list[str] = list(facts.notes) if facts else []
        """What went wrong or was unusual in the fit."""

    @property
    def fitted(self) -> Detector:
        """The fitted detector itself, of the class that its plugin offers. Raises OODBenchError before ``fit``."""
        if self._fitted is None:
            raise OODBenchError(f"{self.name} is not fitted yet: call fit(images) first")
        return self._fitted

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the images that it was fitted to."""
        return self.fitted.shape

    @property
    def params(self) -> Params:
        """All parameters of the fit."""
        params: Params = self.fitted.params
        return params

    def score(self, images: Any, *, layout: Layout | None = None) -> np.ndarray:
        """Return the score of every image, float64 (n,); higher is more out-of-distribution.

        Args:
            images: of the shape that it was fitted to (see ``fit``), or an ImageSet.
            layout: ``NCHW`` or ``NHWC``, where the shape leaves it open.

        Raises DataError where the images are invalid, ScoreError unless the detector gives each a finite score.
        """
        detector = self.fitted
        given = image_set(images, split="test", layout=layout, expected=detector.shape)
        with progress_display(self.quiet) as progress:
            return score(detector, given, self._context(progress)).values

    def reconstruct(self, images: Any, *, layout: Layout | None = None) -> np.ndarray | None:
        """Return reconstructions, float32 (n, C, H, W) in [0, 1]; None from a detector that makes none.

        Raises DataError as ``score`` does.
        """
        import torch

        detector, parts = self.fitted, []
        given = image_set(images, split="test", layout=layout, expected=detector.shape)
        with isolated(self.device, self.name), torch.no_grad():
            for batch in given.batches(256, self.device):
                made = detector.reconstruct(batch)
                if made is None:
                    return None
                parts.append(made.float().cpu().numpy())
        return np.concatenate(parts)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted detector to one file, such as ``digits.safetensors``; ``load_detector`` reads it.

        The file has what was learned, also by the base if there is one, as safetensors. Its header has, as JSON, the
        detector's name, package, version and parameters, the shape of the images, the seed, and versions of software.

        Args:
            overwrite: replace an existing file.

        Raises OODBenchError before ``fit``, where the path exists already, and where it cannot be written to.
        """
        write_detector(Path(path), self.fitted, self._fit_facts(), overwrite)

    def _fit_facts(self) -> FitFacts:
        assert self._facts is not None, "a fitted detector comes with them"
        return self._facts

    def _context(self, progress: Progress) -> Context:
        return Context(self.device, self.seed, self.precision, progress)

    def __repr__(self) -> str:
        state = "not fitted" if self._fitted is None else f"fitted to images of {shape_text(self.shape)}"
        return f"<{self.name}, {state}>"


def progress_display(quiet: bool) -> AbstractContextManager[Progress]:
    """Return a context in which progress is shown on stderr, unless ``quiet``."""
    if quiet:
        return nullcontext(Progress())
    from oodbench.progress import RichProgress

    return RichProgress()
