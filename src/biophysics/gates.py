"""Voltage-dependent gates: where they settle and how fast, on floats, NumPy arrays and torch tensors alike.

A gate follows ``dx/dt = (x_inf(V) - x) / tau(V)``. Its constants are plain numbers (:class:`Gate`), so that one table
serves the readable functions below, compiled kernels (:meth:`Gate.packed`) and gradients through torch.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numba
import numpy as np
import torch


class Form(IntEnum):
    """Shapes of a time constant's dependence on voltage; see :class:`TimeConstant`."""

    SIGMOID = 0
    BELL = 1


class TimeConstant(NamedTuple):
    """A time constant in ms, where ``S(V; a, b) = 1 / (1 + exp((V - a) / b))``.

    ``SIGMOID``: ``base + scale * S(V; half_1, slope_1) * (offset + S(V; half_2, slope_2))``.
    ``BELL``: ``base + scale / (exp((V - half_1) / slope_1) + exp((V - half_2) / slope_2))``.

    Attributes:
        form: Which of the two.
        base: ms.
        scale: ms.
        half_1: mV.
        slope_1: mV.
        half_2: mV; infinitely low where the second factor is not used.
        slope_2: mV.
        offset: Without unit.
    """

    form: int
    base: float
    scale: float = 0.0
    half_1: float = 0.0
    slope_1: float = 1.0
    half_2: float = -1e9
    slope_2: float = 1.0
    offset: float = 1.0

    def __call__(self, voltage: Any) -> Any:
        """Time constant at ``voltage`` (mV), ms, of the same type and shape."""
        if self.form == Form.BELL:
            rise, fall = (voltage - self.half_1) / self.slope_1, (voltage - self.half_2) / self.slope_2
            return self.base + self.scale / (_exp(rise) + _exp(fall))
        product = boltzmann(voltage, self.half_1, self.slope_1)
        if self.half_2 > -1e8:
            product = product * (self.offset + boltzmann(voltage, self.half_2, self.slope_2))
        return self.base + self.scale * product


class Gate(NamedTuple):
    """Steady state ``1 / (1 + exp((V - half) / slope))`` (negative slope: opens with depolarisation) and its speed.

    Attributes:
        half: mV.
        slope: mV.
        tau: Time constant.
    """

    half: float
    slope: float
    tau: TimeConstant

    def steady(self, voltage: Any) -> Any:
        """Open fraction after an infinite time at ``voltage`` (mV)."""
        return boltzmann(voltage, self.half, self.slope)

    def step(self, x: Any, voltage: Any, dt_ms: float, speed: float = 1.0, factor: Any = 1.0) -> Any:
        """Advance the open fraction by ``dt_ms`` at constant voltage, exactly.

        Args:
            x: Open fraction.
            voltage: mV.
            dt_ms: Step.
            speed: Divides every time constant (a warmer preparation has a larger one).
            factor: Multiplies the steady state, as calcium does for calcium-dependent potassium channels.
        """
        steady = factor * self.steady(voltage)
        return steady + (x - steady) * _exp(-dt_ms * speed / self.tau(voltage))

    def packed(self) -> list[float]:
        """The ten numbers that :func:`steady_and_tau` reads."""
        return [self.half, self.slope, *map(float, self.tau)]


def boltzmann(voltage: Any, half: float, slope: float) -> Any:
    """``1 / (1 + exp((V - half) / slope))``."""
    return 1.0 / (1.0 + _exp((voltage - half) / slope))


@numba.njit(cache=True, inline="always")
def steady_and_tau(gate: np.ndarray, voltage: float) -> tuple[float, float]:
    """Compiled twin of :meth:`Gate.steady` and :class:`TimeConstant` on the numbers of :meth:`Gate.packed`."""
    steady = 1.0 / (1.0 + math.exp((voltage - gate[0]) / gate[1]))
    first = math.exp((voltage - gate[5]) / gate[6])
    if gate[2] == 1.0:
        return steady, gate[3] + gate[4] / (first + math.exp((voltage - gate[7]) / gate[8]))
    factor = 1.0
    if gate[7] > -1e8:
        factor = gate[9] + 1.0 / (1.0 + math.exp((voltage - gate[7]) / gate[8]))
    return steady, gate[3] + gate[4] * factor / (1.0 + first)


def _exp(x: Any) -> Any:
    return torch.exp(x) if isinstance(x, torch.Tensor) else np.exp(x)
