"""Options that several commands share, conversion of their values, and printing of results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import INTERRUPTED, completion, echo
from oodbench.plan.requests import MOST_SEEDS, RunRequest, override
from oodbench.text import printable_json

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.api import Metric, Progress
    from oodbench.plugin.registry import Registry
    from oodbench.runs.task_runner import Failure

JSON_STREAM = f"{__name__}.json"
"""Key, in the context's ``meta``, of the stream that JSON is printed to."""

RESUMES = "The same command resumes from the last checkpoint."
FORCED = "The same command starts over; without --force it resumes from the last checkpoint, and finished runs stay."

VARIANT_OPTIONS = (
    click.option(
        "--out",
        "out_datasets",
        multiple=True,
        help="Out-of-distribution data set; repeats.",
        shell_complete=completion.datasets,
    ),
    click.option(
        "--seed", "seeds", multiple=True, type=click.IntRange(0), help="Seed of a run; repeats.  [default: 0]"
    ),
    click.option(
        "--seeds", "count", type=click.IntRange(1, MOST_SEEDS), help="Number of seeds: 3 means the seeds 0, 1 and 2."
    ),
    click.option(
        "--preset",
        default="",
        help="Named set of parameters: quick, paper, or another that the detector has.  [default: paper]",
        shell_complete=completion.presets,
    ),
    click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="A parameter: latent_dim=32; repeats."),
    click.option(
        "--precision",
        default="",
        metavar="float32|bfloat16",
        help="Precision of matrix products and convolutions.  [default: float32]",
        shell_complete=completion.precisions,
    ),
)
REQUEST_OPTIONS = (
    click.argument("suite", required=False, type=click.Path(path_type=Path)),
    click.option(
        "--detector",
        "detectors",
        multiple=True,
        help="Name of a detector, or a file and class: ./my_method.py:MyMethod; repeats.",
        shell_complete=completion.detectors,
    ),
    click.option(
        "--in",
        "in_datasets",
        multiple=True,
        help="In-distribution data set, such as mnist, mnist:0-8 or folder:PATH; repeats.",
        shell_complete=completion.in_datasets,
    ),
    click.option(
        "--covariate",
        "covariates",
        multiple=True,
        help="Covariate-shifted images of the in-data set: full-spectrum metrics count them as in-distribution, too; "
        "repeats.",
        shell_complete=completion.datasets,
    ),
    *VARIANT_OPTIONS,
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:1", help="Device to compute on."
)
store_option = click.option(
    "--store",
    default="results",
    envvar="OODBENCH_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder or fsspec address of the store, which keeps all runs and their results.",
)
data_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="OODBENCH_DATA",
    show_envvar=True,
    help="Folder of the data sets' files.  [default: your user data folder]",
)


def _keep_stdout(ctx: click.Context, option: click.Parameter, as_json: bool) -> bool:
    """Reserve stdout for ``print_json`` while the command runs: what plugins print there goes to stderr."""
    if as_json:
        ctx.meta[JSON_STREAM] = sys.stdout
        ctx.with_resource(redirect_stdout(sys.stderr))
    return as_json


json_option = click.option("--json", "as_json", is_flag=True, is_eager=True, callback=_keep_stdout, help="Print JSON.")
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    help="Number of runs at once, each in its own process with a share of the cores or GPUs.  [default: 1; with "
    "another executor than local, as many as there is room for]",
)
EXECUTION_OPTIONS = (
    device_option,
    jobs_option,
    click.option(
        "--executor",
        "executor",
        default="",
        help="Where runs are executed: local, or an executor of a plugin, such as ray or slurm.  [default: local]",
        shell_complete=completion.executors,
    ),
    click.option(
        "--executor-set",
        "executor_sets",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the executor: gpus=.5; repeats. `oodbench show ray` lists them.",
    ),
    data_option,
    store_option,
    click.option("--force", is_flag=True, help="Repeat everything, including finished runs."),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
    json_option,
)
metric_option = click.option(
    "--metric", "metrics", multiple=True, help="Only this metric; repeats.", shell_complete=completion.metrics
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and options that say what to run; ``requests_from_options`` reads their values."""
    return _with(REQUEST_OPTIONS, command)


def variant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``request_options`` without suite, detector and in-data set."""
    return _with(VARIANT_OPTIONS, command)


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where and how to run; the command receives them as ``options``, an ExecutionOptions."""

    @wraps(command)
    def with_options(**given: Any) -> None:
        from oodbench.plan.executors import NO_CHOICE, choose_executor
        from oodbench.plan.suite_files import read_suite_file
        from oodbench.runs.pipeline import ExecutionOptions
        from oodbench.runs.waiting import wait_asleep_if_busy

        wait_asleep_if_busy()
        suite = read_suite_file(given["suite"]).executor if given.get("suite") else NO_CHOICE
        executor, settings = choose_executor(given.pop("executor"), given.pop("executor_sets"), suite)
        names = ("store", "data_dir", "device", "jobs", "force")
        options = {name: given.pop(name) for name in names}
        command(options=ExecutionOptions(**options, executor=executor, executor_settings=settings), **given)

    return _with(EXECUTION_OPTIONS, with_options)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def requests_from_options(
    suite: Path | None, seeds: tuple[int, ...], count: int | None, **given: str | tuple[str, ...]
) -> list[RunRequest]:
    """Return the requests of the suite file, overridden by the options; without a suite, that of the options alone."""
    from oodbench.plan.suite_files import read_suite

    if count and seeds:
        raise click.UsageError("give --seed or --seeds, not both")
    request = RunRequest(seeds=seeds or tuple(range(count or 0)), **given)  # type: ignore[arg-type]
    return override(read_suite(suite), request) if suite else [request]


@contextmanager
def progress_display(quiet: bool, shorter: str = "", force: bool = False) -> Iterator[Progress]:
    """Return a context that shows progress. Ctrl-C in it ends the command with a message on how to resume.

    Args:
        shorter: options that would make a long fit shorter, for the message about it.
        force: whether the same command would start over.
    """
    from oodbench.progress import RichProgress

    try:
        with RichProgress(shorter, quiet) as progress:
            yield progress
    except KeyboardInterrupt:
        echo(f"\nInterrupted. {FORCED if force else RESUMES}", err=True)
        click.get_current_context().exit(INTERRUPTED)


def counted(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Plan one phase of work, and return a function to call with the number of parts done and the total."""
    progress.plan({what: 1.0})
    return lambda done, total: progress.advance(what, done / max(total, 1), "", {})


def chosen_metrics(registry: Registry, names: Sequence[str]) -> list[Metric]:
    """Return the metrics of these names; all metrics if there are no names."""
    return [registry.metric(name) for name in names] or list(registry.metrics.values())


def print_json(record: Any) -> None:
    ctx = click.get_current_context(silent=True)
    stream = ctx.meta.get(JSON_STREAM) if ctx else None
    click.echo(printable_json(json.dumps(record, indent=2, ensure_ascii=False, default=str)), file=stream)


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    from tabulate import tabulate

    echo(tabulate(list(rows), headers="keys", disable_numparse=True))


def end(failures: Sequence[Failure]) -> None:
    """Print the failures on stderr and end the command, with exit code 1 if there are any."""
    for failure in failures:
        where = " → ".join(filter(None, [failure.run, failure.out_dataset]))
        echo(f"Failed: {where}: {failure.error}", err=True)
    click.get_current_context().exit(1 if failures else 0)


def records(results: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON, with full precision; NaN becomes None."""
    rows = results.astype(object).where(results.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
