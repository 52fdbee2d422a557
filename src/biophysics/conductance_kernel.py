"""Compiled time loops of :class:`~.conductance.Neuron`: many neurons at once, or one with its sensitivities.

Scheme, second order: gates live half a step before voltage and calcium; calcium takes a half step on either side of
the voltage's step. With ``a = h / (tau + h/2)``::

    x ← x + a (x_inf(V) - x)
    V ← ((C/h - G/2 - uC/2) V + Σ g w E - I_Ca + I/S + u C V_obs) / (C/h + G/2 + uC/2),   G = Σ g w,  w = Π x^p

with the calcium current at the midpoint of a predictor step, injected and observed values at the middle of the step.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .conductance import (
    CALCIUM_FIXED_UM,
    CALCIUM_FLOOR_UM,
    CALCIUM_OUTSIDE_UM,
    CALCIUM_SHIFT_UM,
    GATE_PARAMETERS,
    GHK_MV,
    Neuron,
)
from .fast_math import COMPILE, INLINED, tanh


class Tables(NamedTuple):
    """A neuron's structure as the loops read it.

    Attributes:
        gates: A row a gate: first of its five parameters, parameter of its calcium shift or -1.
        speeds: Divides each gate's time constant.
        currents: A row a current: conductance, reversal (-1: constant-field calcium), gate, power, gate, power (gate
            -1: none), parameter of the Hill factor or -1.
        pool: First of gain, time constant and resting concentration of calcium, or -1.
    """

    gates: NDArray[np.int64]
    speeds: NDArray[np.float64]
    currents: NDArray[np.int64]
    pool: int


def tables(neuron: Neuron) -> Tables:
    """Tables of a neuron."""
    index = neuron.index
    gates = [
        (index[f"{g}_{GATE_PARAMETERS[0]}"], index[f"{g}_shift"] if g in neuron.shifted else -1) for g in neuron.gates
    ]
    currents = []
    for number, current in enumerate(neuron.currents):
        powers = [part for gate, power in current.gates.items() for part in (neuron.gates.index(gate), power)]
        reversal = -1 if current.reversal == "ghk" else index[f"E_{current.reversal}"]
        hill = index[f"{current.name}_calcium"] if current.calcium else -1
        currents.append((2 + number, reversal, *[*powers, -1, 0, -1, 0][:4], hill))
    speeds = np.array([neuron.speeds.get(g, 1.0) for g in neuron.gates])
    pool = index["calcium_gain"] if neuron.has_pool else -1
    return Tables(np.array(gates, np.int64).reshape(-1, 2), speeds, np.array(currents, np.int64).reshape(-1, 7), pool)


@numba.njit(inline="always")
def _even(y):
    """``c = (y/2) coth(y/2)`` and its derivative."""
    h = 0.5 * y
    if abs(h) < 1e-3:
        return 1.0 + h * h / 3.0, h / 3.0
    t = tanh(h)
    return h / t, 0.5 / t - 0.5 * h * (1.0 - t * t) / (t * t)


@numba.njit(inline="always")
def _ghk(v, ca):
    """Driving force of calcium and its derivatives by voltage and by calcium inside."""
    y = v / GHK_MV
    c, slope = _even(y)
    inside, outside = c + 0.5 * y, c - 0.5 * y
    value = 0.01 * (ca * inside - CALCIUM_OUTSIDE_UM * outside)
    return value, 0.01 * (ca * (slope + 0.5) - CALCIUM_OUTSIDE_UM * (slope - 0.5)) / GHK_MV, 0.01 * inside


@numba.njit(**INLINED)
def _mix(s, i, keep, j, add):
    """``s[i] = keep s[i] + add s[j]``."""
    k, a = s.dtype.type(keep), s.dtype.type(add)
    target, source = s[i], s[j]
    for t in range(target.size):
        target[t] = k * target[t] + a * source[t]


@numba.njit(**INLINED)
def _add(s, i, column, value):
    if column >= 0:
        s[i, column] += s.dtype.type(value)


@numba.njit(**INLINED)
def _open(theta, row, x, ca):
    """Open fraction ``w`` of a current, and its derivatives by first gate, second gate, calcium and Hill constant."""
    first, second = 1.0, 1.0
    d_first, d_second = 0.0, 0.0
    if row[2] >= 0:
        power = 1.0
        for _ in range(row[3] - 1):
            power *= x[row[2]]
        first, d_first = power * x[row[2]], row[3] * power
    if row[4] >= 0:
        power = 1.0
        for _ in range(row[5] - 1):
            power *= x[row[4]]
        second, d_second = power * x[row[4]], row[5] * power
    hill, by_ca, by_k = 1.0, 0.0, 0.0
    if row[6] >= 0:
        k = theta[row[6]]
        below = ca * ca + k * k
        hill = ca * ca / below
        by_ca, by_k = 2.0 * ca * k * k / (below * below), -2.0 * k * ca * ca / (below * below)
    w = first * second
    return w * hill, d_first * second * hill, first * d_second * hill, w * by_ca, w * by_k


@numba.njit(**INLINED)
def _step_gates(theta, gates, speeds, columns, h, v, ca, x, s):
    """Advance all gates by ``h``; ``h = 0`` puts them at their steady state."""
    pool = x.size + 1
    for i in range(x.size):
        p, shift = gates[i, 0], gates[i, 1]
        log_ca = 0.0
        half = theta[p]
        if shift >= 0:
            log_ca = math.log(ca / CALCIUM_SHIFT_UM)
            half -= theta[shift] * log_ca
        width, tau_width = theta[p + 1], theta[p + 2]
        u, r = (v - half) / width, (v - half) / tau_width
        t_u, t_r = tanh(u), tanh(r)
        bell = 1.0 - t_r * t_r
        steady = 0.5 + 0.5 * t_u
        slope = 0.5 * (1.0 - t_u * t_u) / width
        if h > 0.0:
            tau = (theta[p + 3] + theta[p + 4] * bell) / speeds[i]
            a = h / (tau + 0.5 * h)
            by_tau = -(steady - x[i]) * a * a / (h * speeds[i])
        else:
            a, by_tau = 1.0, 0.0
        by_r = -2.0 * theta[p + 4] * t_r * bell * by_tau
        x[i] += a * (steady - x[i])
        by_v = a * slope + by_r / tau_width
        _mix(s, 1 + i, 1.0 - a, 0, by_v)
        _add(s, 1 + i, columns[p], -by_v)
        _add(s, 1 + i, columns[p + 1], -a * slope * u)
        _add(s, 1 + i, columns[p + 2], -by_r * r / tau_width)
        _add(s, 1 + i, columns[p + 3], by_tau)
        _add(s, 1 + i, columns[p + 4], by_tau * bell)
        if shift >= 0:
            _add(s, 1 + i, columns[shift], by_v * log_ca)
            _mix(s, 1 + i, 1.0, pool, by_v * theta[shift] / ca)


@numba.njit(**INLINED)
def _step_calcium(theta, currents, columns, p, h, v, ca, x, s):
    """Advance calcium by ``h`` (0: to its steady state at the present gates); the new concentration."""
    row = x.size + 1
    gain, tau, rest = theta[p], theta[p + 1], theta[p + 2]
    if h > 0.0:
        b = 1.0 / (1.0 + 0.5 * h / tau)
        leak = h * b / tau
        push = h * b
    else:
        leak, push = 1.0, tau
    total, by_ca, by_v = 0.0, 0.0, 0.0
    drive, drive_v, drive_ca = _ghk(v, ca)
    for j in range(currents.shape[0]):
        if currents[j, 1] < 0:
            w, d1, d2, d_ca, _ = _open(theta, currents[j], x, ca)
            g = theta[currents[j, 0]]
            total += g * w * drive
            by_ca += g * (w * drive_ca + d_ca * drive)
            by_v += g * w * drive_v
    _mix(s, row, (1.0 - leak if h > 0.0 else 0.0) - push * gain * by_ca, 0, -push * gain * by_v)
    for j in range(currents.shape[0]):
        if currents[j, 1] < 0:
            w, d1, d2, _, _ = _open(theta, currents[j], x, ca)
            g = theta[currents[j, 0]]
            if currents[j, 2] >= 0:
                _mix(s, row, 1.0, 1 + currents[j, 2], -push * gain * g * d1 * drive)
            if currents[j, 4] >= 0:
                _mix(s, row, 1.0, 1 + currents[j, 4], -push * gain * g * d2 * drive)
            _add(s, row, columns[currents[j, 0]], -push * gain * w * drive)
    change = -push * gain * total - leak * (ca - rest)
    _add(s, row, columns[p], -push * total)
    _add(s, row, columns[p + 2], leak)
    if h > 0.0:
        # leak = h / (tau + h/2) and push = tau leak: d push / d tau = leak - leak², over h per tau
        d_leak = -leak * leak / h
        _add(s, row, columns[p + 1], -gain * total * (leak + tau * d_leak) - d_leak * (ca - rest))
    else:
        _add(s, row, columns[p + 1], -gain * total)
    return max(ca + change, CALCIUM_FLOOR_UM)


@numba.njit(**INLINED)
def _voltage_row(theta, currents, columns, x, ca, v, v_new, at, share, keep, scale, by_area, by_capacitance, s, out):
    """Tangent of a voltage step into ``out``, which enters as the tangent of the predictor.

    The calcium current is taken at ``at``, which moves by ``1 - share`` with V and by ``share`` with the predictor.
    """
    n = s.shape[1]
    type_ = s.dtype.type
    bar = 0.5 * (v + v_new)
    drive, drive_v, drive_ca = _ghk(at, ca)
    by_v, by_out, by_ca = keep, 0.0, 0.0
    for j in range(currents.shape[0]):
        if currents[j, 1] < 0:
            part = theta[currents[j, 0]] * _open(theta, currents[j], x, ca)[0]
            by_v -= (1.0 - share) * part * drive_v
            by_out -= share * part * drive_v
            by_ca -= part * drive_ca
    a, b = type_(by_v / scale), type_(by_out / scale)
    for t in range(n):
        out[t] = a * s[0, t] + b * out[t]
    for j in range(currents.shape[0]):
        w, d_first, d_second, d_ca, d_hill = _open(theta, currents[j], x, ca)
        g, reversal, hill = theta[currents[j, 0]], currents[j, 1], currents[j, 6]
        push = bar - theta[reversal] if reversal >= 0 else drive
        if reversal >= 0 and columns[reversal] >= 0:
            out[columns[reversal]] += type_(g * w / scale)
        if columns[currents[j, 0]] >= 0:
            out[columns[currents[j, 0]]] -= type_(w * push / scale)
        for part in range(2):
            gate = currents[j, 2 + 2 * part]
            if gate >= 0:
                c = type_(-g * (d_first if part == 0 else d_second) * push / scale)
                source = s[1 + gate]
                for t in range(n):
                    out[t] += c * source[t]
        if hill >= 0:
            by_ca -= g * d_ca * push
            if columns[hill] >= 0:
                out[columns[hill]] -= type_(g * d_hill * push / scale)
    if by_ca != 0.0 and s.shape[0] > x.size + 1:
        c = type_(by_ca / scale)
        source = s[x.size + 1]
        for t in range(n):
            out[t] += c * source[t]
    if columns[0] >= 0:
        out[columns[0]] += type_(by_capacitance / scale)
    if columns[1] >= 0:
        out[columns[1]] += type_(by_area / scale)


@numba.njit(**COMPILE)
def run_one(
    theta, injected, observed, gain, v, dt, substeps, columns, gates, speeds, currents, pool, voltage, states, jacobian
):
    """Run one neuron from its steady state at ``v``, drawn to a recording, with sensitivities.

    Args:
        theta: ``(parameter,)``, float64.
        injected: ``(time,)``, µA/cm² before division by the area.
        observed: ``(time,)``, mV; read only where ``gain`` is not 0.
        gain: Coupling ``u`` of the step that leads to each sample, ``(time,)``, 1/ms; infinite: V is set to the reading
            after the step.
        v: Voltage at the first sample, mV.
        dt: Sampling interval, ms.
        substeps: Integration steps a sample.
        columns: Column of each parameter in ``jacobian``, or -1.
        gates: See :class:`Tables`.
        speeds: See there.
        currents: See there.
        pool: See there.
        voltage: Out: predictions before they are pinned, ``(time,)``.
        states: Out: ``(time, state)``, or no rows.
        jacobian: Out: dV/dtheta, ``(time, column)``; its dtype is that of the tangents.
    """
    n_gates, n_currents = gates.shape[0], currents.shape[0]
    h = dt / substeps
    x, before = np.zeros(n_gates), np.zeros(n_gates)
    s = np.zeros((1 + n_gates + (1 if pool >= 0 else 0), jacobian.shape[1]), jacobian.dtype)
    row = np.zeros(jacobian.shape[1], jacobian.dtype)
    ca = CALCIUM_FIXED_UM
    if pool >= 0:
        ca = theta[pool + 2]
        _add(s, n_gates + 1, columns[pool + 2], 1.0)
    for _ in range(2 if pool >= 0 else 1):
        _step_gates(theta, gates, speeds, columns, 0.0, v, ca, x, s)
        if pool >= 0:
            ca = _step_calcium(theta, currents, columns, pool, 0.0, v, ca, x, s)
    capacitance = theta[0]
    voltage[0] = v
    for k in range(injected.size):
        last = k + 1 == injected.size
        u = 0.0 if last or math.isinf(gain[k + 1]) else gain[k + 1]
        keep_states = states.shape[0] > 0
        if keep_states:
            before[:] = x
            states[k, 0] = v
            if pool >= 0:
                states[k, 1 + n_gates] = ca
        if last:
            states[k:, 1 : 1 + n_gates] = x
            break
        for m in range(substeps):
            _step_gates(theta, gates, speeds, columns, h, v, ca, x, s)
            if keep_states and m == 0:
                states[k, 1 : 1 + n_gates] = 0.5 * (before + x)
            if pool >= 0:
                ca = _step_calcium(theta, currents, columns, pool, 0.5 * h, v, ca, x, s)
            fraction = (m + 0.5) / substeps
            current = (1.0 - fraction) * injected[k] + fraction * injected[k + 1]
            reading = (1.0 - fraction) * observed[k] + fraction * observed[k + 1] if u > 0.0 else 0.0
            total, push, calcium_g = 0.0, 0.0, 0.0
            for j in range(n_currents):
                g = theta[currents[j, 0]] * _open(theta, currents[j], x, ca)[0]
                if currents[j, 1] < 0:
                    calcium_g += g
                else:
                    total += g
                    push += g * theta[currents[j, 1]]
            scale = capacitance / h + 0.5 * total + 0.5 * u * capacitance
            keep = capacitance / h - 0.5 * total - 0.5 * u * capacitance
            base = keep * v + push + current / theta[1] + u * capacitance * reading
            by_area = -current / (theta[1] * theta[1])
            at, share = v, 0.0
            new = base / scale
            if calcium_g != 0.0:
                predictor = (base - calcium_g * _ghk(v, ca)[0]) / scale
                by_c = (v - predictor) / h + u * (reading - 0.5 * (v + predictor))
                if row.size:
                    _voltage_row(
                        theta, currents, columns, x, ca, v, predictor, v, 0.0, keep, scale, by_area, by_c, s, row
                    )
                at, share = 0.5 * (v + predictor), 0.5
                new = (base - calcium_g * _ghk(at, ca)[0]) / scale
            if row.size:
                by_c = (v - new) / h + u * (reading - 0.5 * (v + new))
                _voltage_row(theta, currents, columns, x, ca, v, new, at, share, keep, scale, by_area, by_c, s, row)
                s[0, :] = row
            v = new
            if pool >= 0:
                ca = _step_calcium(theta, currents, columns, pool, 0.5 * h, v, ca, x, s)
        voltage[k + 1] = v
        jacobian[k + 1] = s[0]
        if math.isinf(gain[k + 1]):
            v = observed[k + 1]
            s[0, :] = 0
