"""Inter-subject correlation: what people who hear the same story share (Hasson et al. 2004)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def inter_subject_correlation(series: Array) -> Array:
    """Correlation of each person with the mean of all others, region by region (leave-one-out; Nastase et al. 2019).

    Args:
        series: ``(person, volume, roi)``, finite, no constant series, aligned to the stimulus.

    Returns:
        ``(person, roi)``.
    """
    z = (series - series.mean(1, keepdims=True)) / series.std(1, keepdims=True)
    others = (z.sum(0) - z) / (len(z) - 1)
    others = others - others.mean(1, keepdims=True)
    return np.asarray((z * others).mean(1) / others.std(1))
