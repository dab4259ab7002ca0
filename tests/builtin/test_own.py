"""Data sets of one's own: ``folder:PATH`` and ``npz:PATH``, after --in and after --out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from oodbench.api import file_name
from oodbench.builtin import own
from oodbench.cli import main
from oodbench.data.imaging import conform
from oodbench.data.loading import Loader
from oodbench.errors import DataError, OODBenchError
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import plan
from oodbench.plugin.registry import load_registry
from oodbench.testing import DATASET_CHECKS, DatasetCase

COLOUR, GREY = (10, 8, 3), (10, 8)


@pytest.fixture
def loader(tmp_path, toys) -> Loader:
    return Loader(load_registry(), tmp_path / "data", tmp_path / "cache")


def pixels(count: int, shape: tuple[int, ...] = COLOUR, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write(folder: Path, pictures: np.ndarray, ending: str = "png") -> np.ndarray:
    """Picture files whose names sort as they are numbered; gives them as uint8 (n, C, H, W)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03}.{ending}")
    return pictures.transpose(0, 3, 1, 2) if pictures.ndim == 4 else pictures[:, None]


def in_splits(folder: Path, counts: dict[str, int] | None = None, shape: tuple[int, ...] = COLOUR) -> Path:
    for seed, (split, count) in enumerate((counts or {"train": 40, "test": 8}).items()):
        write(folder / split, pixels(count, shape, seed))
    return folder


def saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez_compressed(path, **arrays)
    return f"npz:{path}"


# ----------------------------------------------------------------------------------------- folder


def test_a_flat_folder_is_a_test_split(tmp_path, loader):
    written = write(tmp_path / "mine", pixels(5))
    found = loader.load(f"folder:{tmp_path}/mine", "test", (3, 10, 8))
    np.testing.assert_array_equal(found.images, written)
    assert found.labels.tolist() == [0] * 5
    assert found.indices.tolist() == [0, 1, 2, 3, 4]


def test_folders_are_splits_and_validation_is_drawn_from_train(tmp_path, loader):
    name = f"folder:{in_splits(tmp_path / 'mine')}"
    assert loader.shape(name) == (3, 10, 8)
    sets = {split: loader.load(name, split) for split in ("train", "validation", "test")}
    assert {split: len(images) for split, images in sets.items()} == {"train": 36, "validation": 4, "test": 8}
    both = np.concatenate([sets["train"].indices, sets["validation"].indices])
    assert sorted(both) == list(range(40))
    source = pixels(40, seed=0).transpose(0, 3, 1, 2)
    for split in ("train", "validation"):
        np.testing.assert_array_equal(sets[split].images, source[sets[split].indices])
    assert loader.notes(name) == []


def test_a_folder_for_validation_is_used_where_there_is_one(tmp_path, loader):
    name = f"folder:{in_splits(tmp_path / 'mine', {'train': 20, 'validation': 3, 'test': 2})}"
    found = {split: len(loader.load(name, split)) for split in ("train", "validation", "test")}
    assert found == {"train": 20, "validation": 3, "test": 2}


def test_folders_in_a_split_are_classes_with_the_same_numbers_in_every_split(tmp_path, loader):
    for split, names in {"train": ("cat", "dog"), "test": ("ant", "dog")}.items():
        for seed, name in enumerate(names):
            write(tmp_path / "mine" / split / name, pixels(20, seed=seed))
    name = f"folder:{tmp_path}/mine"
    assert loader.load(name, "test").labels.tolist() == [0] * 20 + [2] * 20
    assert set(loader.load(name, "train").labels) == {1, 2}


def test_mixed_sizes_and_colours_are_brought_to_shape_after_out(tmp_path, loader):
    small, large = write(tmp_path / "mine/a", pixels(2, GREY)), write(tmp_path / "mine/b", pixels(2, (30, 20, 3)))
    found = loader.load(f"folder:{tmp_path}/mine", "test", (1, 28, 28))
    expected = np.concatenate([conform(small, (1, 28, 28)), conform(large, (1, 28, 28))])
    np.testing.assert_array_equal(found.images, expected)


