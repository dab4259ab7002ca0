"""Figures of finished runs: inputs, reconstructions, and the histograms of their scores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import SPLITS, Context, Detector, ImageSet, Scores
from oodbench.atomic import write_output
from oodbench.data.loading import open_loader
from oodbench.errors import OODBenchError, StoreError
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import Task, load_detector, plan, run_key
from oodbench.plugin.registry import Registry, load_registry
from oodbench.store.store import Store
from oodbench.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

BINS = 50
IN_COLOUR, OUT_COLOURS = "0.45", ("tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown")


@dataclass(frozen=True)
class Panel:
    """One detector: its scores on the in-set and each out-set, the AUROC of each, and its reconstructions if any.

    reconstructions: data set → float (k, C, H, W) in [0, 1], of the images shown; empty where there are none.
    """

    detector: str
    in_scores: Scores
    out_scores: Sequence[Scores]
    auroc: Mapping[str, float]
    reconstructions: Mapping[str, np.ndarray]


def draw_runs(
    *requests: RunRequest,
    path: Path,
    store: str = "results",
    data_dir: Path | None = None,
    count: int = 8,
    title: str = "",
    registry: Registry | None = None,
) -> None:
    """Draw the finished runs that the requests name, side by side.

    They must have one in-data set; of several seeds the first is drawn. Raises OODBenchError, naming the command that
    makes it, where the store lacks a run or its scores.
    """
    registry = registry or load_registry()
    loader = open_loader(registry, data_dir)
    tasks = plan(requests, registry, loader)
    in_datasets = list(dict.fromkeys(task.run.in_dataset for task in tasks))
    if len(in_datasets) > 1:
        names = len(in_datasets)
        raise OODBenchError(f"a figure shows one in-data set, not {names}; choose with --in {in_datasets[0]}")
    tasks = [task for task in tasks if task.run.seed == tasks[0].run.seed]
    splits = {split: loader.load(in_datasets[0], split) for split in SPLITS}
    out_datasets = dict.fromkeys(name for task in tasks for name in task.out_datasets)
    sets = [splits["test"], *(loader.load(name, "test", splits["test"].shape) for name in out_datasets)]
    shown = {images.name: images.images[:count] for images in sets}
    draw(shown, [_panel(task, splits, shown, Store(store), registry) for task in tasks], path, title)


def _panel(
    task: Task,
    splits: Mapping[str, ImageSet],
    shown: Mapping[str, np.ndarray],
    store: Store,
    registry: Registry,
) -> Panel:
    import torch

    run, key = task.run, run_key(task.run, splits)
    results = store.read_results([key] if store.is_fitted(key) else [])
    auroc = results[results["metric"] == "auroc"].set_index("out_dataset")["value"]
    missing = [name for name in task.out_datasets if name not in auroc]
    if missing:
        command = f"oodbench run --detector {run.detector} --in {run.in_dataset} --out {missing[0]}"
        raise StoreError(f"{task.title} has no scores of {missing[0]} in the store; `{command}` with the same preset")
    detector = load_detector(
        run, splits, registry, store.read_weights, Context(torch.device("cpu"), run.seed, run.precision)
    )
    reconstructions = {name: reconstruct(detector, images) for name, images in shown.items()}
    return Panel(
        detector=run.detector,
        in_scores=store.read_scores(key, None),
        out_scores=[store.read_scores(key, name) for name in task.out_datasets],
        auroc={str(name): float(value) for name, value in auroc.items()},
        reconstructions={name: images for name, images in reconstructions.items() if images is not None},
    )


def reconstruct(detector: Detector, images: np.ndarray) -> np.ndarray | None:
    """Return the detector's reconstructions of uint8 images (k, C, H, W) as float (k, C, H, W), computed on the CPU.

    None from a detector that does not reconstruct.
    """
    import torch

    made = detector.reconstruct(torch.from_numpy(images.copy()).float() / 255)
    return None if made is None else made.detach().float().numpy()


def draw(images: Mapping[str, np.ndarray], panels: Sequence[Panel], path: Path, title: str = "") -> None:
    """Write the figure; its kind is the file's ending (png, svg, pdf).

    images: data set → uint8 (k, C, H, W), in-set first: the first k of each test split, not chosen by anyone.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "oodbench"  # the same figure is the same file
    rows = 1 + sum(bool(panel.reconstructions) for panel in panels)
    columns = sum(len(stack) for stack in images.values())
    width = max(8.0, 0.48 * columns)
    top, bottom = 0.55 + rows * width / columns, 2.3
    figure = Figure(figsize=(width, top + bottom), layout="constrained", dpi=150)
    parts: np.ndarray = figure.subfigures(2, 1, height_ratios=[top, bottom])  # type: ignore[assignment]
    upper, lower = parts
    if title:
        figure.suptitle(printable(title), fontsize=10)
    _reconstructions(upper, images, panels)
    _histograms(lower, panels)
    drawn = io.BytesIO()
    try:
        figure.savefig(drawn, format=path.suffix[1:].lower() or "png")
    except ValueError:
        raise OODBenchError(f"{path} names no format of figures: end it with .png, .pdf or .svg") from None
    try:
        write_output(path, drawn.getvalue())
    except OSError as error:
        raise OODBenchError(f"the figure {shorten(str(path))} cannot be written: {error.strerror}") from None


