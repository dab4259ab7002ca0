"""Figures of finished runs: inputs, reconstructions, and the histograms of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import SPLITS, Context, Detector, ImageSet, Scores
from oodbench.data.loading import open_loader
from oodbench.errors import OODBenchError, StoreError
from oodbench.leaderboard.drawing import COLOURS, IN_COLOUR, bin_edges, paper_style, plain_text, save
from oodbench.plan.origins import naming_origins
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import Task, load_detector, plan, run_key
from oodbench.plugin.registry import Registry, load_registry
from oodbench.store.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

OUT_COLOURS = COLOURS[1:]
Blocks = Mapping[str, np.ndarray]
"""Heading → content of this block of columns, one entry per image; the in-data's blocks come first."""


@dataclass(frozen=True)
class Panel:
    """One detector: its scores on the in-set and each out-set, the AUROC of each, and the images shown.

    Args:
        images: uint8 (k, C, H, W) per block.
        reconstructions: float (k, C, H, W) in [0, 1] per block; empty where there are none.
        values: scores (k,) per block, to be written below the images; may be empty.
    """

    detector: str
    in_scores: Scores
    out_scores: Sequence[Scores]
    auroc: Mapping[str, float]
    images: Blocks
    reconstructions: Blocks
    values: Blocks = field(default_factory=dict)


def draw_runs(
    *requests: RunRequest,
    path: Path,
    store: str = "results",
    data_dir: Path | None = None,
    count: int = 8,
    most_anomalous: int = 0,
    title: str = "",
    registry: Registry | None = None,
) -> None:
    """Draw the finished runs that the requests name, side by side.

    They must have the same in-data set; of several seeds, the first is drawn. Raises OODBenchError, naming the command
    to run, where the store lacks a run or its scores.

    Args:
        count: number of images shown, the first of each test split.
        most_anomalous: if not 0, show instead this number of images with the lowest scores of each test split, and with
            the highest; each detector has its own.
    """
    registry = registry or load_registry()
    loader = open_loader(registry, data_dir)
    with naming_origins(store):
        tasks = plan(requests, registry, loader)
    in_datasets = list(dict.fromkeys(task.run.in_dataset for task in tasks))
    if len(in_datasets) > 1:
        names = len(in_datasets)
        raise OODBenchError(f"a figure shows one in-data set, not {names}; choose with --in {in_datasets[0]}")
    tasks = [task for task in tasks if task.run.seed == tasks[0].run.seed]
    splits = {split: loader.load(in_datasets[0], split) for split in SPLITS}
    out_datasets = dict.fromkeys(name for task in tasks for name in task.out_datasets)
    outs = [loader.load(name, "test", splits["test"].shape) for name in out_datasets]
    opened = Store(store)
    panels = [_panel(task, splits, outs, opened, registry, count, most_anomalous) for task in tasks]
    draw(panels, path, title)


def _panel(
    task: Task,
    splits: Mapping[str, ImageSet],
    outs: Sequence[ImageSet],
    store: Store,
    registry: Registry,
    count: int,
    most_anomalous: int,
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
    scores = [store.read_scores(key, None), *(store.read_scores(key, name) for name in task.out_datasets)]
    sets = [splits["test"], *outs]
    values: Blocks = {}
    if most_anomalous:
        images, values = extreme_images(sets, scores, most_anomalous)
    else:
        images = {heading(each, is_in=each is sets[0]): each.images[:count] for each in sets}
    made = {name: reconstruct(detector, stack) for name, stack in images.items()}
    reconstructions = {name: stack for name, stack in made.items() if stack is not None}
    areas = {str(name): float(value) for name, value in auroc.items()}
    return Panel(run.detector, scores[0], scores[1:], areas, images, reconstructions, values)


def heading(images: ImageSet, is_in: bool) -> str:
    """Return the heading above a data set's images."""
    return f"{'in' if is_in else 'out'}: {images.name}"


def extreme_images(sets: Sequence[ImageSet], scores: Sequence[Scores], count: int) -> tuple[Blocks, Blocks]:
    """Return the images with the lowest and with the highest scores of each set, and their scores.

    Images with equal scores keep their order in the set.

    Args:
        sets: test splits, the in-data first.
        scores: of these, in any order; a set without scores is left out.

    Raises StoreError where the scores are of other images than those available now.
    """
    of_set = {(each.dataset, number == 0): each for number, each in enumerate(scores)}
    images: dict[str, np.ndarray] = {}
    values: dict[str, np.ndarray] = {}
    for number, each in enumerate(sets):
        scored = of_set.get((each.name, number == 0))
        if scored is None:
            continue
        if scored.fingerprint != each.fingerprint:
            raise StoreError(
                f"the scores of {each.name} are of other images than those available now; `oodbench run` again"
            )
        orders = {
            "lowest": np.argsort(scored.values, kind="stable"),
            "highest": np.argsort(-scored.values, kind="stable"),
        }
        for which, order in orders.items():
            name = f"{heading(each, number == 0)}, {which} scores"
            images[name], values[name] = each.images[order[:count]], scored.values[order[:count]]
    return images, values


def reconstruct(detector: Detector, images: np.ndarray) -> np.ndarray | None:
    """Return the detector's reconstructions of uint8 images (k, C, H, W) as float (k, C, H, W), computed on the CPU.

    None from a detector that does not reconstruct.
    """
    import torch

    made = detector.reconstruct(torch.from_numpy(images.copy()).float() / 255)
    return None if made is None else made.detach().float().numpy()


def draw(panels: Sequence[Panel], path: Path, title: str = "") -> None:
    """Write the figure in the format of the file's suffix (png, svg, pdf)."""
    rows = _image_rows(panels)
    columns = sum(_widths(rows).values())
    width = max(8.0, 0.48 * columns)
    labelled = sum(bool(values) for _, _, values in rows)
    top, bottom = 0.55 + len(rows) * width / columns + 0.15 * labelled, 2.3
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, top + bottom), layout="constrained", dpi=150)
        parts: np.ndarray = figure.subfigures(2, 1, height_ratios=[top, bottom])  # type: ignore[assignment]
        upper, lower = parts
        if title:
            figure.suptitle(plain_text(title, 200), fontsize=10)
        _reconstructions(upper, rows)
        _histograms(lower, panels)
        save(figure, path)


