from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pluggy
import pytest
from PIL import Image

from oodbench.api import Dataset, ImageSet, Stream
from oodbench.builtin import synthetic
from oodbench.data.imaging import conform
from oodbench.data.loading import Loader
from oodbench.data.names import canonical, parse
from oodbench.errors import DataError, UnknownName
from oodbench.plugin import hookspecs
from oodbench.plugin.manager import Plugins
from oodbench.plugin.registry import load_registry
from oodbench.plugin.source import Source, forget_trees

SHAPE = (1, 6, 5)
SIZES = {"train": 40, "validation": 10, "test": 20}


class Toy:
    """A data set read from one file of bytes; it counts how often it is decoded."""

    def __init__(self):
        self.decoded = []

    def load(self, split, root, shape):
        self.decoded.append(split)
        file = root / "toy.bin"
        if not file.exists():
            write_source(root)  # as a download would
        pixels = np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, *SHAPE)
        start = {"train": 0, "validation": 40, "test": 50}[split]
        chosen = np.arange(start, min(start + SIZES[split], len(pixels)))
        return ImageSet("toy", split, pixels[chosen], chosen % 4, chosen)

    def dataset(self, **changes):
        known = {"shape": SHAPE, "sizes": SIZES, "classes": range(5), "required_files": lambda root: [root / "toy.bin"]}
        return Dataset(**{"name": "toy", "load": self.load, **known, **changes})


def write_source(root, seed=0, count=70):
    root.mkdir(parents=True, exist_ok=True)
    (root / "toy.bin").write_bytes(np.random.default_rng(seed).bytes(count * 30))


class ReleasedPlugins(Plugins):
    """Plugins of releases, whose code is known by their version."""

    def source(self, name):
        return Source(name, self.versions[name], "", None)


def make_loader(tmp_path, *datasets, version="1"):
    """A loader of these data sets and the synthetic ones, offered by plugins as in the real program."""
    manager = pluggy.PluginManager("oodbench")
    manager.add_hookspecs(hookspecs)
    plugins = ReleasedPlugins(manager, versions={"toys": version, "synthetic": "1"})
    toys = ModuleType("toys")
    toys.register_datasets = hookspecs.hookimpl(lambda: list(datasets))
    manager.register(toys, name="toys")
    manager.register(synthetic, name="synthetic")
    registry = load_registry(plugins)
    assert not registry.failures
    return Loader(registry, tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def loader(tmp_path, toy):
    write_source(tmp_path / "data")
    return make_loader(tmp_path, toy.dataset())


# ------------------------------------------------------------------------------------- selections


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("mnist", ("mnist", None)),
        ("mnist:0-8", ("mnist", tuple(range(9)))),
        ("mnist:7,1", ("mnist", (1, 7))),
        ("mnist:0,2-9", ("mnist", (0, 2, 3, 4, 5, 6, 7, 8, 9))),
        ("cifar100:10-12,11,99", ("cifar100", (10, 11, 12, 99))),
    ],
)
def test_names_are_parsed(name, parsed):
    assert parse(name) == parsed


@pytest.mark.parametrize("name", ["mnist", "mnist:3", "mnist:0-8", "mnist:0,2-9", "mnist:0-1,3-9", "mnist:0-7,9"])
def test_the_one_way_to_write_classes_is_kept(name):
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [("mnist:1,0", "mnist:0-1"), ("mnist:00-01", "mnist:0-1"), ("mnist:5,1-3,2", "mnist:1-3,5"), ("npz:a/1,0", None)],
)
def test_other_ways_to_write_classes_become_it(name, written):
    assert canonical(name) == (written or name)


@pytest.mark.parametrize(
    "name",
    [
        "mnist:",
        "mnist:a",
        "mnist:1-",
        "mnist:-1",
        "mnist:1,,2",
        "mnist:1:2",
        "mnist: 1",
        "mnist:8-0",
        "mnist:0-9999999999",
    ],
)
def test_a_selection_that_cannot_be_read_is_refused(name):
    with pytest.raises(DataError, match=f"cannot read the classes of '{name}'"):
        parse(name)


def test_selecting_classes_keeps_images_labels_and_indices_together(loader):
    whole, some = loader.load("toy", "train"), loader.load("toy:1,3", "train")
    expected = [i for i in range(40) if i % 4 in (1, 3)]
    assert some.name == "toy:1,3"
    np.testing.assert_array_equal(some.indices, expected)
    np.testing.assert_array_equal(some.images, whole.images[expected])
    np.testing.assert_array_equal(some.labels, np.array(expected) % 4)
    assert some.fingerprint != whole.fingerprint


def test_selecting_every_class_is_the_whole_without_a_copy(loader):
    whole, named = loader.load("toy", "train"), loader.load("toy:0-4", "train")
    assert named.fingerprint == whole.fingerprint
    assert isinstance(named.images, np.memmap)