def _reconstructions(figure: SubFigure, images: Mapping[str, np.ndarray], panels: Sequence[Panel]) -> None:
    """A row of inputs and one for each detector that reconstructs, a block of columns for each data set."""
    rows: list[tuple[str, Mapping[str, np.ndarray]]] = [("input", images)]
    rows += [(panel.detector, panel.reconstructions) for panel in panels if panel.reconstructions]
    blocks = figure.subplots(len(rows), len(images), width_ratios=[len(s) for s in images.values()], squeeze=False)
    for line, (label, stacks) in zip(blocks, rows, strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, name in zip(line, images, strict=True):
            _show(axes, stacks[name])
    for axes, name, role in zip(blocks[0], images, ["in", *["out"] * (len(images) - 1)], strict=True):
        axes.set_title(f"{role}: {name}", fontsize=8, color=IN_COLOUR if role == "in" else "tab:red")


def _show(axes: Axes, stack: np.ndarray) -> None:
    """Images (k, C, H, W) side by side, with a gap of one pixel."""
    if stack.dtype == np.uint8:
        stack = stack / 255.0
    padded = np.pad(stack, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=1.0)
    strip = np.concatenate(list(padded), axis=2).transpose(1, 2, 0)  # (H, k·W, C)
    axes.imshow(strip.repeat(3, axis=2) if strip.shape[2] == 1 else strip, interpolation="nearest")
    axes.set(xticks=[], yticks=[], frame_on=False)


def _histograms(figure: SubFigure, panels: Sequence[Panel]) -> None:
    row: np.ndarray = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(row[0], panels, strict=True):
        sets: list[tuple[Scores, str, Any]] = [(panel.in_scores, f"in: {panel.in_scores.dataset}", IN_COLOUR)]
        for number, scores in enumerate(panel.out_scores):
            label = f"out: {scores.dataset}, AUROC {panel.auroc[scores.dataset]:.3f}"
            sets.append((scores, label, OUT_COLOURS[number % len(OUT_COLOURS)]))
        edges, log = _edges(np.concatenate([scores.values for scores, _, _ in sets]))
        for scores, label, colour in sets:
            weights = np.full(len(scores.values), 1 / len(scores.values))
            filled = colour == IN_COLOUR
            axes.hist(scores.values, edges, weights=weights, label=label, color=colour,
                      histtype="stepfilled" if filled else "step", alpha=0.6 if filled else 1)  # fmt: skip
        if log:
            axes.set_xscale("log")
        axes.set_title(panel.detector, fontsize=9)
        axes.set_xlabel("score (higher is more out-of-distribution)", fontsize=7)
        axes.set_ylabel("share of images", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6)


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Bin edges over all scores, logarithmic where they are positive and span more than a decade."""
    low, high = values.min(), values.max()
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, BINS), False
    log = bool(low > 0 and high / low > 10)
    return (np.geomspace(low, high, BINS) if log else np.linspace(low, high, BINS)), log
