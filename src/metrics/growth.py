"""Whether a tumour grew between two exams, from both volumes and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.floating]
#: Added to volumes before the logarithm, ml: below it, differences are not of interest.
FLOOR_ML = 0.02
#: Increase of the volume that clinics call growth.
GROWTH = 1.2


@dataclass(frozen=True)
class Measured:
    """One exam's volume.

    Attributes:
        volume_ml: Of the mask.
        low_ml: Lower end of its interval.
        high_ml: Upper end.
        coverage: Of the interval.
        months: Since the first exam; None when unknown.
    """

    volume_ml: float
    low_ml: float
    high_ml: float
    coverage: float = 0.9
    months: float | None = None

    @property
    def log_sd(self) -> float:
        """Standard deviation of the log volume of which the interval is the central part."""
        width = np.log(self.high_ml + FLOOR_ML) - np.log(self.low_ml + FLOOR_ML)
        return float(width / 2 / norm.ppf(0.5 + self.coverage / 2))


def growth_probability(first: Measured, second: Measured, factor: float = 1.0) -> float:
    """Probability that the true volume rose by more than ``factor``, errors being log-normal and independent.

    Two exams of a patient at one site share part of their error, which cancels: the probability errs towards one half.

    Args:
        first: Earlier exam.
        second: Later exam.
        factor: 1 for any growth, :data:`GROWTH` for what clinics call so.
    """
    change = np.log(second.volume_ml + FLOOR_ML) - np.log(first.volume_ml + FLOOR_ML) - np.log(factor)
    return float(norm.cdf(change / max(float(np.hypot(first.log_sd, second.log_sd)), 1e-9)))


def score_growth(probability: Array, grew: NDArray[np.bool_]) -> dict[str, float]:
    """How well the probability of growth by more than a fifth tells pairs of exams that grew from those that did not.

    Args:
        probability: From :func:`growth_probability`, ``(pair,)``.
        grew: Whether the true volume did.

    Returns:
        ``growth_pairs``, ``growth_auroc`` (NaN where all or none grew), ``growth_brier``, and sensitivity and
        specificity at a probability of one half.
    """
    names = ("growth_auroc", "growth_brier", "growth_sensitivity", "growth_specificity")
    scores = {"growth_pairs": float(len(grew)), **dict.fromkeys(names, float("nan"))}
    if not len(grew):
        return scores
    scores["growth_brier"] = float(((probability - grew) ** 2).mean())
    if grew.any() and not grew.all():
        above = probability[grew][:, None] - probability[~grew][None]
        scores["growth_auroc"] = float((above > 0).mean() + 0.5 * (above == 0).mean())
    if grew.any():
        scores["growth_sensitivity"] = float((probability[grew] > 0.5).mean())
    if not grew.all():
        scores["growth_specificity"] = float((probability[~grew] <= 0.5).mean())
    return scores