def test_selecting_and_bringing_to_shape_may_be_done_in_either_order(loader):
    both = loader.load("toy:2", "test", (3, 8, 8))
    np.testing.assert_array_equal(both.images, conform(loader.load("toy:2", "test").images, (3, 8, 8)))


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("toy:12", "train", "toy has classes 0-4; there is no class 12"),
        ("toy:3-6,9", "train", "toy has classes 0-4; there is no class 5-6, 9"),
        ("toy:4", "train", "toy:4 has no image in its train split"),
        ("constant", "train", "constant has no train split; it can be named after --out only"),
        ("constant:0", "test", "constant has no classes to choose from: name it without ':'"),
    ],
)
def test_what_is_not_there_is_refused(loader, name, split, message):
    with pytest.raises(DataError) as error:
        loader.load(name, split)
    assert str(error.value) == message


def test_an_unknown_data_set_is_refused_with_near_names(loader):
    with pytest.raises(UnknownName, match="unknown data set 'tox'; did you mean toy"):
        loader.check("tox:1", "test")


def test_check_and_shape_decode_nothing(loader, toy):
    loader.check("toy:1", "train")
    assert loader.shape("toy:1") == SHAPE
    assert loader.shape("noise") is None
    with pytest.raises(DataError, match="no class 12"):
        loader.check("toy:12", "train")
    assert not toy.decoded


# ------------------------------------------------------------------------------------------ cache


def test_a_data_set_is_decoded_once(tmp_path, loader, toy):
    first = loader.load("toy", "train")
    again = make_loader(tmp_path, toy.dataset()).load("toy", "train")
    assert toy.decoded == ["train"]
    for name in ("images", "labels", "indices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert isinstance(again.images, np.memmap)
    assert again.labels.dtype == again.indices.dtype == np.int64


def test_the_kept_fingerprint_is_the_computed_one(loader):
    kept = loader.load("toy", "train")
    fresh = ImageSet("toy", "train", np.array(kept.images), kept.labels, kept.indices)
    assert kept.fingerprint == fresh.fingerprint


def test_mapped_images_cannot_be_written_to(loader):
    with pytest.raises(ValueError, match="read-only"):
        loader.load("toy", "train").images[:] = 7


def test_a_changed_source_file_is_decoded_again(tmp_path, loader, toy):
    first = loader.load("toy", "train")
    write_source(tmp_path / "data", seed=1)  # of the same size
    os.utime(tmp_path / "data/toy.bin", ns=(1, 1))
    assert loader.load("toy", "train").fingerprint != first.fingerprint
    assert toy.decoded == ["train", "train"]


def test_another_data_folder_version_or_plugin_version_is_decoded_again(tmp_path, loader, toy):
    loader.load("toy", "test")
    write_source(tmp_path / "other", seed=2)
    other = Loader(loader.registry, tmp_path / "other", tmp_path / "cache")
    other.load("toy", "test")
    make_loader(tmp_path, toy.dataset(version=2)).load("toy", "test")
    make_loader(tmp_path, toy.dataset(), version="2").load("toy", "test")
    assert toy.decoded == ["test"] * 4


def test_a_downloaded_file_is_decoded_once(tmp_path, toy):
    loader = make_loader(tmp_path, toy.dataset())
    assert not (tmp_path / "data").exists()
    loader.load("toy", "test")
    loader.load("toy", "test", (3, 6, 5))
    assert toy.decoded == ["test"]


@pytest.mark.parametrize("file", ["test.npy", "test-labels.npy", "test-indices.npy", "test.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: b"", lambda content: b"[]"])
def test_a_damaged_cache_file_is_made_again(tmp_path, loader, toy, file, damage):
    first = loader.load("toy", "test")
    images, fingerprint = np.array(first.images), first.fingerprint
    (path,) = (tmp_path / "cache").rglob(file)
    path.write_bytes(damage(path.read_bytes()))
    again = loader.load("toy", "test")
    np.testing.assert_array_equal(again.images, images)
    assert again.fingerprint == fingerprint
    loader.load("toy", "test")
    assert toy.decoded == ["test", "test"]


def test_a_writer_that_was_killed_leaves_nothing_that_counts(tmp_path, loader, toy):
    loader.load("toy", "test")
    (record,) = (tmp_path / "cache").rglob("test.json")
    record.unlink()  # it is written last
    loader.load("toy", "test")
    assert toy.decoded == ["test", "test"]


def test_several_may_fill_the_cache_at_once(tmp_path, loader, toy):
    loaders = [make_loader(tmp_path, toy.dataset()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: one.load("toy", "test", (3, 8, 8)), loaders))
    assert len({image_set.fingerprint for image_set in found}) == 1
    for image_set in found:
        np.testing.assert_array_equal(image_set.images, found[0].images)
    folder = tmp_path / "cache/datasets"
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".npy", ".json")]


def test_images_brought_to_a_shape_are_kept_and_mapped(loader, toy):
    first = loader.load("toy", "test", (3, 8, 8))
    assert isinstance(first.images, np.memmap)
    assert first.shape == (3, 8, 8)
    again = loader.load("toy", "test", (3, 8, 8))
    assert toy.decoded == ["test"]
    assert again.fingerprint == ImageSet("", "", np.array(first.images), first.labels, first.indices).fingerprint
    np.testing.assert_array_equal(again.indices, loader.load("toy", "test").indices)


def test_synthetic_sets_are_made_in_the_shape_asked_for(loader):
    for shape in ((1, 8, 8), (3, 6, 6), (1, 8, 8)):
        image_set = loader.load("noise", "test", shape)
        np.testing.assert_array_equal(image_set.images, synthetic.noise(36_000, 4_000, shape))
    assert loader.load("noise", "test").shape == (1, 28, 28)


def test_fingerprints_are_the_same_in_every_process(tmp_path, loader):
    code = (
        "from pathlib import Path; from oodbench.builtin import synthetic\n"
        "for dataset in synthetic.register_datasets():\n"
        "    print(dataset.load('test', Path(), (3, 8, 8)).fingerprint)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [
        loader.load(name, "test", (3, 8, 8)).fingerprint for name in ("constant", "constant-rgb", "noise")
    ]


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path, loader):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DataError, match="cannot write to the cache folder .* with OODBENCH_CACHE"):
        loader.load("toy", "test")


