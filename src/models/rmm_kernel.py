"""The time loop of a recurrent mechanistic model, compiled: forward, and its gradient derived by hand.

Shots run side by side as columns of small matrices. A group of :data:`LANES` of them stays in cache for all its time
steps; dense layers are BLAS calls on ``(unit, shot)``, filters run as cascades in O(n). The backward pass keeps the
state every :data:`STRIDE` steps and recomputes what lies between. One step, for neuron ``n``::

    ṽ = γ v̄ + (1 - γ) v,   v_n⁺ = ṽ_n + dt c_n (I_n - g_n ṽ_n - b_n - Σ currents),   x⁺ = A x + B (ṽ_driver - reference)

Layout: ``theta`` holds, one after the other: c, g, b of every neuron; the leaks and the input gains of every bank, of a
sigmoid bank also its thresholds and inverse slopes (these get no gradient); weights (row-major) and bias of every
layer. States are rows ``(state, shot)``; before the rows of each current's filters stands one row for the voltage of
its target, so that the inputs of its network are contiguous. In the tables:

- ``blocks``, a row a current: kind of bank, driver, target, filters, first row, first input row, offset of the leaks,
  offset of the gains, first layer, layers, whether the output multiplies a driving force.
- ``layers``, a row a layer: inputs, outputs, activation, offset of weights, offset of bias (-1: none), first row of
  its outputs.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numba
import numpy as np

from ..biophysics.fast_math import COMPILE, INLINED, tanh

#: Shots a group, and steps between kept states.
LANES, STRIDE = 64, 32
IDENTITY, TANH, SIGMOID = 0, 1, 2
ORTHONORMAL, DIAGONAL, SIGMOIDS = 0, 1, 2


@numba.njit(**INLINED)
def _activate(rows, kind):
    half = rows.dtype.type(0.5)
    flat = rows.reshape(-1)
    if kind == TANH:
        for i in range(flat.size):
            flat[i] = tanh(flat[i])
    elif kind == SIGMOID:
        for i in range(flat.size):
            flat[i] = half + half * tanh(half * flat[i])


@numba.njit(**INLINED)
def _dense(theta, layer, inputs, outputs):
    """``outputs = activation(W @ inputs + bias)``."""
    n_in, n_out = layer[0], layer[1]
    np.dot(theta[layer[3] : layer[3] + n_in * n_out].reshape((n_out, n_in)), inputs, outputs)
    if layer[4] >= 0:
        for o in range(n_out):
            bias, row = theta[layer[4] + o], outputs[o]
            for i in range(row.size):
                row[i] += bias
    _activate(outputs, layer[2])


@numba.njit(**INLINED)
def _step(theta, blocks, reversals, layers, v, x, outputs, total):
    """Currents at the forced voltages ``v``: fills ``total``, all layers' ``outputs`` and the voltage rows of ``x``."""
    total[:] = 0
    for k in range(blocks.shape[0]):
        target, row, n = blocks[k, 2], blocks[k, 4], blocks[k, 3]
        x[row] = v[target]
        inputs = x[blocks[k, 5] : row + 1 + n]
        for j in range(blocks[k, 8], blocks[k, 8] + blocks[k, 9]):
            first = layers[j, 5]
            _dense(theta, layers[j], inputs, outputs[first : first + layers[j, 1]])
            inputs = outputs[first : first + layers[j, 1]]
        current, sum_, voltage, reversal = inputs[0], total[target], v[target], reversals[k]
        if blocks[k, 10]:
            for i in range(sum_.size):
                sum_[i] += current[i] * (voltage[i] - reversal)
        else:
            for i in range(sum_.size):
                sum_[i] += current[i]


@numba.njit(**INLINED)
def _advance(theta, blocks, reference, dt, v, x, total, injected, out, u):
    """Voltages after a step into ``out``; filter states in place."""
    n_nodes = v.shape[0]
    for n in range(n_nodes):
        c, g, b = dt * theta[n], theta[n_nodes + n], theta[2 * n_nodes + n]
        for i in range(v.shape[1]):
            out[n, i] = v[n, i] + c * (injected[n, i] - g * v[n, i] - b - total[n, i])
    for k in range(blocks.shape[0]):
        driver, row = v[blocks[k, 1]], blocks[k, 4] + 1
        shift = reference[blocks[k, 1]]
        for i in range(u.size):
            u[i] = driver[i] - shift
        for f in range(blocks[k, 3]):
            q, b, state = theta[blocks[k, 6] + f], theta[blocks[k, 7] + f], x[row + f]
            if blocks[k, 0] == ORTHONORMAL:
                for i in range(u.size):
                    old, into = state[i], u[i]
                    state[i] = old - q * old + b * into
                    u[i] = b * old - into + q * into
            elif blocks[k, 0] == DIAGONAL:
                for i in range(u.size):
                    state[i] += b * u[i] - q * state[i]
            else:
                _open(theta, blocks, k, f, driver, shift, u)
                for i in range(u.size):
                    state[i] += b * u[i] - q * state[i]


