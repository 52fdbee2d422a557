"""Intervals of a volume with guaranteed coverage: conformalised from validation exams (Romano et al. 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def radius_mm(volume_ml: Array) -> NDArray[np.float64]:
    """Radius of the sphere of that volume, mm."""
    return np.asarray(np.cbrt(0.75e3 / np.pi * np.asarray(volume_ml, dtype=float)))


def conformal_offset(low_ml: Array, high_ml: Array, truth_ml: Array, level: float = 0.9) -> float:
    """How far the ends of rough intervals must move to cover new exams with probability ``level``, mm of radius.

    Readers and networks misplace a tumour's surface by much the same distance whatever its size: two readers' 95 %
    limits are 27 % of 0.19 ml and 7 % of 3.1 ml, 0.3 and 0.2 mm. In millilitres the largest tumours would set the
    interval of all, in log volume the smallest. With the radii of spheres of equal volume and scores
    ``s = max(low - truth, truth - high)``, the offset is their ``ceil((n + 1) level)``-th smallest; with fewer than
    ``level / (1 - level)`` exams the largest, which then promises less.

    Args:
        low_ml: Lower ends, ``(exam,)``.
        high_ml: Upper ends.
        truth_ml: True volumes.
        level: Coverage.
    """
    if not len(truth_ml):
        return float("nan")
    low, high, truth = map(radius_mm, (low_ml, high_ml, truth_ml))
    scores = np.sort(np.maximum(low - truth, truth - high))
    rank = min(int(np.ceil((len(scores) + 1) * level)), len(scores))
    return float(scores[rank - 1])


def widened(low_ml: Array, high_ml: Array, offset_mm: float) -> tuple[Array, Array]:
    """The ends moved by the offset of their radius; never below zero, never crossed."""
    low, high = radius_mm(low_ml) - offset_mm, radius_mm(high_ml) + offset_mm
    middle = 0.5 * (low + high)
    ends = np.minimum(low, middle), np.maximum(high, middle)
    below, above = (np.pi / 0.75e3 * np.maximum(end, 0.0) ** 3 for end in ends)
    return below, above