def test_mixed_sizes_are_refused_after_in_but_not_after_out(tmp_path, loader):
    folder = in_splits(tmp_path / "mine")
    Image.fromarray(pixels(1, (9, 9, 3))[0]).save(folder / "train/999.png")
    name = f"folder:{folder}"
    with pytest.raises(OODBenchError, match=f"{name} has no one shape, so that nothing can be fitted to it: resize"):
        plan([RunRequest(("mean-distance",), (name,), ("noise",))], loader.registry, loader)
    with pytest.raises(DataError, match="has no one shape: bring it to one, as in .*@28x28x1, or name it after --out"):
        loader.load(name, "train")
    assert loader.load(name, "test", (3, 32, 32)).shape == (3, 32, 32)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_pictures_of_every_mode_are_grey_or_colour(tmp_path, loader, mode, channels):
    (tmp_path / "mine").mkdir()
    ending = "tif" if mode == "CMYK" else "png"
    Image.fromarray(np.full((4, 4), 255, np.uint8)).convert("RGB").convert(mode).save(tmp_path / f"mine/a.{ending}")
    found = loader.load(f"folder:{tmp_path}/mine", "test", (channels, 4, 4))
    assert (found.images == 255).all()


@pytest.mark.parametrize("touch", ["changed", "added", "removed"])
def test_a_changed_folder_is_decoded_anew(tmp_path, loader, touch):
    folder, name = in_splits(tmp_path / "mine"), f"folder:{tmp_path}/mine"
    first = loader.load(name, "test").fingerprint
    if touch == "removed":
        (folder / "test/003.png").unlink()
    else:
        path = folder / f"test/{'003' if touch == 'changed' else '999'}.png"
        Image.fromarray(pixels(1, seed=9)[0]).save(path)
        os.utime(path, ns=(1, 1))
    again = Loader(loader.registry, loader.root, loader.cache)
    assert again.load(name, "test").fingerprint != first


def test_hidden_files_and_other_files_are_no_pictures(tmp_path, loader):
    write(tmp_path / "mine", pixels(2))
    for name in ("._000.png", ".DS_Store", "notes.txt"):
        (tmp_path / "mine" / name).write_text("no picture")
    assert len(loader.load(f"folder:{tmp_path}/mine", "test", (3, 10, 8))) == 2


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, r"^folder:mine: there is no folder /.*/mine$"),
        (lambda folder: folder.mkdir(), "^folder:mine: there is no picture in"),
        (lambda folder: in_splits(folder, {"train": 3}), "^folder:mine has no test split: add images to it as 'test'$"),
        (lambda folder: (in_splits(folder), (folder / "validation").mkdir()), "there is no picture in .*/validation$"),
        (lambda folder: (write(folder, pixels(1)), write(folder / "a", pixels(1))), "are classes, and some beside"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, monkeypatch, loader, prepare, message):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path / "mine")
    with pytest.raises(DataError, match=message):
        loader.check("folder:mine", "test")


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "cannot identify"), (b"\x89PNG\r\n\x1a\n", "cannot"), (b"<html>", "cannot identify")]
)
def test_a_picture_that_is_none_is_named(tmp_path, loader, content, why):
    write(tmp_path / "mine", pixels(2))
    (tmp_path / "mine/001.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"001.png is damaged or no picture \({why}.*: fetch it again or delete it"):
        loader.load(f"folder:{tmp_path}/mine", "test", (3, 10, 8))
    assert not [*loader.cache.rglob("*.npy*")]


def test_a_picture_that_is_cut_off_is_named(tmp_path, loader):
    write(tmp_path / "mine", pixels(2))
    path = tmp_path / "mine/001.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"001.png is damaged"):
        loader.load(f"folder:{tmp_path}/mine", "test", (3, 10, 8))


def test_a_picture_of_16_bits_is_refused(tmp_path, loader):
    (tmp_path / "mine").mkdir()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "mine/deep.png")
    with pytest.raises(DataError, match=r"deep.png has more than 8 bits per channel: convert it to 8 bits"):
        loader.load(f"folder:{tmp_path}/mine", "test", (3, 4, 4))


# -------------------------------------------------------------------------------------------- npz


@pytest.mark.parametrize("layout", ["channels first", "channels last", "grey"])
def test_arrays_may_have_their_channels_first_or_last_or_none(tmp_path, loader, layout):
    images = pixels(6, GREY if layout == "grey" else COLOUR)
    expected = images[:, None] if layout == "grey" else images.transpose(0, 3, 1, 2)
    name = saved(tmp_path / "mine.npz", images=expected if layout == "channels first" else images)
    assert loader.shape(name) == expected.shape[1:]
    found = loader.load(name, "test")
    np.testing.assert_array_equal(found.images, expected)
    assert found.indices.tolist() == list(range(6))


@pytest.mark.parametrize("chunk", [1, 3 * 80, 10**6])
def test_an_array_is_read_some_rows_at_a_time(tmp_path, loader, monkeypatch, chunk):
    monkeypatch.setattr("oodbench.api.images.CHUNK_BYTES", chunk)
    train, labels = pixels(40, (8, 10)), np.arange(40, dtype=np.int32) % 3
    name = saved(
        tmp_path / "mine.npz", train_images=train, train_labels=labels, test_images=train[:5], test_labels=labels[:5]
    )
    for split, count in {"train": 36, "validation": 4, "test": 5}.items():
        found = loader.load(name, split)
        assert len(found) == count
        np.testing.assert_array_equal(found.images[:, 0], train[found.indices])
        np.testing.assert_array_equal(found.labels, labels[found.indices])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.zeros((2, 8, 8), np.float32)},
            r"is float32, and images are uint8: save \(images \* 255\)",
        ),
        ({"images": np.zeros((2, 8, 8, 4), np.uint8)}, r"images are \(n, C, H, W\), \(n, H, W, C\) or \(n, H, W\)"),
        ({"images": np.zeros((2, 64), np.uint8)}, r"images is \(2, 64\)"),
        ({"pictures": np.zeros((2, 8, 8), np.uint8)}, "has pictures, but no array 'images'"),
        ({"train_images": np.zeros((2, 8, 8), np.uint8)}, "has no test split"),
        (
            {"train_images": np.zeros((2, 8, 8), np.uint8), "test_images": np.zeros((2, 9, 9), np.uint8)},
            "1×8×8, 1×9×9: give all one shape",
        ),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "labels must be 2 whole numbers"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(2)}, "labels must be 2 whole numbers"),
        ({"images": np.array([None, None])}, "is object, and images are uint8"),
    ],
)
def test_arrays_that_cannot_be_used_say_why(tmp_path, loader, arrays, message):
    with pytest.raises(DataError, match=message) as error:
        loader.check(saved(tmp_path / "mine.npz", **arrays), "test")
    assert "\n" not in str(error.value)


