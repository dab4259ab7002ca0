"""Classes and a shape behind a path, and what ``oodbench show`` says of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from oodbench.builtin.own_names import OwnName, take_apart
from oodbench.cli import main
from oodbench.data.imaging import conform
from oodbench.data.loading import Loader
from oodbench.errors import DataError, OODBenchError, UnknownName
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import plan
from oodbench.plugin.registry import load_registry


@pytest.fixture
def loader(tmp_path, toys) -> Loader:
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def pets(tmp_path) -> Path:
    """Colour pictures of several sizes, in the splits train and test, of the classes ant, cat and dog."""
    random = np.random.default_rng(0)
    for split, count in {"train": 20, "test": 4}.items():
        for name in ("ant", "cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (10 + number, 12, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ("", OwnName("{}")),
        (":cat", OwnName("{}", "cat")),
        (":0-2,4", OwnName("{}", "0-2,4")),
        ("@28x30x1", OwnName("{}", "", (28, 30), 1)),
        (":cat,dog@28x30", OwnName("{}", "cat,dog", (28, 30))),
    ],
)
def test_a_name_is_taken_apart(tmp_path, behind, expected):
    path = str(tmp_path)
    assert take_apart("folder", path + behind) == OwnName(path, *list(vars(expected).values())[1:])


@pytest.mark.parametrize("name", ["a:b", "a@28x28x1", "a:b@64x64"])
def test_a_path_that_exists_is_taken_as_it_is(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / name).mkdir()
    assert take_apart("folder", f"{tmp_path}/{name}") == OwnName(f"{tmp_path}/{name}")
    assert take_apart("folder", f"{tmp_path}/{name}:cat").classes == "cat"


def test_pictures_of_several_sizes_are_brought_to_the_shape_and_can_be_fitted_to(pets, loader):
    name = f"folder:{pets}@8x8x1"
    assert loader.shape(name) == (1, 8, 8)
    found = loader.load(name, "test")
    files = sorted((pets / "test").rglob("*.png"))
    for image, path in zip(found.images, files, strict=True):
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1)[None]
        np.testing.assert_array_equal(image, conform(pixels, (1, 8, 8))[0])
    (task,) = plan([RunRequest(("mean-distance",), (name,), ("noise",))], loader.registry, loader)
    assert task.run.in_dataset == name


def test_without_channels_the_pictures_keep_theirs(pets, loader):
    assert loader.shape(f"folder:{pets}@8x9") == (3, 8, 9)


def test_classes_are_chosen_by_name_or_number(pets, loader):
    by_name = loader.load(f"folder:{pets}:cat,dog@8x8x1", "test")
    by_number = loader.load(f"folder:{pets}:1-2@8x8x1", "test")
    assert by_name.labels.tolist() == [1] * 4 + [2] * 4
    assert by_name.indices.tolist() == list(range(4, 12)), "an index is the place among all classes"
    assert by_name.fingerprint == by_number.fingerprint
    assert by_name.name == f"folder:{pets}:cat,dog@8x8x1"
    whole = loader.load(f"folder:{pets}@8x8x1", "test")
    np.testing.assert_array_equal(by_name.images, whole.images[4:])


def test_a_class_that_is_a_number_goes_by_its_name(tmp_path, loader):
    for split in ("train", "test"):
        for name in ("5", "7"):
            (tmp_path / "mine" / split / name).mkdir(parents=True)
            for number in range(10):
                Image.fromarray(np.full((8, 8), int(name), np.uint8)).save(
                    tmp_path / f"mine/{split}/{name}/{number}.png"
                )
    assert (loader.load(f"folder:{tmp_path}/mine:7", "test").images == 7).all()
    assert (loader.load(f"folder:{tmp_path}/mine:0", "test").images == 5).all()


def test_classes_of_one_folder_are_in_and_out(pets, loader):
    cat, dog, all_of_them = (f"folder:{pets}{behind}@8x8x1" for behind in (":cat", ":dog", ""))
    assert not loader.share_classes(cat, dog)
    assert loader.share_classes(cat, all_of_them)
    assert loader.share_classes(cat, f"folder:{pets}/../pets:cat")
    (task,) = plan([RunRequest(("mean-distance",), (cat,), (dog,))], loader.registry, loader)
    assert task.out_datasets == (dog,)


def test_classes_of_arrays_are_chosen_by_number(tmp_path, loader):
    images = np.arange(6 * 64, dtype=np.int64).reshape(6, 8, 8).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=[3, 5, 3, 5, 7, 7])
    found = loader.load(f"npz:{tmp_path}/mine.npz:5,7", "test")
    assert found.indices.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("behind", "error", "message"),
    [
        (":cta", UnknownName, "unknown class of folder:.*pets 'cta'; did you mean cat?"),
        (":7", UnknownName, "unknown class of folder:.*pets '7'; there are: 0, 1, 2"),
        (":2-1", DataError, "the range 2-1 runs backwards"),
        ("@28", DataError, "cannot read the shape '28' behind folder:.*pets: write height x width x channels, as in"),
        ("@28x28x2", DataError, "cannot read the shape '28x28x2'"),
        ("@0x28x1", DataError, "images of 0×28 are too small"),
        ("@99999x99999x3", DataError, "are too large"),
        ("/train/cat:dog", DataError, "has no classes to choose from, which are folders or labels"),
    ],
)
def test_what_cannot_be_read_is_refused(pets, loader, behind, error, message):
    with pytest.raises(error, match=message):
        loader.find(f"folder:{pets}{behind}")


def test_arrays_are_not_resized(tmp_path, loader):
    np.savez(tmp_path / "mine.npz", images=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(DataError, match="npz:.*@4x4x1: arrays are taken as they are: save them in that shape"):
        loader.find(f"npz:{tmp_path}/mine.npz@4x4x1")


def test_what_to_do_is_said_where_a_folder_cannot_be_fitted_to(pets, loader):
    def refusal(name: str) -> str:
        with pytest.raises(OODBenchError) as error:
            plan([RunRequest(("mean-distance",), (name,), ("noise",))], loader.registry, loader)
        return str(error.value)

    assert refusal(f"folder:{pets}").endswith(f"resize its images, or name it as folder:{pets}@32x32x3")
    assert "has no train split; it can be named after --out only, until it has one: see `oodbench show folder`" in (
        refusal(f"folder:{pets}/train@8x8x1")
    )


def test_show_describes_the_folder(pets, no_traces):
    shown = CliRunner().invoke(main, ["show", f"folder:{pets}:cat@8x8x1", "--json"])
    record = json.loads(shown.stdout)
    assert record["shape"] == "1×8×8"
    assert record["sizes"] == {"train": 54, "validation": 6, "test": 12}
    assert record["classes"] == ["0 ant", "1 cat", "2 dog"]
    assert record["chosen"] == ["1 cat"]
    assert record["images"]["test"] == {"ant": 4, "cat": 4, "dog": 4}
    both = {name: record["images"]["train"][name] + record["images"]["validation"][name] for name in ("ant", "cat")}
    assert both == {"ant": 20, "cat": 20}
    assert "a tenth of train is drawn at random" in record["splits"]
    text = CliRunner().invoke(main, ["show", f"folder:{pets}"]).stdout
    assert "images of several sizes; a shape behind the name, as @28x28x1, brings them to one" in text
    assert "test: ant 4, cat 4, dog 4" in text
    assert max(map(len, text.splitlines())) <= max(100, len(str(pets)) + 10)


def test_show_says_why_a_folder_is_none(tmp_path, no_traces):
    shown = CliRunner().invoke(main, ["show", f"folder:{tmp_path}/none"])
    assert shown.exit_code == 1
    assert f"there is no folder {tmp_path}/none" in shown.stderr
    rules = CliRunner().invoke(main, ["show", "folder"]).stdout
    assert "folder:PATH:cat@28x28x1" in " ".join(rules.split())


def test_image_lists_have_classes_and_a_shape_too(pets, loader):
    for split in ("train", "test"):
        lines = [f"{split}/{name}/00.png {number}" for number, name in enumerate(("ant", "cat"))]
        (pets / f"{split}.txt").write_text("\n".join(lines))
    name = f"imglist:{pets}:1@8x8x1"
    assert loader.shape(name) == (1, 8, 8)
    found = loader.load(name, "test")
    assert found.labels.tolist() == [1] and found.indices.tolist() == [1]
    assert not loader.share_classes(name, f"imglist:{pets}:0")
