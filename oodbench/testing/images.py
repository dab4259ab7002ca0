"""Images for the checks: easy to learn, and part of no benchmark result."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from oodbench.api import ImageSet, Shape

TRAIN, VALIDATION, HELD_OUT = 512, 64, 128
SIDE = 8


def easy_images(shape: Shape, split: str = "train", n: int | None = None, negative: bool = False) -> ImageSet:
    """Return enlarged handwritten digits, or their photographic negatives, as a fresh copy that may be modified.

    The labels are the digits.

    Args:
        shape: (C, H, W) of the images.
        split: ``train`` (512 images), ``validation`` (64) or ``held out`` (128).
        n: return the first n images; None for all.
    """
    first, count = {"train": (0, TRAIN), "validation": (TRAIN, VALIDATION), "held out": (1000, HELD_OUT)}[split]
    indices = np.arange(first, first + (count if n is None else min(n, count)))
    images = _digits(shape)[indices]  # indexing with an array makes a copy
    return ImageSet("digits", split, 255 - images if negative else images, _classes()[indices], indices)


def tensor(images: ImageSet) -> torch.Tensor:
    """Return the images as a detector receives them: float32 (n, C, H, W) in [0, 1]."""
    return next(images.batches(len(images)))


def held_out(shape: Shape, n: int = HELD_OUT, negative: bool = False) -> torch.Tensor:
    """Return the first n images of the split ``held out``, or their negatives: float32 (n, C, H, W) in [0, 1]."""
    return tensor(easy_images(shape, "held out", n, negative))


def noise(shape: Shape, n: int = HELD_OUT) -> torch.Tensor:
    """Return n images whose pixels are uniform in [0, 1]: float32 (n, C, H, W), the same at every call."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def odd_images(shape: Shape) -> torch.Tensor:
    """Return images on which a formula may divide by zero: black, white, grey, one bright pixel; (4, C, H, W)."""
    images = torch.stack([torch.full(shape, value) for value in (0.0, 1.0, 0.5, 0.0)])
    images[3, :, 0, 0] = 1.0
    return images


@cache
def _classes() -> np.ndarray:
    """Return the digit of each image, int64 (n,)."""
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)


@cache
def _digits(shape: Shape) -> np.ndarray:
    """Return the 1,797 8×8 digits of scikit-learn in a black frame, each channel darker than the last; (n, C, H, W)."""
    from sklearn.datasets import load_digits

    channels, height, width = shape
    factor = max(1, min(height, width) // SIDE)
    small = (load_digits().images * (255 / 16)).astype(np.uint8)[:, :height, :width]
    large = small.repeat(factor, axis=1).repeat(factor, axis=2)
    frame = [(space // 2, space - space // 2) for space in (height - large.shape[1], width - large.shape[2])]
    padded = np.pad(large, [(0, 0), *frame])[:, None]  # (n, 1, H, W)
    tint = 1 - np.arange(channels) / (2 * channels)
    return (padded * tint[:, None, None]).astype(np.uint8)
