"""Linear-stochastic whole brain (multivariate Ornstein-Uhlenbeck process) with exact moments and exact sampling.

    dx = J x dt + dW,   J = (g C / rho(C) - I) / tau,   cov(dW) = S dt            (Gilson et al. 2016)

Everything that functional connectivity depends on is known in closed form: the covariance by the Lyapunov equation,
its lagged versions by the matrix exponential, and those of the BOLD signal by summing over the haemodynamic response.
Sampling at the repetition time needs no integrator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, expm, solve_continuous_lyapunov
from scipy.signal import lfilter
from scipy.stats import gamma

from ..errors import ConfigError

Array = NDArray[np.float64]


def double_gamma(tr_s: float, length_s: float = 32.0) -> Array:
    """Haemodynamic response at the repetition time: gamma(6) - gamma(16) / 6 (Friston et al. 1998), unit sum."""
    time = np.arange(0.0, length_s, tr_s)
    response = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    return response / response.sum()


@dataclass(frozen=True)
class LinearBrain:
    """One brain in one state.

    Args:
        jacobian: J, ``(roi, roi)``, 1/s.
        input_covariance: S, ``(roi, roi)``, 1/s.
        noise_ratio: Variance of the measurement noise over that of the BOLD signal, region by region.

    Raises:
        ConfigError: The process is unstable.
    """

    jacobian: Array
    input_covariance: Array
    noise_ratio: float = 0.0

    def __post_init__(self) -> None:
        fastest = float(np.linalg.eigvals(self.jacobian).real.max())
        if fastest >= 0:
            raise ConfigError(
                f"the simulated brain is unstable (largest eigenvalue {fastest:+.3f} 1/s); lower coupling or task_gain"
            )

    @classmethod
    def coupled(
        cls, weights: Array, coupling: float, time_constant_s: float, input_covariance: Array, noise_ratio: float = 0.0
    ) -> LinearBrain:
        """``J = (coupling x weights - I) / time_constant_s``."""
        jacobian = (coupling * weights - np.eye(len(weights))) / time_constant_s
        return cls(jacobian, input_covariance, noise_ratio)

    @cached_property
    def covariance(self) -> Array:
        """Stationary covariance Q of the neural state: ``J Q + Q J' + S = 0``."""
        solution = solve_continuous_lyapunov(self.jacobian, -self.input_covariance)
        return (solution + solution.T) / 2

    def lag_one(self, tr_s: float) -> Array:
        """A in ``x(t + TR) = A x(t) + e``."""
        return expm(self.jacobian * tr_s)

    def bold_covariance(self, tr_s: float) -> Array:
        """Stationary covariance of the measured BOLD signal, ``(roi, roi)``.

        ``sum_m a(m) R(m)`` with the response's autocorrelation a and ``R(m) = A^m Q``, plus measurement noise.
        """
        taps = double_gamma(tr_s)
        overlap = np.correlate(taps, taps, "full")[len(taps) - 1 :]
        step, lagged = self.lag_one(tr_s), self.covariance
        total = overlap[0] * lagged
        for weight in overlap[1:]:
            lagged = step @ lagged
            total = total + weight * (lagged + lagged.T)
        return total + self.noise_ratio * np.diag(np.diag(total))

    def expected_connectivity(self, tr_s: float) -> Array:
        """Correlation of an endless recording, ``(roi, roi)``, zero diagonal."""
        covariance = self.bold_covariance(tr_s)
        scale = 1 / np.sqrt(np.diag(covariance))
        correlation = covariance * np.outer(scale, scale)
        np.fill_diagonal(correlation, 0.0)
        return correlation

    def sample(self, n_volumes: int, tr_s: float, rng: np.random.Generator) -> Array:
        """Draw a recording, ``(volume, roi)``, exactly distributed at the sampled times.

        Args:
            n_volumes: Volumes; the response's length is simulated before and thrown away.
            tr_s: Repetition time, s.
            rng: Source of randomness.
        """
        taps, step, q = double_gamma(tr_s), self.lag_one(tr_s), self.covariance
        n, length = len(q), n_volumes + len(double_gamma(tr_s)) - 1
        innovation = q - step @ q @ step.T
        # Rounding can push the smallest eigenvalue of a tiny innovation just below zero.
        jitter = 1e-12 * np.trace(innovation) / n * np.eye(n)
        states = rng.standard_normal((length, n))
        states[0] = states[0] @ cholesky(q)
        states[1:] = states[1:] @ cholesky(innovation + jitter)
        transposed = step.T
        for t in range(1, length):
            states[t] += states[t - 1] @ transposed
        bold = lfilter(taps, 1.0, states, axis=0)[len(taps) - 1 :]
        variance = np.diag(self.bold_covariance(tr_s)) / (1 + self.noise_ratio)
        return bold + np.sqrt(self.noise_ratio * variance) * rng.standard_normal(bold.shape)
