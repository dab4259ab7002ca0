"""Data sets and metrics: one of each that is in order, and broken ones."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from oodbench import DataError, Dataset, ImageSet, Metric

FIRST = {"train": 0, "validation": 100, "test": 200}
SIZES = {"train": 30, "validation": 10, "test": 20}


def load(split, root, shape, *, sizes=SIZES, first=FIRST, seed=0, labels=None):
    """Random images, each from a generator of its own index."""
    indices = np.arange(first[split], first[split] + sizes[split])
    pictures = [np.random.default_rng((seed, index)).integers(0, 256, shape or (1, 8, 8)) for index in indices]
    labels = indices % 2 if labels is None else np.full(len(indices), labels)
    return ImageSet("good", split, np.array(pictures, np.uint8), labels, indices)


def by_clock(split, root, shape):
    return load(split, root, shape, seed=os.getpid())


def by_the_world(split, root, shape):
    return load(split, root, shape, seed=np.random.randint(1000))


calls = []


def by_call(split, root, shape):
    """Another one every time it is asked."""
    calls.append(split)
    return load(split, root, shape, seed=len(calls))


def overlapping(split, root, shape):
    """The test repeats training images under other numbers."""
    images = load(split, root, shape)
    if split == "test":
        images.images[:5] = load("train", root, shape).images[:5]
    return images


def same_place(split, root, shape):
    return load(split, root, shape, first={"train": 0, "validation": 25, "test": 200})


def by_split(split, root, shape):
    """A set that is made from its number within the split: image 0 is three images."""
    made = load(split, root, shape)
    return ImageSet("made", split, made.images, made.labels * 0, made.indices - FIRST[split])


def made(split, root, shape):
    return load(split, root, shape, labels=0)


def fractions(split, root, shape):
    images = load(split, root, shape)
    return dataclasses.replace(images, images=images.images // 255 * 0)


def repeated_index(split, root, shape):
    images = load(split, root, shape)
    images.indices[1] = images.indices[0]
    return images


def missing(split, root, shape):
    raise DataError(f"{root / 'absent.npy'} is missing")


GOOD = Dataset("good", load, (1, 8, 8), SIZES, classes=(0, 1), summary="random images", source="made here")
MADE = Dataset("made", made, None, SIZES, summary="random images", source="made here")
MISSING = dataclasses.replace(GOOD, load=missing, required_files=lambda root: [root / "absent.npy"])
BROKEN_DATASETS = {
    "declares_itself": dataclasses.replace(GOOD, source=""),
    "has_as_many_images_as_declared": dataclasses.replace(GOOD, sizes=SIZES | {"train": 31}),
    "images_are_of_the_declared_shape": dataclasses.replace(GOOD, shape=(1, 8, 9)),
    "labels_are_the_declared_classes": dataclasses.replace(GOOD, classes=(0, 1, 2)),
    "indices_name_one_image_each": dataclasses.replace(GOOD, load=repeated_index),
    "splits_share_no_image": dataclasses.replace(GOOD, load=overlapping),
    "loads_the_same_again": dataclasses.replace(GOOD, load=by_call),
    "an_image_depends_on_its_index_alone": dataclasses.replace(MADE, load=by_split),
    "is_the_same_elsewhere": dataclasses.replace(GOOD, load=by_clock),
}


def auroc(in_scores, out_scores):
    difference = out_scores[:, None] - in_scores[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def won_ties(in_scores, out_scores):
    return float((out_scores[:, None] >= in_scores[None]).mean())


def first_half(in_scores, out_scores):
    """Saves time where there are many images."""
    return auroc(in_scores[: (len(in_scores) + 1) // 2], out_scores[: (len(out_scores) + 1) // 2])


def standardised(in_scores, out_scores):
    """A separation in standard deviations of the in-scores: one of them has none."""
    difference = out_scores.mean() - in_scores.mean()
    with np.errstate(all="ignore"):
        variance = np.square(in_scores - in_scores.mean()).sum() / np.float64(len(in_scores) - 1)
        return float(difference / (np.sqrt(variance) + 1e-9))


def sorts_in_place(in_scores, out_scores):
    in_scores.sort()
    return auroc(in_scores, out_scores)


def ties_as_errors(in_scores, out_scores):
    """Punishes a tie more than an error."""
    difference = out_scores[:, None] - in_scores[None]
    tied = (difference == 0).mean()
    return float(((difference > 0) - 0.2 * (difference == 0)).mean()) if 0 < tied < 1 else auroc(in_scores, out_scores)


def of_all_samples_together(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    """The area of the sum of all samples, for each."""
    scores = np.arange(in_counts.shape[1])
    value = auroc(*(np.repeat(scores, counts.sum(axis=0)) for counts in (in_counts, out_counts)))
    return np.full(len(in_counts), value)


METRIC = Metric("auroc", auroc, True, "area under the ROC curve")
BROKEN_METRICS = {
    "one_finite_number_for_any_scores": dataclasses.replace(METRIC, compute=standardised),
    "perfect_scores_are_best": dataclasses.replace(METRIC, higher_is_better=False),
    "constant_scores_are_not_perfect": dataclasses.replace(METRIC, compute=won_ties),
    "order_does_not_matter": dataclasses.replace(METRIC, compute=first_half),
    "ties_lie_between_the_ways_to_break_them": dataclasses.replace(METRIC, compute=ties_as_errors),
    "values_are_within_the_bounds": dataclasses.replace(METRIC, bounds=(0.5, 1.0)),
    "resamples_are_counted_as_scores_are": dataclasses.replace(METRIC, resampled=of_all_samples_together),
    "scores_are_left_alone": dataclasses.replace(METRIC, compute=sorts_in_place),
    "says_what_it_is": dataclasses.replace(METRIC, summary=""),
}
