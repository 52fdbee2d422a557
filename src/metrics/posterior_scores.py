"""Whether distributions over parameters are right: error, coverage, simulation-based calibration, TARP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

Array = NDArray[np.float64]
#: Below which a Kolmogorov-Smirnov test rejects.
LEVEL = 0.05


def ranks(samples: Array, truth: Array) -> NDArray[np.int64]:
    """Samples below the truth, ``(item, parameter)`` (Talts et al. 2018: uniform on 0 … samples if calibrated).

    Args:
        samples: ``(sample, item, parameter)``.
        truth: ``(item, parameter)``.
    """
    return np.asarray((samples < truth).sum(0), np.int64)


def tarp_ranks(samples: Array, truth: Array, reference: Array) -> NDArray[np.int64]:
    """Samples that are nearer to a reference point than the truth is, ``(item,)``.

    Uniform on 0 … samples for every law of reference points that may depend on the data, if and only if the posterior
    is right (Lemos, Coogan, Hezaveh & Perreault-Levasseur 2023, "Sampling-based accuracy testing of posterior
    estimators", algorithm 2).

    Args:
        samples: ``(sample, item, parameter)``.
        truth: ``(item, parameter)``.
        reference: ``(item, parameter)``.
    """
    away = np.linalg.norm(samples - reference, axis=-1)
    return np.asarray((away < np.linalg.norm(truth - reference, axis=-1)).sum(0), np.int64)


def uniform_p(rank: NDArray[np.int64], n_samples: int) -> float:
    """P-value of a Kolmogorov-Smirnov test that ranks ``(item,)`` are uniform; each is spread evenly over its cell."""
    spread = np.random.default_rng(0).uniform(size=len(rank))
    return float(kstest((rank + spread) / (n_samples + 1), "uniform").pvalue)


def coverage_curve(rank: NDArray[np.int64], n_samples: int, points: int = 101) -> tuple[Array, Array]:
    """Credibility, and the share of items whose region of that credibility holds the truth, from TARP's ranks."""
    credibility = np.linspace(0, 1, points)
    return credibility, np.asarray(((rank[:, None] + 0.5) / (n_samples + 1) <= credibility).mean(0))


def posterior_scores(
    rank: NDArray[np.int64], tarp: NDArray[np.int64], n_samples: int, low: Array, high: Array, truth: Array, nll: Array
) -> dict[str, float]:
    """Calibration of all parameters together.

    Args:
        rank: ``(item, parameter)``.
        tarp: ``(item,)``, see :func:`tarp_ranks`.
        n_samples: That the ranks are out of.
        low: Lower ends of 90 % intervals, ``(item, parameter)``.
        high: Their upper ends.
        truth: ``(item, parameter)``.
        nll: Negative log-density of the truth, ``(item,)``.

    Returns:
        ``nll``; ``coverage_90`` over all parameters, and of those with the lowest and the highest; ``sbc_p_lowest``:
        lowest of the parameters' tests, times their number; ``sbc_rejected``: share of the tests below 5 %;
        ``tarp_gap``: largest difference of expected coverage and credibility; ``tarp_p``.
    """
    inside = ((truth >= low) & (truth <= high)).mean(0)
    p = np.array([uniform_p(column, n_samples) for column in rank.T])
    credibility, covered = coverage_curve(tarp, n_samples)
    return {
        "nll": float(nll.mean()),
        "coverage_90": float(inside.mean()),
        "coverage_90_lowest": float(inside.min()),
        "coverage_90_highest": float(inside.max()),
        "sbc_p_lowest": float(min(1.0, p.min() * len(p))),
        "sbc_rejected": float(np.mean(p < LEVEL)),
        "tarp_gap": float(np.abs(covered - credibility).max()),
        "tarp_p": uniform_p(tarp, n_samples),
    }


def relative_errors(estimate: Array, truth: Array, names: Sequence[str]) -> dict[str, float]:
    """Median ``|estimate / truth - 1|`` of every conductance, and the median of those.

    Args:
        estimate: ``(item, parameter)``.
        truth: ``(item, parameter)``.
        names: Of the parameters; conductances begin with ``g_``.
    """
    found = {
        f"error_{name}": float(np.median(np.abs(estimate[:, k] / truth[:, k] - 1)))
        for k, name in enumerate(names)
        if name.startswith("g_")
    }
    return {"error_conductances": float(np.median(list(found.values()))), **found} if found else {}
