"""Intervals of a volume with guaranteed coverage: conformalised from validation exams (Romano et al. 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

#: Added to volumes before the logarithm, ml: below it, differences are not of interest.
FLOOR_ML = 0.02


def conformal_offset(low_ml: Array, high_ml: Array, truth_ml: Array, level: float = 0.9) -> float:
    """How far the ends of rough intervals must move, in log volume, to cover new exams with probability ``level``.

    With scores ``s = max(log low - log truth, log truth - log high)``, the offset is their ``ceil((n + 1) level)``-th
    smallest; with fewer than ``level / (1 - level)`` exams the largest, which then promises less.

    Args:
        low_ml: Lower ends, ``(exam,)``.
        high_ml: Upper ends.
        truth_ml: True volumes.
        level: Coverage.
    """
    if not len(truth_ml):
        return float("nan")
    low, high, truth = (np.log(np.asarray(v, dtype=float) + FLOOR_ML) for v in (low_ml, high_ml, truth_ml))
    scores = np.sort(np.maximum(low - truth, truth - high))
    rank = min(int(np.ceil((len(scores) + 1) * level)), len(scores))
    return float(scores[rank - 1])


def widened(low_ml: Array, high_ml: Array, offset: float) -> tuple[Array, Array]:
    """The ends moved by the offset; never below zero, never crossed."""
    low = (np.asarray(low_ml) + FLOOR_ML) * np.exp(-offset) - FLOOR_ML
    high = (np.asarray(high_ml) + FLOOR_ML) * np.exp(offset) - FLOOR_ML
    middle = 0.5 * (low + high)
    return np.maximum(np.minimum(low, middle), 0.0), np.maximum(np.maximum(high, middle), 0.0)
