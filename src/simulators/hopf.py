"""Coupled Stuart-Landau oscillators below their Hopf bifurcation: a whole brain that is not linear.

    dz = ((a + i w) z - abs(z)^2 z) dt + G sum_k C_jk (z_k - z_j) dt + dW          (Deco et al. 2017)

BOLD is the real part of z. Correlations have no closed form; they are given by statistical linearisation: for a
circular Gaussian ``|z|^2 z`` acts like ``2 P_jj z`` with P, the covariance, which the Lyapunov equation gives in turn.
At the defaults they lie about 0.03 below those of a long recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_continuous_lyapunov

Array = NDArray[np.float64]
BIFURCATION_PER_S = -0.02  # a; the oscillations start at 0
_STEP_S = 0.1
_BURN_IN_S = 120.0


@dataclass(frozen=True)
class HopfBrain:
    """One brain in one state.

    Args:
        coupling_per_s: G C, ``(roi, roi)``, not negative, 1/s.
        frequencies_hz: Of the oscillators, ``(roi,)``.
        input_covariance: Of the noise (both its real and its imaginary part), ``(roi, roi)``, 1/s.
        noise_ratio: Variance of the measurement noise over that of the BOLD signal, region by region.
    """

    coupling_per_s: Array
    frequencies_hz: Array
    input_covariance: Array
    noise_ratio: float = 0.0

    @cached_property
    def _linear(self) -> NDArray[np.complex128]:
        """Drift without the cubic term, 1/s."""
        own = BIFURCATION_PER_S + 2j * np.pi * self.frequencies_hz - self.coupling_per_s.sum(1)
        return self.coupling_per_s + np.diag(own)

    @cached_property
    def covariance(self) -> Array:
        """Covariance of the real part of z, ``(roi, roi)``, by statistical linearisation."""
        power = np.zeros(len(self.frequencies_hz))
        for _ in range(20):
            drift = self._linear - np.diag(2 * power)
            found = solve_continuous_lyapunov(drift, -2.0 * self.input_covariance.astype(complex))
            power = (power + found.diagonal().real) / 2  # half steps: the correction overshoots
        return np.asarray((found.real + found.real.T) / 4)

    def expected_connectivity(self, tr_s: float) -> Array:
        """Approximate correlation of an endless recording, ``(roi, roi)``, zero diagonal, whatever the TR."""
        covariance = self.covariance
        scale = 1 / np.sqrt(np.diag(covariance) * (1 + self.noise_ratio))
        correlation = covariance * np.outer(scale, scale)
        np.fill_diagonal(correlation, 0.0)
        return correlation

    def sample(self, n_volumes: int, tr_s: float, rng: np.random.Generator) -> Array:
        """Integrate a recording, ``(volume, roi)``, by Euler and Maruyama with steps of at most 0.1 s.

        Args:
            n_volumes: Volumes; two minutes before them are thrown away.
            tr_s: Repetition time, s.
            rng: Source of randomness.
        """
        per_volume = int(np.ceil(tr_s / _STEP_S))
        dt = tr_s / per_volume
        skipped = int(np.ceil(_BURN_IN_S / tr_s))
        n = len(self.frequencies_hz)
        factor = cholesky(self.input_covariance) * np.sqrt(dt)
        step = np.eye(n) + dt * self._linear
        z = np.zeros(n, dtype=complex)
        bold = np.empty((n_volumes, n))
        for volume in range(-skipped, n_volumes):
            noise = rng.standard_normal((2 * per_volume, n)) @ factor
            for k in range(per_volume):
                z = step @ z - dt * (z.real**2 + z.imag**2) * z + noise[2 * k] + 1j * noise[2 * k + 1]
            if volume >= 0:
                bold[volume] = z.real
        spread = np.sqrt(self.noise_ratio * np.diag(self.covariance))
        return bold + spread * rng.standard_normal(bold.shape)
