"""Files of one's own that are not what they seem: each is read right, or refused in one line; nothing hangs."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodbench.data.imaging import picture_shape, read_picture
from oodbench.data.loading import Loader
from oodbench.errors import DataError
from oodbench.plugin.registry import load_registry

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def loader(tmp_path, toys) -> Loader:
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def picture(path: Path, *shape: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(*(shape or (6, 4, 3)), seed=seed)).save(path)
    return path


def refusal(loader: Loader, name: str, split: str = "test") -> str:
    with pytest.raises(DataError) as error:
        loader.load(name, split, (3, 6, 4))
    assert "\n" not in str(error.value)
    return str(error.value)


def deep_png(path: Path) -> None:
    """A picture of 16 bits in colour, which Pillow cannot write."""
    rows = b"".join(b"\0" + bytes(4 * 6) for _ in range(6))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 6, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    found = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + found)


# --------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: os.mkfifo(at / "b.png"), "b.png is no regular file"),
        (lambda at: (at / "b.png").symlink_to("/dev/zero"), "b.png is no regular file"),
        (lambda at: (at / "b.png").symlink_to("nothing"), "b.png is a link to nothing, which is not there"),
        (lambda at: (at / "dogs").symlink_to("nothing"), "dogs is a link to nothing, which is not there"),
        (lambda at: (at / "b.png").symlink_to("b.png"), "b.png cannot be read: Too many levels of symbolic links"),
        (lambda at: (at / "b.heic").write_bytes(b"x"), "b.heic is of a format that is not read: convert it to PNG"),
        (lambda at: (at / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "b.png is damaged or no picture"),
        (lambda at: deep_png(at / "b.png"), "b.png has more than 8 bits per channel"),
        (
            lambda at: (at / "b.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24)),
            "b.ppm has more than 8 bits per channel",
        ),
    ],
)
def test_what_cannot_be_read_among_pictures_is_named(tmp_path, loader, make, message):
    picture(tmp_path / "mine/a.png")
    make(tmp_path / "mine")
    assert message in refusal(loader, f"folder:{tmp_path}/mine")


def test_a_class_folder_that_cannot_be_read_is_named(tmp_path, loader, monkeypatch):
    for name in ("cat", "dog"):
        picture(tmp_path / "mine" / name / "a.png")
    scandir = os.scandir

    def denied(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert refusal(loader, f"folder:{tmp_path}/mine").endswith("mine/dog cannot be read: permission denied")


def test_one_folder_linked_twice_is_read_twice(tmp_path, loader):
    picture(tmp_path / "mine/cat/a.png")
    (tmp_path / "mine/dog").symlink_to("cat")
    assert loader.load(f"folder:{tmp_path}/mine", "test", (3, 6, 4)).labels.tolist() == [0, 1]


@pytest.mark.parametrize("frames", ["gif", "tif", "png", "webp"])
def test_further_frames_are_refused(tmp_path, frames):
    first, second = (Image.fromarray(pixels(6, 4, 3, seed=seed)) for seed in (1, 2))
    first.save(tmp_path / f"a.{frames}", save_all=True, append_images=[second])
    for read in (read_picture, picture_shape):
        with pytest.raises(DataError, match="has 2 frames, and a picture is one: save each to a file of its own"):
            read(tmp_path / f"a.{frames}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation, ending):
    gradient = np.add.outer(np.arange(16) * 8, np.arange(8) * 16).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(gradient).save(path, exif=exif)
    turned = {
        1: gradient, 2: gradient[:, ::-1], 3: gradient[::-1, ::-1], 4: gradient[::-1], 5: gradient.T,
        6: gradient[::-1].T, 7: gradient[::-1, ::-1].T, 8: gradient[:, ::-1].T,
    }  # fmt: skip
    found = read_picture(path)
    assert picture_shape(path) == found.shape == (1, *turned[orientation].shape)
    assert np.abs(found[0].astype(int) - turned[orientation]).max() <= 4


@pytest.mark.parametrize("ending", ["jfif", "JPE", "dib", "pbm", "pnm"])
def test_rarer_endings_are_pictures(tmp_path, loader, ending):
    picture(tmp_path / "mine/a.png")
    kind = {"jfif": "jpeg", "JPE": "jpeg", "dib": "dib", "pbm": "ppm", "pnm": "ppm"}[ending]
    Image.fromarray(pixels(6, 4)).save(tmp_path / f"mine/b.{ending}", format=kind)
    assert len(loader.load(f"folder:{tmp_path}/mine", "test", (3, 6, 4))) == 2


def test_pillows_warnings_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # and the picture has 24
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert read_picture(picture(tmp_path / "a.png")).shape == (3, 6, 4)
    assert not shown


def test_a_grey_picture_among_colour_is_read_as_colour(tmp_path, loader):
    for number in range(20):
        picture(tmp_path / f"mine/train/{number}.png", seed=number)
    picture(tmp_path / "mine/test/a.png", 6, 4)
    assert loader.shape(f"folder:{tmp_path}/mine") == (3, 6, 4)
    grey = loader.load(f"folder:{tmp_path}/mine", "test").images[0]
    np.testing.assert_array_equal(grey, [pixels(6, 4)] * 3)


def test_val_is_validation_and_what_nearly_is_a_split_is_refused(tmp_path, loader):
    for split in ("train", "val", "test"):
        picture(tmp_path / f"mine/{split}/a.png", seed=len(split))
    name = f"folder:{tmp_path}/mine"
    np.testing.assert_array_equal(loader.load(name, "validation").images[0], pixels(6, 4, 3, seed=3).transpose(2, 0, 1))
    (tmp_path / "mine/val").rename(tmp_path / "mine/valid")
    fresh = Loader(loader.registry, loader.root, loader.cache)
    assert "'valid' beside" in refusal(fresh, name)
    (tmp_path / "mine/valid").rename(tmp_path / "mine/val")
    picture(tmp_path / "mine/validation/a.png")
    assert "has both" in refusal(fresh, name)


@pytest.mark.parametrize("kind", ["folder", "npz"])
@pytest.mark.parametrize(
    ("path", "message"),
    [("~nosuchuser/x", "there is no user"), ("/" + "x" * 5000, "name too long"), ("/a\0b", "null")],
)
def test_a_path_that_cannot_be_is_refused(loader, kind, path, message):
    assert message in refusal(loader, f"{kind}:{path}")


# ------------------------------------------------------------------------------------------- npz


def archive(path: Path, shape: str, name: str = "images", data: bytes = bytes(100)) -> str:
    """An array whose header declares what it likes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    path.write_bytes(file.getvalue())
    return f"npz:{path}"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(-5, 8, 8)", "is damaged or no .npz file"),
        (f"({10**30}, 8, 8)", "is damaged or no .npz file"),
        (f"(1, {10**6}, {10**6})", "too large for images"),
        ("(5, 0, 8)", "its images have no pixels"),
        ("(" * 59 + ")", "is damaged or no .npz file"),
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path, loader, shape, message):
    assert message in refusal(loader, archive(tmp_path / "x.npz", shape))