@numba.njit(**INLINED)
def _open(theta, blocks, k, f, driver, shift, u):
    """Sigmoid ``f`` of block ``k`` into ``u``, unless the filter before has the same one."""
    at = blocks[k, 7] + blocks[k, 3] + f
    threshold, steepness = theta[at], theta[at + blocks[k, 3]]
    if f > 0 and threshold == theta[at - 1] and steepness == theta[at + blocks[k, 3] - 1]:
        return
    half = u.dtype.type(0.5)
    for i in range(u.size):
        u[i] = half + half * tanh(half * (driver[i] - shift - threshold) * steepness)


@numba.njit(**COMPILE)
def forward(theta, blocks, reversals, layers, n_rows, reference, dt, gamma, v0, x0, injected, teacher, keep):
    """Run all shots.

    Args:
        theta: Parameters.
        blocks: Table of currents.
        reversals: One a current, mV.
        layers: Table of layers.
        n_rows: Rows of all layers' outputs.
        reference: One a neuron, mV.
        dt: ms.
        gamma: Forcing, from 0 (free) to 1 (teacher forcing).
        v0: ``(neuron, shot)``.
        x0: ``(row, shot)``.
        injected: ``(time, neuron, shot)``.
        teacher: Recorded voltages, likewise; read where ``gamma > 0``.
        keep: Whether states are kept for :func:`backward`.

    Returns:
        Voltages after each step ``(time, neuron, shot)``, states after the last ``(row, shot)``, and the kept voltages
        and states, ``(keep, neuron or row, shot)``.
    """
    n_times, n_nodes, n_shots = injected.shape
    out, last = np.empty_like(injected), np.empty_like(x0)
    n_kept = (n_times + STRIDE - 1) // STRIDE if keep else 0
    kept_v, kept_x = np.empty((n_kept, n_nodes, n_shots), v0.dtype), np.empty((n_kept, x0.shape[0], n_shots), v0.dtype)
    free = v0.dtype.type(1) - gamma
    for start in range(0, n_shots, LANES):
        lanes = slice(start, min(start + LANES, n_shots))
        v, x = v0[:, lanes].copy(), x0[:, lanes].copy()
        forced, total, u = np.empty_like(v), np.empty_like(v), np.empty_like(v[0])
        outputs = np.empty((n_rows, v.shape[1]), v.dtype)
        for t in range(n_times):
            if keep and t % STRIDE == 0:
                kept_v[t // STRIDE, :, lanes], kept_x[t // STRIDE, :, lanes] = v, x
            _force(v, teacher, t, start, gamma, free, forced)
            _step(theta, blocks, reversals, layers, forced, x, outputs, total)
            _advance(theta, blocks, reference, dt, forced, x, total, injected[t, :, lanes], v, u)
            out[t, :, lanes] = v
        last[:, lanes] = x
    return out, last, kept_v, kept_x


@numba.njit(**INLINED)
def _force(v, teacher, t, start, gamma, free, forced):
    if gamma == 0:
        forced[:] = v
        return
    for n in range(v.shape[0]):
        for i in range(v.shape[1]):
            forced[n, i] = gamma * teacher[t, n, start + i] + free * v[n, i]


@numba.njit(**COMPILE)
def backward(
    theta,
    blocks,
    reversals,
    layers,
    n_rows,
    reference,
    dt,
    gamma,
    injected,
    teacher,
    kept_v,
    kept_x,
    grad_out,
    grad_last,
    states_too,
    poles_too,
):
    """Gradient of a scalar from its gradient with respect to what :func:`forward` returns.

    Args:
        theta: As in :func:`forward`, like all that is not described here.
        blocks: Currents.
        reversals: mV.
        layers: Layers.
        n_rows: Rows.
        reference: mV.
        dt: ms.
        gamma: Forcing.
        injected: ``(time, neuron, shot)``.
        teacher: ``(time, neuron, shot)``.
        kept_v: From :func:`forward`.
        kept_x: From :func:`forward`.
        grad_out: ``(time, neuron, shot)``.
        grad_last: ``(row, shot)``.
        states_too: Whether gradients flow through voltages and states; teacher forcing with fixed filters needs none.
        poles_too: Whether the gradients of leaks and gains are wanted.

    Returns:
        Gradients with respect to ``theta``, ``v0`` and ``x0``.
    """
    n_times, n_nodes, n_shots = injected.shape
    n_states = kept_x.shape[1]
    zero = theta.dtype.type(0)
    free = kept_v.dtype.type(1) - gamma
    grad_theta = np.zeros_like(theta)
    grad_v0, grad_x0 = np.zeros((n_nodes, n_shots), theta.dtype), np.zeros((n_states, n_shots), theta.dtype)
    scratch = np.empty_like(theta)
    chunk = min(STRIDE, n_times)
    for start in range(0, n_shots, LANES):
        lanes = slice(start, min(start + LANES, n_shots))
        width = min(LANES, n_shots - start)
        forced, total = np.empty((chunk, n_nodes, width), theta.dtype), np.empty((chunk, n_nodes, width), theta.dtype)
        states, outputs = (
            np.empty((chunk, n_states, width), theta.dtype),
            np.empty((chunk, n_rows, width), theta.dtype),
        )
        deltas, u = np.empty((n_rows, width), theta.dtype), np.empty(width, theta.dtype)
        grad_in = np.empty((n_states, width), theta.dtype)
        grad_v, grad_x = np.zeros((n_nodes, width), theta.dtype), grad_last[:, lanes].copy()
        down, mu = np.empty_like(grad_v), np.empty_like(u)
        for part in range(kept_v.shape[0] - 1, -1, -1):
            begin = part * STRIDE
            length = min(STRIDE, n_times - begin)
            v, x = kept_v[part, :, lanes].copy(), kept_x[part, :, lanes].copy()
            for j in range(length):
                _force(v, teacher, begin + j, start, gamma, free, forced[j])
                _step(theta, blocks, reversals, layers, forced[j], x, outputs[j], total[j])
                states[j] = x
                if j + 1 < length:
                    _advance(theta, blocks, reference, dt, forced[j], x, total[j], injected[begin + j, :, lanes], v, u)
            for j in range(length - 1, -1, -1):
                t = begin + j
                for n in range(n_nodes):
                    c, g, b = theta[n], theta[n_nodes + n], theta[2 * n_nodes + n]
                    to_c, to_g, to_b = zero, zero, zero
                    for i in range(width):
                        lam = grad_v[n, i] + grad_out[t, n, start + i]
                        to_c += lam * (injected[t, n, start + i] - g * forced[j, n, i] - b - total[j, n, i])
                        to_g += lam * forced[j, n, i]
                        to_b += lam
                        grad_v[n, i] = lam - dt * c * g * lam
                        down[n, i] = -dt * c * lam
                    grad_theta[n] += dt * to_c
                    grad_theta[n_nodes + n] -= dt * c * to_g
                    grad_theta[2 * n_nodes + n] -= dt * c * to_b
                if states_too:
                    _filters_back(
                        *(theta, blocks, reference, forced[j], states[j], grad_x, grad_v, grad_theta, u, mu, poles_too)
                    )
                for k in range(blocks.shape[0]):
                    _network_back(
                        *(theta, blocks[k], reversals[k], layers, forced[j], states[j], outputs[j], down, deltas),
                        *(grad_in, grad_x, grad_v, grad_theta, scratch, states_too),
                    )
                for n in range(n_nodes):
                    for i in range(width):
                        grad_v[n, i] *= free
        grad_v0[:, lanes], grad_x0[:, lanes] = grad_v, grad_x
    return grad_theta, grad_v0, grad_x0


@numba.njit(**INLINED)
def _filters_back(theta, blocks, reference, v, x, grad_x, grad_v, grad_theta, u, mu, poles):
    """From the gradient of the states after a step to that before it, in place; adds to voltages, leaks and gains."""
    width, zero, one, half = u.size, theta.dtype.type(0), theta.dtype.type(1), theta.dtype.type(0.5)
    for k in range(blocks.shape[0]):
        row, n, diagonal = blocks[k, 4] + 1, blocks[k, 3], blocks[k, 0] != ORTHONORMAL
        driver, into, shift = v[blocks[k, 1]], grad_v[blocks[k, 1]], reference[blocks[k, 1]]
        for i in range(width):
            u[i] = driver[i] - shift
            mu[i] = zero
        if poles and not diagonal:  # the signal that leaves the last section; below it is undone section by section
            for f in range(n):
                q, b, state = theta[blocks[k, 6] + f], theta[blocks[k, 7] + f], x[row + f]
                for i in range(width):
                    u[i] = b * state[i] - u[i] + q * u[i]
        for f in range(n - 1, -1, -1):
            q, b, lam, state = theta[blocks[k, 6] + f], theta[blocks[k, 7] + f], grad_x[row + f], x[row + f]
            if poles:
                inverse, to_q, to_b = one / (one - q), zero, zero
                for i in range(width):
                    if not diagonal:
                        u[i] = (b * state[i] - u[i]) * inverse
                    to_q += mu[i] * u[i] - lam[i] * state[i]
                    to_b += lam[i] * u[i] + mu[i] * state[i]
                grad_theta[blocks[k, 6] + f] += to_q
                grad_theta[blocks[k, 7] + f] += to_b
            if blocks[k, 0] == SIGMOIDS:
                at = blocks[k, 7] + n + f
                threshold, steepness = theta[at], theta[at + n]
                if f == n - 1 or threshold != theta[at + 1] or steepness != theta[at + n + 1]:
                    for i in range(width):
                        u[i] = half + half * tanh(half * (driver[i] - shift - threshold) * steepness)
                for i in range(width):
                    into[i] += b * lam[i] * u[i] * (one - u[i]) * steepness
                    lam[i] -= q * lam[i]
            elif diagonal:
                for i in range(width):
                    into[i] += b * lam[i]
                    lam[i] -= q * lam[i]
            else:
                for i in range(width):
                    old = lam[i]
                    lam[i] = old - q * old + b * mu[i]
                    mu[i] = b * old - mu[i] + q * mu[i]
        for i in range(width):
            into[i] += mu[i]


@numba.njit(**INLINED)
def _network_back(
    theta, block, reversal, layers, v, x, outputs, down, deltas, grad_in, grad_x, grad_v, grad_theta, scratch, states
):
    """Adds the gradient of one current to its weights and, where ``states``, to the states and voltage it reads."""
    target, row, first_input = block[2], block[4], block[5]
    zero, one = theta.dtype.type(0), theta.dtype.type(1)
    last = block[8] + block[9] - 1
    current, delta, received = outputs[layers[last, 5]], deltas[layers[last, 5]], down[target]
    voltage, to_voltage = v[target], grad_v[target]
    for i in range(delta.size):
        delta[i] = received[i]
    if block[10]:
        for i in range(delta.size):
            delta[i] *= voltage[i] - reversal
            to_voltage[i] += received[i] * current[i]
    for j in range(last, block[8] - 1, -1):
        n_in, n_out, kind, first = layers[j, 0], layers[j, 1], layers[j, 2], layers[j, 5]
        change, value = deltas[first : first + n_out], outputs[first : first + n_out]
        flat, flat_value = change.reshape(-1), value.reshape(-1)
        if kind == TANH:
            for i in range(flat.size):
                flat[i] *= one - flat_value[i] * flat_value[i]
        elif kind == SIGMOID:
            for i in range(flat.size):
                flat[i] *= flat_value[i] * (one - flat_value[i])
        here = slice(layers[j, 3], layers[j, 3] + n_in * n_out)
        weight = theta[here].reshape((n_out, n_in))
        if j > block[8]:
            before = layers[j - 1, 5]
            inputs = outputs[before : before + n_in]
        else:
            inputs = x[first_input : first_input + n_in]
        np.dot(change, inputs.T, scratch[here].reshape((n_out, n_in)))
        to_weight, more = grad_theta[here], scratch[here]
        for i in range(more.size):
            to_weight[i] += more[i]
        if layers[j, 4] >= 0:
            for o in range(n_out):
                sum_, part = zero, change[o]
                for i in range(part.size):
                    sum_ += part[i]
                grad_theta[layers[j, 4] + o] += sum_
        if j > block[8]:
            before = layers[j - 1, 5]
            np.dot(weight.T, change, deltas[before : before + n_in])
        elif states:
            np.dot(weight.T, change, grad_in[:n_in])
            skip = row + 1 - first_input
            if skip:
                for i in range(to_voltage.size):
                    to_voltage[i] += grad_in[0, i]
            flat_x, flat_in = grad_x[row + 1 : row + 1 + n_in - skip].reshape(-1), grad_in[skip:n_in].reshape(-1)
            for i in range(flat_x.size):
                flat_x[i] += flat_in[i]
