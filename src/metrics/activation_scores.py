"""Scores of predicted activation against the measured one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contracts import Predictions

Array = NDArray[np.float64]


def score_activation(rows: Predictions) -> dict[str, float]:
    """Every score of a test set; one row a person, one column a region.

    ``mse``; ``skill = 1 - mse / mse_group_mean`` with the training people's mean as reference; ``better_than_mean``,
    the share of people whose error is below that of the mean; ``pattern_r``, correlation over regions of predicted and
    measured activation, mean over people, which the group mean alone makes high; ``deviation_r``, the same of what
    deviates from that mean: what is individual. It is absent where nothing individual is predicted.

    Args:
        rows: ``predicted``, ``activation`` and ``mean_activation``, ``(person, roi)``.
    """
    names = ("predicted", "activation", "mean_activation")
    predicted, measured, mean = (np.asarray(rows[name], dtype=np.float64) for name in names)
    own, reference = np.square(predicted - measured).mean(1), np.square(mean - measured).mean(1)
    scores = {
        "mse": own.mean(),
        "mse_group_mean": reference.mean(),
        "skill": 1 - own.mean() / reference.mean(),
        "better_than_mean": np.mean(own < reference),
        "pattern_r": row_correlation(predicted, measured).mean(),
    }
    deviation = predicted - mean
    if np.abs(deviation).max() > 1e-5 * np.abs(mean).max():
        scores["deviation_r"] = row_correlation(deviation, measured - mean).mean()
    return {name: float(value) for name, value in scores.items()}


def row_correlation(a: Array, b: Array) -> Array:
    """Pearson correlation of each row; 0 where one side does not vary."""
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return np.where(scale > 1e-12, (a * b).sum(1) / np.maximum(scale, 1e-12), 0.0)
