"""Downscaled ImageNet, as a folder of PNGs (van den Oord's, which the supplement of EBAE uses) or as image-net.org's
npz batches. They were downscaled in different ways, and their images differ; if both exist, the PNGs are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream, chunk_rows
from oodbench.builtin import archives
from oodbench.builtin.pictures import check_shape, names_in
from oodbench.builtin.vision import choose
from oodbench.data.imaging import read_pictures
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

NAME = "imagenet32"
SIDE = 32
# Of the PNGs: 1,281,149 for training, of which a fifth is for validation. The supplement's own sum is one less. The npz
# batches have 1,281,167 and 50,000.
SIZES = {"train": 1_024_919, "validation": 256_230, "test": 49_999}
PICTURES = {"train": "train_32x32", "test": "valid_32x32"}
BATCHES = {
    "train": [f"Imagenet32_train_npz/train_data_batch_{number}.npz" for number in range(1, 11)],
    "test": ["Imagenet32_val_npz/val_data.npz"],
}


def stream(split: str, root: Path, shape: Shape | None) -> Stream:
    """Return one split; validation is drawn at random from the source's train split. Indices are those of the source.

    There are no labels, as the PNGs have none.
    """
    part = "test" if split == "test" else "train"
    missing = [path for path in needed(root, part) if not path.exists()]
    if missing:
        raise DataError(f"{NAME} is not there, {missing[0]} is missing: {download_instructions(root)}")
    read = _pictures if _has_pictures(root) else _batches
    return read(split, root / NAME, part)


def _pictures(split: str, folder: Path, part: str) -> Stream:
    where = folder / PICTURES[part]
    names = names_in(where)
    chosen = _choose(split, len(names))
    paths = (where / names[index] for index in chosen)
    return _stream(split, chosen, read_pictures(paths, (3, SIDE, SIDE), _checked))


def _checked(picture: np.ndarray) -> np.ndarray:
    check_shape(NAME, picture, (SIDE, SIDE), f"those of {SIDE}×{SIDE}")
    return picture


def _batches(split: str, folder: Path, part: str) -> Stream:
    counts = {folder / name: _count(folder / name) for name in BATCHES[part]}
    chosen = _choose(split, sum(counts.values()))
    return _stream(split, chosen, _chosen_rows(counts, chosen))


def _count(path: Path) -> int:
    shape, dtype = archives.headers(path).get("data", ((), np.dtype(object)))
    if len(shape) != 2 or shape[1] != 3 * SIDE * SIDE or dtype != np.uint8:
        raise DataError(f"{path} is no batch of {NAME}: its array 'data' must be uint8 (n, {3 * SIDE * SIDE})")
    return shape[0]


def _chosen_rows(counts: Mapping[Path, int], chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows with these indices, counted over all batches, as chunks of uint8 (b, 3, 32, 32)."""
    wanted = np.zeros(sum(counts.values()), bool)
    wanted[chosen] = True
    start = 0
    for path in counts:
        for some in archives.rows(path, "data", chunk_rows((3, SIDE, SIDE))):
            yield some[wanted[start : start + len(some)]].reshape(-1, 3, SIDE, SIDE)
            start += len(some)


def _choose(split: str, count: int) -> np.ndarray:
    train, validation, test = SIZES.values()
    return choose(split, count, (train, validation, test))


def _stream(split: str, chosen: np.ndarray, chunks: Iterator[np.ndarray]) -> Stream:
    return Stream(NAME, split, (3, SIDE, SIDE), np.zeros(len(chosen), np.int64), chosen, chunks)


def _has_pictures(root: Path) -> bool:
    return any((root / NAME / folder).is_dir() for folder in PICTURES.values())


def needed(root: Path, part: str) -> list[Path]:
    """Return the paths of a part. For PNGs that is their folder: a new file is noticed, a changed one is not."""
    if _has_pictures(root):
        return [root / NAME / PICTURES[part]]
    return [root / NAME / name for name in BATCHES[part]]


def files(root: Path) -> list[Path]:
    return [path for part in PICTURES for path in needed(root, part)]


def download_instructions(root: Path) -> str:
    folder = root / NAME
    return (
        f"put the folders train_32x32 and valid_32x32 of PNGs (van den Oord's small ImageNet) into {folder}; or "
        f"Imagenet32_train_npz.zip and Imagenet32_val_npz.zip from https://image-net.org, unpacked as "
        f"{folder / BATCHES['train'][0]} to …_10.npz and {folder / BATCHES['test'][0]}"
    )


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset.streamed(
            name=NAME,
            stream=stream,
            shape=(3, SIDE, SIDE),
            sizes=SIZES,
            required_files=files,
            summary="ImageNet made small, without labels",
            source="https://image-net.org (npz), van den Oord et al. 2016 (PNG)",
            licence="non-commercial research only",
            download_instructions=download_instructions,
        )
    ]
