"""``oodbench run``: fit, score, evaluate, and show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import (
    end,
    execution_options,
    print_json,
    progress_display,
    records,
    request_options,
    requests_from_options,
)

if TYPE_CHECKING:
    from oodbench.plan.requests import RunRequest
    from oodbench.plugin.registry import Registry
    from oodbench.runs.pipeline import ExecutionOptions, Outcome


@click.command()
@request_options
@execution_options
def command(options: ExecutionOptions, quiet: bool, as_json: bool, **given: Any) -> None:
    """Fit detectors, score data sets, and show the metrics.

    Every combination of detector, in-data set and seed is run. Runs already finished in the store are not repeated; an
    interrupted fit resumes. A SUITE file gives the same settings as these options; an option overrides the file. A
    --detector that the suite names runs as the suite says; any other runs on its data, with its preset and seeds.

    \b
    oodbench run --detector ae --in mnist5k:0,2-9 --out mnist5k:1 --out noise --preset quick
    oodbench run --detector ae --in cifar10 --out svhn --set latent_dim=64 --seeds 3 --jobs 3
    """
    from oodbench.runs import pipeline

    registry, requests = find_plugins(), requests_from_options(**given)
    with progress_display(quiet, _shorter(requests, options, registry), options.force) as progress:
        outcome = pipeline.run(*requests, options=options, progress=progress, registry=registry)
    if as_json:
        print_json(records(outcome.results))
    else:
        _print(outcome, options.store, registry)
    end(outcome.failures)


def _shorter(requests: list[RunRequest], options: ExecutionOptions, registry: Registry) -> str:
    """Return the options that would make these fits shorter, for the message about a long fit."""
    from oodbench.api.parameters import fields_by_path
    from oodbench.runs.pipeline import own_device

    named = {name for each in requests for name in each.detectors if registry.has_detector(name)}
    detectors = map(registry.detector, named)
    epochs = {name for detector in detectors for name in fields_by_path(detector.Params) if name.endswith("epochs")}
    ways = [
        "--preset quick" if any(each.preset != "quick" for each in requests) else "",
        *[f"--set {name}=…" for name in sorted(epochs)],
        "--precision bfloat16" if any(each.precision != "bfloat16" for each in requests) else "",
        "--device cuda" if own_device(options).type == "cpu" and not options.device.startswith("cuda") else "",
    ]
    return ", ".join(filter(None, ways))


def _print(outcome: Outcome, store: str, registry: Registry) -> None:
    from oodbench.api import SCORE_CONVENTION
    from oodbench.leaderboard.terminal import summary
    from oodbench.store.store import Store

    if len(outcome.results):
        echo(summary(outcome.results, registry.metrics.values()))
        echo(f"\n{SCORE_CONVENTION}")
    if outcome.keys:
        echo("Scores, weights, history and results:")
        for key in outcome.keys:
            echo(f"  {Store(store).where(key)}")
