"""A fitted detector in one file: safetensors with what it has learned, and a header, as JSON, with what it is.

Nothing in the file is code. If the detector uses a base, the base is in the file too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.api import Context, Detector, FittedBase, Run, Shape
from oodbench.errors import OODBenchError
from oodbench.plan.bases import bases_of
from oodbench.plan.tasks import new_detector, title_of
from oodbench.reading import read_bytes
from oodbench.runs.isolation import isolated
from oodbench.store.records import FitFacts, fit_facts_record, parse_fit_facts, parse_object
from oodbench.text import shorten
from oodbench.writing import write_file

if TYPE_CHECKING:
    import torch

    from oodbench.plugin.registry import Registry

HEADER = "oodbench"
"""Key of the JSON in the header."""
FORMAT = 1
LONGEST = 2**36
"""The most bytes that a file may have."""


def write_detector(path: Path, detector: Detector, facts: FitFacts, overwrite: bool) -> None:
    """Write a fitted detector and its bases, completely or not at all.

    Raises OODBenchError where the path exists already, unless ``overwrite`` is set, or cannot be written to.
    """
    from safetensors.torch import save

    if os.path.lexists(path) and not overwrite:
        raise OODBenchError(f"{shorten(str(path))} is there already: overwrite=True replaces it")
    tensors = {
        f"{depth}.{name}": tensor.detach().cpu().contiguous().clone()
        for depth, each in enumerate(_chain(detector, facts.run))
        for name, tensor in each.state().items()
    }
    record = {"format": FORMAT, **fit_facts_record(facts)}
    header = {HEADER: json.dumps({**record, "sha256": _digest(record, tensors)})}
    write_file(path, save(tensors, header))


def read_detector(path: Path) -> tuple[FitFacts, list[dict[str, torch.Tensor]]]:
    """Return what ``write_detector`` wrote: the facts, and the state of the detector and of each base below it.

    Raises OODBenchError where the file cannot be read, is damaged, is no saved detector, or has another format version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data, where = read_bytes(path, LONGEST), shorten(str(path))
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
        if HEADER not in header:
            raise OODBenchError(f"{where} has weights, but not of a detector that oodbench has saved")
        record = parse_object(header[HEADER])
        digest = record.pop("sha256", None)
        if record.get("format") != FORMAT:
            found = shorten(str(record.get("format")))
            raise OODBenchError(f"{where} is of format {found}, and this is {FORMAT}: use the oodbench that wrote it")
        if digest != _digest(record, tensors):
            raise ValueError("its SHA-256 is not that with which it was saved")
        facts = parse_fit_facts(record)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise OODBenchError(f"{where} is damaged, or is no detector that was saved: {shorten(str(error))}") from None
    states: list[dict[str, torch.Tensor]] = []
    for depth in range(1 + len([*bases_of(facts.run)])):
        own = f"{depth}."
        states.append({name.removeprefix(own): each for name, each in tensors.items() if name.startswith(own)})
    return facts, states


def open_saved(
    run: Run, shape: Shape, states: list[dict[str, torch.Tensor]], registry: Registry, context: Context
) -> Detector:
    """Return the fitted detector of a run, with its base.

    Args:
        states: state of the detector, then of each base below it.

    Raises OODBenchError where the installed code is not the run's.
    """
    base = None
    if run.base:
        below = open_saved(run.base, shape, states[1:], registry, context)
        base = FittedBase(lambda: below, context)
    detector = new_detector(run, shape, registry, base)
    with isolated(context.device, title_of(run)):
        detector.load_state({name: tensor.to(context.device) for name, tensor in states[0].items()})
    return detector


def _chain(detector: Detector, run: Run) -> Iterator[Detector]:
    """Yield a fitted detector and its bases, from the top."""
    yield detector
    if run.base:
        yield from _chain(detector.fitted_base.detector, run.base)


def _digest(record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the record, and of all tensors with their names, types and shapes."""
    import torch

    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