def test_an_array_stored_by_columns_is_refused(tmp_path, loader):
    name = saved(tmp_path / "mine.npz", images=np.asfortranarray(pixels(2)))
    with pytest.raises(DataError, match="is stored by columns: save numpy.ascontiguousarray"):
        loader.load(name, "test")


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-40], lambda content: b"<html>"])
def test_a_damaged_file_is_named(tmp_path, loader, damage):
    name, path = saved(tmp_path / "mine.npz", images=pixels(9)), tmp_path / "mine.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"mine.npz is damaged or no .npz file"):
        loader.load(name, "test")


def test_damaged_pixels_are_noticed(tmp_path, loader):
    np.savez(tmp_path / "mine.npz", images=pixels(9))
    content = bytearray((tmp_path / "mine.npz").read_bytes())
    content[1000] ^= 1
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"mine.npz is damaged or no .npz file \(Bad CRC"):
        loader.load(f"npz:{tmp_path}/mine.npz", "test")
    assert not [*loader.cache.rglob("*.npy*")]


def test_a_missing_file_is_named(loader):
    with pytest.raises(DataError, match=r"^npz:none.npz: there is no file /.*/none.npz$"):
        loader.check("npz:none.npz", "test")


# -------------------------------------------------------------------------------------- both kinds


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_without_a_path_nothing_is_named(loader, kind):
    for name in (kind, f"{kind}:"):
        with pytest.raises(DataError, match=f"^{kind} is named with a path: {kind}:PATH$"):
            loader.check(name, "test")


def test_a_flat_set_cannot_be_fitted_to(tmp_path, loader):
    write(tmp_path / "mine", pixels(3))
    for name in (f"folder:{tmp_path}/mine", saved(tmp_path / "mine.npz", images=pixels(3))):
        with pytest.raises(DataError, match="has no train split; it can be named after --out only"):
            loader.check(name, "train")


