"""Metrics over resamples of the images, for intervals and paired tests where there is no exact variance.

All detectors with equal numbers of in- and out-images are resampled together. Images are drawn once for all of them, so
that the values of two detectors on the same images are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

RESAMPLES = 1000
DRAWN_AT_ONCE = 2**22
"""Images that are drawn at once: 32 MiB. Another number gives other resamples."""
COUNTED_AT_ONCE = 2**16
"""Images whose metrics are computed at once: many more, or fewer, are slower."""

Resampled = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function from counts of each distinct score in resamples of in- and out-images, (r, u) each, to values (r,)."""


def resampled_values(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    metrics: Sequence[Iterable[Resampled]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> list[list[np.ndarray]]:
    """Return for each pair the values of its metrics over resamples of the images, (r,) each.

    In- and out-images are drawn with replacement, separately, as many as there are.

    Args:
        pairs: scores of in-images (n,) and of out-images (m,), with the same n and m in all pairs.
        metrics: for each pair, functions of the counts of each distinct score, in ascending order of the scores.
        advance: called with the number of resamples that are done.
    """
    detectors = [_Detector(*pair, functions) for pair, functions in zip(pairs, metrics, strict=True)]
    sizes = [len(scores) for scores in pairs[0]]
    generator, at_once = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // sum(sizes))
    parts: list[list[list[np.ndarray]]] = []
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        in_drawn, out_drawn = (generator.integers(0, size, (count, size)) for size in sizes)
        parts.append([each.values(in_drawn, out_drawn) for each in detectors])
        advance(begin + count)
    return [[np.concatenate(values) for values in zip(*of_pair, strict=True)] for of_pair in zip(*parts, strict=True)]


class _Detector:
    """Scores of one detector, and the metrics to compute from them."""

    def __init__(self, in_scores: np.ndarray, out_scores: np.ndarray, metrics: Iterable[Resampled]):
        self.metrics = list(metrics)
        distinct, numbers = np.unique(np.concatenate([in_scores, out_scores]), return_inverse=True)
        self.distinct = len(distinct)
        self.of_in, self.of_out = numbers[: len(in_scores)], numbers[len(in_scores) :]

    def values(self, in_drawn: np.ndarray, out_drawn: np.ndarray) -> list[np.ndarray]:
        """Return each metric on each resample, (r,), given the images drawn for it, (r, n) and (r, m)."""
        at_once = max(1, COUNTED_AT_ONCE // (in_drawn.shape[1] + out_drawn.shape[1]))
        parts: list[list[np.ndarray]] = []
        for first in range(0, len(in_drawn), at_once):
            in_counts = self._counts(self.of_in, in_drawn[first : first + at_once])
            out_counts = self._counts(self.of_out, out_drawn[first : first + at_once])
            parts.append([metric(in_counts, out_counts) for metric in self.metrics])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _counts(self, numbers: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Return how often each distinct score is in each resample, (r, u), given the number of each image's score."""
        counts = np.empty((len(drawn), self.distinct), dtype=np.int64)
        for row, images in zip(counts, drawn, strict=True):
            row[:] = np.bincount(numbers[images], minlength=self.distinct)
        return counts
