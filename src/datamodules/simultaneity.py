"""Simultaneous channels: recordings of one moment that a data set presents as separate samples.

Bonn (Andrzejak 2001) releases 500 single-channel recordings without saying which were taken at the same time. Their
lag-tolerant cross-correlation says it: almost every recording has a partner of the same class far above chance, so a
split by recording lets a network recognise the moment instead of the disease. Recordings that are connected by such
pairs form a group, and a group must stay in one fold.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ..errors import DataError

_FILTER_ORDER = 4


def standardise(
    signals: np.ndarray, sampling_rate_hz: float, band_hz: tuple[float, float] | None = (1.0, 40.0)
) -> np.ndarray:
    """Zero-phase band-pass (Butterworth, order 4, forwards and backwards), then zero mean and unit variance.

    Args:
        signals: One row a recording, ``(…, time)``, any unit.
        sampling_rate_hz: Samples per second.
        band_hz: Pass band; an upper edge beyond Nyquist leaves a high-pass, ``None`` filters nothing.

    Returns:
        ``(…, time)``, float32, dimensionless. A constant row becomes zeros: it correlates with nothing.

    Raises:
        DataError: If a sample is not finite, or a recording is too short to be filtered.
    """
    signals = np.asarray(signals, dtype=np.float64)
    if not np.isfinite(signals).all():
        rows = np.unique(np.argwhere(~np.isfinite(signals))[:, 0])
        raise DataError(
            f"{len(rows)} of {len(signals)} signals hold NaN or infinite samples (first: row {rows[0]}); "
            "a correlation needs finite samples: drop or interpolate them first"
        )
    if band_hz is not None:
        low, high = band_hz
        nyquist = sampling_rate_hz / 2
        if not 0 < low < min(high, nyquist):
            raise DataError(
                f"{band_hz=} is no pass band at {sampling_rate_hz:g} Hz; choose 0 < low < high and low < {nyquist:g} Hz"
            )
        edges, kind = ((low, high), "bandpass") if high < nyquist else (low, "highpass")
        sections = butter(_FILTER_ORDER, edges, btype=kind, fs=sampling_rate_hz, output="sos")
        shortest = 3 * (2 * len(sections) + 1) + 1
        if signals.shape[-1] < shortest:
            raise DataError(f"{signals.shape[-1]} samples are too few for the band-pass, which needs {shortest}")
        # Removing the mean first keeps a large offset from ringing at the edges.
        signals = sosfiltfilt(sections, signals - signals.mean(axis=-1, keepdims=True), axis=-1)
    signals = signals - signals.mean(axis=-1, keepdims=True)
    deviation = signals.std(axis=-1, keepdims=True)
    floor = max(1e-9 * float(deviation.max(initial=0.0)), 1e-300)
    return np.where(deviation > floor, signals / np.maximum(deviation, floor), 0.0).astype(np.float32)


def peak_correlation(left: np.ndarray, right: np.ndarray, max_lag_samples: int = 20) -> np.ndarray:
    """Largest absolute cross-correlation of every row of ``left`` with every row of ``right``.

    ``R_ij = max over |l| <= L of | sum_t sum_c left_ic(t) right_jc(t + l) | / (C T)``: channels share one lag and are
    averaged. Divided by the full length, so that a lag never gains from a shorter overlap. One matrix product a lag.

    Args:
        left: Standardised signals, ``(n, time)`` or ``(n, channel, time)``.
        right: Standardised signals of the same channels and length, ``(m, …)``.
        max_lag_samples: L.

    Returns:
        ``(n, m)``, float32, 0 to 1.
    """
    if left.shape[1:] != right.shape[1:]:
        raise DataError(f"signals of shape {left.shape[1:]} cannot be correlated with signals of {right.shape[1:]}")
    n_times = left.shape[-1]
    n_values = int(np.prod(left.shape[1:]))
    peak = np.zeros((len(left), len(right)), dtype=np.float32)

    def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.abs(first.reshape(len(first), -1) @ second.reshape(len(second), -1).T)

    for lag in range(min(max_lag_samples, n_times - 1) + 1):
        ahead, behind = slice(lag, None), slice(None, n_times - lag)
        forward = product(left[..., ahead], right[..., behind])
        np.maximum(peak, forward, out=peak)
        if lag and left is right:
            np.maximum(peak, forward.T, out=peak)
        elif lag:
            np.maximum(peak, product(left[..., behind], right[..., ahead]), out=peak)
    return np.minimum(peak / np.float32(n_values), np.float32(1.0))


def max_abs_cross_correlation(
    signals: np.ndarray,
    sampling_rate_hz: float,
    max_lag_samples: int = 20,
    band_hz: tuple[float, float] | None = (1.0, 40.0),
) -> np.ndarray:
    """Lag-tolerant similarity of every pair of recordings: :func:`standardise`, then :func:`peak_correlation`.

    Args:
        signals: Recordings of one length, ``(n, time)`` or ``(n, channel, time)``.
        sampling_rate_hz: Samples per second.
        max_lag_samples: Largest lag either way (20 samples are 115 ms at Bonn's 173.61 Hz).
        band_hz: Pass band of the filter.

    Returns:
        ``(n, n)``, float32, symmetric, 0 to 1.
    """
    prepared = standardise(signals, sampling_rate_hz, band_hz)
    return peak_correlation(prepared, prepared, max_lag_samples)


def simultaneity_groups(correlation: np.ndarray, threshold: float = 0.30) -> np.ndarray:
    """Connected components of the graph whose edges are pairs correlated above ``threshold``.

    Args:
        correlation: Symmetric matrix of :func:`max_abs_cross_correlation`, ``(n, n)``.
        threshold: Edges lie strictly above it. For Bonn, 0.30 is where recordings of unrelated sets end (0.27) and
            about what rotated recordings reach (:func:`circular_shift_null`: 0.27 to 0.38, by the draw).

    Returns:
        Group of each recording, ``(n,)``, int64, numbered in the order of the first member.
    """
    adjacency = csr_array(np.asarray(correlation) > threshold)
    _, labels = connected_components(adjacency, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def circular_shift_null(
    signals: np.ndarray,
    sampling_rate_hz: float,
    max_lag_samples: int = 20,
    band_hz: tuple[float, float] | None = (1.0, 40.0),
    repeats: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Largest correlation that each recording reaches with recordings rotated in time by a random amount.

    The rotation keeps every spectrum and amplitude distribution and breaks simultaneity, so the maximum of the result
    is what correlation the rhythms alone explain: a measured maximum above it has p < 1 / (repeats + 1).

    Args:
        signals: Recordings of one length, ``(n, time)`` or ``(n, channel, time)``.
        sampling_rate_hz: Samples per second.
        max_lag_samples: Largest lag either way.
        band_hz: Pass band of the filter.
        repeats: Draws of the rotations.
        seed: Seed of the rotations.

    Returns:
        Maximum over the other recordings in each draw, ``(repeats, n)``, float32. ``.max()`` is the null maximum.
    """
    prepared = standardise(signals, sampling_rate_hz, band_hz)
    return rotated_peaks(prepared, max_lag_samples, repeats, seed)


def rotated_peaks(prepared: np.ndarray, max_lag_samples: int = 20, repeats: int = 20, seed: int = 0) -> np.ndarray:
    """:func:`circular_shift_null` of signals that :func:`standardise` has already prepared."""
    n, n_times = len(prepared), prepared.shape[-1]
    # A quarter of the recording: after a shorter rotation two simultaneous channels of a periodic seizure still match.
    nearest = n_times // 4
    if n < 2 or nearest <= 2 * max_lag_samples:
        raise DataError(
            f"{n} recordings of {n_times} samples give no null distribution; "
            f"at least 2 recordings of {4 * (2 * max_lag_samples + 1)} samples are needed for {max_lag_samples=}"
        )
    generator = np.random.default_rng(seed)
    null = np.zeros((repeats, n), dtype=np.float32)
    for draw in range(repeats):
        shifts = generator.integers(nearest, n_times - nearest, size=n, endpoint=True)
        rotated = np.stack([np.roll(row, shift, axis=-1) for row, shift in zip(prepared, shifts, strict=True)])
        peaks = peak_correlation(prepared, rotated, max_lag_samples)
        # A recording against its own rotation is its autocorrelation, which says nothing about pairs.
        np.fill_diagonal(peaks, 0.0)
        null[draw] = peaks.max(axis=1)
    return null
