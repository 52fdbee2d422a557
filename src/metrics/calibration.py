"""How far predicted probabilities can be believed: calibration error, Brier score, selective risk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ReliabilityBins(NamedTuple):
    """A reliability diagram's data, one entry a bin of equal width in confidence.

    Attributes:
        items: Items in the bin.
        confidence: Mean probability of the predicted class; NaN in an empty bin.
        accuracy: Share of correct predictions; NaN in an empty bin.
    """

    items: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability_bins(probability: np.ndarray, target: np.ndarray, bins: int = 15) -> ReliabilityBins:
    """Confidence and accuracy of the most probable class in ``bins`` equal bins of confidence (Guo et al. 2017).

    Args:
        probability: ``(item, class)``, rows sum to 1.
        target: True class, ``(item,)``.
        bins: Number of bins ``((b - 1) / bins, b / bins]``.
    """
    confidence = probability.max(axis=1)
    correct = probability.argmax(axis=1) == target
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityBins(
            count,
            np.bincount(index, weights=confidence, minlength=bins) / count,
            np.bincount(index, weights=correct, minlength=bins) / count,
        )


def expected_calibration_error(probability: np.ndarray, target: np.ndarray, bins: int = 15) -> float:
    r"""Mean gap between confidence and accuracy, :math:`\sum_b \frac{n_b}{n} |acc_b - conf_b|` (Guo et al. 2017).

    Args:
        probability: ``(item, class)``, rows sum to 1.
        target: True class, ``(item,)``.
        bins: Equal bins of the predicted class's probability.
    """
    count, confidence, accuracy = reliability_bins(probability, target, bins)
    used = count > 0
    return float(np.sum(count[used] * np.abs(accuracy[used] - confidence[used])) / count.sum())


def brier_score(probability: np.ndarray, target: np.ndarray) -> float:
    r"""Mean squared error of the probabilities, :math:`\frac1n \sum_i \sum_k (p_{ik} - y_{ik})^2` (Brier 1950).

    Two classes get half of the sum, the squared error of one of them, so that the range is 0 to 1 as the binary
    literature (and scikit-learn) has it; more classes keep the range 0 to 2.

    Args:
        probability: ``(item, class)``, rows sum to 1.
        target: True class, ``(item,)``.
    """
    classes = probability.shape[1]
    error = probability - np.eye(classes)[target]
    return float(np.mean(np.sum(error**2, axis=1)) / (2 if classes == 2 else 1))


def risk_coverage(probability: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error rate among the most confident items, for every number of items kept (El-Yaniv and Wiener 2010).

    Items of equal confidence share their mean error, so that the curve does not depend on the order of rows.

    Args:
        probability: ``(item, class)``, rows sum to 1.
        target: True class, ``(item,)``.

    Returns:
        Coverage (share of items kept) and risk (error rate among them), each ``(item,)``, coverage rising to 1.
    """
    confidence = probability.max(axis=1)
    wrong = (probability.argmax(axis=1) != target).astype(float)
    levels, level, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    shared = np.bincount(level, weights=wrong, minlength=len(levels)) / count
    kept = np.arange(1, len(target) + 1)
    return kept / len(target), np.cumsum(np.repeat(shared, count)) / kept


def area_under_risk_coverage(probability: np.ndarray, target: np.ndarray) -> float:
    """Mean risk over all coverages, AURC (Geifman et al. 2019, eq. 2): 0 is perfect, lower is better.

    Args:
        probability: ``(item, class)``, rows sum to 1.
        target: True class, ``(item,)``.
    """
    return float(risk_coverage(probability, target)[1].mean())
