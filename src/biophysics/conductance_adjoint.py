"""Reverse-mode gradients of :mod:`.conductance_batch`: one loop back in time, at a few times the cost of a run.

States are kept once a segment; going backwards, a segment is run again and each of its steps is turned around, so that
memory grows with the length of a run over that of a segment. ``bar`` is the derivative of the loss by what it names.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numba
import numpy as np

from .conductance_batch import FIRST_G, FLOW, LANES, MIDDLE_CA, MIDDLE_V, SCALE, TOTAL, G, _advance
from .conductance_pullback import calcium_back, drive_slopes, gates_back, open_back
from .fast_math import COMPILE, INLINED

#: Samples a segment: with 64 neurons of 12 states in float32, 200 kB, which a processor's second cache holds.
SEGMENT = 32


@numba.njit(inline="always")
def _voltage_back(theta, grad, now_bar, then_bar, late, h, has_ghk, v, new, made, v_bar, ca_bar, g_bar, bars, work):
    """Turn the step of the voltage around; ``bars``: rows for the gradients by total and by push."""
    type_, n = theta.dtype.type, v.size
    half, one, two, second, inverse = type_(0.5), type_(1), type_(2), type_(late), type_(1 / h)
    total, calcium_g, ca = made[TOTAL], made[G], made[MIDDLE_CA]
    scale, flow, middle = made[SCALE], made[FLOW], made[MIDDLE_V]
    total_bar, base_bar = bars[0], bars[1]
    scale_bar = total_bar
    for b in range(n):
        base_bar[b] = v_bar[b] / scale[b]
    for b in range(n):
        scale_bar[b] = -new[b] * base_bar[b]
    v_bar[:] = 0
    if has_ghk:
        drive, by_v, by_ca, at_bar, p_bar, even = work[0], work[1], work[2], work[3], work[4], work[5]
        drive_slopes(middle, ca, even, drive, by_v, by_ca)
        for b in range(n):
            at_bar[b] = -half * calcium_g[b] * base_bar[b] * by_v[b]
        for b in range(n):
            p_bar[b] = at_bar[b] / scale[b]
        for b in range(n):
            g_bar[b] -= drive[b] * base_bar[b]
        for b in range(n):
            ca_bar[b] -= calcium_g[b] * base_bar[b] * by_ca[b]
        drive_slopes(v, ca, even, drive, by_v, by_ca)
        for b in range(n):
            g_bar[b] -= drive[b] * p_bar[b]
        for b in range(n):
            ca_bar[b] -= calcium_g[b] * p_bar[b] * by_ca[b]
        for b in range(n):
            v_bar[b] = at_bar[b] - calcium_g[b] * p_bar[b] * by_v[b]
        for b in range(n):  # 2 middle - v is the predicted voltage
            scale_bar[b] -= (two * middle[b] - v[b]) * p_bar[b]
        for b in range(n):
            base_bar[b] += p_bar[b]
    by_capacitance, by_area, area = grad[0], grad[1], theta[1]
    for b in range(n):
        v_bar[b] += base_bar[b] * (scale[b] - total[b])
    for b in range(n):
        scale_bar[b] += base_bar[b] * v[b]
    for b in range(n):
        by_capacitance[b] += scale_bar[b] * inverse
    for b in range(n):
        total_bar[b] = half * scale_bar[b] - base_bar[b] * v[b]
    for b in range(n):
        by_area[b] -= base_bar[b] * flow[b] / area[b]
    for b in range(n):
        now_bar[b] += (one - second) * base_bar[b] / area[b]
    for b in range(n):
        then_bar[b] += second * base_bar[b] / area[b]


@numba.njit(inline="always")
def _advance_back(
    theta, grad, now_bar, then_bar, late, h, gates, speeds, currents, pool, before, after, made, bars, work
):
    """Turn one integration step around.

    Args:
        theta: ``(parameter, neuron)``.
        grad: Gradient by it, added to.
        now_bar: Gradient by the current injected at the sample before, added to.
        then_bar: By that at the sample after.
        late: See :func:`~.conductance_batch._advance`, as the tables.
        h: See there.
        gates: See there.
        speeds: See there.
        currents: See there.
        pool: See there.
        before: State before the step.
        after: State after it.
        made: What the step left in its scratch.
        bars: Gradient by ``after``; becomes that by ``before``.
        work: Scratch, twelve rows.
    """
    n_gates = gates.shape[0]
    x, old_x = after[1 : 1 + n_gates], before[1 : 1 + n_gates]
    v_bar, x_bar, ca_bar = bars[0], bars[1 : 1 + n_gates], bars[1 + n_gates]
    g_bar, one_bar, sums = work[8], work[9], work[10:]
    has_ghk = (currents[:, 1] < 0).any()
    g_bar[:] = 0
    for part in range(2 if pool >= 0 else 1):  # the second half step of calcium with the voltage, then the first
        late_part = part == 0
        v, ca = (after[0], made[MIDDLE_CA]) if late_part else (before[0], before[1 + n_gates])
        if pool >= 0:
            g = made[G] if late_part else made[FIRST_G]
            calcium_back(theta, grad, pool, 0.5 * h, v, ca, g, g_bar, v_bar, ca_bar, work)
        if late_part:
            old, new = before[0], after[0]
            _voltage_back(
                theta, grad, now_bar, then_bar, late, h, has_ghk, old, new, made, v_bar, ca_bar, g_bar, sums, work
            )
        for j in range(currents.shape[0]):
            if late_part or currents[j, 1] < 0:
                one_bar[:] = g_bar if currents[j, 1] < 0 else sums[0]
                open_back(theta, grad, currents[j], x, ca, one_bar, sums[1], x_bar, ca_bar, work)
    gates_back(theta, grad, gates, speeds, h, before[0], before[1 + n_gates], old_x, x_bar, v_bar, ca_bar, work)


@numba.njit(**INLINED)
def _pull_lanes(theta, injected, dt, substeps, gates, speeds, currents, pool, kept, every, bar, grad, injected_bar):
    n, rows, samples, h = theta.shape[1], kept.shape[1], injected.shape[0], dt / substeps
    states = np.zeros((every * substeps + 1, rows, n), theta.dtype)
    made = np.zeros((every * substeps, 11, n), theta.dtype)
    bars, work = np.zeros((rows, n), theta.dtype), np.zeros((12, n), theta.dtype)
    v_bar = bars[0]
    for segment in range(kept.shape[0] - 1, -1, -1):
        begin = segment * every
        steps = (min(begin + every, samples - 1) - begin) * substeps
        states[0] = kept[segment]
        for step in range(steps):
            k, late = begin + step // substeps, (step % substeps + 0.5) / substeps
            states[step + 1] = states[step]
            now, then, state = injected[k], injected[k + 1], states[step + 1]
            _advance(theta, now, then, late, h, gates, speeds, currents, pool, state, made[step])
        for step in range(steps - 1, -1, -1):
            k, late = begin + step // substeps, (step % substeps + 0.5) / substeps
            if step % substeps == substeps - 1:
                row = bar[k + 1]
                for b in range(n):
                    v_bar[b] += row[b]
            _advance_back(
                theta,
                grad,
                injected_bar[k],
                injected_bar[k + 1],
                late,
                h,
                gates,
                speeds,
                currents,
                pool,
                states[step],
                states[step + 1],
                made[step],
                bars,
                work,
            )
    for b in range(n):
        v_bar[b] += bar[0, b]
    return bars


@numba.njit(parallel=True, **COMPILE)
def pull_batch(
    theta, injected, dt, substeps, gates, speeds, currents, pool, kept, every, bar, grad, injected_bar, start_bar
):
    """Gradients of a loss by what :func:`~.conductance_batch.run_batch` was given.

    Args:
        theta: As given there, like all up to ``every``.
        injected: See there.
        dt: See there.
        substeps: See there.
        gates: See there.
        speeds: See there.
        currents: See there.
        pool: See there.
        kept: What was kept there.
        every: See there.
        bar: Gradient of the loss by the voltages, ``(time, neuron)``.
        grad: Out: by the parameters, ``(parameter, neuron)``.
        injected_bar: Out: by the injected current, ``(time, neuron)``.
        start_bar: Out: by the first state, ``(2 + gate, neuron)``.
    """
    n = theta.shape[1]
    for group in numba.prange((n + LANES - 1) // LANES):
        here = slice(group * LANES, min(n, (group + 1) * LANES))
        size = here.stop - here.start
        by_theta = np.zeros((theta.shape[0], size), theta.dtype)
        by_current = np.zeros((injected.shape[0], size), theta.dtype)
        bars = _pull_lanes(
            np.ascontiguousarray(theta[:, here]),
            np.ascontiguousarray(injected[:, here]),
            dt,
            substeps,
            gates,
            speeds,
            currents,
            pool,
            np.ascontiguousarray(kept[:, :, here]),
            every,
            np.ascontiguousarray(bar[:, here]),
            by_theta,
            by_current,
        )
        grad[:, here] = by_theta
        injected_bar[:, here] = by_current
        start_bar[:, here] = bars