# ------------------------------------------------------------------------------- larger than memory


def streamed(toy, chunks=None):
    """The toy data set as one that is read some images at a time, and never whole."""

    def stream(split, root, shape):
        images = toy.load(split, root, shape)
        parts = np.array_split(images.images, 7) if chunks is None else chunks(images.images)
        return Stream("toy", split, SHAPE, images.labels, images.indices, iter(parts))

    def never(split, root, shape):
        raise AssertionError("read whole")

    return toy.dataset(load=never, stream=stream)


def test_a_stream_is_put_into_the_cache_as_if_it_were_read_whole(tmp_path, toy):
    write_source(tmp_path / "data")
    whole = make_loader(tmp_path / "whole", toy.dataset())
    whole.root = tmp_path / "data"
    some = make_loader(tmp_path, streamed(toy))
    for split in SIZES:
        for shape in (None, (3, 8, 8)):
            expected, found = whole.load("toy", split, shape), some.load("toy", split, shape)
            assert found.fingerprint == expected.fingerprint
            np.testing.assert_array_equal(found.images, expected.images)
            np.testing.assert_array_equal(found.indices, expected.indices)


def test_how_far_it_is_is_told(tmp_path, toy):
    write_source(tmp_path / "data")
    loader, told = make_loader(tmp_path, streamed(toy)), []
    loader.on_progress = lambda *said: told.append(said)
    loader.load("toy", "test")
    assert [done for _, done, _ in told] == [3, 6, 9, 12, 15, 18, 20]
    assert {(what, of) for what, _, of in told} == {("toy test", 20)}


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (lambda images: [images[:5]], "toy: 5 images in its test split, but 20 labels"),
        (lambda images: [images, images], "toy: 40 images in its test split, but 20 labels"),
        (lambda images: [images.astype(float)], "toy: images must be uint8 .* not float64"),
        (lambda images: [images[:, :, 1:]], "toy: images must be uint8 .* of 1×6×5, not uint8"),
    ],
)
def test_a_stream_that_gives_something_else_is_refused_and_leaves_nothing(tmp_path, toy, chunks, message):
    write_source(tmp_path / "data")
    loader = make_loader(tmp_path, streamed(toy, chunks))
    with pytest.raises(DataError, match=message):
        loader.load("toy", "test")
    assert not [path for path in (tmp_path / "cache" / "datasets").rglob("*") if path.is_file()]


# ------------------------------------------------------------------------- data sets that misbehave


def test_a_data_set_that_ends_the_program_is_an_error_of_its_own(tmp_path, toy):
    def chunks():
        yield np.zeros((1, *SHAPE), np.uint8)
        sys.exit(3)

    def stream(split, root, shape):
        return Stream("toy", split, SHAPE, np.zeros(2, np.int64), np.arange(2), chunks())

    message = r"data set toy called sys.exit\({}\); it must raise an error instead"
    for code, dataset in (
        (0, toy.dataset(load=lambda split, root, shape: sys.exit(0))),
        (3, toy.dataset(stream=stream)),
    ):
        with pytest.raises(DataError, match=message.format(code)):
            make_loader(tmp_path, dataset).load("toy", "test")


