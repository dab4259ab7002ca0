"""The ceilings of a device, the amount of work in a task, and which share of the ceilings the task reached.

The ceilings are measured: a large matrix product in each precision, and a large copy. Operations are counted by torch's
own formulas. Bytes are an estimate: all input and output of each operation, as if there were no cache.

    python -m benchmarks.ceilings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.machine import describe, in_turn, median

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIDES = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices."""
COPIED = {"cpu": 2**27, "cuda": 2**30}
"""Bytes that are copied."""


class Work(NamedTuple):
    """Floating-point operations (a multiplication and an addition are two), and bytes read or written."""

    flops: float
    bytes: float

    def scaled(self, factor: float) -> Work:
        return Work(self.flops * factor, self.bytes * factor)

    def plus(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)


class Ceilings(NamedTuple):
    """flops: operations per second of a matrix product, by precision. bytes: read or written per second by a copy."""

    flops: Mapping[str, float]
    bytes: float


@cache
def ceilings(device: str, side: int | None = None, copied: int | None = None) -> Ceilings:
    side, copied = side or SIDES[device], copied or COPIED[device]
    flops = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        flops[name] = 2 * side**3 / median(in_turn({name: lambda a=a, b=b: a @ b}, 5)[name])
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median(in_turn({"copy": lambda: target.copy_(source)}, 5)["copy"])
    return Ceilings(flops, 2 * copied / seconds)


class _Counted(TorchDispatchMode):
    """A sum of the flops, inputs and outputs of all operations; views and empty tensors cost nothing.

    (torch's FlopCounterMode tracks modules, and so does not work with ``torch.autograd.grad``.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function.overloadpacket)
        if formula:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        if not function.is_view and "empty" not in str(function):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def work_of(task: Callable[[], object]) -> Work:
    """Return the work of a task, counted while it runs once."""
    with _Counted() as counted:
        task()
    return Work(counted.flops, counted.bytes)


def shares(
    seconds: Mapping[str, list[float]], work: Work | Mapping[str, Work], precisions: Mapping[str, str], device: str
) -> dict[str, dict[str, str]]:
    """Return columns for ``machine.table``: which share of each ceiling every row reached.

    work: of each row, or of all. precisions: of each row; float32 where not named.
    """
    most = ceilings(device)
    products, copies = {}, {}
    for name, values in seconds.items():
        asked = work if isinstance(work, Work) else work[name]
        products[name] = f"{asked.flops / median(values) / most.flops[precisions.get(name, 'float32')]:.0%}"
        copies[name] = f"{asked.bytes / median(values) / most.bytes:.0%}"
    return {"of the matrix product": products, "of the copy": copies}


def measure() -> str:
    """Return a section of the page."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    most = ceilings(device)
    lines = [f"| matrix product, {name} | {flops / 1e12:.3g} TFLOP/s |" for name, flops in most.flops.items()]
    lines.append(f"| copy, read and write | {most.bytes / 1e9:.3g} GB/s |")
    return f"### Ceilings of the {device}\n\n| | |\n|---|---|\n" + "\n".join(lines)


if __name__ == "__main__":
    print(describe(), measure(), sep="\n\n")
