"""The probability of each Koos grade from a tumour's geometry, by a regression on labelled exams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .schwannoma_measures import FEATURES

Array = NDArray[np.floating]
GRADES = (1, 2, 3, 4)
#: Fewest labelled exams that a regression is fitted to.
_LEAST = 12


def fit_grades(features: Sequence[Array], grades: Sequence[int]) -> NDArray[np.float64]:
    """Multinomial logistic regression with a unit Gaussian prior on the weights of standardised features.

    Args:
        features: Of each exam, from :func:`~.schwannoma_measures.grading_features`.
        grades: Koos grade of each, 1 to 4.

    Returns:
        Intercept and weights of each grade, ``(4, 1 + feature)``, for features as they are; a grade that no exam has
        gets an intercept of minus infinity. All NaN with fewer than twelve exams or only one grade.
    """
    table = np.full((len(GRADES), 1 + len(FEATURES)), np.nan)
    if len(grades) < _LEAST or len(set(grades)) < 2:
        return table
    from sklearn.linear_model import LogisticRegression

    x = np.asarray(features, dtype=float)
    mean, sd = x.mean(0), np.maximum(x.std(0), 1e-6)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((x - mean) / sd, np.asarray(grades))
    weights, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn then keeps one row, of the second class against the first
        weights, intercepts = np.vstack([-weights, weights]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    table[:, 0], table[:, 1:] = -np.inf, 0.0
    for grade, weight, intercept in zip(model.classes_, weights, intercepts, strict=True):
        table[int(grade) - 1, 1:] = weight / sd
        table[int(grade) - 1, 0] = intercept - float(weight / sd @ mean)
    return table


def grade_probabilities(table: Array, features: Array | None) -> NDArray[np.float64]:
    """Probability of the grades 1 to 4; NaN without a tumour or without a fitted table."""
    if features is None or np.isnan(table).any():
        return np.full(len(GRADES), np.nan)
    scores = table[:, 0] + table[:, 1:] @ features
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum())


def score_grades(probabilities: Array, koos: Array) -> dict[str, float]:
    """Agreement with the true grades; an exam without probabilities (a missed tumour) counts as wrong.

    Args:
        probabilities: ``(exam, 4)``.
        koos: True grade, 0 where there is none, ``(exam,)``.

    Returns:
        ``koos_accuracy``; ``koos_within_one``: share that is at most one grade off; ``koos_brier``: over the graded
        exams, 0 to 2.
    """
    known = koos > 0
    p, truth = probabilities[known], koos[known].astype(int)
    graded = np.isfinite(p).all(axis=1)
    if not len(truth) or not graded.any():
        return dict.fromkeys(("koos_accuracy", "koos_within_one", "koos_brier"), float("nan"))
    off = np.full(len(truth), 9)
    off[graded] = np.abs(p[graded].argmax(1) + 1 - truth[graded])
    wanted = np.eye(len(GRADES))[truth[graded] - 1]
    brier = ((p[graded] - wanted) ** 2).sum(1).mean()
    return {
        "koos_accuracy": float((off == 0).mean()),
        "koos_within_one": float((off <= 1).mean()),
        "koos_brier": float(brier),
    }