def test_a_load_that_gives_no_images_is_refused(tmp_path, toy):
    dataset = toy.dataset(load=lambda split, root, shape: None, required_files=lambda root: [])
    with pytest.raises(DataError, match="load of toy returned a NoneType, not an ImageSet"):
        make_loader(tmp_path, dataset).load("toy", "test")


GREY = """
import numpy as np
from oodbench import Dataset, ImageSet, hookimpl

def load(split, root, shape):
    return ImageSet("grey", split, np.full((3, 1, 4, 4), 100, np.uint8), np.zeros(3, np.int64), np.arange(3))

@hookimpl
def register_datasets():
    return [Dataset("grey", load, (1, 4, 4), {"test": 3}, summary="grey", source="made here")]
"""


def test_a_data_set_whose_code_was_edited_is_made_again(tmp_path, install):
    """Its version stays, as nobody remembers to raise it while they write it."""
    site = install("grey", "grey_module", GREY)

    def brightness() -> int:
        return int(Loader(load_registry(), tmp_path, tmp_path / "cache").load("grey", "test").images.max())

    assert brightness() == 100
    (site / "grey_module.py").write_text(GREY.replace("100", "60"))
    sys.modules.pop("grey_module")
    forget_trees()
    assert brightness() == 60


def test_an_empty_data_set_is_refused(tmp_path, toy):
    write_source(tmp_path / "data", count=40)
    with pytest.raises(DataError, match="toy has no image in its test split"):
        make_loader(tmp_path, toy.dataset()).load("toy", "test")


def test_a_data_set_of_another_shape_than_it_says_is_refused(tmp_path, toy):
    write_source(tmp_path / "data")
    with pytest.raises(DataError, match="toy gave images of 1×6×5, not of 3×6×5"):
        make_loader(tmp_path, toy.dataset(shape=(3, 6, 5))).load("toy", "test")


# ------------------------------------------------------------------------------------------ notes


def test_a_reduced_data_set_is_noted(tmp_path, toy, loader):
    assert loader.notes("toy:1") == []
    published = {"train": 5_000, "validation": 10, "test": 20}
    reduced = make_loader(tmp_path, toy.dataset(sizes=published))
    assert reduced.notes("toy:1") == [
        "toy: 40 train, 10 validation, 20 test images of 5,000, 10, 20 published (reduced)"
    ]


def test_notes_fetch_nothing(tmp_path, toy):
    loader = make_loader(tmp_path, toy.dataset())
    assert loader.notes("toy") == []
    assert loader.notes("noise") == []
    assert not toy.decoded


# ---------------------------------------------------------------------------------------- conform


def smooth_images(count, shape):
    """Blurred noise: what a resize meets in photographs."""
    small = np.random.default_rng(0).integers(0, 256, (count, shape[1] // 4, shape[2] // 4, shape[0]), np.uint8)
    large = [np.array(Image.fromarray(i.squeeze()).resize(shape[:0:-1], Image.Resampling.BICUBIC)) for i in small]
    return np.stack(large).reshape(count, *shape[1:], shape[0]).transpose(0, 3, 1, 2).copy()


@pytest.mark.parametrize(("size", "target"), [(28, 32), (32, 28), (64, 32)])
def test_grey_to_colour_and_resize_are_pillows(size, target):
    images = smooth_images(5, (1, size, size))
    expected = [
        Image.fromarray(i[0]).resize((target, target), Image.Resampling.BILINEAR).convert("RGB") for i in images
    ]
    found = conform(images, (3, target, target)).transpose(0, 2, 3, 1)
    assert np.abs(found.astype(int) - np.stack(expected)).max() <= 1


def test_colour_to_grey_is_pillows_luminance():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    expected = np.stack([Image.fromarray(i.transpose(1, 2, 0)).convert("L") for i in images])
    difference = conform(images, (1, 32, 32))[:, 0].astype(int) - expected
    assert np.abs(difference).max() <= 1
    assert abs(difference.mean()) < 0.1


def test_grey_in_colour_comes_back_unchanged():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(conform(conform(grey, (3, 16, 16)), (1, 16, 16)), grey)


def test_conform_is_the_same_in_chunks(monkeypatch):
    images = smooth_images(11, (1, 28, 28))
    whole = conform(images, (3, 32, 32))
    monkeypatch.setattr("oodbench.data.imaging.CHUNK", 4)
    np.testing.assert_array_equal(conform(images, (3, 32, 32)), whole)


def test_conform_leaves_its_input_alone():
    images = smooth_images(3, (3, 32, 32))
    before = images.copy()
    images.flags.writeable = False
    assert conform(images, (3, 32, 32)) is images
    conform(images, (1, 28, 28))
    np.testing.assert_array_equal(images, before)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(DataError, match="cannot bring images of 4×8×8 to 3×8×8"):
        conform(np.zeros((2, 4, 8, 8), np.uint8), (3, 8, 8))
