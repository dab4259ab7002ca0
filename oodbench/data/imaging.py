"""Pictures → uint8 arrays of one shape. Every data set is resized here, so that no resize betrays the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from oodbench.api import Shape, chunk_rows, shape_text
from oodbench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 4096
GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F")


def conform(images: np.ndarray, shape: Shape) -> np.ndarray:
    """Uint8 images (n, C, H, W) → (n, *shape): grey to colour by copying, colour to grey by luminance, bilinear resize.

    Raises DataError for other channel counts.
    """
    if images.shape[1:] == shape:
        return images
    if images.shape[1] != shape[0] and {images.shape[1], shape[0]} != {1, 3}:
        raise DataError(f"cannot bring images of {shape_text(images.shape[1:])} to {shape_text(shape)}")
    conformed = np.empty((len(images), *shape), np.uint8)
    for start in range(0, len(images), CHUNK):
        conformed[start : start + CHUNK] = _conform_chunk(images[start : start + CHUNK], shape)
    return conformed


def _conform_chunk(images: np.ndarray, shape: Shape) -> np.ndarray:
    import torch
    from torchvision.transforms.v2 import functional

    stack = torch.from_numpy(np.array(images))  # (b, C, H, W); a copy, as torch wants it writable
    if shape[0] == 1 and stack.shape[1] == 3:
        # In float and rounded: torchvision truncates uint8, and its weights sum to 0.9999, so white would turn grey.
        stack = functional.rgb_to_grayscale(stack.float()).round_().to(torch.uint8)
    if stack.shape[2:] != shape[1:]:
        stack = functional.resize(stack, list(shape[1:]), functional.InterpolationMode.BILINEAR, antialias=True)
    return stack.expand(-1, shape[0], -1, -1).numpy()


def picture_shape(path: Path) -> Shape:
    """The shape that ``read_picture`` gives, from the beginning of the file alone. DataError as there."""
    with _opened(path, path) as picture:
        return (_channels(picture), picture.height, picture.width)


def read_picture(source: Path | BinaryIO, name: str | Path = "") -> np.ndarray:
    """One picture file: uint8 (1, H, W) if it is grey, else (3, H, W); transparency is ignored.

    DataError, with the file's ``name``, where it is damaged, no picture, or has more than 8 bits a channel.
    """
    with _opened(source, name or str(source)) as picture:
        pixels = np.asarray(picture.convert("L" if _channels(picture) == 1 else "RGB"))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_pictures(
    paths: Iterable[Path], shape: Shape, prepare: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
) -> Iterator[np.ndarray]:
    """These files in order, uint8 (some, *shape) at a time. ``prepare`` is given each picture before its resize."""
    rows, left = chunk_rows(shape), iter(paths)
    while chosen := [*islice(left, rows)]:
        yield np.concatenate([conform(prepare(read_picture(path))[None], shape) for path in chosen])


@contextmanager
def _opened(source: Path | BinaryIO, name: str | Path) -> Iterator[Image]:
    from PIL import Image

    try:
        with Image.open(source) as picture:
            if picture.mode.startswith(DEEP_MODES):
                raise DataError(f"{name} has more than 8 bits a channel: convert it to 8 bits")
            yield picture
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{name} is damaged or no picture ({why}): fetch it again or delete it") from error


def _channels(picture: Image) -> int:
    return 1 if picture.mode in GREY_MODES else 3
