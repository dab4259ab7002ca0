"""``oodbench check NAME``: does a detector, data set or metric keep its contract?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodbench.cli import completion, find_plugins
from oodbench.cli.options import data_option, json_option, print_json, print_table

if TYPE_CHECKING:
    from oodbench.api import Detector, Shape
    from oodbench.plugin.registry import Registry

GREY_AND_COLOUR = ((1, 28, 28), (3, 32, 32))

Check = Callable[[Any], None]
Cases = Mapping[str, Any]
"""Shape → what is checked; of data sets and metrics, which have one case, the shape is empty."""


@click.command()
@click.argument("name", shell_complete=completion.anything)
@click.option(
    "--shape", "shapes", multiple=True, metavar="CxHxW", help="As in 1x28x28; repeats.  [default: all it takes]"
)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; repeats.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="A parameter: latent_dim=8; repeats.")
@data_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    shapes: tuple[str, ...],
    only: tuple[str, ...],
    sets: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Check that a detector, data set or metric keeps its contract.

    It ends with 1 if that is not so. A detector is fitted with its preset quick, and less of it: a parameter named
    epochs or steps is at most 4, a batch_size at most 16, and there are 512 images. --set overrides this.
    """
    checks, cases = find(name, find_plugins(), shapes, sets, data_dir)
    rows = list(check_results(_chosen(checks, only), cases))
    if as_json:
        print_json(rows)
    else:
        columns = ("check", "shape", "outcome", "reason") if "" not in cases else ("check", "outcome", "reason")
        print_table([{column: row[column] for column in columns} for row in rows])
    if failed := sum(row["outcome"] == "failed" for row in rows):
        click.echo(f"{failed} of {len(rows)} checks failed.", err=True)
        context.exit(1)


def find(
    name: str, registry: Registry, shapes: Sequence[str], sets: Sequence[str], data_dir: Path | None
) -> tuple[list[Any], Cases]:
    """The checks for what is called so, and the cases to run them on."""
    from oodbench import testing
    from oodbench.errors import UnknownName
    from oodbench.folders import data_folder

    if name in registry.detectors:
        return testing.DETECTOR_CHECKS, _detector_cases(registry.detectors[name], registry, shapes, sets)
    if shapes or sets:
        raise click.UsageError("--shape and --set are for detectors")
    if name in registry.datasets and registry.datasets[name].from_path:
        raise click.UsageError(f"{name} has images with a path alone, as in {name}:PATH; there is nothing to check")
    if name in registry.datasets:
        return testing.DATASET_CHECKS, {"": testing.DatasetCase(registry.datasets[name], data_dir or data_folder())}
    if name in registry.metrics:
        return testing.METRIC_CHECKS, {"": testing.MetricCase(registry.metrics[name])}
    known = [*registry.detectors, *registry.datasets, *registry.metrics]
    raise UnknownName("detector, data set or metric", name, known)


def check_results(checks: Sequence[Check], cases: Cases) -> Iterator[dict[str, Any]]:
    """Each check on each case, told on stderr as it goes."""
    from oodbench.testing import run_checks

    for shape, case in cases.items():
        for result in run_checks(checks, case):
            where = f" {shape}" if shape else ""
            click.echo(f"{result.check}{where}: {result.outcome}, {result.seconds:.1f} s", err=True)
            yield {
                "check": result.check,
                "shape": shape,
                "outcome": result.outcome,
                "reason": result.reason,
                "seconds": result.seconds,
            }


def _chosen(checks: Sequence[Check], only: Sequence[str]) -> list[Check]:
    from oodbench.errors import UnknownName

    by_name = {check.__name__: check for check in checks}
    for name in only:
        if name not in by_name:
            raise UnknownName("check", name, by_name)
    return [check for name, check in by_name.items() if name in only or not only]


def _detector_cases(detector: type[Detector], registry: Registry, shapes: Sequence[str], sets: Sequence[str]) -> Cases:
    from oodbench.api import shape_text
    from oodbench.plan.settings import values_by_detector
    from oodbench.testing import DetectorCase

    values = values_by_detector(sets, {detector.name: detector}, registry)[detector.name]
    cases = {}
    for shape in [_shape(text) for text in shapes] or detector.shapes or GREY_AND_COLOUR:
        case = DetectorCase(detector, shape, values)
        case.params()  # a shape or value that is refused is a bad word, not a failed check
        cases[shape_text(shape)] = case
    return cases


def _shape(text: str) -> Shape:
    if not re.fullmatch(r"[1-9]\d*([x×][1-9]\d*){2}", text):
        raise click.UsageError(f"--shape {text}: write channels, height and width as in 1x28x28")
    channels, height, width = map(int, re.split("[x×]", text))
    return channels, height, width
