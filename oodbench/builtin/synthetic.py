"""Synthetic images, each a function of (seed, index, shape) alone, in any requested shape.

The pixels come from Philox, a counter-based generator whose stream numpy promises never to change. Every image takes a
whole number of counter blocks, so that image i can be made without the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.plugin.hookspecs import hookimpl

BLOCK = 32  # bytes per step of Philox's counter: four 64-bit words
FIRST = {"validation": 32_000, "test": 36_000}  # the rows the author's 40,000-row files use for the two splits
COUNT = 4_000
DEFAULT_SHAPE = (1, 28, 28)

Make = Callable[[int, int, Shape], np.ndarray]


def constant(first: int, count: int, shape: Shape) -> np.ndarray:
    """Return one value per image, uniform on 0…255, in all channels: uint8 (count, C, H, W) from index ``first`` on."""
    values = random_bytes(1, first, count, 1)
    return np.broadcast_to(values[:, :, None, None], (count, *shape)).copy()


def constant_rgb(first: int, count: int, shape: Shape) -> np.ndarray:
    """Return one value per channel: uint8 (count, C, H, W) from index ``first`` on."""
    values = random_bytes(2, first, count, shape[0])
    return np.broadcast_to(values[:, :, None, None], (count, *shape)).copy()


def noise(first: int, count: int, shape: Shape) -> np.ndarray:
    """Return images with every pixel of every channel random: uint8 (count, C, H, W) from index ``first`` on."""
    return random_bytes(3, first, count, int(np.prod(shape))).reshape(count, *shape)


def random_bytes(seed: int, first: int, count: int, size: int) -> np.ndarray:
    """Return rows ``first``… of the seed's table of random bytes: uint8 (count, size), the same on every machine."""
    blocks = -(-size // BLOCK)
    words = np.random.Philox(key=seed).advance(first * blocks).random_raw(count * blocks * BLOCK // 8)
    return words.astype("<u8").view(np.uint8).reshape(count, blocks * BLOCK)[:, :size]


def load(name: str, make: Make, split: str, root: Path, shape: Shape | None) -> ImageSet:
    images = make(FIRST[split], COUNT, shape or DEFAULT_SHAPE)
    indices = np.arange(FIRST[split], FIRST[split] + COUNT)
    return ImageSet(name, split, images, np.zeros(COUNT, np.int64), indices)


@hookimpl
def register_datasets() -> list[Dataset]:
    offers: list[tuple[str, Make, str]] = [
        ("constant", constant, "one random value fills the whole image"),
        ("constant-rgb", constant_rgb, "one random value a channel"),
        ("noise", noise, "every pixel of every channel random"),
    ]
    return [
        Dataset(
            name=name,
            load=partial(load, name, make),
            shape=None,
            sizes=dict.fromkeys(FIRST, COUNT),
            summary=summary,
            source="made from a fixed seed; the supplement of EBAE, section 2",
        )
        for name, make, summary in offers
    ]
