"""Compiled time loop of many :class:`~.conductance.Neuron` side by side: the scheme of :mod:`.conductance_kernel`.

Neurons are the innermost index, :data:`LANES` at a time, so that every elementary operation becomes a vector
instruction; nothing is drawn to a recording and no tangents are carried.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numba
import numpy as np

from .conductance import CALCIUM_FIXED_UM, CALCIUM_FLOOR_UM, CALCIUM_OUTSIDE_UM, CALCIUM_SHIFT_UM, GHK_MV
from .fast_math import COMPILE, INLINED, tanh

LANES = 64


@numba.njit(**INLINED)
def _gates(theta, gates, speeds, h, v, ca, log_ca, x, settle):
    """Advance all gates by ``h``, or put them at their steady state."""
    type_ = theta.dtype.type
    one, half = type_(1), type_(0.5)
    if (gates[:, 1] >= 0).any():
        for b in range(v.size):
            log_ca[b] = math.log(ca[b] / type_(CALCIUM_SHIFT_UM))
    for i in range(gates.shape[0]):
        p, shift = gates[i, 0], gates[i, 1]
        middle, width, tau_width, shortest, reach = theta[p], theta[p + 1], theta[p + 2], theta[p + 3], theta[p + 4]
        speed, step, row = type_(speeds[i]), type_(h), x[i]
        half_step = half * step
        if shift >= 0:
            by_ca = theta[shift]
            for b in range(v.size):
                log_ca[b] = middle[b] - by_ca[b] * log_ca[b]
            middle = log_ca
        if settle:
            for b in range(v.size):
                row[b] = half + half * tanh((v[b] - middle[b]) / width[b])
        else:
            for b in range(v.size):
                distance = v[b] - middle[b]
                steady = half + half * tanh(distance / width[b])
                t = tanh(distance / tau_width[b])
                tau = (shortest[b] + reach[b] * (one - t * t)) / speed
                row[b] += step / (tau + half_step) * (steady - row[b])


@numba.njit(**INLINED)
def _open(theta, row, x, ca, out):
    """Conductance times open fraction of one current into ``out``."""
    out[:] = theta[row[0]]
    for part in range(2):
        if row[2 + 2 * part] >= 0:
            gate = x[row[2 + 2 * part]]
            for _ in range(row[3 + 2 * part]):
                for b in range(out.size):
                    out[b] *= gate[b]
    if row[6] >= 0:
        k = theta[row[6]]
        for b in range(out.size):
            square = ca[b] * ca[b]
            out[b] *= square / (square + k[b] * k[b])


@numba.njit(**INLINED)
def _drive(v, ca, out):
    """Driving force of calcium, see :func:`~.conductance.ghk`."""
    type_ = v.dtype.type
    scale, near, third, one = type_(0.5 / GHK_MV), type_(1e-3), type_(1 / 3), type_(1)
    outside, factor = type_(CALCIUM_OUTSIDE_UM), type_(0.01)
    for b in range(v.size):
        y = v[b] * scale
        small = abs(y) < near
        c = one + y * y * third if small else y / tanh(near if small else y)
        out[b] = factor * (ca[b] * (c + y) - outside * (c - y))


@numba.njit(**INLINED)
def _calcium(theta, p, h, ca, calcium_g, drive, settle):
    type_ = theta.dtype.type
    gain, tau, rest, half, one = theta[p], theta[p + 1], theta[p + 2], type_(0.5), type_(1)
    step, floor = type_(h), type_(CALCIUM_FLOOR_UM)
    for b in range(ca.size):
        leak = one if settle else step / (tau[b] + half * step)
        new = ca[b] - leak * (tau[b] * gain[b] * calcium_g[b] * drive[b] + ca[b] - rest[b])
        ca[b] = max(new, floor)


@numba.njit(**INLINED)
def _conduct(theta, currents, x, ca, total, push, calcium_g, one_g):
    """Sums over currents: ohmic conductance, its product with the reversal potentials, and that of calcium."""
    total[:] = 0
    push[:] = 0
    calcium_g[:] = 0
    for j in range(currents.shape[0]):
        _open(theta, currents[j], x, ca, one_g)
        if currents[j, 1] < 0:
            for b in range(total.size):
                calcium_g[b] += one_g[b]
        else:
            reversal = theta[currents[j, 1]]
            for b in range(total.size):
                total[b] += one_g[b]
                push[b] += one_g[b] * reversal[b]


@numba.njit(**INLINED)
def _run_lanes(theta, injected, start, dt, substeps, gates, speeds, currents, pool, voltage):
    n, type_ = start.size, theta.dtype.type
    x = np.zeros((gates.shape[0], n), theta.dtype)
    work = np.zeros((10, n), theta.dtype)
    ca, log_ca, total, push, calcium_g = work[0], work[1], work[2], work[3], work[4]
    one_g, drive, base, scale, at = work[5], work[6], work[7], work[8], work[9]
    v = start.copy()
    h = dt / substeps
    has_ghk = (currents[:, 1] < 0).any()
    ca[:] = type_(CALCIUM_FIXED_UM)
    if pool >= 0:
        ca[:] = theta[pool + 2]
    for _ in range(2 if pool >= 0 else 1):
        _gates(theta, gates, speeds, h, v, ca, log_ca, x, True)
        if pool >= 0:
            _conduct(theta, currents, x, ca, total, push, calcium_g, one_g)
            _drive(v, ca, drive)
            _calcium(theta, pool, h, ca, calcium_g, drive, True)
    voltage[0] = v
    capacitance, area, half = theta[0], theta[1], type_(0.5)
    inverse = type_(1 / h)
    for k in range(injected.shape[0] - 1):
        for m in range(substeps):
            late = type_((m + 0.5) / substeps)
            early = type_(1) - late
            _gates(theta, gates, speeds, h, v, ca, log_ca, x, False)
            if pool >= 0:
                _conduct(theta, currents, x, ca, total, push, calcium_g, one_g)
                _drive(v, ca, drive)
                _calcium(theta, pool, 0.5 * h, ca, calcium_g, drive, False)
            _conduct(theta, currents, x, ca, total, push, calcium_g, one_g)
            now, then = injected[k], injected[k + 1]
            for b in range(n):
                scale[b] = capacitance[b] * inverse + half * total[b]
                base[b] = (scale[b] - total[b]) * v[b] + push[b] + (early * now[b] + late * then[b]) / area[b]
            if has_ghk:
                _drive(v, ca, drive)
                for b in range(n):
                    at[b] = half * (v[b] + (base[b] - calcium_g[b] * drive[b]) / scale[b])
                _drive(at, ca, drive)
                for b in range(n):
                    base[b] -= calcium_g[b] * drive[b]
            for b in range(n):
                v[b] = base[b] / scale[b]
            if pool >= 0:
                _drive(v, ca, drive)
                _calcium(theta, pool, 0.5 * h, ca, calcium_g, drive, False)
        voltage[k + 1] = v


@numba.njit(parallel=True, **COMPILE)
def run_batch(theta, injected, start, dt, substeps, gates, speeds, currents, pool, voltage):
    """Run many neurons from their steady state.

    Args:
        theta: ``(parameter, neuron)``; its dtype, float32 or float64, is that of all work.
        injected: ``(time, neuron)``, µA/cm².
        start: Voltage at the first sample, ``(neuron,)``, mV.
        dt: Sampling interval, ms.
        substeps: Integration steps a sample.
        gates: See :class:`~.conductance_kernel.Tables`.
        speeds: See there.
        currents: See there.
        pool: See there.
        voltage: Out, ``(time, neuron)``, mV.
    """
    n = start.size
    for group in numba.prange((n + LANES - 1) // LANES):
        here = slice(group * LANES, min(n, (group + 1) * LANES))
        out = np.empty((injected.shape[0], here.stop - here.start), theta.dtype)
        _run_lanes(
            np.ascontiguousarray(theta[:, here]),
            np.ascontiguousarray(injected[:, here]),
            np.ascontiguousarray(start[here]),
            dt,
            substeps,
            gates,
            speeds,
            currents,
            pool,
            out,
        )
        voltage[:, here] = out