def test_two_paths_are_two_sources_and_one_path_is_one(tmp_path, loader):
    for name in ("cats", "dogs"):
        write(tmp_path / name, pixels(2))
    cats, dogs = (f"folder:{tmp_path}/{name}" for name in ("cats", "dogs"))
    assert not loader.share_classes(cats, dogs)
    assert loader.share_classes(cats, cats)


def test_one_place_is_one_source_however_it_is_written(tmp_path, monkeypatch, loader):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "cats", pixels(2))
    (tmp_path / "kittens").symlink_to("cats")
    for other in ("folder:./cats", f"folder:{tmp_path}/cats", "folder:cats/../cats/", "folder:kittens"):
        assert loader.share_classes("folder:cats", other)


def test_a_link_that_leads_back_is_not_followed_for_ever(tmp_path, loader):
    write(tmp_path / "mine", pixels(3))
    (tmp_path / "mine" / "again").symlink_to(".")
    assert len(loader.load(f"folder:{tmp_path}/mine", "test", (3, 10, 8))) == 3


def test_a_path_that_is_no_text_is_refused(loader):
    with pytest.raises(DataError, match="is not UTF-8, as names must be: rename it"):
        loader.find("folder:caf\udce9")


def test_a_path_of_digits_is_no_choice_of_classes(tmp_path, monkeypatch, loader):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "0-8", pixels(2))
    assert len(loader.load("folder:0-8", "test", (3, 10, 8))) == 2


@pytest.mark.parametrize("check", DATASET_CHECKS)
@pytest.mark.parametrize("kind", ["flat folder", "folder", "npz"])
def test_contract(check, kind, tmp_path):
    if kind == "npz":
        arrays = {"train_images": pixels(40), "test_images": pixels(8, seed=1)}
        dataset = own.npz_at(saved(tmp_path / "mine.npz", **arrays).partition(":")[2])
    else:
        counts = {"train": 40, "test": 8}
        folder = in_splits(tmp_path / "mine", counts)
        dataset = own.folder_at(str(folder / "train" if kind == "flat folder" else folder))
    check(DatasetCase(dataset))


def test_a_run_on_ones_own_images_is_scored_stored_and_shown_by_its_name(tmp_path, monkeypatch, toys):
    """Fitted to a folder; scored on a flat folder of other sizes, and on arrays."""
    monkeypatch.chdir(tmp_path)
    in_splits(tmp_path / "my cats", shape=(8, 8))
    write(tmp_path / "dogs_2", pixels(4, (9, 12, 3)))
    saved(tmp_path / "birds.npz", images=pixels(5, (8, 8), seed=9))
    command = ["run", "--detector", "mean-distance", "--in", "folder:my cats"]
    command += ["--out", "folder:dogs_2", "--out", "npz:birds.npz", "--json", "-q"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    found = {(row["in_dataset"], row["out_dataset"], row["n_out"]) for row in json.loads(done.stdout)}
    assert found == {("folder:my cats", "folder:dogs_2", 4), ("folder:my cats", "npz:birds.npz", 5)}
    names = [str(path.relative_to(tmp_path)) for path in (tmp_path / "results").rglob("*.parquet")]
    assert any("/scores/folder_dogs-2_" in name for name in names)
    assert not [name for name in names if " " in name]
    assert CliRunner().invoke(main, command).stdout == done.stdout


# ------------------------------------------------------------------------------------- file names


def test_a_path_makes_a_short_safe_name_of_a_file():
    assert file_name("mnist:0,2-9") == "mnist_0,2-9"
    name = file_name("folder:/home/Jo Doe/Cats & dogs (new)/")
    assert name.startswith("folder_cats-dogs-new_")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(file_name(f"npz:/{'x' * 1000}.npz")) < 60


def test_no_two_data_sets_have_one_file_name():
    names = ["mnist", "mnist:0", "mnist:0-1", "mnist-0", "folder:0", "folder:a", "folder:A", "folder:a/", "folder:./a"]
    names += ["folder:a_b", "folder:a-b", "folder:b/a", "npz:a", "folder:ä", "folder:/", "folder:a:0", "folder:\udcff"]
    assert len({file_name(name) for name in names}) == len(names)
