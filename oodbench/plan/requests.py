"""A request: what to run, as a user says it with flags or in a suite file."""

from __future__ import annotations

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

    def overridden_by(self, other: RunRequest) -> RunRequest:
        """Return this request with every field that ``other`` gives replaced; its settings come after these.

        Where it gives another in-data set, the covariate-shifted images of this one's go too.
        """
        given = {name: value for name, value in vars(other).items() if value}
        if other.in_datasets and self.in_datasets not in ((), other.in_datasets):
            given.setdefault("covariates", ())
        dropped = set(self.detectors) - set(other.detectors) if other.detectors else set()
        kept = tuple(text for text in self.sets if text.partition(".")[0] not in dropped)
        return replace(self, **given | {"sets": kept + other.sets})


def first_seeds(count: int) -> tuple[int, ...]:
    """Return the seeds 0 to ``count`` - 1. Raises OODBenchError where these are more than anyone can run."""
    if not 0 <= count <= MOST_SEEDS:
        raise OODBenchError(f"seeds = {shorten(str(count))}: give a number of seeds from 1 to {MOST_SEEDS:,}")
    return tuple(range(count))
