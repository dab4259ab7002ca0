"""Requests → tasks: each is one fit and all data sets that it scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from oodbench.api import SPLITS, Context, Detector, FittedBase, ImageSet, Run, Shape
from oodbench.errors import OODBenchError, UnknownName
from oodbench.plan.bases import Configurator, bases_of
from oodbench.plan.requests import RunRequest
from oodbench.plan.settings import OnUnmatched, UnmatchedSettings, check_used, values_by_detector
from oodbench.text import shorten

if TYPE_CHECKING:
    import torch

    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Task:
    """One run and the out-data sets that it scores: one fit, however many they are.

    Args:
        out_datasets: empty for a base that is fitted only for other runs: it scores nothing.
        split: which split of the in- and out-data is scored; only ``test`` yields results.
        covariates: covariate-shifted images of the in-data, scored too: with them there are also full-spectrum results.
    """

    run: Run
    out_datasets: tuple[str, ...]
    split: str = "test"
    covariates: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[str, ...]:
        """All data sets that it scores, except the in-data."""
        return (*self.out_datasets, *self.covariates)

    @property
    def title(self) -> str:
        """The run's name in messages: ``ae on mnist5k:0-8, latent_dim=8, seed 0``."""
        return title_of(self.run)


def title_of(run: Run) -> str:
    """Return the run's name in messages: ``ae on mnist5k:0-8, latent_dim=8, seed 0``."""
    settings = run.preset.partition(", ")[2]
    return ", ".join(
        filter(None, [f"{run.detector} on {shorten(run.in_dataset)}", shorten(settings), f"seed {run.seed}"])
    )


def plan(
    requests: Iterable[RunRequest],
    registry: Registry,
    loader: Loader,
    split: str = "test",
    on_skip: Callable[[str], None] = lambda text: None,
) -> list[Task]:
    """Return a task for every combination that the requests name, each run once.

    Where there are several in- and out-data sets, a pair that shares classes is left out: ``on_skip`` is called with a
    message.

    Raises OODBenchError at the first invalid word.
    """
    out_datasets_by_run: dict[Run, list[str]] = {}
    covariates_by_run: dict[Run, tuple[str, ...]] = {}
    requests = [canonical_words(request, loader) for request in requests]
    unmatched = UnmatchedSettings(requests)
    for request in requests:
        covariates = _check_covariates(request, loader, split)
        for run, out_datasets in _runs(request, registry, loader, split, on_skip, partial(unmatched.add, request)):
            out_datasets_by_run.setdefault(run, []).extend(out_datasets)
            if covariates_by_run.setdefault(run, covariates) != covariates:
                raise OODBenchError(f"{title_of(run)} is asked for twice, and not with the same --covariate: give one")
    unmatched.check()
    _check_apart(out_datasets_by_run, covariates_by_run, loader)
    return [
        Task(run, tuple(dict.fromkeys(names)), split, covariates_by_run[run])
        for run, names in out_datasets_by_run.items()
    ]


def canonical_words(request: RunRequest, loader: Loader) -> RunRequest:
    """Return the request with each data set's name in canonical form, so that the same images are one run."""
    return replace(
        request,
        in_datasets=tuple(map(loader.canonical, request.in_datasets)),
        out_datasets=tuple(map(loader.canonical, request.out_datasets)),
        covariates=tuple(map(loader.canonical, request.covariates)),
    )