def _image_rows(panels: Sequence[Panel]) -> list[tuple[str, Blocks, Blocks]]:
    """Return label, images and the scores below them for each row; the inputs once if all panels show the same."""
    reconstructed: list[tuple[str, Blocks, Blocks]] = [
        (panel.detector, panel.reconstructions, {}) for panel in panels if panel.reconstructions
    ]
    if not any(panel.values for panel in panels):
        return [("input", panels[0].images, {}), *reconstructed]
    rows: list[tuple[str, Blocks, Blocks]] = []
    for panel in panels:
        rows.append((f"{panel.detector}: input", panel.images, panel.values))
        if panel.reconstructions:
            rows.append(("output", panel.reconstructions, {}))
    return rows


def _widths(rows: Sequence[tuple[str, Blocks, Blocks]]) -> dict[str, int]:
    """Return heading → number of images in its block."""
    return {name: len(stack) for _, stacks, _ in rows for name, stack in stacks.items()}


def _reconstructions(figure: SubFigure, rows: Sequence[tuple[str, Blocks, Blocks]]) -> None:
    """Draw rows of images, with a block of columns for each heading."""
    widths = _widths(rows)
    blocks = figure.subplots(len(rows), len(widths), width_ratios=[*widths.values()], squeeze=False)
    for line, (label, stacks, values) in zip(blocks, rows, strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, name in zip(line, widths, strict=True):
            if name in stacks:
                _show(axes, stacks[name], values.get(name, ()))
            else:  # a suite's detectors may have different out-data sets
                axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, name in zip(blocks[0], widths, strict=True):
        axes.set_title(plain_text(name), fontsize=8, color=IN_COLOUR if name.startswith("in: ") else OUT_COLOURS[0])


def _show(axes: Axes, stack: np.ndarray, values: Sequence[float] | np.ndarray) -> None:
    """Draw images (k, C, H, W) side by side, each with a margin of one pixel, and with its score below, if any."""
    if stack.dtype == np.uint8:
        stack = stack / 255.0
    padded = np.pad(stack, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=1.0)
    strip = np.concatenate(list(padded), axis=2).transpose(1, 2, 0)  # (H, k·W, C)
    axes.imshow(strip.repeat(3, axis=2) if strip.shape[2] == 1 else strip, interpolation="nearest")
    axes.set(xticks=[], yticks=[], frame_on=False)
    if len(values):
        width = stack.shape[3] + 2
        axes.set_xticks([(number + 0.5) * width - 0.5 for number in range(len(values))])
        axes.set_xticklabels([f"{value:.3g}" for value in values])
        axes.tick_params(length=0, pad=1, labelsize=5)


def _histograms(figure: SubFigure, panels: Sequence[Panel]) -> None:
    row: np.ndarray = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(row[0], panels, strict=True):
        sets: list[tuple[Scores, str, Any]] = [
            (panel.in_scores, plain_text(f"in: {panel.in_scores.dataset}"), IN_COLOUR)
        ]
        for number, scores in enumerate(panel.out_scores):
            label = plain_text(f"out: {scores.dataset}, AUROC {panel.auroc[scores.dataset]:.3f}")
            sets.append((scores, label, OUT_COLOURS[number % len(OUT_COLOURS)]))
        edges, log = bin_edges(np.concatenate([scores.values for scores, _, _ in sets]))
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
