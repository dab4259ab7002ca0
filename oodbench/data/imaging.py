"""Pictures → uint8 arrays of one shape. All data sets are resized here, so that no kind of resize reveals a source."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from oodbench.api import Shape, chunk_rows, shape_text
from oodbench.errors import DataError
from oodbench.text import shorten

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 4096
GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F")
# Accepted formats, by the content of a file, whatever its name. Pillow is restricted to them: reading EPS, for one,
# would start another program.
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, height and width are swapped


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
    """Return the shape that ``read_picture`` would give, from the file's header. Raises DataError as it does."""
    with _opened(path, path) as picture:
        height, width = picture.height, picture.width
        if picture.format != "TIFF" and picture.getexif().get(ORIENTATION, 1) >= 5:  # Pillow turns a TIFF itself
            height, width = width, height
        return (_channels(picture), height, width)


def read_picture(source: Path | BinaryIO, name: str | Path = "") -> np.ndarray:
    """Return one picture file: uint8 (1, H, W) if it is grey, else (3, H, W), turned as its EXIF orientation says.

    Transparency is ignored. Raises DataError, with the file's ``name``, where it may not be read, is damaged, is no
    regular file, no picture or more than one, or has more than 8 bits per channel.
    """
    from PIL import ImageOps

    with _opened(source, name or str(source)) as picture:
        picture = ImageOps.exif_transpose(picture)
        pixels = np.asarray(picture.convert("L" if _channels(picture) == 1 else "RGB"))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_pictures(
    paths: Iterable[Path], shape: Shape, prepare: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
) -> Iterator[np.ndarray]:
    """Yield the pictures of these files in order, as chunks of uint8 (b, *shape).

    ``prepare`` is called with each picture before its resize.
    """
    rows, left = chunk_rows(shape), iter(paths)
    while chosen := [*islice(left, rows)]:
        yield np.concatenate([conform(prepare(read_picture(path))[None], shape) for path in chosen])


def file_error(name: str | Path, error: BaseException, what: str) -> DataError:
    """Return the error for a file that cannot be read: permission denied, or why the file is no valid ``what``."""
    if isinstance(error, PermissionError):
        return DataError(f"{name} may not be read: permission denied; change its permissions")
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "…", " ".join(str(error).split()))  # code in a header
    why = shorten(text or type(error).__name__)
    return DataError(f"{name} is damaged or no {what} ({why})")


def check_regular(path: Path, name: str | Path = "") -> None:
    """Raise DataError unless the path, or its link's target, is a regular file: reading another kind may never end.

    ``name`` is what the message calls it.
    """
    name = name or path
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise file_error(name, error, "file") from error
    except (OSError, ValueError) as error:
        if path.is_symlink() and isinstance(error, FileNotFoundError):
            raise DataError(f"{name} is a link to {path.readlink()}, which is not there: mend or delete it") from error
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name} cannot be read: {why}") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{name} is no regular file: delete it, or put one in its place")


@contextmanager
def _opened(source: Path | BinaryIO, name: str | Path) -> Iterator[Image]:
    from PIL import Image

    if isinstance(source, Path):
        check_regular(source, name)
    Image.init()
    known = [each for each in FORMATS if each in Image.OPEN]
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures, which are read all the same, and of metadata that do not matter here.
            warnings.simplefilter("ignore")
            with _as_file(source) as file, Image.open(file, formats=known) as picture:
                _check_plain(picture, name)
                yield picture
    except DataError:
        raise
    except Exception as error:  # Pillow raises errors of every type for damage
        refusal = file_error(name, error, "picture")
        if isinstance(error, PermissionError):
            raise refusal from error
        raise DataError(f"{refusal}: fetch it again or delete it") from error


def _as_file(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Open the file: given a path, Pillow maps an uncompressed TIFF, and scrambles it where it must be turned."""
    return open(source, "rb") if isinstance(source, Path) else nullcontext(source)


def _check_plain(picture: Image, name: str | Path) -> None:
    """Raise DataError if the file has several pictures, or more than 8 bits per channel."""
    layout = str(
        getattr(picture, "tile", "")
    )  # the only place where Pillow shows that it would keep only the high byte of RGB
    is_deep = picture.format in ("PNG", "TIFF") and ";16" in layout
    if picture.format == "PPM":
        is_deep = any(int(number) > 255 for number in re.findall(r"'[A-Z]+', (\d+)\)", layout))
    if is_deep or picture.mode.startswith(DEEP_MODES):
        raise DataError(f"{name} has more than 8 bits per channel: convert it to 8 bits")
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # previews follow in a camera's MPO
    if frames > 1:
        raise DataError(f"{name} has {frames:,} frames, and a picture is one: save each to a file of its own")


def _channels(picture: Image) -> int:
    return 1 if picture.mode in GREY_MODES else 3
