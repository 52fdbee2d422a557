"""Rhythm of a bursting circuit: period, duty cycle and phase of its slow wave; coincident spikes; time to a slip."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from .circuit_scores import spike_train

Array = NDArray[np.floating]

#: Window of the moving average that takes the spikes out of a slow wave, s; shorter gaps and bursts do not count.
SLOW_WINDOW_S, SHORTEST_S = 0.2, 0.3


class Rhythm(NamedTuple):
    """Of one recording; NaN where there are fewer than two bursts.

    Attributes:
        period_s: Between onsets, mean over neurons.
        duty_cycle: Share of a period that a neuron is up, mean over neurons.
        phase: Onset of the second neuron after that of the first, in periods of the first; 0.5 is anti-phase.
    """

    period_s: float
    duty_cycle: float
    phase: float


def slow_wave(voltage: Array, sampling_rate_hz: float) -> Array:
    """``voltage``, ``(time, node)``, without its spikes, mV."""
    return uniform_filter1d(np.asarray(voltage, float), max(1, round(SLOW_WINDOW_S * sampling_rate_hz)), axis=0)


def rhythm(voltage: Array, sampling_rate_hz: float, threshold_mv: Array | None = None) -> Rhythm:
    """Period, duty cycle and phase of ``voltage``, ``(time, node)``, mV.

    Args:
        voltage: Recorded or free-running.
        sampling_rate_hz: Samples per second.
        threshold_mv: A neuron is up above it, ``(node,)``; default: midway between the 5th and 95th percentile of its
            slow wave. Give a free run the threshold of the recording.
    """
    wave = slow_wave(voltage, sampling_rate_hz)
    if not np.isfinite(wave).all():
        return Rhythm(np.nan, np.nan, np.nan)
    threshold = midlevel(voltage, sampling_rate_hz) if threshold_mv is None else threshold_mv
    shortest = round(SHORTEST_S * sampling_rate_hz)
    bursts = [_bursts(wave[:, n] > threshold[n], shortest) for n in range(wave.shape[1])]
    if min(map(len, bursts)) < 2:
        return Rhythm(np.nan, np.nan, np.nan)
    periods = [np.diff(b[:, 0]).mean() for b in bursts]
    duties = [np.mean((b[:-1, 1] - b[:-1, 0]) / np.diff(b[:, 0])) for b in bursts]
    phases: list[float] = []
    if len(bursts) > 1:
        first, other = bursts[0][:, 0], bursts[1][:, 0]
        for begin, end in pairwise(first):
            phases += [(t - begin) / (end - begin) for t in other[(other >= begin) & (other < end)][:1]]
    # Phases lie on a circle: 0.95 and 0.05 average to 0, not to 0.5.
    phase = float(np.angle(np.mean(np.exp(2j * np.pi * np.array(phases)))) / (2 * np.pi) % 1) if phases else np.nan
    return Rhythm(float(np.mean(periods)) / sampling_rate_hz, float(np.mean(duties)), phase)


def midlevel(voltage: Array, sampling_rate_hz: float) -> Array:
    """Midway between the 5th and the 95th percentile of each neuron's slow wave, ``(node,)``, mV."""
    return np.percentile(slow_wave(voltage, sampling_rate_hz), (5, 95), axis=0).mean(axis=0)


def rhythm_errors(predicted: Array, recorded: Array, sampling_rate_hz: float) -> dict[str, float]:
    """Errors of a free run's rhythm.

    Returns:
        ``period_error``: relative, without sign; ``duty_error`` and ``phase_error``: differences without sign, the
        latter on the circle. NaN where either has fewer than two bursts a neuron.
    """
    level = midlevel(recorded, sampling_rate_hz)
    a, b = (rhythm(x, sampling_rate_hz, level) for x in (predicted, recorded))
    turn = abs(a.phase - b.phase)
    return {
        "period_error": abs(a.period_s - b.period_s) / b.period_s,
        "duty_error": abs(a.duty_cycle - b.duty_cycle),
        "phase_error": min(turn, 1 - turn),
    }


def spike_coincidence(predicted: Array, recorded: Array, sampling_rate_hz: float, window_ms: float = 10.0) -> float:
    """Coincidence factor Γ of spikes within ``± window_ms``, averaged over neurons (Kistler et al. 1997, eq. 10).

    1: every spike has its partner; 0: no more coincidences than a Poisson train of the same rate would have.
    """
    if not np.isfinite(predicted).all() or np.abs(predicted).max() > 1e4:
        return 0.0
    trains = [spike_train(np.asarray(x).reshape(len(x), -1), sampling_rate_hz) for x in (predicted, recorded)]
    found, window = [], window_ms * 1e-3
    for a, b in zip(trains[0].T, trains[1].T, strict=True):
        times_a, times_b = (np.flatnonzero(train) / sampling_rate_hz for train in (a, b))
        n_a, n_b = len(times_a), len(times_b)
        if not n_b:
            continue
        pairs = _pairs(times_a, times_b, window)
        rate = n_a / (len(a) / sampling_rate_hz)
        by_chance, norm = 2 * rate * window * n_b, 1 - 2 * rate * window
        found.append((pairs - by_chance) / (0.5 * (n_a + n_b)) / norm if norm > 0 else 0.0)
    return float(np.mean(found)) if found else np.nan


def valid_time(predicted: Array, recorded: Array, sampling_rate_hz: float, tolerance: float = 0.5) -> float:
    """Seconds until a free run's slow wave is off by more than ``tolerance`` standard deviations of the recorded one.

    The usual valid prediction time, on slow waves: a spike that is a few milliseconds late does not end it.
    """
    a, b = (slow_wave(x, sampling_rate_hz) for x in (predicted, recorded))
    error = np.sqrt(np.mean(((a - b) / np.maximum(b.std(axis=0), 1e-9)) ** 2, axis=1))
    off = ~(error < tolerance)  # NaN is off
    return float((np.argmax(off) if off.any() else len(off)) / sampling_rate_hz)


def _bursts(up: NDArray[np.bool_], shortest: int) -> NDArray[np.int64]:
    """First sample and end of each whole stretch above threshold; short gaps are closed, short stretches dropped."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], up, [False]]).astype(int)))
    stretches = edges.reshape(-1, 2)
    merged: list[list[int]] = []
    for begin, end in stretches:
        if merged and begin - merged[-1][1] < shortest:
            merged[-1][1] = int(end)
        else:
            merged.append([int(begin), int(end)])
    kept = [s for s in merged if s[1] - s[0] >= shortest and s[0] > 0]
    return np.array(kept, np.int64).reshape(-1, 2)


def _pairs(a: Array, b: Array, window: float) -> int:
    """Spikes of ``b`` that can be given a partner of their own in ``a``, both sorted."""
    i = count = 0
    for t in b:
        while i < len(a) and a[i] < t - window:
            i += 1
        if i < len(a) and a[i] <= t + window:
            count, i = count + 1, i + 1
    return count