def test_an_encrypted_file_is_refused(tmp_path, loader):
    name = archive(tmp_path / "x.npz", "(1, 5, 5)")
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + flags] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    assert "encrypted" in refusal(loader, name)


def test_a_pipe_is_no_npz_file(tmp_path, loader):
    os.mkfifo(tmp_path / "x.npz")
    assert "is no regular file" in refusal(loader, f"npz:{tmp_path}/x.npz")


@not_root
def test_what_may_not_be_read_is_not_called_damaged(tmp_path, loader):
    np.savez(tmp_path / "x.npz", images=pixels(5, 8, 8))
    (tmp_path / "x.npz").chmod(0)
    assert "may not be read: permission denied" in refusal(loader, f"npz:{tmp_path}/x.npz")


def test_permission_denied_is_the_reason_given(tmp_path, loader, monkeypatch):
    np.savez(tmp_path / "x.npz", images=pixels(5, 8, 8))

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", denied)
    assert "x.npz may not be read: permission denied" in refusal(loader, f"npz:{tmp_path}/x.npz")


def test_labels_for_one_split_alone_are_refused(tmp_path, loader):
    images = pixels(5, 6, 4)
    np.savez(tmp_path / "x.npz", train_images=images, test_images=images, train_labels=np.arange(5))
    assert "has labels, but no test_labels" in refusal(loader, f"npz:{tmp_path}/x.npz")


def test_val_images_are_validation(tmp_path, loader):
    train, validation = pixels(5, 6, 4), pixels(3, 6, 4, seed=1)
    np.savez(tmp_path / "x.npz", train_images=train, test_images=train, val_images=validation)
    np.testing.assert_array_equal(loader.load(f"npz:{tmp_path}/x.npz", "validation").images[:, 0], validation)
