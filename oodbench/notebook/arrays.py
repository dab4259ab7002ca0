"""Conversion of users' arrays and tensors to image sets. What cannot be images is refused with a one-line error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np

from oodbench.api import ImageSet, Shape, chunk_rows, shape_text
from oodbench.errors import DataError, UnknownName
from oodbench.tensors import without_torch

Layout: TypeAlias = Literal["NHW", "NCHW", "NHWC"]
"""The order of an array's axes: images, channels, height, width."""

LAYOUTS = {"NHW": 3, "NCHW": 4, "NHWC": 4}
CHANNELS = (1, 3)
LEVELS = 255
UNLABELLED = "the array without labels"
"""Name of an image set that was given no labels: its labels are all 0."""


def image_set(
    images: Any,
    labels: Any = None,
    *,
    split: str,
    layout: Layout | None = None,
    expected: Shape | None = None,
) -> ImageSet:
    """Return images and their labels as an image set.

    Args:
        images: an ImageSet; or an array, a tensor, or what numpy makes an array of, (n, H, W), (n, C, H, W) or
            (n, H, W, C), uint8 from 0 to 255 or floats from 0 to 1. Floats are rounded to 256 levels.
        labels: whole numbers (n,); None for those of the ImageSet, or for no labels, which are then 0.
        split: name of the split that the set is for, also in messages.
        layout: the order of the axes, where the shape does not say which axis has the channels.
        expected: (C, H, W) that the images must have.

    Raises DataError where they cannot be images, where their layout is ambiguous, and where they have another shape.
    """
    if isinstance(images, ImageSet):
        found = images if labels is None else image_set(images.images, labels, split=split, layout="NCHW")
        return _of_shape(found, split, expected)
    array = _as_array(images, "images")
    if array.ndim and not len(array):
        raise DataError(f"the {split} images are empty: {array.shape}")
    stack = _as_uint8(_channels_first(array, split, layout, expected), split)
    name = "the array" if labels is not None else UNLABELLED
    places = np.arange(len(stack))
    return _of_shape(ImageSet(name, split, stack, _as_labels(labels, len(stack)), places), split, expected)


def _of_shape(images: ImageSet, split: str, expected: Shape | None) -> ImageSet:
    if expected is not None and images.shape != expected:
        raise DataError(
            f"the {split} images are {shape_text(images.shape)}, and those that it is fitted to "
            f"{shape_text(expected)}: bring them to that shape"
        )
    if not len(images):
        raise DataError(f"the {split} images are empty")
    return images


def _as_array(values: Any, what: str) -> np.ndarray:
    """Return the values as a numpy array, also those of a tensor on any device."""
    try:
        array = np.asarray(without_torch(values))
    except ValueError:
        raise DataError(f"the {what} are no array: they differ in shape; bring them to one, then numpy.stack") from None
    if array.dtype == object:
        raise DataError(f"the {what} are no array of numbers, but of {type(array.flat[0]).__name__}")
    return array


# ----------------------------------------------------------------------------------------- layout


def _channels_first(array: np.ndarray, split: str, layout: Layout | None, expected: Shape | None) -> np.ndarray:
    """Return the images as (n, C, H, W)."""
    layout = _layout(array, split, layout, expected)
    if layout == "NHW":
        return array[:, None]
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def _layout(array: np.ndarray, split: str, layout: Layout | None, expected: Shape | None) -> Layout:
    shape = array.shape
    if layout is not None:
        if layout not in LAYOUTS:
            raise UnknownName("layout", str(layout), LAYOUTS)
        if array.ndim != LAYOUTS[layout]:
            raise DataError(f"the {split} images are {shape}, and layout {layout} has {LAYOUTS[layout]} axes")
        return layout
    if array.ndim == 2:
        raise DataError(f"the {split} images are {shape}, one image at most: one alone is images[None]")
    if array.ndim == 3:
        if expected is None and (shape[0] in CHANNELS or shape[2] in CHANNELS):
            raise DataError(f"the {split} images are {shape}: images[None] if that is one image, else say layout='NHW'")
        return "NHW"
    if array.ndim != 4:
        raise DataError(f"the {split} images are {shape}; images are (n, H, W), (n, C, H, W) or (n, H, W, C)")
    return _four_axes(shape, split, expected)


def _four_axes(shape: tuple[int, ...], split: str, expected: Shape | None) -> Layout:
    """Return the layout, NCHW or NHWC, that follows from which axis may be channels, and from the expected shape."""
    shapes: dict[Layout, Shape] = {"NCHW": (shape[1], shape[2], shape[3]), "NHWC": (shape[3], shape[1], shape[2])}
    able = [layout for layout, found in shapes.items() if found[0] in CHANNELS]
    fitting = [layout for layout, found in shapes.items() if found == expected]
    found = fitting if len(fitting) == 1 else able
    if not found:
        raise DataError(
            f"the {split} images are {shape}, and no axis has 1 or 3 channels: say layout='NCHW' or layout='NHWC'"
        )
    if len(found) > 1:
        raise DataError(f"the {split} images are {shape}, which is ambiguous: say layout='NCHW' or layout='NHWC'")
    return found[0]


# ----------------------------------------------------------------------------------------- values


def _as_uint8(stack: np.ndarray, split: str) -> np.ndarray:
    """Return images (n, C, H, W) in 256 levels."""
    if 0 in stack.shape[1:]:
        raise DataError(f"the {split} images have no pixels: {stack.shape}")
    if stack.dtype == np.uint8:
        return np.ascontiguousarray(stack)
    if not np.issubdtype(stack.dtype, np.floating):
        raise DataError(
            f"the {split} images are {stack.dtype}: give uint8 from 0 to 255, or floats from 0 to 1; "
            "images.astype('uint8') where they are whole numbers up to 255"
        )
    found = np.empty(stack.shape, np.uint8)
    for start, chunk in _chunks(stack):
        _check_range(chunk, split)
        found[start : start + len(chunk)] = np.rint(chunk.astype(np.float64) * LEVELS)
    return found


def _chunks(stack: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    rows = chunk_rows((stack.shape[1], stack.shape[2], stack.shape[3]))
    yield from ((start, stack[start : start + rows]) for start in range(0, len(stack), rows))


def _check_range(values: np.ndarray, split: str) -> None:
    if not np.isfinite(values).all():
        raise DataError(f"the {split} images have NaN or infinity: leave these images out, or mend them")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        way = "divide by 255" if low >= 0 and high <= LEVELS else "bring them there, by (x - low) / (high - low)"
        raise DataError(f"the {split} images have values from {low:.4g} to {high:.4g}, not from 0 to 1: {way}")


def _as_labels(labels: Any, count: int) -> np.ndarray:
    if labels is None:
        return np.zeros(count, np.int64)
    array = _as_array(labels, "labels")
    if array.shape != (count,):
        raise DataError(f"the labels are {array.shape}, and there are {count:,} images: give one label each")
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"the labels are {array.dtype}, not whole numbers: numpy.unique(labels, return_inverse=True)[1] are such"
        )
    return array.astype(np.int64)
