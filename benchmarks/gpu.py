"""All benchmarks of a GPU, measured in one call in under eight minutes, as one Markdown page.

    python -m benchmarks.gpu --peer ~/normalized-autoencoders > gpu.md

Each section has its share of the time, stops when that is used up, and reports if it failed; what was not measured is
not estimated. ``--dry-run`` does all of it at toy size on any device: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from oodbench_ebae.acceleration import MODES, VARIABLE
from oodbench_ebae.detector import EBAE

from benchmarks.ceilings import ceilings, shares
from benchmarks.machine import describe, in_turn, median, table
from benchmarks.peer import peer_update
from benchmarks.together import COLOUR, FULL, GREY, TOY, Size, processes, random_images, stacked, streams
from benchmarks.update import LATENT_DIM, Reference, ours, work
from oodbench import Context, Detector, ImageSet, Shape, shape_text
from oodbench.errors import reason
from oodbench.plan.settings import resolve
from oodbench.plugin.registry import load_registry
from oodbench.runs.devices import find_device
from oodbench.runs.isolation import isolated

LIMIT = 400.0
"""Seconds after which no section starts."""
SHORT = 2048
"""Images of the short fits."""
PHASES = ("pretraining", "ebae")


TARGETS = {GREY: 5, COLOUR: 10}
"""Minutes that a whole fit should take at most."""
EPOCHS = {GREY: (100, 50), COLOUR: (120, 50)}
"""Epochs of pre-training and of EBAE, in the preset paper."""


@contextmanager
def mode(name: str) -> Iterator[None]:
    """Return a context in which chains are driven in this mode."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})


# -------------------------------------------------------------------------------------- sections


def limits(size: Size, device: torch.device, peer: Path | None) -> str:
    most = ceilings(device.type, 64, 2**16) if size is TOY else ceilings(device.type)
    products = "; ".join(f"{name} {flops / 1e12:.3g} TFLOP/s" for name, flops in most.flops.items())
    return f"Matrix product: {products}. Copy: {most.bytes / 1e9:.3g} GB/s, read and write."


def updates(size: Size, device: torch.device, peer: Path | None) -> str:
    """Return the time of one update, by batch, precision and chains' mode; also the authors' for the smallest batch."""
    pages, until = [], time.monotonic() + size.seconds
    for batch in size.batches:
        images = next(random_images(batch, GREY).batches(batch, device))
        tasks: dict[str, Callable[[], object]] = {}
        if batch == size.batches[0]:
            if peer:
                tasks["the authors' code, float32"] = peer_update(peer, 1.0, LATENT_DIM, size.steps, images)
            reference = Reference(size.width, LATENT_DIM, device)
            tasks["plain reference, float32"] = lambda r=reference, i=images: r.update(i, *size.steps)
        tasks |= dict(_our_updates(size, images, device))
        seconds = in_turn(tasks, 1 if size is TOY else 5)
        precisions = {name: "bfloat16" for name in tasks if "bfloat16" in name}
        reached = {} if size is TOY else shares(seconds, work(size.width, images, size.steps), precisions, device.type)
        pages.append(f"Batch {batch}.\n\n" + table(seconds, next(iter(tasks)), "seconds", reached))
        if time.monotonic() > until:
            break
    return "\n\n".join(pages)


def _our_updates(size: Size, images: torch.Tensor, device: torch.device) -> Iterator[tuple[str, Callable[[], object]]]:
    modes = MODES if device.type == "cuda" else ("eager",)
    if len(images) > size.batches[0]:
        modes = modes[-2:-1] or modes  # graphs only: compiling again for each batch takes minutes
    for name in modes:
        for precision in ("float32", "bfloat16"):
            with mode(name):
                update = ours(size.width, len(images), *size.steps, precision, device)
            generator = torch.Generator(device).manual_seed(0)
            yield f"oodbench, {name}, {precision}", lambda u=update, g=generator: u(images, g)


def fits(size: Size, device: torch.device, peer: Path | None) -> str:
    """Return the time of epochs of both phases, and of the whole fit, at the paper's settings in bfloat16."""
    lines = ["| images | pre-training, s an epoch | EBAE, s an epoch | whole fit, min | target |", "|---" * 5 + "|"]
    for shape, count in size.images.items():
        pretraining, ebae = _epochs(size, random_images(count, shape), shape, device)
        first, second = EPOCHS[shape]
        minutes = (first * pretraining + second * ebae) / 60
        lines.append(
            f"| {count:,} of {shape_text(shape)} | {pretraining:.3g} | {ebae:.3g} | {minutes:.3g} | {TARGETS[shape]} |"
        )
    return f"Medians of {size.epochs} epochs; the fit is computed from them.\n\n" + "\n".join(lines)


