"""Banks of first-order filters: the linear internal dynamics of recurrent mechanistic models.

Orthonormal bank (generalised orthonormal basis functions, Takenaka-Malmquist; Burghi et al. 2025,
GOBFRealization.jl): a cascade of all-pass sections over poles ``p_i = exp(-dt / tau_i)``, ``b_i = sqrt(1 - p_i²)``::

    x_i(t+1) = p_i x_i(t) + b_i u_i(t),    u_{i+1}(t) = b_i x_i(t) - p_i u_i(t),    u_1 = voltage

which costs O(n) a step where the equivalent dense matrix costs O(n²). Diagonal bank:
``x_i(t+1) = p_i x_i + (1 - p_i) u``. Sigmoid bank: the same with an own static nonlinearity before each filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit
from torch import Tensor, nn

from ..errors import ConfigError, did_you_mean

#: Time constants of the paper's banks, ms.
FAST_MS = tuple(0.2 * k for k in range(1, 9))
SLOW_MS = tuple(2.0 * k for k in range(1, 9)) + tuple(20.0 + 10.0 * k for k in range(8))
ULTRASLOW_MS = tuple(100.0 + 200.0 * k for k in range(8))
INTRINSIC_MS = FAST_MS + SLOW_MS + ULTRASLOW_MS
SYNAPTIC_MS = FAST_MS + SLOW_MS
KINDS = ("orthonormal", "diagonal")


class FilterBank(nn.Module):
    """A bank of filters of one signal.

    Poles lie strictly inside the unit circle whatever the parameters are, so the bank always forgets (it contracts).
    ``1 - p`` is what is kept: in float32 it is exact to seven digits, where ``p = 0.99993`` leaves it three.

    Args:
        time_constants_ms: One a filter.
        dt_ms: Time step.
        kind: ``orthonormal`` or ``diagonal``.
        trainable: Whether the poles are learned.
    """

    logit: Tensor

    def __init__(
        self, time_constants_ms: Sequence[float], dt_ms: float, kind: str = "orthonormal", trainable: bool = False
    ):
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"kind={kind!r} of a filter bank: {did_you_mean(kind, KINDS)}")
        if not time_constants_ms or min(time_constants_ms) <= 0:
            raise ConfigError(f"time constants {list(time_constants_ms)} ms: at least one is needed, all above 0")
        self.kind = kind
        self.dt_ms = dt_ms
        leak = -np.expm1(-dt_ms / np.asarray(time_constants_ms, float))
        logit = torch.tensor(np.log(leak / (1 - leak)), dtype=torch.get_default_dtype())
        if trainable:
            self.logit = nn.Parameter(logit)
        else:
            self.register_buffer("logit", logit)

    def __len__(self) -> int:
        return self.logit.numel()

    @property
    def leak(self) -> Tensor:
        """``1 - p``, ``(filter,)``."""
        return torch.sigmoid(self.logit)

    @property
    def gain(self) -> Tensor:
        """Input gain ``b`` of each section, ``(filter,)``; ``1 - p`` for a diagonal bank."""
        leak = self.leak
        return leak if self.kind == "diagonal" else torch.sqrt(leak * (2 - leak))

    @property
    def dc_gain(self) -> Tensor:
        """State per unit of a constant input, ``(filter,)``; all-pass sections pass a constant unchanged."""
        return self.gain / self.leak

    @property
    def time_constants_ms(self) -> Tensor:
        """``(filter,)``."""
        return -self.dt_ms / torch.log1p(-self.leak.double())

    def drive(self, signal: Tensor) -> Tensor:
        """What the filters are fed with, ``(..., 1)`` or ``(..., filter)``: the signal ``(...)`` itself."""
        return signal[..., None]

    def slope(self, signal: Tensor) -> Tensor:
        """Derivative of :meth:`drive`, of the same shape."""
        return torch.ones_like(signal[..., None])

    def steady(self, signal: Tensor) -> Tensor:
        """States under a constant signal ``(...)``, ``(..., filter)``."""
        return self.dc_gain * self.drive(signal)

    def refer(self, reference_mv: float) -> None:
        """Take signals as measured from ``reference_mv``; a linear bank does not care."""

    def matrices(self) -> tuple[Tensor, Tensor]:
        """``A - I``, ``(filter, filter)``, and ``B``, ``(filter,)``, of the equivalent dense realisation.

        ``A`` itself would lose the small leaks to rounding.
        """
        leak, gain, pole = self.leak, self.gain, 1 - self.leak
        if self.kind == "diagonal":
            return torch.diag(-leak), gain
        change, into = torch.diag(-leak), []
        passed = gain.new_ones(())  # of the voltage through the sections so far
        for i in range(len(self)):
            into.append(gain[i] * passed)
            passed = passed * -pole[i]
        rows = []
        for i in range(len(self)):
            row, through = [], gain.new_ones(())
            for j in range(i - 1, -1, -1):
                row.append(gain[i] * through * gain[j])
                through = through * -pole[j]
            rows.append(torch.stack(row[::-1]) if row else gain.new_zeros(0))
        below = torch.stack([torch.cat([row, gain.new_zeros(len(self) - len(row))]) for row in rows])
        return change + below, torch.stack(into)

    @torch.no_grad()
    def filter(self, signal: NDArray[np.floating], at: NDArray[np.integer]) -> NDArray[np.float32]:
        """States driven by a recorded signal, exactly, in float64; all times at once, section by section.

        The transient is washed out as in the paper: the bank starts at the steady state of the first sample, runs over
        the whole signal, and runs again from the state that it then has.

        Args:
            signal: ``(time,)``.
            at: Samples at which the state is wanted; the state at ``t`` has seen the signal before ``t``.

        Returns:
            ``(len(at), filter)``.
        """
        leak = torch.sigmoid(self.logit.double()).numpy()
        gain = leak if self.kind == "diagonal" else np.sqrt(leak * (2 - leak))
        states = np.empty((len(at), len(self)), np.float32)
        first, second = np.asarray(signal, float), np.asarray(signal, float)
        for i, (q, b) in enumerate(zip(leak, gain, strict=True)):
            numerator, denominator = [0.0, b], [1.0, q - 1.0]
            x, end = lfilter(numerator, denominator, first, zi=[signal[0] * b / q])
            y, _ = lfilter(numerator, denominator, second, zi=end)
            states[:, i] = y[at]
            if self.kind == "orthonormal":
                first, second = b * x - (1 - q) * first, b * y - (1 - q) * second
        return states

    @property
    def transient(self) -> int:
        """Samples after which less than 1 % of an initial state is left in the slowest filter."""
        slowest = float(self.leak.detach().double().min())
        return math.ceil(math.log(0.01) / math.log1p(-slowest))


class SigmoidBank(FilterBank):
    """First-order filters of sigmoids of the signal: the nonlinearity first, then the filter (Hammerstein).

    ``x_i(t+1) = p_i x_i + (1 - p_i) σ((v - θ_i) / k_i)`` for every combination of threshold ``θ``, slope ``k`` and time
    constant: what a dynamic clamp's synapse does with the presynaptic voltage, for many synapses at once.

    Args:
        thresholds_mv: Where a sigmoid is one half.
        slopes_mv: Voltage over which it rises.
        time_constants_ms: Of the filters.
        dt_ms: Time step.
    """

    threshold: Tensor
    steepness: Tensor
    reference_mv: Tensor

    def __init__(
        self,
        thresholds_mv: Sequence[float],
        slopes_mv: Sequence[float],
        time_constants_ms: Sequence[float],
        dt_ms: float,
    ):
        # Filters of the same sigmoid stand side by side, so that a compiled loop computes it once for all of them.
        grid = np.array(list(product(thresholds_mv, slopes_mv, time_constants_ms)), float).reshape(-1, 3)
        super().__init__(grid[:, 2].tolist(), dt_ms, "diagonal")
        if grid[:, 1].min() <= 0:
            raise ConfigError(f"slopes {list(slopes_mv)} mV of a sigmoid bank: all lie above 0")
        self.register_buffer("threshold", torch.tensor(grid[:, 0], dtype=self.logit.dtype))
        self.register_buffer("steepness", torch.tensor(1 / grid[:, 1], dtype=self.logit.dtype))
        self.register_buffer("reference_mv", torch.zeros((), dtype=self.logit.dtype))

    @torch.no_grad()
    def refer(self, reference_mv: float) -> None:
        """Take signals as measured from ``reference_mv``: thresholds move along."""
        self.threshold += self.reference_mv - reference_mv
        self.reference_mv.fill_(reference_mv)

    def drive(self, signal: Tensor) -> Tensor:
        """The sigmoids, ``(..., filter)``."""
        return torch.sigmoid((signal[..., None] - self.threshold) * self.steepness)

    def slope(self, signal: Tensor) -> Tensor:
        """As :meth:`FilterBank.slope`, ``(..., filter)``, 1/mV."""
        opened = self.drive(signal)
        return opened * (1 - opened) * self.steepness

    @torch.no_grad()
    def filter(self, signal: NDArray[np.floating], at: NDArray[np.integer]) -> NDArray[np.float32]:
        """As :meth:`FilterBank.filter`."""
        leak = torch.sigmoid(self.logit.double()).numpy()
        states = np.empty((len(at), len(self)), np.float32)
        signal, last, opened = np.asarray(signal, float), None, np.empty(0)
        for i, (q, *sigmoid) in enumerate(zip(leak, self.threshold.tolist(), self.steepness.tolist(), strict=True)):
            if sigmoid != last:
                opened, last = expit((signal - sigmoid[0]) * sigmoid[1]), sigmoid
            x, (end,) = lfilter([0.0, q], [1.0, q - 1.0], opened, zi=[opened[0]])
            # The second run differs from the first by its start alone, which dies out as a power of the pole.
            states[:, i] = x[at] + (end - x[0]) * (1 - q) ** np.asarray(at, float)
        return states
