"""The time loop of black-box circuits, compiled: runs without gradients, where stepping in torch costs most.

A state is advanced one trajectory after the other. Weights lie ``(input, output)``, so that the inner loops run over
outputs and vectorise without sums.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ..biophysics.fast_math import COMPILE, INLINED, tanh

Array = NDArray[np.floating]
GRU, PLRNN = 0, 1


class Cell(NamedTuple):
    """A latent network as arrays of one floating type.

    Attributes:
        kind: :data:`GRU` or :data:`PLRNN`.
        recurrent: From latent states, ``(latent, unit)``: units are a GRU's gates, or a PLRNN's rectified units.
        shift: Of the units, ``(unit,)``; a PLRNN's second copy of them has it, the first does not.
        into: From standardised voltages, ``(node, gate or latent)``.
        bias: ``(gate or latent,)``.
        back: From rectified units to latent states, ``(unit, latent)``; empty for a GRU.
        decay: ``(latent,)``; empty for a GRU.
    """

    kind: int
    recurrent: Array
    shift: Array
    into: Array
    bias: Array
    back: Array
    decay: Array


class Membrane(NamedTuple):
    """How voltages change: ``v⁺ = v + pull (I - [s, x] readout - bias)``, ``s = (v - centre) / spread``.

    Attributes:
        pull: Time step times inverse capacitance, ``(node,)``.
        readout: ``(node + latent, node)``.
        bias: ``(node,)``.
        centre: ``(node,)``, mV.
        spread: ``(node,)``, mV.
    """

    pull: Array
    readout: Array
    bias: Array
    centre: Array
    spread: Array


@numba.njit(**INLINED)
def _add(inputs, weight, outputs):
    for i in range(inputs.size):
        for o in range(outputs.size):
            outputs[o] += inputs[i] * weight[i, o]


@numba.njit(**INLINED)
def _sigmoid(x):
    half = x.dtype.type(0.5)
    for i in range(x.size):
        x[i] = half + half * tanh(half * x[i])


@numba.njit(**INLINED)
def _advance(cell, s, x, units, change):
    """``x`` after a step, in place; ``units`` and ``change`` are scratch."""
    zero, n = x.dtype.type(0), x.size
    change[:] = cell.bias
    _add(s, cell.into, change)
    if cell.kind == GRU:
        units[:] = cell.shift
        _add(x, cell.recurrent, units)
        for g in range(2 * n):
            change[g] += units[g]
        _sigmoid(change[: 2 * n])
        for k in range(n):
            new = tanh(change[2 * n + k] + change[k] * units[2 * n + k])
            x[k] = new + change[n + k] * (x[k] - new)
        return
    units[:] = zero
    _add(x, cell.recurrent, units)
    for u in range(units.size):
        units[u] = max(units[u] + cell.shift[u], zero) - max(units[u], zero)
    _add(units, cell.back, change)
    for k in range(n):
        x[k] = cell.decay[k] * x[k] + change[k]


@numba.njit(**COMPILE)
def run(cell, membrane, v0, x0, injected, teacher, gamma):
    """Run all trajectories.

    Args:
        cell: See :class:`Cell`.
        membrane: See :class:`Membrane`.
        v0: ``(batch, node)``, mV.
        x0: ``(batch, latent)``.
        injected: ``(batch, time, node)``, nA.
        teacher: Recorded voltages, likewise, mV; read where ``gamma > 0``.
        gamma: Forcing, of the arrays' type.

    Returns:
        Voltages after each step, ``(batch, time, node)``, and the last latent states, ``(batch, latent)``.
    """
    n_nodes, free = v0.shape[1], v0.dtype.type(1) - gamma
    out, last = np.empty_like(injected), x0.copy()
    units, change = np.empty_like(cell.shift), np.empty_like(cell.bias)
    s, outward = np.empty_like(v0[0]), np.empty_like(v0[0])
    for shot in range(len(v0)):
        v, x = v0[shot].copy(), last[shot]
        for t in range(injected.shape[1]):
            outward[:] = membrane.bias
            for n in range(n_nodes):
                if gamma > 0:
                    v[n] = gamma * teacher[shot, t, n] + free * v[n]
                s[n] = (v[n] - membrane.centre[n]) / membrane.spread[n]
            _add(s, membrane.readout[:n_nodes], outward)
            _add(x, membrane.readout[n_nodes:], outward)
            for n in range(n_nodes):
                v[n] += membrane.pull[n] * (injected[shot, t, n] - outward[n])
                out[shot, t, n] = v[n]
            _advance(cell, s, x, units, change)
    return out, last


@numba.njit(**COMPILE)
def drive(cell, signal, run_in, at):
    """Latent states that a signal drives the network to.

    Args:
        cell: See :class:`Cell`.
        signal: Standardised voltages, ``(time, node)``.
        run_in: Steps for which its first sample drives the network, from zero, before it begins.
        at: Samples before which the states are wanted, ascending.

    Returns:
        ``(at, latent)``.
    """
    n_latent = cell.recurrent.shape[0]
    found, x = np.empty((len(at), n_latent), signal.dtype), np.zeros(n_latent, signal.dtype)
    units, change = np.empty_like(cell.shift), np.empty_like(cell.bias)
    t = -run_in
    for k in range(len(at)):
        while t < at[k]:
            _advance(cell, signal[max(t, 0)], x, units, change)
            t += 1
        found[k] = x
    return found
