"""ECOD and COPOD with scores that do not depend on the batch; PyOD's versions also rank a batch's images together.

Sources: Li et al., ECOD (TKDE 2022), arXiv:2201.00382, and COPOD (ICDM 2020), arXiv:2009.09463, as in ``pyod.models``.
"""

from __future__ import annotations

from typing import Self

import numpy as np


class Tails:
    """Tail probabilities, as -log, of each value in its dimension of the training data, to which the value is added."""

    def fit(self, train: np.ndarray) -> Self:
        """Fit to the training data, float64 (n, D)."""
        self.columns = np.sort(train, axis=0).T  # (D, n): each ascending
        self.mean = train.mean(0)
        apart = train - self.mean
        self.second, self.third = (apart**2).sum(0), (apart**3).sum(0)
        return self

    def decision_function(self, values: np.ndarray) -> np.ndarray:
        """Return the scores (b,) of values float64 (b, D)."""
        count = self.columns.shape[1]
        below, above = np.empty_like(values), np.empty_like(values)  # counts of training values ≤ and ≥ each value
        for index, column in enumerate(self.columns):
            below[:, index] = np.searchsorted(column, values[:, index], side="right")
            above[:, index] = count - np.searchsorted(column, values[:, index], side="left")
        left, right = (-np.log((ranks + 1) / (count + 1)) for ranks in (below, above))
        skewness = self._skewness_with(values, count)
        skewed = np.where(skewness <= 0, left, 0) + np.where(skewness >= 0, right, 0)
        scores: np.ndarray = self._combine(left, right, skewed).sum(1)
        return scores

    def _skewness_with(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the sign of the skewness of the training data plus each value, (b, D); 0 where all are equal."""
        apart = values - self.mean
        shift = apart / (count + 1)  # of the mean, caused by the added value
        third = self.third - 3 * shift * self.second - count * shift**3 + (apart - shift) ** 3
        signs: np.ndarray = np.where((self.second == 0) & (apart == 0), 0, np.sign(third))
        return signs

    def _combine(self, left: np.ndarray, right: np.ndarray, skewed: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class ECOD(Tails):
    """ECOD: per dimension, the greatest of the left tail, the right tail, and the tail that the skewness selects."""

    def _combine(self, left: np.ndarray, right: np.ndarray, skewed: np.ndarray) -> np.ndarray:
        greatest: np.ndarray = np.maximum(np.maximum(left, right), skewed)
        return greatest


class COPOD(Tails):
    """COPOD: per dimension, the greater of the mean of both tails and the tail that the skewness selects."""

    def _combine(self, left: np.ndarray, right: np.ndarray, skewed: np.ndarray) -> np.ndarray:
        greater: np.ndarray = np.maximum(skewed, (left + right) / 2)
        return greater
