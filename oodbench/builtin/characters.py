"""Omniglot and notMNIST: characters to compare with digits, in MNIST's size and with bright strokes on black."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, ImageSet, Shape
from oodbench.builtin.pictures import check_shape, is_picture, pictures_below, three_ways
from oodbench.builtin.vision import beside
from oodbench.data.imaging import file_error, read_picture, read_pictures
from oodbench.errors import DataError, reason
from oodbench.plugin.hookspecs import hookimpl

GREY = (1, 28, 28)
OMNIGLOT = Path("omniglot-py", "images_evaluation")
OMNIGLOT_URL = "https://github.com/brendenlake/omniglot"
OMNIGLOT_ZIP = "omniglot-py/images_evaluation.zip"
OMNIGLOT_MD5 = "6b91aef0f799c5bb55b94e3f2daec811"
OMNIGLOT_COUNT, OMNIGLOT_CLASSES = 13_180, 659

SEED = 40_001
NOTMNIST = "notMNIST_small"
NOTMNIST_URL = "http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz"
NOTMNIST_SIZES = {"train": 14_979, "validation": 1_872, "test": 1_873}
LETTERS = "ABCDEFGHIJ"
# As published, these two files cannot be read.
BROKEN = {"A/RGVtb2NyYXRpY2FCb2xkT2xkc3R5bGUgQm9sZC50dGY=.png", "F/Q3Jvc3NvdmVyIEJvbGRPYmxpcXVlLnR0Zg==.png"}


# --------------------------------------------------------------------------------------- Omniglot


def load_omniglot(split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Return the evaluation part, inverted, as its strokes are black.

    Labels are numbers of the characters, indices those of the pictures.
    """
    folder = root / OMNIGLOT
    if not folder.is_dir():
        _download_omniglot(root)
    paths = [*pictures_below(folder)]
    if not paths:
        raise DataError(f"omniglot has no picture in {folder}: delete the folder, and it is fetched again")
    characters = sorted({path.parent for path in paths})
    labels = np.array([characters.index(path.parent) for path in paths], np.int64)
    images = np.concatenate([*read_pictures(paths, GREY, lambda picture: 255 - picture)])
    return ImageSet("omniglot", split, images, labels, np.arange(len(paths)))


def _download_omniglot(root: Path) -> None:
    """Let torchvision download it to a temporary folder, then move it: a broken download leaves nothing behind."""
    try:
        with beside(root) as fetched:
            from torchvision.datasets import Omniglot

            Omniglot(fetched, background=False, download=True)
            (root / OMNIGLOT).parent.mkdir(parents=True, exist_ok=True)
            (fetched / OMNIGLOT).rename(root / OMNIGLOT)
    except Exception as error:  # whatever it was, the remedy is the same
        raise DataError(
            f"omniglot is not there and could not be downloaded ({reason(error)}): put images_evaluation.zip from "
            f"{OMNIGLOT_URL}, unpacked, into the folder {(root / OMNIGLOT).parent}"
        ) from error


# --------------------------------------------------------------------------------------- notMNIST


def load_notmnist(split: str, root: Path, shape: Shape | None) -> ImageSet:
    """Return one split, a random 80, 10 or 10 % of the small set without its two broken files.

    An index is a picture's position among the others.
    """
    images, labels = _letters(root)
    chosen = three_ways(split, len(labels), NOTMNIST_SIZES, SEED)
    return ImageSet("notmnist", split, images[chosen], labels[chosen], chosen)


def _letters(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return all pictures, sorted by letter and file name: uint8 (n, 1, 28, 28); and labels, 0 for A and so on."""
    folder, archive = root / NOTMNIST, root / f"{NOTMNIST}.tar.gz"
    found = _from_folder(folder) if folder.is_dir() else _from_archive(archive) if archive.is_file() else {}
    names = sorted(found)
    if not names:
        raise DataError(f"notmnist is not there: {notmnist_instructions(root)}")
    for name in names:
        check_shape("notmnist", found[name], GREY, "those of 28×28")
    labels = np.array([LETTERS.index(name[0]) for name in names], np.int64)
    return np.stack([found[name] for name in names]), labels


def _from_folder(folder: Path) -> dict[str, np.ndarray]:
    paths = {f"{path.parent.name}/{path.name}": path for letter in LETTERS for path in pictures_below(folder / letter)}
    return {name: read_picture(path) for name, path in paths.items() if name not in BROKEN}


def _from_archive(path: Path) -> dict[str, np.ndarray]:
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = "/".join(member.name.split("/")[-2:])
                if member.isfile() and _is_letter(name) and name not in BROKEN:
                    file = archive.extractfile(member)
                    assert file, name  # as it is a file
                    found[name] = read_picture(io.BytesIO(file.read()), f"{path}:{member.name}")
    except PermissionError as error:
        raise file_error(path, error, "archive") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({reason(error)}): delete it and fetch it again") from error
    return found


def _is_letter(name: str) -> bool:
    letter, _, file = name.partition("/")
    return len(letter) == 1 and letter in LETTERS and is_picture(file)


def notmnist_files(root: Path) -> list[Path]:
    """Return the folders of the letters, else the archive."""
    folder = root / NOTMNIST
    return [folder / letter for letter in LETTERS] if folder.is_dir() else [root / f"{NOTMNIST}.tar.gz"]


def notmnist_instructions(root: Path) -> str:
    return (
        f"put notMNIST_small.tar.gz from {NOTMNIST_URL} into the folder {root}, as it is or unpacked to the folders "
        f"{root / NOTMNIST / 'A'} to J"
    )


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset(
            name="omniglot",
            load=load_omniglot,
            shape=GREY,
            sizes={"test": OMNIGLOT_COUNT},
            classes=range(OMNIGLOT_CLASSES),
            required_files=lambda root: [root / OMNIGLOT],
            summary="handwritten characters of 20 alphabets (the evaluation part), inverted, made 28×28",
            source=OMNIGLOT_URL,
            licence="MIT",
            checksums=lambda: {OMNIGLOT_ZIP: OMNIGLOT_MD5},
        ),
        Dataset(
            name="notmnist",
            load=load_notmnist,
            shape=GREY,
            sizes=NOTMNIST_SIZES,
            classes=range(len(LETTERS)),
            required_files=notmnist_files,
            summary="letters A to J in many fonts (the small set), two broken files left out",
            source=NOTMNIST_URL,
            licence="not stated",
            download_instructions=notmnist_instructions,
        ),
    ]
