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
def _gather(s, sources, coefficients, n):
    """``s[0] += Σ coefficients[k] s[sources[k]]`` over the first ``n``, four at a time: ``s[0]`` is then read less."""
    type_, out = s.dtype.type, s[0]
    whole = n - n % 4
    for k in range(0, whole, 4):
        c0, c1, c2, c3 = (
            type_(coefficients[k]),
            type_(coefficients[k + 1]),
            type_(coefficients[k + 2]),
            type_(coefficients[k + 3]),
        )
        a0, a1, a2, a3 = s[sources[k]], s[sources[k + 1]], s[sources[k + 2]], s[sources[k + 3]]
        for t in range(out.size):
            out[t] += (c0 * a0[t] + c1 * a1[t]) + (c2 * a2[t] + c3 * a3[t])
    for k in range(whole, n):
        _mix(s, 0, 1.0, sources[k], coefficients[k])


@numba.njit(**INLINED)
def _voltage_row(
    theta, currents, columns, opened, push, scale, by_v, by_ca, by_reversal, s, calcium, sources, coefficients
):
    """Tangent of a voltage step, in place.

    Args:
        theta: Parameters.
        currents: See :class:`Tables`.
        columns: Column of each parameter.
        opened: What :func:`_open` gave of each current.
        push: Driving force of each current; the predictor's is in it with its share.
        scale: Divisor of the step.
        by_v: Derivative of ``scale`` times the new voltage by the old one.
        by_ca: The same by calcium, of the driving forces alone.
        by_reversal: The same by each reversal potential, over its conductance.
        s: Tangents.
        calcium: Row of calcium, or -1.
        sources: Scratch, two a current and one.
        coefficients: Scratch.
    """
    _mix(s, 0, by_v / scale, 0, 0.0)
    n = 0
    for j in range(currents.shape[0]):
        g = theta[currents[j, 0]]
        for part in range(2):
            if currents[j, 2 + 2 * part] >= 0:
                sources[n] = 1 + currents[j, 2 + 2 * part]
                coefficients[n] = -g * opened[j, 1 + part] * push[j] / scale
                n += 1
        if currents[j, 6] >= 0:
            by_ca -= g * opened[j, 3] * push[j]
    if calcium > 0:
        sources[n], coefficients[n] = calcium, by_ca / scale
        n += 1
    _gather(s, sources, coefficients, n)
    for j in range(currents.shape[0]):
        g, reversal, hill = theta[currents[j, 0]], currents[j, 1], currents[j, 6]
        if reversal >= 0:
            _add(s, 0, columns[reversal], by_reversal * g * opened[j, 0] / scale)
        _add(s, 0, columns[currents[j, 0]], -opened[j, 0] * push[j] / scale)
        if hill >= 0:
            _add(s, 0, columns[hill], -g * opened[j, 4] * push[j] / scale)


@numba.njit(**COMPILE)
def run_one(
    theta, injected, observed, gain, v, slope, dt, substeps, columns, gates, speeds, currents, pool, voltage, states,
    jacobian,
):  # fmt: skip
    """Run one neuron from its steady state at ``v``, drawn to a recording, with sensitivities.

    Args:
        theta: ``(parameter,)``, float64.
        injected: ``(time,)``, µA/cm² before division by the area.
        observed: ``(time,)``, mV; read only where ``gain`` is not 0.
        gain: Coupling ``u`` of the step that leads to each sample, ``(time,)``, 1/ms; infinite: V is set to the reading
            after the step.
        v: Voltage at the first sample, mV.
        slope: Its derivative by the columns of ``jacobian``, ``(column,)``.
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
    s[0] = slope
    opened, push = np.zeros((n_currents, 5)), np.zeros(n_currents)
    sources, coefficients = np.zeros(2 * n_currents + 1, np.int64), np.zeros(2 * n_currents + 1)
    calcium = 1 + n_gates if pool >= 0 else -1
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
    jacobian[0] = slope
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
            total, pull, calcium_g = 0.0, 0.0, 0.0
            for j in range(n_currents):
                opened[j, 0], opened[j, 1], opened[j, 2], opened[j, 3], opened[j, 4] = _open(theta, currents[j], x, ca)
                g = theta[currents[j, 0]] * opened[j, 0]
                if currents[j, 1] < 0:
                    calcium_g += g
                else:
                    total += g
                    pull += g * theta[currents[j, 1]]
            scale = capacitance / h + 0.5 * total + 0.5 * u * capacitance
            keep = capacitance / h - 0.5 * total - 0.5 * u * capacitance
            base = keep * v + pull + current / theta[1] + u * capacitance * reading
            predictor, share, by_v, by_ca, drive = v, 0.0, keep, 0.0, 0.0
            new = base / scale
            if calcium_g != 0.0:
                first, first_v, first_ca = _ghk(v, ca)
                predictor = (base - calcium_g * first) / scale
                drive, drive_v, drive_ca = _ghk(0.5 * (v + predictor), ca)
                new = (base - calcium_g * drive) / scale
                # what the new voltage takes from the predictor
                share = -0.5 * calcium_g * drive_v / scale
                by_v = keep - 0.5 * calcium_g * drive_v + share * (keep - calcium_g * first_v)
                by_ca = -calcium_g * (drive_ca + share * first_ca)
                drive += share * first
            if jacobian.shape[1]:
                both = 1.0 + share
                middle = 0.5 * (v + new) + share * 0.5 * (v + predictor)
                for j in range(n_currents):
                    push[j] = drive if currents[j, 1] < 0 else middle - both * theta[currents[j, 1]]
                by_c = (v - new) / h + u * (reading - 0.5 * (v + new))
                by_c += share * ((v - predictor) / h + u * (reading - 0.5 * (v + predictor)))
                _voltage_row(
                    theta, currents, columns, opened, push, scale, by_v, by_ca, both, s, calcium, sources, coefficients
                )
                _add(s, 0, columns[0], by_c / scale)
                _add(s, 0, columns[1], -both * current / (theta[1] * theta[1]) / scale)
            v = new
            if pool >= 0:
                ca = _step_calcium(theta, currents, columns, pool, 0.5 * h, v, ca, x, s)
        voltage[k + 1] = v
        jacobian[k + 1] = s[0]
        if math.isinf(gain[k + 1]):
            v = observed[k + 1]
            s[0, :] = 0
