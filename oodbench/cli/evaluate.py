"""``oodbench evaluate``: recompute metrics from stored scores."""

from __future__ import annotations

import click

from oodbench.cli import echo, find_plugins
from oodbench.cli.options import (
    chosen_metrics,
    end,
    json_option,
    metric_option,
    print_json,
    records,
    store_option,
)


@click.command()
@store_option
@metric_option
@json_option
def command(store: str, metrics: tuple[str, ...], as_json: bool) -> None:
    """Recompute metrics from stored scores.

    Use it for a new metric, or one whose plugin has changed. Nothing is fitted or scored.
    """
    registry = find_plugins()
    chosen = chosen_metrics(registry, metrics)

    from oodbench.api import SCORE_CONVENTION
    from oodbench.api.full_spectrum import PREFIX, with_full_spectrum
    from oodbench.leaderboard.terminal import summary
    from oodbench.runs.recomputing import recompute_store

    outcome = recompute_store(store, chosen, registry)
    names = with_full_spectrum({metric.name: metric for metric in chosen}, set(outcome.results["metric"]))
    results = outcome.results[outcome.results["metric"].isin(names)]
    if as_json:
        print_json(records(results))
    elif len(results):
        shown = dict.fromkeys(metric.name.removeprefix(PREFIX) for metric in chosen)
        echo(summary(results, map(registry.metric, shown)))
        echo(f"\n{SCORE_CONVENTION}")
    elif not outcome.failures:
        echo(f"There are no results of {', '.join(names)}: no run has covariate-shifted images.", err=True)
    end(outcome.failures)
