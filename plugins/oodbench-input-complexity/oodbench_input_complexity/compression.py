"""L(x), the number of bits that a lossless compressor needs for an image.

Lengths are those of whole files, including headers. Encoders are deterministic, but another version of a library such
as zlib or OpenJPEG may give other lengths.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, features

from oodbench import OODBenchError

Compressor = Callable[[np.ndarray], int]
"""Maps one image, uint8 (C, H, W), to a number of bytes."""


def _file_length(image: np.ndarray, kind: str, **options: object) -> int:
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.tell()


COMPRESSORS: dict[str, Compressor] = {
    "png": lambda image: _file_length(image, "PNG", compress_level=9),
    "jpeg2000": lambda image: _file_length(image, "JPEG2000", irreversible=False, no_jp2=True),
    "webp": lambda image: _file_length(image, "WEBP", lossless=True, quality=100, method=0),
    "zlib": lambda image: len(zlib.compress(image.tobytes(), 9)),
    "bz2": lambda image: len(bz2.compress(image.tobytes(), 9)),
    "lzma": lambda image: len(lzma.compress(image.tobytes())),
}
MINIMUM = ("png", "jpeg2000")
"""Compressors whose shortest result is ``min``. The paper also uses FLIF, which no maintained Python package offers."""
PILLOW_FEATURE = {"png": "zlib", "jpeg2000": "jpg_2000", "webp": "webp"}


def compressors(name: str) -> tuple[Compressor, ...]:
    """Return the compressors that a name stands for: one, or several for ``min``.

    Raises OODBenchError if Pillow lacks one of them, as scores without it would be wrong.
    """
    names = MINIMUM if name == "min" else (name,)
    for each in names:
        if each in PILLOW_FEATURE and not features.check(PILLOW_FEATURE[each]):
            raise OODBenchError(f"this Pillow was built without {each}; install its wheel, or set another compressor")
    return tuple(COMPRESSORS[each] for each in names)


def libraries() -> str:
    """Return the names and versions of the libraries that lengths may depend on, as one line."""
    import PIL

    versions = [f"Pillow {PIL.__version__}", f"zlib {zlib.ZLIB_RUNTIME_VERSION}"]
    for feature, name in (("zlib_ng", "zlib-ng"), ("jpg_2000", "OpenJPEG"), ("webp", "WebP")):
        if version := features.version(feature):
            versions.append(f"{name} {version}")
    return ", ".join(versions)


def bits_per_dimension(images: torch.Tensor, name: str) -> torch.Tensor:
    """Return L(x) / D of images x (b, C, H, W) in [0, 1], D = C·H·W, as float32 (b,) on the images' device.

    Images are rounded to 256 levels and compressed one by one.

    Args:
        name: a name of COMPRESSORS, or ``min`` for the shortest of MINIMUM.
    """
    chosen = compressors(name)
    pixels = (images.detach() * 255).round().to("cpu", torch.uint8).contiguous().numpy()
    lengths = [min(compressor(image) for compressor in chosen) for image in pixels]
    return torch.tensor(lengths, dtype=torch.float32, device=images.device) * (8 / images[0].numel())
