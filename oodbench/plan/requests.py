"""A request: what to run, as a user writes it with flags or in a suite file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oodbench.errors import OODBenchError
from oodbench.text import shorten

MOST_SEEDS = 1000


@dataclass(frozen=True)
class RunRequest:
    """What to run, in the words of the command line and of a suite file; an empty field was not given.

    Args:
        covariates: covariate-shifted images of the in-data set, which count as in-distribution in full spectrum.
        sets: ``name=value`` for every requested detector that has the parameter, or ``detector.name=value`` for one
            detector. Where two set the same parameter, the later one counts.
        base_sets: settings of a suite for detectors that are not requested here. They apply where a requested detector
            has one of these as its base.
    """

    detectors: tuple[str, ...] = ()
    in_datasets: tuple[str, ...] = ()
    out_datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    preset: str = ""
    sets: tuple[str, ...] = ()
    precision: str = ""
    title: str = ""
    covariates: tuple[str, ...] = ()
    base_sets: tuple[str, ...] = ()

    def overridden_by(self, other: RunRequest) -> RunRequest:
        """Return this request with every field replaced that ``other`` gives; its settings come after these.

        If it gives another in-data set, the covariate-shifted images of the old one are dropped.
        """
        given = {name: value for name, value in vars(other).items() if value}
        if other.in_datasets and self.in_datasets not in ((), other.in_datasets):
            given.setdefault("covariates", ())
        dropped = set(self.detectors) - set(other.detectors) if other.detectors else set()
        kept = tuple(text for text in self.sets if text.partition(".")[0] not in dropped)
        base_sets = self.base_sets + tuple(text for text in self.sets if text not in kept)
        return replace(self, **given | {"sets": kept + other.sets, "base_sets": base_sets})


def override(requests: Sequence[RunRequest], options: RunRequest) -> list[RunRequest]:
    """Return the requests of a suite, overridden by the options of a command.

    Detectors that the suite names run with its settings, and only in the requests that name them. Any other detector
    runs in every request, without the request's settings: those are for the suite's own detectors and their bases.
    """
    if not options.detectors:
        return [request.overridden_by(options) for request in requests]
    named = {name for request in requests for name in request.detectors}
    others = tuple(name for name in options.detectors if name not in named)
    overridden: list[RunRequest] = []
    for request in requests:
        if own := tuple(name for name in options.detectors if name in request.detectors):
            overridden.append(request.overridden_by(replace(options, detectors=own)))
        if others:
            data = replace(request, detectors=(), sets=(), base_sets=request.base_sets + request.sets)
            overridden.append(data.overridden_by(replace(options, detectors=others)))
    return list(dict.fromkeys(overridden))


def first_seeds(count: int) -> tuple[int, ...]:
    """Return the seeds 0 to ``count`` - 1. Raises OODBenchError for a negative number, or one above MOST_SEEDS."""
    if not 0 <= count <= MOST_SEEDS:
        raise OODBenchError(f"seeds = {shorten(str(count))}: give a number of seeds from 1 to {MOST_SEEDS:,}")
    return tuple(range(count))
