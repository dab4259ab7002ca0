"""Metrics over resamples of the images: intervals and paired tests come from these where there is no exact variance.

All detectors that scored as many in- and out-images are resampled together, so that images are drawn once for all, and
the values of two detectors of the same images are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

RESAMPLES = 1000
DRAWN_AT_ONCE = 2**22
"""Images that are drawn at once: 32 MiB. Another number gives other resamples."""
COUNTED_AT_ONCE = 2**17
"""Images whose metrics are computed at once: many more, or fewer, take longer."""

Resampled = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From counts of each distinct score in resamples of in- and out-images, (r, u) each, to the metric's values (r,)."""


def resampled_values(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    metrics: Sequence[Iterable[Resampled]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> list[list[np.ndarray]]:
    """Return for each pair the values of its metrics over resamples of the images, (r,) each.

    In- and out-images are drawn with replacement, each kind by itself, as many as there are.

    Args:
        pairs: scores of in-images (n,) and of out-images (m,), with the same n and m in all pairs.
        metrics: of each pair, functions of the counts of each distinct score, in ascending order of the scores.
        advance: called with the number of resamples that are done.
    """
    detectors = [_Detector(*pair, functions) for pair, functions in zip(pairs, metrics, strict=True)]
    sizes = [len(scores) for scores in pairs[0]]
    generator, at_once = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // sum(sizes))
    parts: list[list[list[np.ndarray]]] = []
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        in_times, out_times = (_times_drawn(generator.integers(0, size, (count, size))) for size in sizes)
        parts.append([each.values(in_times, out_times) for each in detectors])
        advance(begin + count)
    return [[np.concatenate(values) for values in zip(*of_pair, strict=True)] for of_pair in zip(*parts, strict=True)]


def _times_drawn(images: np.ndarray) -> np.ndarray:
    """How often each image is in each resample, given the images that are: (r, n) → (r, n)."""
    return np.stack([np.bincount(row, minlength=len(row)) for row in images])


class _Detector:
    """Scores of one detector, and the metrics of them that are wanted."""

    def __init__(self, in_scores: np.ndarray, out_scores: np.ndarray, metrics: Iterable[Resampled]):
        self.metrics = list(metrics)
        distinct, codes = np.unique(np.concatenate([in_scores, out_scores]), return_inverse=True)
        self.distinct = len(distinct)
        self.of_in, self.of_out = _Order(codes[: len(in_scores)]), _Order(codes[len(in_scores) :])

    def values(self, in_times: np.ndarray, out_times: np.ndarray) -> list[np.ndarray]:
        """Return each metric in each resample, (r,), given how often each image is in it: (r, n) and (r, m)."""
        at_once = max(1, COUNTED_AT_ONCE // (in_times.shape[1] + out_times.shape[1]))
        parts: list[list[np.ndarray]] = []
        for first in range(0, len(in_times), at_once):
            in_counts = self.of_in.counts(in_times[first : first + at_once], self.distinct)
            out_counts = self.of_out.counts(out_times[first : first + at_once], self.distinct)
            parts.append([metric(in_counts, out_counts) for metric in self.metrics])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]


class _Order:
    """Images in the order of their scores, given the number (n,) of each one's score among the distinct ones."""

    def __init__(self, codes: np.ndarray):
        self.images = np.argsort(codes)
        self.scores, self.first = np.unique(codes[self.images], return_index=True)

    def counts(self, times: np.ndarray, distinct: int) -> np.ndarray:
        """How often each distinct score is in each resample, (r, u), given how often each image is: (r, n)."""
        ordered = np.take(times, self.images, axis=1)
        if len(self.scores) < len(self.images):
            ordered = np.add.reduceat(ordered, self.first, axis=1)
        counts = np.zeros((len(times), distinct), dtype=np.int64)
        counts[:, self.scores] = ordered
        return counts
