"""Images per second scored through the harness, against a bare forward loop over the same images.

python -m benchmarks.scoring
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from oodbench_ebae.detector import EBAE

from benchmarks.ceilings import shares, work_of
from benchmarks.machine import describe, in_turn, table
from oodbench import Context, ImageSet
from oodbench.runs.devices import FIRST_BATCH, LARGEST_BATCH
from oodbench.runs.scoring import score

IMAGES = 2_048
SIZES = (64, 128, 256, 512, 1024)


def measure(repetitions: int = 9) -> str:
    """Return a section of the page: a set in memory, and one that is mapped from a file; then batch sizes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    detector = EBAE(EBAE.Params(), (1, 28, 28))
    context = Context(device)
    with context.global_seed("weights"):
        detector.model = detector.build().to(device)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8)
    size = FIRST_BATCH["cpu"] if device.type == "cpu" else LARGEST_BATCH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, pixels)
        sets = {"in memory": pixels, "mapped": np.load(path, mmap_mode="c")}
        tasks: dict[str, Callable[[], object]] = {"bare forward loop": lambda: _bare(detector, pixels, size, device)}
        for name, images in sets.items():
            image_set = ImageSet("random", "test", images, np.zeros(IMAGES, np.int64), np.arange(IMAGES))
            image_set.fingerprint  # noqa: B018  a hash that the cache holds otherwise
            tasks[f"through the harness, {name}"] = lambda s=image_set: score(detector, s, context)
        seconds = in_turn(tasks, repetitions)
    heading = f"EBAE, Arch28 at full width, {IMAGES:,} images, {device.type}"
    sizes = {str(each): lambda each=each: _bare(detector, pixels, each, device) for each in SIZES}
    asked = work_of(lambda: _bare(detector, pixels, size, device))
    compared = table(seconds, "bare forward loop", "seconds", shares(seconds, asked, {}, device.type))
    by_size = table(in_turn(sizes, 3), str(SIZES[0]), "seconds")
    return (
        f"### Scoring\n\n{heading}, batches of {size}, {repetitions} rounds.\n\n{compared}\n\n"
        f"The bare loop by the size of its batches, 3 rounds.\n\n{by_size}"
    )


@torch.no_grad()
def _bare(detector: EBAE, pixels: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    stack = torch.from_numpy(pixels).to(device)
    energies = []
    for start in range(0, len(stack), size):
        images = stack[start : start + size].float() / 255
        energies.append(detector.model.energy(images.contiguous(memory_format=torch.channels_last)))
    return torch.cat(energies).cpu()


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
