"""Images for the checks: easy to learn, and of a kind that nobody's results depend on."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from oodbench.api import ImageSet, Shape

TRAIN, VALIDATION, HELD_OUT = 512, 64, 128
SIDE = 8


def easy_images(shape: Shape, split: str = "train", n: int | None = None, negative: bool = False) -> ImageSet:
    """Enlarged handwritten digits, or their photographic negative; a fresh copy, which may be spoilt.

    split: ``train`` (512 images), ``validation`` (64) or ``held out`` (128); the first ``n`` of them.
    """
    first, count = {"train": (0, TRAIN), "validation": (TRAIN, VALIDATION), "held out": (1000, HELD_OUT)}[split]
    indices = np.arange(first, first + (count if n is None else min(n, count)))
    images = _digits(shape)[indices]  # a copy, as it is chosen by an array
    return ImageSet("digits", split, 255 - images if negative else images, indices % 10, indices)


def tensor(images: ImageSet) -> torch.Tensor:
    """As a detector is given them: float32 (n, C, H, W) in [0, 1]."""
    return next(images.batches(len(images)))


def held_out(shape: Shape, n: int = HELD_OUT, negative: bool = False) -> torch.Tensor:
    return tensor(easy_images(shape, "held out", n, negative))


def noise(shape: Shape, n: int = HELD_OUT) -> torch.Tensor:
    """Every pixel uniform in [0, 1]: (n, C, H, W)."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def odd_images(shape: Shape) -> torch.Tensor:
    """Legal images that make careless formulas divide by zero: black, white, grey, one bright pixel; (4, C, H, W)."""
    images = torch.stack([torch.full(shape, value) for value in (0.0, 1.0, 0.5, 0.0)])
    images[3, :, 0, 0] = 1.0
    return images


@cache
def _digits(shape: Shape) -> np.ndarray:
    """Scikit-learn's 1,797 8×8 digits in the middle of a black frame, each channel a little darker than the last."""
    from sklearn.datasets import load_digits

    channels, height, width = shape
    factor = max(1, min(height, width) // SIDE)
    small = (load_digits().images * (255 / 16)).astype(np.uint8)[:, :height, :width]
    large = small.repeat(factor, axis=1).repeat(factor, axis=2)
    frame = [(space // 2, space - space // 2) for space in (height - large.shape[1], width - large.shape[2])]
    padded = np.pad(large, [(0, 0), *frame])[:, None]  # (n, 1, H, W)
    tint = 1 - np.arange(channels) / (2 * channels)
    return (padded * tint[:, None, None]).astype(np.uint8)
