"""Compiled time loop of many :class:`~.conductance.Neuron` side by side: the scheme of :mod:`.conductance_kernel`.

Neurons are the innermost index, :data:`LANES` at a time, so that every elementary operation becomes a vector
instruction; nothing is drawn to a recording and no tangents are carried.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numba
import numpy as np

from .conductance import CALCIUM_FLOOR_UM, CALCIUM_OUTSIDE_UM, CALCIUM_SHIFT_UM, GHK_MV
from .fast_math import COMPILE, INLINED, tanh

LANES = 64
#: Rows of the scratch of a step: ohmic conductance, calcium's at its second and first half step, calcium at the middle,
#: divisor, injected current, voltage at the middle.
TOTAL, G, FIRST_G, MIDDLE_CA, SCALE, FLOW, MIDDLE_V = range(7)


@numba.njit(**INLINED)
def _gates(theta, gates, speeds, h, v, ca, log_ca, x):
    """Advance all gates by ``h``."""
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
def _calcium(theta, p, h, ca, calcium_g, drive):
    type_ = theta.dtype.type
    gain, tau, rest, half = theta[p], theta[p + 1], theta[p + 2], type_(0.5)
    step, floor = type_(h), type_(CALCIUM_FLOOR_UM)
    for b in range(ca.size):
        leak = step / (tau[b] + half * step)
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
def _advance(theta, now, then, late, h, gates, speeds, currents, pool, state, work):
    """One integration step in place.

    Args:
        theta: ``(parameter, neuron)``.
        now: Injected current at the sample before, ``(neuron,)``.
        then: At the sample after.
        late: Where between them the middle of the step lies, 0 to 1.
        h: Length of the step, ms.
        gates: See :func:`run_batch`, as all further tables.
        speeds: See there.
        currents: See there.
        pool: See there.
        state: Voltage, gates and calcium, ``(2 + gate, neuron)``.
        work: Scratch, eleven rows, of which the adjoint reads those with a name below.
    """
    n, n_gates, type_ = now.size, gates.shape[0], theta.dtype.type
    v, x, ca = state[0], state[1 : 1 + n_gates], state[1 + n_gates]
    total, calcium_g, first_g, middle_ca, scale = work[TOTAL], work[G], work[FIRST_G], work[MIDDLE_CA], work[SCALE]
    flow, at, push, one_g, drive, base = work[FLOW], work[MIDDLE_V], work[7], work[8], work[9], work[10]
    capacitance, area, half, inverse = theta[0], theta[1], type_(0.5), type_(1 / h)
    _gates(theta, gates, speeds, h, v, ca, base, x)
    if pool >= 0:
        _conduct(theta, currents, x, ca, total, push, first_g, one_g)
        _drive(v, ca, drive)
        _calcium(theta, pool, 0.5 * h, ca, first_g, drive)
    middle_ca[:] = ca
    _conduct(theta, currents, x, ca, total, push, calcium_g, one_g)
    second = type_(late)
    first = type_(1) - second
    for b in range(n):
        flow[b] = (first * now[b] + second * then[b]) / area[b]
    for b in range(n):
        scale[b] = capacitance[b] * inverse + half * total[b]
    for b in range(n):
        base[b] = (scale[b] - total[b]) * v[b] + push[b] + flow[b]
    if (currents[:, 1] < 0).any():
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
        _calcium(theta, pool, 0.5 * h, ca, calcium_g, drive)


@numba.njit(**INLINED)
def _run_lanes(theta, injected, start, dt, substeps, gates, speeds, currents, pool, voltage, kept, every):
    state, work = start.copy(), np.zeros((11, start.shape[1]), theta.dtype)
    for k in range(injected.shape[0]):
        voltage[k] = state[0]
        if kept.shape[0] and k % every == 0:
            kept[k // every] = state
        if k + 1 == injected.shape[0]:
            break
        now, then = injected[k], injected[k + 1]
        for m in range(substeps):
            late = (m + 0.5) / substeps
            _advance(theta, now, then, late, dt / substeps, gates, speeds, currents, pool, state, work)


@numba.njit(parallel=True, **COMPILE)
def run_batch(theta, injected, start, dt, substeps, gates, speeds, currents, pool, voltage, kept, every):
    """Run many neurons.

    Args:
        theta: ``(parameter, neuron)``; its dtype, float32 or float64, is that of all work.
        injected: ``(time, neuron)``, µA/cm².
        start: Voltage (mV), gates and calcium at the first sample, ``(2 + gate, neuron)``.
        dt: Sampling interval, ms.
        substeps: Integration steps a sample.
        gates: See :class:`~.conductance_kernel.Tables`.
        speeds: See there.
        currents: See there.
        pool: See there.
        voltage: Out, ``(time, neuron)``, mV.
        kept: Out: the state at every ``every``-th sample, ``(segment, 2 + gate, neuron)``, from which
            :func:`~.conductance_adjoint.pull_batch` begins; or no rows.
        every: Samples a segment.
    """
    n = start.shape[1]
    for group in numba.prange((n + LANES - 1) // LANES):
        here = slice(group * LANES, min(n, (group + 1) * LANES))
        size = here.stop - here.start
        out = np.empty((injected.shape[0], size), theta.dtype)
        states = np.empty((kept.shape[0], start.shape[0], size), theta.dtype)
        _run_lanes(
            np.ascontiguousarray(theta[:, here]),
            np.ascontiguousarray(injected[:, here]),
            np.ascontiguousarray(start[:, here]),
            dt,
            substeps,
            gates,
            speeds,
            currents,
            pool,
            out,
            states,
            every,
        )
        voltage[:, here] = out
        kept[:, :, here] = states
