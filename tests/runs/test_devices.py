"""What is computed on, and how much of its memory may be used at once."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from oodbench.errors import OODBenchError, UnknownName
from oodbench.runs import devices

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
GIB = 2**30


def test_the_cpu_is_always_there():
    assert devices.find_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "cuda1", ""])
def test_a_device_of_another_name_is_refused(name):
    with pytest.raises(UnknownName, match="unknown device"):
        devices.find_device(name)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(OODBenchError, match="--device cuda:99: .*; --device auto takes the best there is"):
        devices.find_device("cuda:99")


def test_auto_takes_what_there_is():
    assert devices.find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_processes_take_the_gpus_in_turn(two_gpus):
    assert devices.assign_devices("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices.assign_devices("cuda", 2) == ["cuda:0", "cuda:1"]


def test_processes_share_the_one_device_that_was_named(two_gpus):
    assert devices.assign_devices("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert devices.assign_devices("cpu", 2) == ["cpu", "cpu"]


ROUNDS = """
import resource, torch
from oodbench.runs.devices import find_device

def faults(rounds=5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_it_is = faults()
find_device("cpu")
faults(20)  # until what it keeps is large enough
print(as_it_is, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_that_was_freed_is_used_again_without_being_faulted_in_anew():
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True)
    as_it_is, kept = map(int, done.stdout.split())
    assert kept < as_it_is / 20


# ---------------------------------------------------------------------------------- batch sizes


@pytest.fixture
def memory(monkeypatch):
    """Sets how much there is: on the CPU as its kernel says, and free on the GPU as its driver does."""

    def memory(free: int, kept_by_torch: int = 0, limit: str = "max\n") -> None:
        texts = {"meminfo": f"MemTotal:   {free // 1024} kB\nMemFree: 99 kB\n", "memory.max": limit}
        monkeypatch.setattr(devices.Path, "read_text", lambda path, **options: texts[path.name])
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 140 * GIB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: kept_by_torch)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)

    return memory


@pytest.mark.parametrize(
    ("there", "limit", "size"),
    [
        (64 * GIB, "max", 512),
        (21 * GIB, "max", 512),
        (16 * GIB, "max", 256),
        (2**20, "max", 1),
        (64 * GIB, str(6 * GIB), 128),
    ],
)
def test_little_memory_means_small_batches_on_a_cpu(memory, there, limit, size):
    memory(there, limit=limit)
    assert devices.first_batch_size(CPU) == size


def test_where_the_kernel_says_nothing_the_usual_size_is_taken(monkeypatch):
    def absent(path, **options):
        raise FileNotFoundError

    monkeypatch.setattr(devices.Path, "read_text", absent)
    assert devices.first_batch_size(CPU) == devices.FIRST_BATCH["cpu"]


@pytest.mark.parametrize(
    ("free", "kept", "each", "size"),
    [
        (100 * GIB, 0, 2**20, 4096),  # no more than helps
        (4 * GIB, 0, 2**20, 2048),  # half of what is free
        (3 * GIB, GIB, 2**20, 2048),  # what torch keeps for itself is free as well
        (3 * GIB, 0, 2**20, 1024),  # a power of two
        (GIB, 0, 2**24, 256),  # not less than what did fit
        (4 * GIB, 0, 0.0, 4096),
    ],
)
def test_the_next_batch_on_a_gpu_fills_half_of_what_is_free(memory, free, kept, each, size):
    memory(free, kept)
    assert devices.next_batch_size(GPU, 256, each) == size


def test_on_a_cpu_the_next_batch_is_as_the_first():
    assert devices.next_batch_size(CPU, 512, 0.0) == 512


@pytest.mark.parametrize(
    ("size", "left", "smaller"),
    [(512, 1000, 256), (512, 300, 256), (512, 256, 128), (512, 3, 2), (2, 9, 1), (512, 2, 1)],
)
def test_a_batch_that_was_too_large_is_followed_by_a_smaller_one(size, left, smaller):
    assert devices.smaller_batch_size(size, left) == smaller


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("memory"), False),
    ],
)
def test_errors_that_mean_too_little_memory(error, memory):
    assert devices.is_out_of_memory(error) is memory


def test_a_cpu_says_so_with_a_plain_runtime_error():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert devices.is_out_of_memory(refusal.value)
