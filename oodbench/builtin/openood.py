"""The data sets of the OpenOOD 1.5 benchmarks, picture by picture as its image lists name them.

They are read where OpenOOD's own download puts them: ``benchmark_imglist/``, ``images_classic/`` and
``images_largescale/`` in the data folder. An out-data set depends on the benchmark's in-data: overlapping classes are
left out of Tiny ImageNet, for example. So each name says which benchmark it belongs to: ``openood-cifar10-tin``.

Pictures are resized as in OpenOOD: colour, the shorter side to the first of ``sizes`` (bilinear, Pillow's), then a
centre crop of the second. Source: Zhang et al., OpenOOD v1.5 (2023), arXiv:2306.09301, and its code's
``evaluation_api/datasets.py`` and ``preprocessor.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from oodbench.api import Dataset, Shape, Stream, chunk_rows
from oodbench.builtin.image_lists import check_there, read_list
from oodbench.data.imaging import read_picture
from oodbench.errors import DataError
from oodbench.plugin.hookspecs import hookimpl

CLASSIC, LARGE = "images_classic", "images_largescale"
SCRIPT = "https://github.com/Jingkang50/OpenOOD/blob/main/scripts/download/download.py"


@dataclass(frozen=True)
class ListedSet:
    """A data set of a benchmark.

    Args:
        name: of a benchmark's in-data, ``cifar10``, followed by that of an out-data set, if it is one: ``cifar10-tin``.
        lists: split → image list, below ``benchmark_imglist``, and number of pictures.
        images: the folder that the paths of the lists are in.
        sizes: pixels of the shorter side, and of the centre crop.
        part: the part of OpenOOD's data that has it, as OpenOOD's download names it.
        classes: number of classes.
    """

    name: str
    lists: Mapping[str, tuple[str, int]]
    images: str
    sizes: tuple[int, int]
    part: str
    classes: int = 0
    summary: str = field(default="", compare=False)

    def dataset(self) -> Dataset:
        return Dataset.streamed(
            name=f"openood-{self.name}",
            stream=self.stream,
            shape=(3, self.sizes[1], self.sizes[1]),
            sizes={split: count for split, (_, count) in self.lists.items()},
            classes=range(self.classes),
            required_files=self.files,
            summary=self.summary,
            source="https://github.com/Jingkang50/OpenOOD",
            download_instructions=self.instructions,
        )

    def files(self, root: Path) -> list[Path]:
        """Return the lists, and the folder of the pictures."""
        lists = [root / "benchmark_imglist" / file for file, _ in self.lists.values()]
        return [*lists, root / self.images]

    def instructions(self, root: Path) -> str:
        return (
            f"run OpenOOD's {SCRIPT} with --contents datasets --datasets {self.part}, and put what it makes, "
            f"benchmark_imglist and {self.images}, into the folder {root}"
        )

    def stream(self, split: str, root: Path, shape: Shape | None) -> Stream:
        """Return one split. An index is a line of the list; a picture without a class in the benchmark has label -1."""
        name, file = f"openood-{self.name}", root / "benchmark_imglist" / self.lists[split][0]
        missing = [path for path in self.files(root) if not path.exists()]
        if missing:
            raise DataError(f"{name} is not there, {missing[0]} is missing: {self.instructions(root)}")
        listed = read_list(file)
        paths = [root / self.images / path for path in listed.paths]
        check_there(name, file, paths)
        side = self.sizes[1]
        chunks = read_cropped(paths, self.sizes)
        return Stream(name, split, (3, side, side), listed.labels, np.arange(len(paths)), chunks)


def read_cropped(paths: Iterable[Path], sizes: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield pictures as OpenOOD's test preprocessor gives them, before its normalisation: uint8 (b, 3, S, S)."""
    side = sizes[1]
    left = iter(paths)
    while chosen := [*islice(left, chunk_rows((3, side, side)))]:
        yield np.stack([crop(read_picture(path), sizes) for path in chosen])


def crop(picture: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """Return a picture (C, H, W), grey or colour, with its shorter side resized, then its centre crop: (3, S, S)."""
    from PIL import Image
    from torchvision.transforms import InterpolationMode, functional

    pixels = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    resized = functional.resize(image, sizes[0], InterpolationMode.BILINEAR)
    return np.asarray(functional.center_crop(resized, sizes[1])).transpose(2, 0, 1)


def _cifar(number: int, near: Mapping[str, int], far: Mapping[str, int]) -> Iterator[ListedSet]:
    name, sizes, part = f"cifar{number}", (32, 32), f"cifar-{number}"
    splits = {"train": ("train", 50_000), "validation": ("val", 1_000), "test": ("test", 9_000)}
    own = {split: (f"{name}/{word}_{name}.txt", count) for split, (word, count) in splits.items()}
    yield ListedSet(name, own, CLASSIC, sizes, part, number, f"CIFAR-{number} as OpenOOD 1.5 splits it")
    for out, count in {**near, **far}.items():
        lists = {"test": (f"{name}/test_{out}.txt", count)}
        where = "near" if out in near else "far"
        yield ListedSet(
            f"{name}-{out}", lists, CLASSIC, sizes, part, summary=f"{where} OOD of CIFAR-{number} in OpenOOD 1.5"
        )
    if number == 10:  # covariate-shifted in-data, for full-spectrum tables
        lists = {"test": ("cifar10/test_cifar10c.txt", 10_000)}
        yield ListedSet("cifar10-cifar10c", lists, CLASSIC, sizes, "misc", number, "CIFAR-10-C as OpenOOD samples it")


def _imagenet200() -> Iterator[ListedSet]:
    name, sizes, part = "imagenet200", (256, 224), "imagenet-200"
    splits = {"train": ("train", 258_951), "validation": ("val", 1_000), "test": ("test", 9_000)}
    own = {split: (f"{name}/{word}_{name}.txt", count) for split, (word, count) in splits.items()}
    yield ListedSet(name, own, LARGE, sizes, part, 200, "200 classes of ImageNet as OpenOOD 1.5 splits them")
    outs = {
        "ssb_hard": (LARGE, 49_000, "near"),
        "ninco": (LARGE, 5_879, "near"),
        "inaturalist": (LARGE, 10_000, "far"),
        "textures": (CLASSIC, 5_160, "far"),
        "openimage_o": (LARGE, 15_869, "far"),
    }
    for out, (images, count, where) in outs.items():
        lists = {"test": (f"imagenet/test_{out}.txt", count)}
        summary, word = f"{where} OOD of ImageNet-200 in OpenOOD 1.5", out.replace("_", "-")
        yield ListedSet(f"{name}-{word}", lists, images, sizes, part, summary=summary)


FAR = {"mnist": 70_000, "svhn": 26_032, "texture": 5_640}
# Counted in copies of the lists in public repositories, except ImageNet-200's own three, which are from memory.
SETS = [
    *_cifar(10, {"cifar100": 9_000, "tin": 7_793}, {**FAR, "places365": 35_195}),
    *_cifar(100, {"cifar10": 10_000, "tin": 6_526}, {**FAR, "places365": 33_773}),
    *_imagenet200(),
]


@hookimpl
def register_datasets() -> list[Dataset]:
    return [each.dataset() for each in SETS]