def _epochs(size: Size, images: ImageSet, shape: Shape, device: torch.device) -> tuple[float, float]:
    changes = {"width": size.width, "pretraining.epochs": size.epochs + 1, "epochs": size.epochs + 1}
    if size is TOY:
        changes |= {"latent_chain.steps": 1, "visible_chain.steps": 1, "pretraining.encoder_l2": 0.0}
    context = Context(device, precision="bfloat16")
    detector = EBAE(resolve(EBAE, "paper", shape, changes | {"max_negative_energy": 1e9}), shape)
    detector.fit(images, random_images(min(64, len(images)), shape), context)
    seconds = {phase: [row["seconds"] for row in context.history if row["phase"] == phase] for phase in PHASES}
    return tuple(median(seconds[phase][1:] or seconds[phase]) for phase in PHASES)  # the first one warms up


def side_by_side(size: Size, device: torch.device, peer: Path | None) -> str:
    """Return the updates per second of several models together on one device, by how they share it."""
    ways: dict[str, Callable[[Size, int, torch.device], float]] = {
        "processes": processes, "streams": streams, "vmap, chains only": stacked
    }  # fmt: skip
    until = time.monotonic() + size.seconds
    lines = [f"| models | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    for count in size.together:
        if time.monotonic() > until:
            break
        lines.append(f"| {count} | {' | '.join(_tried(way, size, count, device) for way in ways.values())} |")
    return "Updates a second of all models together, bfloat16.\n\n" + "\n".join(lines)


def _tried(way: Callable[[Size, int, torch.device], float], size: Size, count: int, device: torch.device) -> str:
    try:
        return f"{way(size, count, device):.3g}"
    except Exception as error:  # one way that fails must not stop the others
        return reason(error)[:80]


def others(size: Size, device: torch.device, peer: Path | None) -> str:
    """Return the seconds per epoch of every detector at its paper settings, computed from a short fit."""
    registry, until = load_registry(), time.monotonic() + size.seconds
    lines = ["| detector | images | s an epoch |", "|---|---|---|"]
    for name in sorted(registry.detectors):
        for shape in size.images:
            if time.monotonic() > until:
                return "\n".join([*lines, "", "The rest was not measured: out of time."])
            lines.append(
                f"| {name} | {shape_text(shape)} | {_an_epoch(registry.detector(name), shape, size, device)} |"
            )
    return "\n".join(lines)


def _an_epoch(detector: type[Detector], shape: Shape, size: Size, device: torch.device) -> str:
    """Return the seconds per epoch of the slowest phase, for a whole data set; or why there are none."""
    whole = size.images[shape]
    few = random_images(min(whole, SHORT), shape)
    changes: dict[str, Any] = dict.fromkeys(_epoch_names(detector.Params), 2)
    if not changes:
        return "as what it builds on"
    if size is TOY and "width" in detector.Params.model_fields:
        changes["width"] = size.width
    context = Context(device, precision="bfloat16")
    try:
        detector(resolve(detector, "quick" if size is TOY else "paper", shape, changes), shape).fit(few, few, context)
    except Exception as error:  # a detector that cannot be fitted to noise must not stop the others
        return reason(error)[:80]
    return f"{max(row['seconds'] for row in context.history) * whole / len(few):.3g}"


def _epoch_names(params: Any, prefix: str = "") -> Iterator[str]:
    for name, entry in params.model_fields.items():
        if name == "epochs":
            yield prefix + name
        elif hasattr(entry.annotation, "model_fields"):
            yield from _epoch_names(entry.annotation, f"{prefix}{name}.")


# ----------------------------------------------------------------------------------------- page

SECTIONS = {
    "Ceilings": limits,
    "One EBAE update": updates,
    "Fits": fits,
    "Several models side by side": side_by_side,
    "Every detector": others,
}


def measure(size: Size = FULL, peer: Path | None = None, seconds: float = LIMIT) -> str:
    """Return the page. Sections that would start after ``seconds`` are only named."""
    return "\n\n".join(parts(size, peer, seconds))


def parts(size: Size = FULL, peer: Path | None = None, seconds: float = LIMIT) -> Iterator[str]:
    """Yield the parts of the page, each as soon as it is measured, with the process settings of a run."""
    device, until = find_device("auto"), time.monotonic() + seconds
    yield f"# On a GPU\n\n{describe()}"
    for title, section in SECTIONS.items():
        print(f"{title} …", file=sys.stderr, flush=True)
        try:
            with isolated(device, "a benchmark"):
                text = section(size, device, peer) if time.monotonic() < until else "Not measured: out of time."
        except Exception as error:  # one that fails must not stop the others
            text = f"Not measured: {reason(error)}"
        yield f"## {title}\n\n{text}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, metavar="PATH", help="a checkout of the authors' code")
    parser.add_argument("--dry-run", action="store_true", help="toy sizes, to see that it runs")
    given = parser.parse_args()
    for part in parts(TOY if given.dry_run else FULL, given.peer):
        print(part, end="\n\n", flush=True)
