"""Wendling neural masses: populations of pyramidal cells and interneurons that pass from background EEG to seizures.

Wendling et al. 2002 (Eur. J. Neurosci. 15:1499) extend Jansen & Rit 1995 by fast GABA-A inhibition. With ``A``, ``B``,
``G`` the excitatory, slow and fast inhibitory gains (mV), ``a``, ``b``, ``g`` the rates of their synapses (1/s) and
``S(v) = 2 e0 / (1 + exp(r (v0 - v)))``::

    y0'' = A a S(y1 - y2 - y3)                - 2a y0' - a² y0
    y1'' = A a (p + C2 S(C1 y0) + Σ W S(v))   - 2a y1' - a² y1
    y2'' = B b C4 S(C3 y0)                    - 2b y2' - b² y2
    y3'' = G g C7 S(C5 y0 - C6 y4)            - 2g y3' - g² y3
    y4'' = B b S(C3 y0)                       - 2b y4' - b² y4
    v    = y1 - y2 - y3                       (pyramidal potential, mV; its synaptic currents are the EEG)

The term ``Σ W S(v)`` couples the masses of one network and is ours. ``y2 = C4 y4`` at all times (same equation, same
start), so one of the two is integrated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Regime(NamedTuple):
    """Gains of a mass in mV: excitation ``A``, slow inhibition ``B``, fast inhibition ``G``."""

    A: float
    B: float
    G: float


#: Gains at which one mass shows the activities seen from interictal to ictal EEG (after Wendling 2002, figure 5).
REGIMES: dict[str, Regime] = {
    "background": Regime(5.0, 50.0, 15.0),
    "spikes": Regime(5.0, 40.0, 15.0),
    "spike_wave": Regime(5.0, 25.0, 15.0),
    "alpha": Regime(5.0, 10.0, 15.0),
    "low_voltage_fast": Regime(5.0, 5.0, 25.0),
    "quasi_sinusoidal": Regime(5.0, 15.0, 0.0),
}

#: Mean and standard deviation of the background drive, pulses/s; the deviation is that of 1-ms bins.
DRIVE_MEAN, DRIVE_SD_1MS = 90.0, 30.0
#: Longest integration step. The exponential scheme is stable at any step; the fast loop is resolved up to this one.
MAX_STEP_S = 1.0 / 1000.0

_E0, _V0, _R = 2.5, 6.0, 0.56  # 1/s, mV, 1/mV
_RATES = (100.0, 50.0, 500.0)  # a, b, g in 1/s
_C = 135.0
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = _C, 0.8 * _C, 0.25 * _C, 0.25 * _C, 0.3 * _C, 0.1 * _C, 0.8 * _C


def simulate(
    gains: Array,
    sampling_rate_hz: float,
    rng: np.random.Generator,
    coupling: Array | None = None,
    speed: Array | float = 1.0,
) -> NDArray[np.float32]:
    """Integrate a network of neural masses with gains that change in time.

    The synapses are linear, so they are advanced exactly between steps while the firing rates are held (exponential
    Euler). The drive is white: its deviation in a step of ``h`` is ``DRIVE_SD_1MS * sqrt(1 ms / h)``, which keeps the
    spectral density of the drive, and so the regimes, independent of the step.

    Args:
        gains: ``A, B, G`` at every sample, ``(3, mass, time)``, mV.
        sampling_rate_hz: Samples per second of ``gains`` and of the result.
        rng: Source of the drive.
        coupling: ``W``, ``(mass, mass)``: rate that mass ``i`` receives per unit rate of mass ``j``.
        speed: Factor on the frequency of every rhythm, a number or ``(mass,)``. Rates and gains scale together, so that
            the synapses keep the area of their responses (David & Friston 2003) and the regimes stay what they are.

    Returns:
        Pyramidal potential averaged over each sample, ``(mass, time)``, mV.
    """
    _, n_masses, n_samples = gains.shape
    substeps = max(1, int(np.ceil(1.0 / (sampling_rate_hz * MAX_STEP_S) - 1e-9)))
    step_s = 1.0 / (sampling_rate_hz * substeps)
    weights = np.zeros((n_masses, n_masses)) if coupling is None else np.asarray(coupling, float)
    tempo = np.broadcast_to(np.asarray(speed, float), (n_masses,))
    noise = rng.standard_normal((n_samples * substeps, n_masses), dtype=np.float32)
    noise *= (DRIVE_SD_1MS * np.sqrt(1e-3 / (step_s * tempo))).astype(np.float32)
    scaled = np.ascontiguousarray(np.moveaxis(gains, -1, 0) * tempo, dtype=np.float64)
    # Blocks of one second-order synapse each: y0 and y1 (rate a), y4 (rate b), y3 (rate g).
    rates = np.multiply.outer(_RATES, tempo)[[0, 0, 1, 2]]
    decay = np.exp(-rates * step_s)
    state = np.zeros((3, 4, n_masses))
    output = np.zeros((n_samples, n_masses), np.float32)
    _integrate(scaled, noise, rates, decay, weights, step_s, state, output)
    return output.T


@numba.njit(cache=True)
def _firing_rate(potential: float) -> float:
    return 2.0 * _E0 / (1.0 + math.exp(_R * (_V0 - potential)))


@numba.njit(cache=True)
def _integrate(
    gains: Array, noise: Array, rates: Array, decay: Array, weights: Array, step_s: float, state: Array, output: Array
) -> None:
    """Advance all masses. Plain loops over preallocated arrays: they compile in a second, array expressions do not.

    Args:
        gains: ``(time, 3, mass)``.
        noise: Drive minus its mean, ``(time * substeps, mass)``, pulses/s.
        rates: ``(block, mass)``, 1/s.
        decay: ``exp(-rates * step_s)``.
        weights: ``(mass, mass)``.
        step_s: Step in seconds.
        state: Potential, its derivative and the drive of each block, ``(3, block, mass)``; changed in place.
        output: Mean potential in each sample, ``(time, mass)``; filled in place.
    """
    n_samples, n = output.shape
    substeps = noise.shape[0] // n_samples
    y, dy, drive = state[0], state[1], state[2]
    for t in range(n_samples):
        for k in range(substeps):
            for i in range(n):
                # Holds the network input until the potentials of all masses are read.
                drive[0, i] = _firing_rate(y[1, i] - _C4 * y[2, i] - y[3, i])
            for i in range(n):
                received = 0.0
                for j in range(n):
                    received += weights[i, j] * drive[0, j]
                pulses = DRIVE_MEAN + noise[t * substeps + k, i] + received + _C2 * _firing_rate(_C1 * y[0, i])
                drive[1, i] = gains[t, 0, i] * pulses
                drive[2, i] = gains[t, 1, i] * _firing_rate(_C3 * y[0, i])
                drive[3, i] = gains[t, 2, i] * _C7 * _firing_rate(_C5 * y[0, i] - _C6 * y[2, i])
            for i in range(n):
                drive[0, i] *= gains[t, 0, i]
            for block in range(4):
                for i in range(n):
                    # y'' = x (drive - 2 y' - x y) has the fixed point drive / x and the double pole -x.
                    x = rates[block, i]
                    fixed = drive[block, i] / x
                    offset = y[block, i] - fixed
                    slope = dy[block, i] + x * offset
                    y[block, i] = fixed + (offset + slope * step_s) * decay[block, i]
                    dy[block, i] = (dy[block, i] - x * slope * step_s) * decay[block, i]
            for i in range(n):
                output[t, i] += (y[1, i] - _C4 * y[2, i] - y[3, i]) / substeps
