"""Scores of predicted changes of connectivity, against the measured and the true change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from ..contracts import Predictions

Array = NDArray[np.float64]

_ROUNDING = 1e-6  # predictions are float32: less than this is no difference


def score_connectivity(rows: Predictions) -> dict[str, float]:
    """Every score of a test set; one row a person, one column a pair of regions.

    ``mse`` is of the measured change; ``mse_identity``, ``mse_mean_change`` are those of predicting no change and the
    training people's mean change. ``skill = 1 - mse / mse_mean_change``. ``better_than_mean_change`` is the share of
    people whose error is below that of the mean change, ``p_mean_change`` the two-sided Wilcoxon signed-rank test over
    people (pairs within a person are dependent, people are not). ``edge_r``: correlation over people of predicted and
    measured deviation from the mean change, averaged over pairs. ``calibration_slope``: slope of measured on predicted
    deviation; below 1, predictions are too extreme. It and the test are absent where every prediction is the mean
    change. ``fingerprint``: share of people whose predicted target matrix resembles their own measured one more than
    anybody else's. ``language_mse``: pairs inside the language network. ``language_auroc``: how well the predicted
    group map finds those pairs among all; the map is the mean predicted change over the standard deviation over people
    of the measured one. ``language_auroc_measured`` is that of the measured map of the same people. With a known truth:
    ``true_mse``, ``true_mse_mean_change``, ``true_skill`` and ``noise_ceiling_mse``, the error of the truth itself
    against the measurement, which no predictor can beat on average. With explanations: ``explained_auroc``, how well
    the pairs that drive the predictions (:func:`drive_map`) find those whose coupling truly changes, and
    ``explained_language_auroc``, the same for pairs inside the language network.

    Args:
        rows: ``predicted``, ``change``, ``mean_change``, ``start`` and ``true_change`` ``(person, pair)``, the last NaN
            where not known, and ``language`` ``(person, pair)``, bool.
    """
    names = ("predicted", "change", "mean_change", "start", "true_change")
    predicted, change, mean, start, truth = (np.asarray(rows[name], dtype=np.float64) for name in names)
    own = np.square(predicted - change).mean(1)
    reference = np.square(mean - change).mean(1)
    scores = {
        "mse": own.mean(),
        "mse_identity": np.square(change).mean(),
        "mse_mean_change": reference.mean(),
        "skill": 1 - own.mean() / reference.mean(),
        "better_than_mean_change": np.mean(own < reference),
        "edge_r": edge_correlation(predicted - mean, change - mean),
        "fingerprint": fingerprint_accuracy(start + predicted, start + change),
    }
    deviation = predicted - mean
    if np.abs(deviation).max() > _ROUNDING:
        scores["calibration_slope"] = (deviation * (change - mean)).sum() / np.square(deviation).sum()
        scores["p_mean_change"] = wilcoxon(own, reference).pvalue
    language = np.asarray(rows["language"], dtype=bool)[0]
    if language.any():
        scores["language_mse"] = np.square(predicted - change)[:, language].mean()
        if not language.all() and len(change) > 2:
            spread = np.maximum(change.std(0), _ROUNDING)
            scores["language_auroc"] = roc_auc_score(language, predicted.mean(0) / spread)
            scores["language_auroc_measured"] = roc_auc_score(language, change.mean(0) / spread)
    if np.isfinite(truth).all():
        scores["true_mse"] = np.square(predicted - truth).mean()
        scores["true_mse_mean_change"] = np.square(mean - truth).mean()
        scores["true_skill"] = 1 - scores["true_mse"] / scores["true_mse_mean_change"]
        scores["noise_ceiling_mse"] = np.square(truth - change).mean()
    if "attribution" in rows:
        drive = drive_map(rows)
        for name, found in (
            ("explained", np.asarray(rows["changed"], dtype=bool)[0]),
            ("explained_language", language),
        ):
            if found.any() and not found.all():
                scores[f"{name}_auroc"] = roc_auc_score(found, drive)
    return {name: float(value) for name, value in scores.items()}


def drive_map(rows: Predictions) -> Array:
    """How strongly each pair of the baseline drives the predictions of a test set, ``(pair,)``.

    The mean absolute attribution over people, divided by the standard deviation over people of the pair's baseline:
    an attribution grows with a person's distance from the mean, so that pairs that vary more would seem to matter more.

    Args:
        rows: As :func:`score_connectivity` takes them, with ``attribution``.
    """
    size = np.abs(np.asarray(rows["attribution"], dtype=np.float64)).mean(0)
    spread = np.asarray(rows["start"], dtype=np.float64).std(0) if len(rows["start"]) > 2 else np.ones_like(size)
    return np.asarray(size / np.maximum(spread, _ROUNDING))


def edge_correlation(predicted: Array, measured: Array) -> float:
    """Pearson correlation over people, averaged over pairs; pairs without any variance count as 0."""
    predicted, measured = predicted - predicted.mean(0), measured - measured.mean(0)
    varies = (np.abs(predicted).max(0) > _ROUNDING) & (np.abs(measured).max(0) > _ROUNDING)
    norm = np.sqrt(np.square(predicted).sum(0) * np.square(measured).sum(0))
    return float(np.where(varies, (predicted * measured).sum(0) / np.where(varies, norm, 1.0), 0.0).mean())


def fingerprint_accuracy(predicted: Array, measured: Array) -> float:
    """Share of people whose prediction correlates most with their own measurement (Finn et al. 2015)."""
    a, b = (x - x.mean(1, keepdims=True) for x in (predicted, measured))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    return float(np.mean(np.argmax(a @ b.T, axis=1) == np.arange(len(a))))
