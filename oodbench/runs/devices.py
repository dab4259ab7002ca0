"""Devices to compute on: finding and naming them, and how much of their memory may be used."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.errors import OODBenchError, UnknownName

if TYPE_CHECKING:
    import torch

DEVICE_NUMBER = re.compile("[0-9]{1,3}")
FIRST_BATCH = {"cpu": 512, "cuda": 256}
"""Images in the first batch of scoring: on a CPU more are no faster; on a GPU this many show the memory per image."""
LARGEST_BATCH = 4096
CPU_BYTES_PER_IMAGE = 20 * 2**20
"""A little more than PixelCNN++, the detector of this repository that needs most, uses per image while it scores."""


def find_device(name: str) -> torch.device:
    """Return the device of a name such as ``auto``, ``cpu`` or ``cuda:1``. Raises OODBenchError if it is missing."""
    import torch

    word, number = parse_device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "cpu" or (word == "auto" and not count):
        tune_malloc()
        return torch.device("cpu")
    if int(number or 0) >= count:
        there = f"only cuda:0 to cuda:{count - 1} are there" if count else "torch sees no CUDA device here"
        raise OODBenchError(f"--device {name}: {there}; --device auto takes the best there is")
    disable_tf32()
    return torch.device("cuda", int(number or 0))


def parse_device(name: str) -> tuple[str, str]:
    """Return the type and number in a device's name, available or not. Raises UnknownName for an invalid name."""
    word, _, number = name.partition(":")
    if word not in ("auto", "cpu", "cuda") or (number and (word != "cuda" or not DEVICE_NUMBER.fullmatch(number))):
        raise UnknownName("device", name, ("auto", "cpu", "cuda", "cuda:1"))
    return word, number


def disable_tf32() -> None:
    """Make convolutions and matrix products on a GPU use full float32, as on a CPU, and repeat their sums exactly.

    By default torch rounds the factors of convolutions, but not of matrix products, to TF32, so that one formula in two
    forms gives two results. And cuBLAS repeats its sums only with a workspace that is set before its first call.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**28


def tune_malloc() -> None:
    """Let glibc keep the memory that one step frees for the next; do nothing with another C library.

    By default glibc returns much of it to the system, and each step must then fault in every page of its activations
    again. One call is enough for all threads of a process.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)


def assign_devices(name: str, count: int) -> list[str]:
    """Return the device of each of ``count`` processes: the GPUs in turn, unless one GPU, or no GPU, is chosen."""
    import torch

    device = find_device(name)
    if device.type == "cpu" or ":" in name:
        return [str(device)] * count
    return [f"cuda:{number % torch.cuda.device_count()}" for number in range(count)]


def device_name(device: torch.device) -> str:
    """Return a text such as ``cpu (AMD EPYC, 2 threads)`` or ``cuda (NVIDIA H200)``.

    The number of threads is included because it affects the order of additions, and so their rounding.
    """
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({_processor()}, {threads} thread{'s' if threads > 1 else ''})"


def _processor() -> str:
    models = _values_of("model name", Path("/proc/cpuinfo"))
    return models[0] if models else platform.processor() or platform.machine()


def _values_of(name: str, path: Path) -> list[str]:
    """Return the values of a name in a file of ``name: value`` lines; none where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(name)]


def wait_for(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------------------------------- memory


def reset_peak_memory(device: torch.device) -> float:
    """Start a new peak; return what ``peak_memory`` will return if nothing more is allocated, in bytes."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return peak_memory(device)


def peak_memory(device: torch.device) -> float:
    """Return the peak memory in bytes: on a GPU since the last reset, on a CPU since the process started."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: torch raises its own type on a GPU, a plain RuntimeError on a CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def first_batch_size(device: torch.device) -> int:
    """Return the number of images in the first batch: on a CPU at most what half of the machine's memory holds.

    It does not depend on the free memory: for scores that agree to the last digit, another run on the same machine must
    use the same size.
    """
    size = FIRST_BATCH[device.type]
    if device.type == "cpu":
        for memory in _machine_memory():
            size = min(size, _power_of_two(memory / 2 / CPU_BYTES_PER_IMAGE))
    return size


def _machine_memory() -> list[int]:
    """Return the bytes that the machine has and that its container may use, as far as the system reports them."""
    total = [int(value.split()[0]) * 1024 for value in _values_of("MemTotal", Path("/proc/meminfo"))]  # "24052308 kB"
    with suppress(OSError, ValueError):  # "max" where there is no limit
        total.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    return total


def next_batch_size(device: torch.device, size: int, bytes_per_image: float) -> int:
    """Return the batch size after a first batch of ``size``: on a GPU, what fills half of the free memory.

    It is a power of two, and no larger than useful, so that another run on the same device nearly always uses the same.
    """
    import torch

    if device.type == "cpu":
        return size
    free = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # kept by torch, but free
    return min(LARGEST_BATCH, max(size, _power_of_two((free + unused) / 2 / max(bytes_per_image, 1))))


def smaller_batch_size(size: int, left: int) -> int:
    """Return the size to try after a batch of ``size``, or of the ``left`` images if fewer, was too large."""
    return _power_of_two(min(size, left) - 1)


def _power_of_two(limit: float) -> int:
    """Return the greatest power of two that is not above the limit, at least 1."""
    return 2 ** max(0, int(limit).bit_length() - 1)
