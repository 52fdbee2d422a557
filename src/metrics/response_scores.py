"""Scores of predicted responses to a stimulus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contracts import Predictions

Array = NDArray[np.float64]


def score_responses(rows: Predictions) -> dict[str, float]:
    """Correlation over time of predicted and measured responses, and the connectivity of the measured ones.

    ``r``: mean over people and regions; ``r_1``, ``r_2``, …: of each region, in the order of the file. With the mean of
    the other listeners as the prediction this is the inter-subject correlation. ``fc_lowest``, ``fc_highest``: the
    smallest and the largest of the mean correlations between two regions; absent for a single region.

    Args:
        rows: ``predicted`` and ``response``, ``(person, time, roi)``.
    """
    by_region = time_correlation(rows["predicted"], rows["response"]).mean(0)
    scores = {"r": by_region.mean(), **{f"r_{k}": value for k, value in enumerate(by_region, 1)}}
    if len(by_region) > 1:
        matrices = np.stack([np.corrcoef(np.asarray(series, dtype=np.float64).T) for series in rows["response"]])
        pairs = matrices.mean(0)[np.triu_indices(len(by_region), 1)]
        scores |= {"fc_lowest": pairs.min(), "fc_highest": pairs.max()}
    return {name: float(value) for name, value in scores.items()}


def time_correlation(predicted: Array, measured: Array) -> Array:
    """Pearson correlation over time, ``(person, roi)``, of arrays ``(person, time, roi)``; 0 for constant series."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (predicted, measured))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return np.where(scale > 1e-9, (a * b).sum(1) / np.maximum(scale, 1e-9), 0.0)
