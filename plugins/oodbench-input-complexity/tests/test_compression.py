"""Compressed lengths, against the files and streams that other encoders and decoders know."""

from __future__ import annotations

import bz2
import lzma
import math
import zlib

import numpy as np
import pytest
import torch
from oodbench_input_complexity import compression
from oodbench_input_complexity.compression import COMPRESSORS, bits_per_dimension, compressors, libraries
from PIL import Image

from oodbench import OODBenchError

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def smooth(shape: tuple[int, int, int]) -> np.ndarray:
    """A slow wave, uint8 (C, H, W): compressible, but not empty."""
    channels, height, width = shape
    wave = np.sin(np.arange(height)[:, None] / 5) + np.cos(np.arange(width) / 7)
    return np.stack([(60 * (wave + 2) + channel).astype(np.uint8) for channel in range(channels)])


def stack(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).float() / 255


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_png_is_as_long_as_the_file_on_disk(shape, tmp_path):
    image = smooth(shape)
    pixels = image[0] if shape[0] == 1 else image.transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / "image.png", compress_level=9)
    bits = 8 * (tmp_path / "image.png").stat().st_size
    (length,) = bits_per_dimension(stack(image), "png").tolist()
    assert length == pytest.approx(bits / math.prod(shape))


def test_png_holds_the_row_filters_that_python_can_read(tmp_path):
    """A PNG is a signature, chunks, and a zlib stream of filtered rows: its length by hand, from that stream."""
    image = smooth(GREY)
    Image.fromarray(image[0]).save(tmp_path / "image.png", compress_level=9)
    file = (tmp_path / "image.png").read_bytes()
    start = file.index(b"IDAT") + 4
    stream = file[start : start + int.from_bytes(file[start - 8 : start - 4], "big")]
    assert len(zlib.decompress(stream)) == 28 * 29  # each row after one byte for its filter
    overhead = 8 + (12 + 13) + 12 + 12  # signature, IHDR, the frame of IDAT, IEND
    (length,) = bits_per_dimension(stack(image), "png").tolist()
    assert length == pytest.approx(8 * (overhead + len(stream)) / 784)


@pytest.mark.parametrize(
    ("name", "compress"),
    [("zlib", lambda data: zlib.compress(data, 9)), ("bz2", bz2.compress), ("lzma", lzma.compress)],
)
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_stream_compressors_see_the_bytes_of_the_image(name, compress, shape):
    image = smooth(shape)
    (length,) = bits_per_dimension(stack(image), name).tolist()
    assert length == pytest.approx(8 * len(compress(image.tobytes())) / math.prod(shape))


@pytest.mark.parametrize("name", ["png", "jpeg2000", "webp"])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_image_compressors_lose_nothing(name, shape, monkeypatch):
    files = []
    tell = compression.io.BytesIO.tell

    class Kept(compression.io.BytesIO):
        def tell(self):
            files.append(self)
            return tell(self)

    monkeypatch.setattr(compression.io, "BytesIO", Kept)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    length = COMPRESSORS[name](noise)
    file = files[-1]
    assert length == len(file.getvalue())
    file.seek(0)
    decoded = np.asarray(Image.open(file).convert("L" if shape[0] == 1 else "RGB"))
    assert np.array_equal(decoded, noise[0] if shape[0] == 1 else noise.transpose(1, 2, 0))


def test_min_is_the_shorter_of_its_compressors_image_by_image():
    generator = np.random.default_rng(0)
    noise, waves = generator.integers(0, 256, COLOUR, np.uint8), smooth(COLOUR)
    images = stack(noise, waves)
    lengths = torch.stack([bits_per_dimension(images, name) for name in compression.MINIMUM])
    assert torch.equal(bits_per_dimension(images, "min"), lengths.amin(dim=0))


@pytest.mark.parametrize("name", ["min", *COMPRESSORS])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_complex_images_are_longer(name, shape):
    flat = np.full(shape, 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    lengths = bits_per_dimension(stack(flat, smooth(shape), noise), name)
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] > 7.9, "noise of 8 bits cannot be compressed"


def test_company_and_order_do_not_matter():
    images = stack(smooth(GREY), np.zeros(GREY, np.uint8), np.random.default_rng(0).integers(0, 9, GREY, np.uint8))
    together = bits_per_dimension(images, "min")
    assert torch.equal(bits_per_dimension(images.flip(0), "min").flip(0), together)
    assert torch.equal(torch.cat([bits_per_dimension(image[None], "min") for image in images]), together)


def test_images_between_the_levels_are_brought_to_the_nearest():
    image = stack(smooth(GREY))
    assert torch.equal(bits_per_dimension(image + 0.4 / 255, "png"), bits_per_dimension(image, "png"))


def test_a_compressor_that_pillow_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(compression.features, "check", lambda feature: feature != "jpg_2000")
    assert compressors("png")
    with pytest.raises(OODBenchError, match="this Pillow was built without jpeg2000"):
        compressors("min")


def test_the_versions_that_matter_can_be_told():
    assert "Pillow" in libraries()
    assert "zlib" in libraries()
