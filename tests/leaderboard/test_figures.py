"""Which images a figure shows, and that it is the same file each time."""

from __future__ import annotations

import numpy as np
import pytest

from oodbench.api import ImageSet, Scores
from oodbench.errors import StoreError
from oodbench.leaderboard.figures import Panel, draw, extreme_images


def image_set(name: str, n: int = 5) -> ImageSet:
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    return ImageSet(name, "test", images, np.zeros(n, np.int64), np.arange(n))


def scores(images: ImageSet, values: list[float], **changed) -> Scores:
    facts = {"fingerprint": images.fingerprint} | changed
    return Scores(
        images.name, "test", facts["fingerprint"], images.indices, images.labels, np.array(values), 1.0, "cpu"
    )


def test_the_images_with_the_lowest_and_the_highest_scores_are_shown_with_them():
    inside, outside = image_set("a"), image_set("b")
    of_both = [scores(inside, [3.0, 1, 2, 5, 4]), scores(outside, [0.0, 7, 7, 7, -1])]
    images, values = extreme_images([inside, outside], of_both, 2)
    assert {name: stack[:, 0, 0, 0].tolist() for name, stack in images.items()} == {
        "in: a, lowest scores": [1, 2],
        "in: a, highest scores": [3, 4],
        "out: b, lowest scores": [4, 0],
        "out: b, highest scores": [1, 2],
    }
    assert {name: found.tolist() for name, found in values.items()} == {
        "in: a, lowest scores": [1, 2],
        "in: a, highest scores": [5, 4],
        "out: b, lowest scores": [-1, 0],
        "out: b, highest scores": [7, 7],
    }


def test_one_data_set_as_in_and_out_is_two_blocks():
    images = image_set("a")
    found, _ = extreme_images([images, images], [scores(images, [1, 2, 3, 4, 5]), scores(images, [5, 4, 3, 2, 1])], 9)
    assert [len(stack) for stack in found.values()] == [5, 5, 5, 5]
    assert found["in: a, lowest scores"][0, 0, 0, 0] == 0 and found["out: a, lowest scores"][0, 0, 0, 0] == 4


def test_scores_of_other_images_are_refused():
    images = image_set("a")
    with pytest.raises(StoreError, match="the scores of a are of other images than those available now"):
        extreme_images([images], [scores(images, [1, 2, 3, 4, 5], fingerprint="0" * 16)], 1)


def test_panels_with_other_out_sets_and_without_reconstructions_are_drawn(tmp_path):
    sets = [image_set(name) for name in ("a", "b", "c")]
    of_all = [scores(each, [1.0, 2, 3, 4, 5]) for each in sets]
    panels = []
    for number, out in ((0, 1), (1, 2)):
        images, values = extreme_images(sets, [of_all[0], of_all[out]], 2)
        made = {name: stack / 255.0 for name, stack in images.items()} if number else {}
        panels.append(Panel(f"d{number}", of_all[0], [of_all[out]], {"b": 0.5, "c": 0.5}, images, made, values))
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(panels, first, "Two $ detectors")
    draw(panels, second, "Two $ detectors")
    text = first.read_text()
    assert text == second.read_text()
    for shown in ("d0: input", "d1: input", "output", "out: c, highest scores"):
        assert f"<!-- {shown} -->" in text
