"""Random courses in time: coloured noise of many sources and slow fluctuations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.floating]


def coloured(
    rng: np.random.Generator,
    field: Array,
    amplitude: Callable[[Array], Array],
    n_samples: int,
    sampling_rate_hz: float,
) -> NDArray[np.float32]:
    """Gaussian noise of independent sources with one spectrum, mixed before the inverse transform.

    Args:
        rng: Source of the noise.
        field: Mixing matrix, ``(electrode, source)``.
        amplitude: Maps frequencies in Hz to relative amplitudes.
        n_samples: Length.
        sampling_rate_hz: Samples per second.

    Returns:
        ``(electrode, time)``, in no particular unit.
    """
    length = scipy.fft.next_fast_len(n_samples, real=True)
    shape = amplitude(scipy.fft.rfftfreq(length, 1.0 / sampling_rate_hz)).astype(np.float32)
    used = shape > 1e-4 * shape.max()
    white = rng.standard_normal((field.shape[1], int(used.sum()), 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum = np.zeros((field.shape[0], len(shape)), np.complex64)
    spectrum[:, used] = (field / np.abs(field).max()).astype(np.float32) @ (white * shape[used])
    return scipy.fft.irfft(spectrum, n=length, axis=1)[:, :n_samples]


def slow(rng: np.random.Generator, n_samples: int, sampling_rate_hz: float, hz: float) -> Array:
    """Standard normal values every ``1 / (2 hz)`` seconds joined by half cosines, ``(time,)``."""
    step = sampling_rate_hz / (2 * hz)
    position = np.arange(n_samples) / step
    knots = rng.standard_normal(int(np.ceil(n_samples / step)) + 2)
    left = position.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return knots[left] * (1 - blend) + knots[left + 1] * blend