def with_bases(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks and those of their bases, each once and after its own bases."""
    requested = {task.run: task for task in tasks}
    ordered: dict[Run, Task] = {}
    for task in tasks:
        for run in (*bases_of(task.run), task.run):
            ordered.setdefault(run, requested.get(run) or Task(run, (), task.split))
    return list(ordered.values())


def _runs(
    request: RunRequest,
    registry: Registry,
    loader: Loader,
    split: str,
    on_skip: Callable[[str], None],
    on_unmatched: OnUnmatched,
) -> list[tuple[Run, Sequence[str]]]:
    """Return the runs of a request, each with the out-data sets that it scores."""
    _check_given(request)
    detectors = {detector.name: detector for detector in map(registry.detector, request.detectors)}
    out_datasets = _check_datasets(request, loader, split, on_skip)
    settings = values_by_detector(request.sets, detectors, registry, on_unmatched)
    inherited = values_by_detector(request.base_sets, {}, registry, on_unmatched=lambda path, error: None)
    of_all = {name: inherited.get(name, {}) | settings.get(name, {}) for name in {*inherited, *settings}}
    used: dict[str, set[str]] = {}
    runs: list[tuple[Run, Sequence[str]]] = []
    for in_name, detector in product(request.in_datasets, detectors.values()):
        shape = loader.shape(in_name)
        if shape is None:
            how = f", or name it as {shorten(in_name)}@32x32x3" if loader.find(in_name)[0].location else ""
            raise OODBenchError(
                f"{in_name} has no one shape, so that nothing can be fitted to it: resize its images{how}"
            )
        configuration = Configurator(request.preset or "paper", shape, of_all, registry).configure(detector)
        for each in configuration.chain:
            used.setdefault(each.detector.name, set()).update(each.settings)
        precision = request.precision or "float32"
        made = [configuration.run(in_name, seed, precision, registry) for seed in request.seeds or (0,)]
        runs += [(run, out_datasets[in_name]) for run in made]
    check_used(settings, detectors, used, on_unmatched)
    return runs


def _check_given(request: RunRequest) -> None:
    required = {"--detector": request.detectors, "--in": request.in_datasets, "--out": request.out_datasets}
    for flag, names in required.items():
        if not names:
            raise OODBenchError(f"name at least one {flag}, or a suite file that does")
    if request.precision and request.precision not in PRECISIONS:
        raise UnknownName("precision", request.precision, PRECISIONS)
    for seed in request.seeds:
        if not 0 <= seed < 2**63:
            raise OODBenchError(f"a seed is a whole number from 0, not {seed}")


def _check_datasets(
    request: RunRequest, loader: Loader, split: str, on_skip: Callable[[str], None]
) -> dict[str, list[str]]:
    """Return in-data set → the out-data sets that share no class with it.

    A pair that shares classes is left out if each of the two has another partner; ``on_skip`` is called with a message.
    Raises DataError where a data set lacks a split, OODBenchError where one would be left without a partner.
    """
    for name in request.in_datasets:
        for each in SPLITS:
            loader.check(name, each)
    for name in request.out_datasets:
        loader.check(name, split)
    pairs = list(dict.fromkeys(product(request.in_datasets, request.out_datasets)))
    sharing = [pair for pair in pairs if loader.share_classes(*pair)]
    apart = [pair for pair in pairs if pair not in sharing]
    for in_name, out_name in sharing:
        if in_name not in {name for name, _ in apart} or out_name not in {name for _, name in apart}:
            flag = "--out" if split == "test" else "--val-out"
            other = "choose others, as in mnist:0-8 and mnist:9"
            raise OODBenchError(f"{flag} {shorten(out_name)} shares classes with --in {shorten(in_name)}; {other}")
        on_skip(f"left out: {shorten(in_name)} against {shorten(out_name)}, which shares classes with it")
    return {name: [out_name for in_name, out_name in apart if in_name == name] for name in request.in_datasets}


def _check_covariates(request: RunRequest, loader: Loader, split: str) -> tuple[str, ...]:
    """Return the covariate-shifted sets, sorted.

    Raises OODBenchError for one that is unknown, or that shares classes with an in-data set.
    """
    names = tuple(sorted(set(request.covariates)))
    for name in names:
        loader.check(name, split)
        for in_name in request.in_datasets:
            if loader.share_classes(in_name, name):
                itself = f"is the in-data set itself, or shares classes with --in {shorten(in_name)}"
                raise OODBenchError(f"--covariate {shorten(name)} {itself}: name shifted images of it")
    return names


def _check_apart(
    out_datasets: Mapping[Run, Sequence[str]], covariates: Mapping[Run, Sequence[str]], loader: Loader
) -> None:
    """Raise OODBenchError where a covariate-shifted set shares classes with out-data, or has several in-data sets."""
    pairs = [pair for run, names in covariates.items() for pair in product(names, out_datasets[run])]
    for name, out_name in dict.fromkeys(pairs):
        if loader.share_classes(name, out_name):
            other = f", and --out {shorten(out_name)} shares classes with it" if out_name != name else ""
            raise OODBenchError(f"{shorten(name)} cannot be --out and --covariate at once{other}: choose one")
    in_datasets: dict[str, set[str]] = {}
    for run, names in covariates.items():
        for name in names:
            in_datasets.setdefault(name, set()).add(run.in_dataset)
            if len(in_datasets[name]) > 1:
                both = " and ".join(map(shorten, sorted(in_datasets[name])))
                raise OODBenchError(f"--covariate {shorten(name)} is named for {both}: it is of one in-data set only")


# ------------------------------------------------------------------------------------ identity


def run_key(run: Run, splits: Mapping[str, ImageSet]) -> str:
    """Return the run's key, which depends on the images of all three splits of its in-data set."""
    return run.key(images_hash(splits))


def images_hash(splits: Mapping[str, ImageSet]) -> str:
    """Return one hash of the fingerprints of all three splits: 16 hexadecimal digits."""
    prints = "-".join(splits[split].fingerprint for split in SPLITS)
    return hashlib.sha256(prints.encode()).hexdigest()[:16]


def load_detector(
    run: Run,
    splits: Mapping[str, ImageSet],
    registry: Registry,
    read_state: Callable[[str], dict[str, torch.Tensor]],
    context: Context,
) -> Detector:
    """Return the run's fitted detector, with its fitted base if it has one.

    Args:
        read_state: called with a run's key, returns what the run learned.
        context: has the device, and the precision of the base's outputs.
    """
    below, base = run.base, None
    if below:
        base = FittedBase(lambda: load_detector(below, splits, registry, read_state, context), context)
    detector = new_detector(run, splits["train"].shape, registry, base)
    detector.load_state(read_state(run_key(run, splits)))
    return detector


def new_detector(run: Run, shape: Shape, registry: Registry, base: FittedBase | None = None) -> Detector:
    """Return the run's detector for images of this shape, not yet fitted, with its base.

    Raises OODBenchError where this process has other code than the run's.
    """
    if run.detector not in registry.detector_names:
        raise OODBenchError(f"the run is of {run.detector} of {run.origin}, which is not installed or not named here")
    detector, source = registry.detector(run.detector), registry.source("detector", run.detector)
    if (source.code_version, source.distribution) != (run.version, run.distribution):
        raise OODBenchError(
            f"{run.detector} is {source.distribution} {source.code_version} here, and the run is of "
            f"{run.distribution} {run.version}: scores of one run come from one code; run it again with this code"
        )
    made = detector(detector.Params.model_validate_json(run.params), shape)
    if base is not None:
        made.fitted_base = base
    return made
