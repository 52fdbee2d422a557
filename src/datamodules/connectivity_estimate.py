"""From time series to connectivity matrices: checks, repair, and the estimators of nilearn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nilearn.connectome import ConnectivityMeasure
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from ..errors import ConfigError, DataError, did_you_mean
from .formats.timeseries import TimeSeries

Array = NDArray[np.float64]

#: Estimator: nilearn's kind and scikit-learn's covariance.
ESTIMATORS = {
    "pearson": ("correlation", EmpiricalCovariance),  # both computed directly: nilearn takes ten times as long
    "fisher": ("correlation", EmpiricalCovariance),
    "ledoit-wolf": ("correlation", LedoitWolf),
    "partial": ("partial correlation", LedoitWolf),
    "tangent": ("tangent", LedoitWolf),
}
_NEAR_ONE = 1 - 1e-6  # Fisher's z is infinite at 1


def bad_regions(series: TimeSeries) -> dict[int, str]:
    """Regions without usable signal and why: values that are not finite, or a constant series."""
    finite = np.isfinite(series.values).all(0)
    constant = np.ptp(np.where(np.isfinite(series.values), series.values, 0), axis=0) == 0
    faults = {int(k): "is constant" for k in np.flatnonzero(constant)}
    return faults | {int(k): "has NaN or infinite values" for k in np.flatnonzero(~finite)}


def require_volumes(series: TimeSeries, needed: int) -> None:
    """Refuse a scan that is too short.

    Raises:
        DataError: Fewer than ``needed`` volumes.
    """
    if len(series.values) < needed:
        raise DataError(
            f"{series.origin}: {len(series.values)} volumes, but {needed} are needed; lower datamodule.volumes or "
            f"min_volumes, or leave the scan out"
        )


def require_estimator(estimator: str) -> None:
    """Refuse an unknown estimator.

    Raises:
        ConfigError: With the nearest valid name.
    """
    if estimator not in ESTIMATORS:
        raise ConfigError(f"datamodule.estimator={estimator!r} is unknown: {did_you_mean(estimator, ESTIMATORS)}")


def estimate(series: Sequence[Array], estimator: str, fitted_on: Sequence[int] | None = None) -> Array:
    """Connectivity matrices of several people.

    Args:
        series: BOLD of each person, ``(volume, roi)``, finite and not constant.
        estimator: ``pearson``; ``fisher``, its z-transform; ``ledoit-wolf``, correlation of the shrunk covariance
            (Ledoit & Wolf 2004); ``partial``, partial correlation of the same; ``tangent``, displacement from the mean
            of a group in tangent space (Varoquaux et al. 2010).
        fitted_on: People that make up the group of ``tangent``: the training set, never all.

    Returns:
        Symmetric matrices with zero diagonal, ``(person, roi, roi)``. The diagonal of ``tangent``, which carries
        variances, is dropped too.
    """
    require_estimator(estimator)
    scaled = [_standardise(x) for x in series]
    if estimator in ("pearson", "fisher"):
        matrices = np.stack([x.T @ x / len(x) for x in scaled])
    else:
        kind, covariance = ESTIMATORS[estimator]
        measure = ConnectivityMeasure(kind=kind, cov_estimator=covariance(store_precision=False), standardize=False)
        measure.fit([scaled[k] for k in (range(len(scaled)) if fitted_on is None else fitted_on)])
        matrices = np.asarray(measure.transform(scaled))
    matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
    index = np.arange(matrices.shape[-1])
    matrices[:, index, index] = 0.0
    return np.arctanh(np.clip(matrices, -_NEAR_ONE, _NEAR_ONE)) if estimator == "fisher" else matrices


def _standardise(x: Array) -> Array:
    """Zero mean and unit variance: shrinkage towards the identity depends on the unit otherwise (nilearn #955)."""
    return (x - x.mean(0)) / x.std(0)
