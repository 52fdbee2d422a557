"""Scores of a neuron model against a current-clamp recording: spikes, charges of currents, what a drug blocked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
#: A current that carries less of the total charge is not judged.
SMALLEST_SHARE = 0.02


def spike_times(voltage: Array, dt_ms: float, threshold_mv: float = 0.0) -> Array:
    """Times of upward crossings, linear between samples, ms."""
    above = voltage > threshold_mv
    at = np.flatnonzero(above[1:] & ~above[:-1])
    return (at + (threshold_mv - voltage[at]) / (voltage[at + 1] - voltage[at])) * dt_ms


def matched_spikes(a: Array, b: Array, tolerance_ms: float) -> int:
    """Largest number of disjoint pairs of spikes no further apart than ``tolerance_ms``."""
    i = j = found = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance_ms:
            found, i, j = found + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return found


def coincidence(pairs: list[tuple[Array, Array]], tolerance_ms: float) -> float:
    """Twice the matched spikes over all spikes of both trains; 1 where neither fires, over all pairs of trains."""
    matched = sum(matched_spikes(a, b, tolerance_ms) for a, b in pairs)
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * matched / total if total else 1.0


def current_errors(charge: Array, true_charge: Array, square_error: Array, true_square: Array) -> dict[str, float]:
    """Relative errors of the currents that carry at least 2 % of the charge; what is given to those that carry none.

    Args:
        charge: ``∫ |I| dt`` of the model, ``(window, current)``.
        true_charge: The same of the truth.
        square_error: Integrated squared error of each waveform, ``(window, current)``.
        true_square: Integrated square of the truth.
    """
    total = true_charge.sum(0)
    judged = total >= SMALLEST_SHARE * total.sum()
    errors = np.abs(charge.sum(0) / np.maximum(total, 1e-12) - 1)[judged]
    waves = np.sqrt(square_error.sum(0) / np.maximum(true_square.sum(0), 1e-12))[judged]
    absent = (
        {"absent_charge_worst": float((charge.sum(0) / total.sum())[total == 0].max())} if (total == 0).any() else {}
    )
    return {
        **absent,
        "charge_error_median": float(np.median(errors)),
        "charge_error_worst": float(errors.max()),
        "charge_within_5": float(np.mean(errors <= 0.05)),
        "waveform_error_median": float(np.median(waves)),
        "waveform_error_worst": float(waves.max()),
        "waveform_within_10": float(np.mean(waves <= 0.1)),
    }


def ratio_intervals(change: Array, sd: Array, quantile: float = 1.645) -> tuple[Array, Array]:
    """Interval of a conductance's ratio to control, 90 % by default.

    Currents are linear in conductance: the likelihood is nearly a Gaussian of the ratio, not of its logarithm.

    Args:
        change: Log ratio.
        sd: Posterior standard deviation of the log ratio.
        quantile: Of the standard normal.
    """
    ratio = np.exp(change)
    return np.maximum(ratio * (1 - quantile * sd), 0.0), ratio * (1 + quantile * sd)


def drug_scores(change: Array, sd: Array, truth: Array, judged: NDArray[np.bool_]) -> dict[str, float]:
    """Whether the blocked current was named, by how much it was blocked, and what else seemed to change.

    The named current is the one whose block has the highest lower end of its one-sided 95 % interval.

    Args:
        change: Estimated log ratio of each conductance to control, ``(condition, current)``.
        sd: Its posterior standard deviation.
        truth: True log ratio.
        judged: Currents that carry enough charge to be judged, ``(current,)``.
    """
    block, true_block = 1 - np.exp(change), 1 - np.exp(truth)
    low, high = ratio_intervals(change, sd)
    target = true_block.argmax(1)
    rows = np.flatnonzero((true_block.max(1) > 0) & judged[target])
    others = (np.abs(truth) < 1e-9) & judged
    found: dict[str, float] = {"targets_judged": float(len(rows))}
    if len(rows):
        at = target[rows]
        error = 100 * np.abs(block - true_block)[rows, at]
        inside = (low <= np.exp(truth)) & (np.exp(truth) <= high)
        found["named"] = float(np.mean((1 - high)[rows].argmax(1) == at))
        found["dose_error_points"] = float(np.median(error))
        found["dose_within_5"] = float(np.mean(error <= 5))
        found["interval_90_coverage"] = float(inside[rows][:, judged].mean())
        found["interval_90_coverage_target"] = float(inside[rows, at].mean())
    if others.any():
        outside = (low > 1) | (high < 1)
        found["false_compensation"] = float((outside & others).sum() / others.sum())
        z = (np.exp(change) - 1) / np.maximum(np.exp(change) * sd, 1e-12)
        found["false_compensation_fdr"] = float((discoveries(z, judged) & others).sum() / others.sum())
    return found


def discoveries(z: Array, judged: NDArray[np.bool_], rate: float = 0.1) -> NDArray[np.bool_]:
    """Changes that stand when the false-discovery rate over all conditions and currents is held at ``rate``.

    Args:
        z: Change over its standard deviation, ``(condition, current)``.
        judged: Currents that are tested, ``(current,)``.
        rate: Of Benjamini and Hochberg.
    """
    p = 2 * norm.sf(np.abs(z))
    tested = np.broadcast_to(judged, p.shape)
    ordered = np.sort(p[tested])
    below = ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    limit = ordered[np.flatnonzero(below)[-1]] if below.any() else -1.0
    return tested & (p <= limit)


def hill_fit(dose: Array, block: Array, sd: Array) -> dict[str, Any]:
    """IC50 and Hill coefficient ``n`` of ``block = 1 / (1 + (IC50 / dose)^n)``, with 90 % intervals."""
    from scipy.optimize import curve_fit

    def curve(log_dose: Array, log_ic50: float, log_n: float) -> Array:
        return 1 / (1 + np.exp(np.exp(log_n) * (log_ic50 - log_dose)))

    start = [float(np.log(np.median(dose))), 0.0]
    found, covariance = curve_fit(curve, np.log(dose), block, start, sigma=np.maximum(sd, 1e-3), absolute_sigma=True)
    reach = 1.645 * np.sqrt(np.diag(covariance))
    return {
        "ic50": float(np.exp(found[0])),
        "ic50_90": tuple(np.exp([found[0] - reach[0], found[0] + reach[0]]).tolist()),
        "hill": float(np.exp(found[1])),
        "hill_90": tuple(np.exp([found[1] - reach[1], found[1] + reach[1]]).tolist()),
    }
