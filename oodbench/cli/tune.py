"""``oodbench tune``: choose parameters by a validation out-data set."""

from __future__ import annotations

from statistics import stdev
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import completion, echo, find_plugins
from oodbench.cli.options import (
    end,
    execution_options,
    print_json,
    print_table,
    progress_display,
    records,
    requests_from_options,
    variant_options,
)

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry
    from oodbench.runs.pipeline import ExecutionOptions
    from oodbench.runs.tuning import Point, Tuned


@click.command()
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    help="Name of the detector, or its file and class.",
    shell_complete=completion.detectors,
)
@click.option(
    "--in",
    "in_datasets",
    multiple=True,
    help="In-distribution data set, as in mnist or mnist:0-8.",
    shell_complete=completion.in_datasets,
)
@click.option(
    "--val-out",
    required=True,
    help="Out-of-distribution data set whose validation split decides which parameters are chosen.",
    shell_complete=completion.datasets,
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=A,B,…",
    help="Values to try for a parameter; repeats, and then every combination is tried.",
)
@variant_options
@execution_options
def command(
    val_out: str, grid: tuple[str, ...], options: ExecutionOptions, quiet: bool, as_json: bool, **given: Any
) -> None:
    """Choose parameters by a validation out-data set, then score the chosen.

    Every point of the grid is fitted. The point with the highest AUROC of --val-out against the in-data, on their
    validation splits, mean over the seeds, is chosen; of equal points, the first. Only the chosen point is scored on
    test splits, those of each --out. A --val-out that shares images with the in-data or with an --out is refused. Runs
    already finished in the store are not repeated; an interrupted fit resumes.

    \b
    oodbench tune --detector ebae --in mnist --val-out constant --grid latent_dim=2,4,8,16,32,64,128,256 --out noise
    oodbench tune --detector ae --in mnist5k:0-8 --val-out noise --grid latent_dim=2,16 --out mnist5k:9 --preset quick
    """
    from oodbench.runs.tuning import tune

    (request,) = requests_from_options(None, **given)
    registry = find_plugins()
    with progress_display(quiet, force=options.force) as progress:
        tuned = tune(request, val_out, grid, options=options, progress=progress, registry=registry)
    if as_json:
        print_json({"tuning": tuned.record, "results": records(tuned.results)})
    else:
        _print(tuned, registry)
    end(tuned.failures)


def _print(tuned: Tuned, registry: Registry) -> None:
    from oodbench.api import SCORE_CONVENTION
    from oodbench.leaderboard.terminal import summary

    print_table(_row(point, point is tuned.chosen) for point in tuned.points)
    echo(f"\n{_how_chosen(tuned)}\nThe choice and its evidence: {tuned.where}")
    if len(tuned.results):
        echo(f"\n{summary(tuned.results, registry.metrics.values())}\n\n{SCORE_CONVENTION}")
    elif tuned.chosen and not tuned.record["outs"]:
        echo("No test split was scored, as no --out was named.")


def _row(point: Point, chosen: bool) -> dict[str, str]:
    """Return a row of the table, with four decimals, as on easy out-data many points are close to 1."""
    aurocs = [auroc for auroc in point.runs.values() if auroc is not None]
    text = "failed" if point.auroc is None else f"{point.auroc:.4f}"
    if point.auroc is not None and len(aurocs) > 1:
        text += f" ± {stdev(aurocs):.4f}"
    return {**point.settings, "validation auroc ↑": text, "": "← chosen" if chosen else ""}


def _how_chosen(tuned: Tuned) -> str:
    """Return one line: which images decided, how many points failed, and whether several points are equally good."""
    record = tuned.record
    inside, outside = (record["validation"][side]["dataset"] for side in ("in", "out"))
    seeds = ", ".join(map(str, record["seeds"]))
    over = "mean over seeds" if len(record["seeds"]) > 1 else "seed"
    parts = [f"AUROC of {inside} against {outside}, validation splits, {over} {seeds}"]
    finished = [point for point in tuned.points if point.auroc is not None]
    if len(finished) < len(tuned.points):
        failed = len(tuned.points) - len(finished)
        parts.append(f"{failed} of {len(tuned.points)} points failed and took no part in the choice")
    if tuned.chosen is None:
        return "; ".join([*parts, "nothing could be chosen"]) + "."
    equals = sum(point.auroc == tuned.chosen.auroc for point in finished)
    if equals > 1:
        parts.append(f"{equals} points are equal, of which the first was chosen")
    return "; ".join(parts) + "."
