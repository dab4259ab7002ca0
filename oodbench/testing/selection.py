"""Selection of the checks and cases for a detector, data set, metric or executor by its name."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oodbench.api import Detector, Shape, shape_text
from oodbench.errors import OODBenchError, UnknownName
from oodbench.folders import data_folder
from oodbench.plan.bases import Configurator
from oodbench.plan.executors import new_executor, read_user_settings
from oodbench.plan.settings import check_used, split_setting, values_by_detector
from oodbench.plugin.registry import Registry
from oodbench.testing.case import DetectorCase
from oodbench.testing.datasets import DATASET_CHECKS, DatasetCase
from oodbench.testing.detectors import DETECTOR_CHECKS
from oodbench.testing.executors import EXECUTOR_CHECKS, ExecutorCase
from oodbench.testing.metrics import METRIC_CHECKS, MetricCase
from oodbench.text import shorten

GREY_AND_COLOUR = ((1, 28, 28), (3, 32, 32))

Check = Callable[[Any], None]
Cases = Mapping[str, Any]
"""Cases by shape as text; a data set, metric or executor has one case, under the empty string."""


class SelectionError(OODBenchError):
    """An option that does not apply to what is checked, or a shape that cannot be read."""


def find_checks(
    name: str,
    registry: Registry,
    shapes: Sequence[str] = (),
    sets: Sequence[str] = (),
    data_dir: Path | None = None,
) -> tuple[Sequence[Check], Cases]:
    """Return the checks for the detector (or its file), data set, metric or executor of this name, and its cases.

    Args:
        shapes: shapes to check a detector with, as in ``1x28x28``; by default those it declares, else grey and colour.
        sets: parameters of a detector, or settings of an executor over the user's own, as ``name=value``.
        data_dir: folder of the data sets' files; None for the user's data folder.

    Raises OODBenchError if the name, a shape or a parameter is invalid.
    """
    if registry.has_detector(name):
        return DETECTOR_CHECKS, _detector_cases(registry.detector(name), registry, shapes, sets)
    if shapes:
        raise SelectionError("--shape is for detectors")
    if name in registry.executors:
        return EXECUTOR_CHECKS, {"": _executor_case(name, registry, sets)}
    if sets:
        raise SelectionError("--set is for detectors and executors")
    if name in registry.datasets and registry.datasets[name].from_path:
        raise SelectionError(f"{name} has images only with a path, as in {name}:PATH; there is nothing to check")
    if name in registry.datasets:
        return DATASET_CHECKS, {"": DatasetCase(registry.datasets[name], data_dir or data_folder())}
    if name in registry.metrics:
        return METRIC_CHECKS, {"": MetricCase(registry.metrics[name])}
    known = [*registry.detector_names, *registry.datasets, *registry.metrics, *registry.executors]
    raise UnknownName("detector, data set, metric or executor", name, known)


def choose_checks(checks: Sequence[Check], only: Sequence[str], skip: Sequence[str] = ()) -> list[Check]:
    """Return the checks named in ``only`` (all if none is) except those in ``skip``, in their own order.

    Raises UnknownName for a check that is not among them, and SelectionError where none is left.
    """
    by_name = {check.__name__: check for check in checks}
    for name in (*only, *skip):
        if name not in by_name:
            raise UnknownName("check", name, by_name)
    chosen = [check for name, check in by_name.items() if (name in only or not only) and name not in skip]
    if not chosen:
        raise SelectionError("--skip leaves no check")
    return chosen


def _detector_cases(detector: type[Detector], registry: Registry, shapes: Sequence[str], sets: Sequence[str]) -> Cases:
    settings = values_by_detector(sets, {detector.name: detector}, registry)
    known = [check.__name__ for check in DETECTOR_CHECKS]
    for name in detector.known_findings:
        if name not in known:
            raise UnknownName(f"check in known_findings of {detector.name}", name, known)
    cases = {}
    for shape in [parse_shape(text) for text in shapes] or detector.shapes or GREY_AND_COLOUR:
        chain = Configurator("quick", shape, settings, registry).configure(detector).chain
        check_used(settings, [detector.name], {each.detector.name: each.settings for each in chain})
        case = DetectorCase(detector, shape, settings[detector.name], base_settings=settings)
        case.params()  # an invalid shape or value is an error of the request, not a failed check
        cases[shape_text(shape)] = case
    return cases


def _executor_case(name: str, registry: Registry, sets: Sequence[str]) -> ExecutorCase:
    """Return the case of an executor, with a new folder in the executor's own; it is removed when this process ends."""
    given = dict(split_setting("--set", text) for text in sets)
    settings = {**read_user_settings().settings.get(name, {}), **given}
    own = new_executor(name, settings, registry).folder
    own.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=own))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return ExecutorCase(lambda: new_executor(name, settings, registry), folder)


def parse_shape(text: str) -> Shape:
    """Return the shape (C, H, W) that a text such as ``1x28x28`` gives. Raises SelectionError if it is invalid."""
    if not re.fullmatch(r"[1-9]\d{0,5}([x×][1-9]\d{0,5}){2}", text):
        raise SelectionError(f"--shape {shorten(text)}: write channels, height and width as in 1x28x28")
    channels, height, width = map(int, re.split("[x×]", text))
    return channels, height, width
