"""``oodbench publish``: add a store's results of a suite, with scores, to the suite's folder, and write its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodbench.cli import completion, echo, find_plugins
from oodbench.cli.options import counted, json_option, print_json, progress_display

if TYPE_CHECKING:
    from oodbench.leaderboard.publication import Merge

SHOWN = 5  # runs that a message names


@click.command()
@click.argument("store")
@click.argument("suite", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help="Publish this detector, with the suite's data and settings, instead of the suite's own detectors; repeats.",
    shell_complete=completion.detectors,
)
@click.option(
    "--drop",
    multiple=True,
    metavar="NAME",
    help="Leave out published runs: a run, a label or a detector; or 'older', those that the store has from newer code "
    "or with other parameters; repeats.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(
    store: str, suite: Path, detectors: tuple[str, ...], drop: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Publish a suite's results from a store, with their scores.

    SUITE is the folder of suite.toml; results.parquet, scores.parquet and the page README.md are written there.
    Runs published before are kept; those that the store has too are replaced (results of the same fit on other
    out-data are kept); --drop removes some. Intervals and tests are computed from the scores, which are published
    with them, so that `oodbench verify SUITE` can recompute every number.

    \b
    oodbench publish results leaderboards/mnist5k-ood
    oodbench publish results leaderboards/mnist5k-ood --detector my-method
    oodbench publish results leaderboards/mnist5k-ood --drop older
    """
    from oodbench.leaderboard import suite_folder

    registry = find_plugins()
    with progress_display(quiet) as progress:
        merged = suite_folder.publish(
            suite,
            store,
            registry,
            drop,
            lambda text: echo(text, err=True),
            counted(progress, "intervals and tests"),
            detectors,
        )
    print_merge(merged, suite, as_json)


def print_merge(merged: Merge, suite: Path, as_json: bool) -> None:
    """Print which runs of a suite were added, replaced, kept and dropped."""
    if as_json:
        names = ("added", "replaced", "kept", "dropped", "older", "lost", "uncomputed")
        print_json({name: list(getattr(merged, name)) for name in names})
        return
    counts = [f"{len(getattr(merged, what))} runs {what}" for what in ("added", "replaced", "kept", "dropped")]
    echo(f"{suite}: {', '.join(counts)}")
    if (merged.added or merged.replaced) and (suite / "notes.md").exists():
        echo(f"{suite / 'notes.md'} was written without these runs: it may need an update", err=True)
    if merged.uncomputed and (merged.added or merged.replaced or merged.dropped):
        echo(
            f"{', '.join(merged.uncomputed)}: the code of these metrics is not installed here, so that what came in "
            "has no intervals of them, and no test of theirs is of the new table; publish again where it is installed",
            err=True,
        )
    if merged.lost:
        places = ", ".join(f"{run} on {out_dataset}" for run, out_dataset in merged.lost[:SHOWN])
        more = f" and {len(merged.lost) - SHOWN} more" if len(merged.lost) > SHOWN else ""
        echo(f"Left out, as the replaced runs were of another fit or dropped: {places}{more}", err=True)
    if merged.dropped:
        more = f" and {len(merged.dropped) - SHOWN} more" if len(merged.dropped) > SHOWN else ""
        echo(f"Dropped: {', '.join(merged.dropped[:SHOWN])}{more}", err=True)
    if merged.older:
        echo(
            f"{len(merged.older)} of those kept are of other code or parameters than a run that came in with the same "
            f"detector, preset, in-data and seed, such as {merged.older[0]}; --drop older leaves them out",
            err=True,
        )
