"""``oodbench score``: score new images with a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import completion, echo, find_plugins
from oodbench.cli.options import (
    data_option,
    device_option,
    json_option,
    print_json,
    print_table,
    records,
    store_option,
)

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry
    from oodbench.runs.new_scores import NewScores, ScoringOptions
    from oodbench.store.selection import RunWords


DETECTOR_HELP = "Instead of RUN: its detector, by name or by file and class: ./my_method.py:MyMethod."


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[RUN] PICTURES...")
@click.option("--detector", default="", shell_complete=completion.detectors, help=DETECTOR_HELP)
@click.option("--in", "in_dataset", default="", help="Its in-data set, which need not be available.")
@click.option("--seed", type=click.IntRange(0), help="Its seed.")
@click.option("--preset", default="", help="Its preset.", shell_complete=completion.presets)
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="One of its parameters; repeats.")
@click.option("--precision", default="", metavar="float32|bfloat16", help="Its precision.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File for all scores: .csv or .parquet."
)
@click.option(
    "--fpr", default=0.05, show_default=True, type=float, help="Share of in-images that may be flagged by mistake."
)
@click.option(
    "--most", default=20, show_default=True, type=click.IntRange(1, 400), help="Number of most unusual images shown."
)
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Draw them: .png, .svg or .pdf.")
@click.option(
    "--split",
    default="test",
    show_default=True,
    type=click.Choice(["train", "validation", "test"]),
    help="Split of a data set.",
)
@click.option(
    "--damaged",
    default="refuse",
    show_default=True,
    type=click.Choice(["refuse", "skip"]),
    help="What to do with pictures that cannot be read; they are listed either way.",
)
@device_option
@data_option
@store_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
def command(
    words: tuple[str, ...],
    output: Path | None,
    fpr: float,
    most: int,
    sheet: Path | None,
    split: str,
    damaged: str,
    device: str,
    data_dir: Path | None,
    store: str,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Score new images with a finished run.

    RUN is a run's key (the name of its folder) or a unique prefix of it; --detector, --in and the like can select the
    run instead, as many as are needed to make it unique. The run's in-data set need not be available.

    PICTURES are picture files, and folders of them, of any size; or one data set, such as folder:PATH or npz:PATH. They
    are resized to the shape that the run was fitted to. Each image gets its score, its p-value (its rank among the test
    images of the run's in-data), and whether it is flagged: p at most --fpr. Nothing is written to the store, so no
    leaderboard changes.

    \b
    oodbench score ae-mnist5k new/ --output scores.csv
    oodbench score --detector ae --in mnist5k:0,2-9 npz:new.npz --most 20 --sheet unusual.png
    """
    from oodbench.runs.new_scores import ENDINGS, SHEET_ENDINGS, ScoringOptions, check_target, write_scores

    for path, endings in ((output, ENDINGS), (sheet, SHEET_ENDINGS)):
        if path is not None:
            check_target(path, endings)
    registry = find_plugins()
    run, images = _split_words(words, registry, **given)
    options = ScoringOptions(split, fpr, most, damaged == "skip")
    found = _score(run, images, registry, store, data_dir, device, quiet, options)
    for text in found.damaged:
        echo(f"Left out: {text}", err=True)
    if output:
        write_scores(found, output)
    if sheet:
        from oodbench.leaderboard.sheet import draw_sheet

        draw_sheet(found.most_images, found.table.iloc[found.most], sheet, f"most unusual for {found.run}")
    _print(found, as_json)
    for written in filter(None, [output, sheet]):
        echo(f"Written to {written}", err=True)


def _split_words(words: tuple[str, ...], registry: Registry, **given: Any) -> tuple[str | RunWords, tuple[str, ...]]:
    """Return which run is meant, and the images. A detector given by its file is registered under its own name."""
    from oodbench.data.loading import open_loader
    from oodbench.plan.settings import split_setting
    from oodbench.plugin.local_files import is_file_word
    from oodbench.store.selection import RunWords

    sets = given.pop("sets")
    if not sets and not any(value not in ("", None) for value in given.values()):
        if len(words) < 2:
            raise click.UsageError("give a RUN and PICTURES, or say which run with --detector, --in and the like")
        return words[0], words[1:]
    if is_file_word(given["detector"]):
        given["detector"] = registry.detector(given["detector"]).name
    if given["in_dataset"].partition(":")[0] in registry.datasets:  # else its plugin is not installed here
        given["in_dataset"] = open_loader(registry).canonical(given["in_dataset"])
    return RunWords(params=dict(split_setting("--set", text) for text in sets), **given), words


def _score(
    run: str | RunWords,
    images: tuple[str, ...],
    registry: Registry,
    store: str,
    data_dir: Path | None,
    device: str,
    quiet: bool,
    options: ScoringOptions,
) -> NewScores:
    from oodbench.data.loading import open_loader
    from oodbench.progress import RichProgress
    from oodbench.runs.devices import find_device
    from oodbench.runs.new_scores import score_new
    from oodbench.store.store import Store

    with RichProgress(quiet=quiet) as progress:
        loader = open_loader(registry, data_dir, progress)
        return score_new(run, images, Store(store), loader, find_device(device), progress, options)


def _print(found: NewScores, as_json: bool) -> None:
    flagged = int(found.table["flagged"].sum())
    if as_json:
        facts = {"run": found.run, "fpr": found.fpr, "in_images": found.in_count, "flagged": flagged}
        print_json({**facts, "damaged": list(found.damaged), "scores": records(found.table)})
        return
    print_table(map(_row, records(found.table.iloc[found.most])))
    whose = f"p ≤ {found.fpr:g} among {found.in_count:,} test images of the in-data"
    echo(f"\n{flagged:,} of {len(found.table):,} images flagged: {whose} of {found.run}")


def _row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "image": row["path"] or str(row["index"]),
        "score": f"{row['score']:.6g}",
        "p": f"{row['p_value']:.4g}",
        "flagged": "yes" if row["flagged"] else "",
    }
