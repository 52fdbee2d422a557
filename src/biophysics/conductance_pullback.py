"""Parts of a neuron's step turned around, for :mod:`.conductance_adjoint`: gates, opening of a current, calcium.

Each loop writes one array: with more, the compiler would need too many checks that they do not overlap, and would not
use vector instructions.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numba

from .conductance import CALCIUM_FLOOR_UM, CALCIUM_OUTSIDE_UM, CALCIUM_SHIFT_UM, GHK_MV
from .fast_math import INLINED, tanh


@numba.njit(**INLINED)
def gates_back(theta, grad, gates, speeds, h, v, ca, x, x_bar, v_bar, ca_bar, work):
    """Turn :func:`~.conductance_batch._gates` around; ``x`` is before the step, ``x_bar`` becomes that of before."""
    type_ = theta.dtype.type
    one, two, half = type_(1), type_(2), type_(0.5)
    log_ca, moved, t_u, t_r = work[0], work[1], work[2], work[3]
    a, tau_bar, by_u, by_r = work[4], work[5], work[6], work[7]
    if (gates[:, 1] >= 0).any():
        for b in range(v.size):
            log_ca[b] = math.log(ca[b] / type_(CALCIUM_SHIFT_UM))
    for i in range(gates.shape[0]):
        p, shift = gates[i, 0], gates[i, 1]
        middle, width, tau_width, shortest, reach = theta[p], theta[p + 1], theta[p + 2], theta[p + 3], theta[p + 4]
        by_middle, by_width, by_tau_width = grad[p], grad[p + 1], grad[p + 2]
        by_shortest, by_reach = grad[p + 3], grad[p + 4]
        row, bar, faster = x[i], x_bar[i], type_(1 / speeds[i])
        if shift >= 0:
            by_ca = theta[shift]
            for b in range(v.size):
                moved[b] = middle[b] - by_ca[b] * log_ca[b]
            middle = moved
        for b in range(v.size):
            t_u[b] = tanh((v[b] - middle[b]) / width[b])
        step, half_step, per_step = type_(h), type_(0.5 * h), type_(1 / h) * faster
        for b in range(v.size):
            t_r[b] = tanh((v[b] - middle[b]) / tau_width[b])
        for b in range(v.size):
            a[b] = step / ((shortest[b] + reach[b] * (one - t_r[b] * t_r[b])) * faster + half_step)
        for b in range(v.size):
            tau_bar[b] = -bar[b] * (half + half * t_u[b] - row[b]) * a[b] * a[b] * per_step
        for b in range(v.size):
            by_r[b] = -two * tau_bar[b] * reach[b] * t_r[b] * (one - t_r[b] * t_r[b]) / tau_width[b]
        for b in range(v.size):
            by_tau_width[b] -= by_r[b] * (v[b] - middle[b]) / tau_width[b]
        for b in range(v.size):
            by_shortest[b] += tau_bar[b]
        for b in range(v.size):
            by_reach[b] += tau_bar[b] * (one - t_r[b] * t_r[b])
        for b in range(v.size):
            by_u[b] = bar[b] * a[b] * half * (one - t_u[b] * t_u[b]) / width[b]
        for b in range(v.size):
            bar[b] -= bar[b] * a[b]
        for b in range(v.size):
            by_width[b] -= by_u[b] * (v[b] - middle[b]) / width[b]
        for b in range(v.size):
            by_u[b] += by_r[b]
        for b in range(v.size):
            v_bar[b] += by_u[b]
        for b in range(v.size):
            by_middle[b] -= by_u[b]
        if shift >= 0:
            by_ca, grad_ca = theta[shift], grad[shift]
            for b in range(v.size):
                grad_ca[b] += by_u[b] * log_ca[b]
            for b in range(v.size):
                ca_bar[b] += by_u[b] * by_ca[b] / ca[b]


@numba.njit(**INLINED)
def _powers(x, gate, power, below, whole):
    """``x^(power - 1)`` and ``x^power`` of a gate; 0 and 1 where there is none."""
    below[:] = 0
    whole[:] = 1
    if gate >= 0:
        below[:] = 1
        row = x[gate]
        for _ in range(power - 1):
            for b in range(below.size):
                below[b] *= row[b]
        for b in range(below.size):
            whole[b] = below[b] * row[b]


@numba.njit(**INLINED)
def open_back(theta, grad, row, x, ca, bar, push_bar, x_bar, ca_bar, work):
    """Turn the opening of one current around.

    Args:
        theta: ``(parameter, neuron)``.
        grad: Gradient by it, added to.
        row: Of the table of currents.
        x: Gates.
        ca: Calcium.
        bar: By the conductance of this current; overwritten.
        push_bar: By the sum of conductance times reversal potential; unread for calcium.
        x_bar: By the gates, added to.
        ca_bar: By calcium, added to.
        work: Scratch, five rows.
    """
    type_, g = theta.dtype.type, theta[row[0]]
    below_1, first, below_2, second, hill = work[0], work[1], work[2], work[3], work[4]
    _powers(x, row[2], row[3], below_1, first)
    _powers(x, row[4], row[5], below_2, second)
    for b in range(ca.size):
        below_1[b] *= second[b]
    for b in range(ca.size):
        below_2[b] *= first[b]
    opened = first
    for b in range(ca.size):
        opened[b] *= second[b]
    if row[6] >= 0:
        k = theta[row[6]]
        for b in range(ca.size):
            square = ca[b] * ca[b]
            hill[b] = square / (square + k[b] * k[b])
        for b in range(ca.size):
            opened[b] *= hill[b]
    if row[1] >= 0:
        reversal, by_reversal = theta[row[1]], grad[row[1]]
        for b in range(ca.size):
            by_reversal[b] += push_bar[b] * g[b] * opened[b]
        for b in range(ca.size):
            bar[b] += push_bar[b] * reversal[b]
    by_g = grad[row[0]]
    for b in range(ca.size):
        by_g[b] += bar[b] * opened[b]
    for b in range(ca.size):
        bar[b] *= g[b]
    if row[6] >= 0:  # d hill / d ca = 2 hill (1 - hill) / ca, and minus that with k for ca
        k, by_k, slope = theta[row[6]], grad[row[6]], second
        for b in range(ca.size):
            slope[b] = type_(2) * bar[b] * opened[b] * (type_(1) - hill[b])
        for b in range(ca.size):
            ca_bar[b] += slope[b] / ca[b]
        for b in range(ca.size):
            by_k[b] -= slope[b] / k[b]
        for b in range(ca.size):
            bar[b] *= hill[b]
    if row[2] >= 0:
        target, power = x_bar[row[2]], type_(row[3])
        for b in range(ca.size):
            target[b] += power * bar[b] * below_1[b]
    if row[4] >= 0:
        target, power = x_bar[row[4]], type_(row[5])
        for b in range(ca.size):
            target[b] += power * bar[b] * below_2[b]


@numba.njit(**INLINED)
def drive_slopes(v, ca, even, value, by_v, by_ca):
    """Driving force of calcium with its derivatives by voltage and calcium, see :func:`~.conductance.ghk`.

    ``even`` is scratch: ``c = y coth y``, whose derivative is ``y - c (c - 1) / y``.
    """
    type_ = v.dtype.type
    scale, near, one, factor = type_(0.5 / GHK_MV), type_(0.03), type_(1), type_(0.01)
    outside, third, fifth, two = type_(CALCIUM_OUTSIDE_UM), type_(1 / 3), type_(1 / 45), type_(2)
    for b in range(v.size):
        y = v[b] * scale
        small = abs(y) < near
        even[b] = one + y * y * (third - y * y * fifth) if small else y / tanh(near if small else y)
    for b in range(v.size):
        y = v[b] * scale
        value[b] = factor * (ca[b] * (even[b] + y) - outside * (even[b] - y))
    for b in range(v.size):
        y = v[b] * scale
        small = abs(y) < near
        slope = y - even[b] * (even[b] - one) / (near if small else y)
        slope = two * y * (third - two * y * y * fifth) if small else slope
        by_v[b] = factor * scale * (ca[b] * (slope + one) - outside * (slope - one))
    for b in range(v.size):
        by_ca[b] = factor * (even[b] + v[b] * scale)


@numba.njit(**INLINED)
def calcium_back(theta, grad, p, h, v, ca, g, g_bar, v_bar, ca_bar, work):
    """Turn a step of calcium from ``ca`` around; ``ca_bar`` becomes that of before the step, ``g_bar`` is set."""
    type_ = theta.dtype.type
    drive, by_v, by_ca, leak, bar, through = work[0], work[1], work[2], work[3], work[4], work[5]
    drive_slopes(v, ca, leak, drive, by_v, by_ca)
    gain, tau, rest = theta[p], theta[p + 1], theta[p + 2]
    by_gain, by_tau, by_rest = grad[p], grad[p + 1], grad[p + 2]
    step, half, one, floor = type_(h), type_(0.5), type_(1), type_(CALCIUM_FLOOR_UM)
    per_step = type_(1 / h)
    for b in range(ca.size):
        leak[b] = step / (tau[b] + half * step)
    for b in range(ca.size):  # first where calcium goes before its floor
        bar[b] = ca[b] - leak[b] * (tau[b] * gain[b] * g[b] * drive[b] + ca[b] - rest[b])
    for b in range(ca.size):
        bar[b] = ca_bar[b] if bar[b] >= floor else type_(0)
    for b in range(ca.size):
        through[b] = -bar[b] * leak[b] * tau[b]
    for b in range(ca.size):
        by_gain[b] += through[b] * g[b] * drive[b]
    for b in range(ca.size):
        through[b] *= gain[b]
    for b in range(ca.size):  # d leak / d tau = -leak² / h
        by_tau[b] += leak[b] * leak[b] * per_step * bar[b] * (ca[b] - rest[b])
    for b in range(ca.size):
        by_tau[b] += through[b] / tau[b] * (one - tau[b] * leak[b] * per_step) * g[b] * drive[b]
    for b in range(ca.size):
        by_rest[b] += bar[b] * leak[b]
    for b in range(ca.size):
        g_bar[b] = through[b] * drive[b]
    for b in range(ca.size):
        v_bar[b] += through[b] * g[b] * by_v[b]
    for b in range(ca.size):
        ca_bar[b] = bar[b] * (one - leak[b]) + through[b] * g[b] * by_ca[b]
