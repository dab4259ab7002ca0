"""Memory for scoring as many images as ImageNet32 has, beyond that of a process that scores a few.

python -m benchmarks.memory
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from oodbench import Context, Detector, ImageSet, Params
from oodbench.runs.scoring import score

IMAGES = 1_281_149
SHAPE = (3, 32, 32)
FEW = 8_192
GIB = 2**30


class Brightness(Detector):
    """A detector that does as little as possible, so that the harness is measured."""

    name = "brightness"

    def __init__(self) -> None:
        super().__init__(Params(), SHAPE)

    def fit(self, train, validation, context):
        return self

    def score(self, images):
        return images.mean((1, 2, 3))

    def state(self):
        return {}

    def load_state(self, state):
        pass


def measure() -> str:
    """Return a section of the page; it uses a sparse file of 4 GB, which takes almost no room."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        write(path, IMAGES)
        command = [sys.executable, "-m", "benchmarks.memory", str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size, more = IMAGES * int(np.prod(SHAPE)) / GIB, (found["peak"] - found["base"]) / GIB
    return (
        f"### Memory\n\n{IMAGES:,} mapped images of 3×32×32 ({size:.1f} GiB), all of them 0, hashed and scored on the "
        "CPU by a detector that takes their mean. Peak resident memory, mapped pages included: "
        f"{found['peak'] / GIB:.2f} GiB, {more:.2f} GiB of it beyond what the same process took for {FEW:,} images. "
        f"{found['seconds']:.0f} s."
    )


def write(path: Path, count: int) -> None:
    """Write a sparse .npy file of images that are all 0, which take no room on the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)})
        file.truncate(file.tell() + count * int(np.prod(SHAPE)))


def peaks(path: Path) -> dict[str, float]:
    """Return the peak in bytes after a few images and after all of them, and the seconds; runs in its own process."""
    images = np.load(path, mmap_mode="r")
    score_all(np.zeros((FEW, *SHAPE), np.uint8))
    base, start = peak(), time.perf_counter()
    score_all(images)
    return {"base": base, "peak": peak(), "seconds": time.perf_counter() - start}


def score_all(images: np.ndarray) -> None:
    image_set = ImageSet("zeros", "test", images, np.zeros(len(images), np.int64), np.arange(len(images)))
    score(Brightness(), image_set, Context(torch.device("cpu")))


def peak() -> int:
    """Return the peak resident memory so far, in bytes."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(peaks(Path(sys.argv[1]))))
    else:
        print(describe(), measure(), sep="\n\n")
