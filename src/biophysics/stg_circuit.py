"""Circuits of multi-compartment STG neurons joined by a dynamic clamp, and their integration.

Gates, calcium and synapses are advanced exactly at the held voltage, voltages by exponential Euler (as xolotl does).
:func:`integrate` runs compiled, :func:`integrate_plain` says the same in readable Python and holds it to account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .dynamic_clamp import DynamicClamp
from .gates import Gate, steady_and_tau
from .stg import (
    CALCIUM_GAIN_UM_NA,
    CALCIUM_OUTSIDE_UM,
    CALCIUM_REST_UM,
    CALCIUM_TAU_PRINZ_MS,
    CHANNELS,
    KCA_HALF_UM,
    NERNST_MV,
    calcium_reversal,
    calcium_step,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compartment:
    """An isopotential piece of membrane.

    Attributes:
        capacitance_nf: nF.
        conductances_us: Name in :data:`~.stg.CHANNELS` to maximal conductance, µS.
        leak_us: µS.
        leak_mv: Reversal of the leak, mV.
    """

    capacitance_nf: float
    conductances_us: Mapping[str, float]
    leak_us: float
    leak_mv: float = -50.0


class Clamped(NamedTuple):
    """A compartment held by an electrode: it is recorded, gets injected current, and its partner's synapse.

    Attributes:
        compartment: Index of the compartment.
        partner: Index of the presynaptic compartment.
        clamp: The artificial currents.
    """

    compartment: int
    partner: int
    clamp: DynamicClamp


@dataclass(frozen=True)
class Circuit:
    """Compartments, the resistors between them, and the dynamic clamp.

    Attributes:
        compartments: All compartments of all cells.
        axial_us: ``(i, j, conductance in µS)`` of each resistor.
        clamped: The recorded compartments.
        speed: Divides the time constants of all channels: 1 for Liu 1998, 0.5 for Prinz 2003.
        calcium_tau_ms: ms.
    """

    compartments: tuple[Compartment, ...]
    axial_us: tuple[tuple[int, int, float], ...] = ()
    clamped: tuple[Clamped, ...] = ()
    speed: float = 1.0
    calcium_tau_ms: float = CALCIUM_TAU_PRINZ_MS


@dataclass
class Course:
    """What happened, each sampled at the start of an input step.

    Attributes:
        voltage: Of every compartment, ``(time, compartment)``, mV.
        calcium: ``(time, compartment)``, µM.
        synaptic: ``I_syn`` of every clamped compartment, ``(time, clamped)``, nA, outward positive.
        h: ``I_H``, likewise.
        gate: Open fraction ``s`` of the synapse, ``(time, clamped)``.
    """

    voltage: Array
    calcium: Array
    synaptic: Array
    h: Array
    gate: Array


@dataclass
class State:
    """What a circuit is in, changed in place by :func:`integrate`."""

    voltage: Array
    calcium: Array
    gates: Array = field(repr=False)  # (channel, m and h)
    clamp: Array = field(repr=False)  # (clamped, s r m)


def integrate(
    circuit: Circuit, injected_na: Array, step_ms: float = 0.1, substeps: int = 4, state: State | None = None
) -> Course:
    """Integrate from rest at -50 mV, or go on from a state.

    Args:
        circuit: What to integrate.
        injected_na: Current into each clamped compartment, ``(time, clamped)``, nA, held during a step.
        step_ms: Input and output step.
        substeps: Integration steps in it; 0.025 ms resolves the sodium spike, 0.1 ms does not.
        state: From :func:`start`; holds the last state afterwards.

    Returns:
        The course of the circuit, one row a row of ``injected_na``.
    """
    state, rows = state or start(circuit), _channel_rows(circuit)
    table = [(i, name, g) for i, part in enumerate(circuit.compartments) for name, g in part.conductances_us.items()]
    channels = np.array([[CHANNELS[n].m.packed(), _h(n).packed()] for _, n, _ in table]).reshape(-1, 2, 10)
    membranes = np.array([[c.capacitance_nf, c.leak_us, c.leak_mv] for c in circuit.compartments])
    axial = np.array(circuit.axial_us, float).reshape(-1, 3)
    sites = np.array([[c.compartment, c.partner] for c in circuit.clamped], np.int64).reshape(-1, 2)
    gates = np.array([[g.packed() for g in (c.clamp.synapse, c.clamp.h, c.clamp.mi)] for c in circuit.clamped])
    clamps = np.array([_clamp_row(c.clamp) for c in circuit.clamped]).reshape(-1, 4, 2)
    course = _empty(circuit, len(injected_na))
    settings = np.array([step_ms / substeps, circuit.speed, circuit.calcium_tau_ms])
    _integrate(
        *(np.ascontiguousarray(injected_na, dtype=np.float64), substeps, settings, membranes, rows, channels, axial),
        *(sites, gates.reshape(-1, 3, 10), clamps, state.voltage, state.calcium, state.gates, state.clamp),
        *(course.voltage, course.calcium, course.synaptic, course.h, course.gate),
    )
    return course


def integrate_plain(circuit: Circuit, injected_na: Array, step_ms: float = 0.1, substeps: int = 4) -> Course:
    """The same as :func:`integrate` from the definitions of the gates, about a thousand times slower."""
    state, course, dt_ms = start(circuit), _empty(circuit, len(injected_na)), step_ms / substeps
    for t, injected in enumerate(injected_na):
        course.voltage[t], course.calcium[t] = state.voltage, state.calcium
        for k, (site, _, clamp) in enumerate(circuit.clamped):
            course.synaptic[t, k] = clamp.g_syn_us * state.clamp[k, 0] * (state.voltage[site] - clamp.e_syn_mv)
            course.h[t, k] = clamp.g_h_us * state.clamp[k, 1] * (state.voltage[site] - clamp.e_h_mv)
            course.gate[t, k] = state.clamp[k, 0]
        for _ in range(substeps):
            _step_plain(circuit, state, injected, dt_ms)
    return course


def _step_plain(circuit: Circuit, state: State, injected: Array, dt_ms: float) -> None:
    v, old = state.voltage, state.voltage.copy()
    total, drive = np.zeros_like(v), np.zeros_like(v)  # Σ g and Σ g E + I
    calcium_current, row = np.zeros_like(v), 0
    for i, part in enumerate(circuit.compartments):
        total[i], drive[i] = part.leak_us, part.leak_us * part.leak_mv
        for name, maximal in part.conductances_us.items():
            channel, gates = CHANNELS[name], state.gates[row]
            factor = state.calcium[i] / (state.calcium[i] + KCA_HALF_UM) if channel.needs_calcium else 1.0
            gates[0] = channel.m.step(gates[0], old[i], dt_ms, circuit.speed, factor)
            conductance = maximal * gates[0] ** channel.p
            if channel.h is not None:
                gates[1] = channel.h.step(gates[1], old[i], dt_ms, circuit.speed)
                conductance *= gates[1]
            reversal = channel.reversal_mv
            if reversal is None:
                reversal = calcium_reversal(state.calcium[i])
                calcium_current[i] += conductance * (old[i] - reversal)
            total[i] += conductance
            drive[i] += conductance * reversal
            row += 1
        state.calcium[i] = calcium_step(state.calcium[i], calcium_current[i], dt_ms, circuit.calcium_tau_ms)
    for i, j, conductance in circuit.axial_us:
        total[[i, j]] += conductance
        drive[i] += conductance * old[j]
        drive[j] += conductance * old[i]
    for k, (site, partner, clamp) in enumerate(circuit.clamped):
        gates = state.clamp[k]
        gates[0] = clamp.synapse.step(gates[0], old[partner], dt_ms)
        gates[1] = clamp.h.step(gates[1], old[site], dt_ms)
        gates[2] = clamp.mi.step(gates[2], old[site], dt_ms)
        for gate, (conductance, reversal) in zip((*gates, 1.0), _clamp_row(clamp), strict=True):
            total[site] += conductance * gate
            drive[site] += conductance * gate * reversal
        drive[site] += injected[k]
    settled = drive / total
    capacitance = np.array([part.capacitance_nf for part in circuit.compartments])
    state.voltage[:] = settled + (old - settled) * np.exp(-dt_ms * total / capacitance)


@numba.njit(cache=True)
def _integrate(
    injected: Array,
    substeps: int,
    settings: Array,
    membranes: Array,
    rows: Array,
    channels: Array,
    axial: Array,
    sites: NDArray[np.int64],
    clamp_gates: Array,
    clamps: Array,
    voltage: Array,
    calcium: Array,
    gates: Array,
    clamp: Array,
    out_voltage: Array,
    out_calcium: Array,
    out_synaptic: Array,
    out_h: Array,
    out_gate: Array,
) -> None:
    """Compiled :func:`integrate_plain`.

    Args:
        injected: ``(time, clamped)``, nA.
        substeps: Integration steps a row of ``injected``.
        settings: dt (ms), speed, calcium time constant (ms).
        membranes: Capacitance, leak, leak reversal, ``(compartment, 3)``.
        rows: Compartment, conductance, p, whether it has h, reversal (NaN: calcium), needs calcium, ``(channel, 6)``.
        channels: Packed m and h gates, ``(channel, 2, 10)``.
        axial: ``(resistor, 3)``.
        sites: Compartment and partner, ``(clamped, 2)``.
        clamp_gates: Packed s, r, m gates, ``(clamped, 3, 10)``.
        clamps: Conductance and reversal of syn, H, MI, leak, ``(clamped, 4, 2)``.
        voltage: State, ``(compartment,)``, mV; changed in place, as the next three.
        calcium: ``(compartment,)``, µM.
        gates: m and h, ``(channel, 2)``.
        clamp: s, r and m, ``(clamped, 3)``.
        out_voltage: Filled in place with a :class:`Course`, as the next four.
        out_calcium: ``(time, compartment)``.
        out_synaptic: ``(time, clamped)``.
        out_h: ``(time, clamped)``.
        out_gate: ``(time, clamped)``.
    """
    dt_ms, speed, tau_ca = settings
    n, n_clamped = voltage.shape[0], sites.shape[0]
    total, drive, calcium_current, e_ca, old = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    keep_ca = math.exp(-dt_ms / tau_ca)
    for t in range(injected.shape[0]):
        for i in range(n):
            out_voltage[t, i], out_calcium[t, i] = voltage[i], calcium[i]
        for k in range(n_clamped):
            v = voltage[sites[k, 0]]
            out_synaptic[t, k] = clamps[k, 0, 0] * clamp[k, 0] * (v - clamps[k, 0, 1])
            out_h[t, k] = clamps[k, 1, 0] * clamp[k, 1] * (v - clamps[k, 1, 1])
            out_gate[t, k] = clamp[k, 0]
        for _ in range(substeps):
            for i in range(n):
                old[i] = voltage[i]
                total[i], drive[i] = membranes[i, 1], membranes[i, 1] * membranes[i, 2]
                calcium_current[i] = 0.0
                e_ca[i] = NERNST_MV * math.log(CALCIUM_OUTSIDE_UM / calcium[i])
            for c in range(rows.shape[0]):
                i = int(rows[c, 0])
                steady, tau = steady_and_tau(channels[c, 0], old[i])
                if rows[c, 5] > 0.0:
                    steady *= calcium[i] / (calcium[i] + KCA_HALF_UM)
                gates[c, 0] = steady + (gates[c, 0] - steady) * math.exp(-dt_ms * speed / tau)
                conductance = rows[c, 1] * gates[c, 0] ** int(rows[c, 2])
                if rows[c, 3] > 0.0:
                    steady, tau = steady_and_tau(channels[c, 1], old[i])
                    gates[c, 1] = steady + (gates[c, 1] - steady) * math.exp(-dt_ms * speed / tau)
                    conductance *= gates[c, 1]
                reversal = rows[c, 4]
                if math.isnan(reversal):
                    reversal = e_ca[i]
                    calcium_current[i] += conductance * (old[i] - reversal)
                total[i] += conductance
                drive[i] += conductance * reversal
            for i in range(n):
                target = CALCIUM_REST_UM - CALCIUM_GAIN_UM_NA * calcium_current[i]
                calcium[i] = target + (calcium[i] - target) * keep_ca
            for c in range(axial.shape[0]):
                i, j, conductance = int(axial[c, 0]), int(axial[c, 1]), axial[c, 2]
                total[i] += conductance
                total[j] += conductance
                drive[i] += conductance * old[j]
                drive[j] += conductance * old[i]
            for k in range(n_clamped):
                i = sites[k, 0]
                for g in range(3):
                    v = old[sites[k, 1]] if g == 0 else old[i]
                    steady, tau = steady_and_tau(clamp_gates[k, g], v)
                    clamp[k, g] = steady + (clamp[k, g] - steady) * math.exp(-dt_ms / tau)
                    total[i] += clamps[k, g, 0] * clamp[k, g]
                    drive[i] += clamps[k, g, 0] * clamp[k, g] * clamps[k, g, 1]
                total[i] += clamps[k, 3, 0]
                drive[i] += clamps[k, 3, 0] * clamps[k, 3, 1] + injected[t, k]
            for i in range(n):
                settled = drive[i] / total[i]
                voltage[i] = settled + (old[i] - settled) * math.exp(-dt_ms * total[i] / membranes[i, 0])


def start(circuit: Circuit) -> State:
    """The state of a circuit at -50 mV, without calcium in it."""
    names = [name for part in circuit.compartments for name in part.conductances_us]
    # Potassium channels that need calcium are closed at rest.
    gates = [[(not CHANNELS[n].needs_calcium) * CHANNELS[n].m.steady(-50.0), _h(n).steady(-50.0)] for n in names]
    n = len(circuit.compartments)
    return State(
        np.full(n, -50.0),
        np.full(n, CALCIUM_REST_UM),
        np.array(gates, float).reshape(-1, 2),
        np.tile([0.0, 0.0, 0.0], (len(circuit.clamped), 1)),
    )


def _channel_rows(circuit: Circuit) -> Array:
    rows = []
    for i, part in enumerate(circuit.compartments):
        for name, maximal in part.conductances_us.items():
            c = CHANNELS[name]
            reversal = math.nan if c.reversal_mv is None else c.reversal_mv
            rows.append([i, maximal, c.p, c.h is not None, reversal, c.needs_calcium])
    return np.array(rows, float).reshape(-1, 6)


def _h(name: str) -> Gate:
    """Inactivation of a channel; one that has none gets its activation, which is then not read."""
    channel = CHANNELS[name]
    return channel.h or channel.m


def _clamp_row(clamp: DynamicClamp) -> list[tuple[float, float]]:
    return [
        (clamp.g_syn_us, clamp.e_syn_mv),
        (clamp.g_h_us, clamp.e_h_mv),
        (clamp.g_mi_us, clamp.e_mi_mv),
        (clamp.g_leak_us, clamp.e_leak_mv),
    ]


def _empty(circuit: Circuit, n_times: int) -> Course:
    n, k = len(circuit.compartments), len(circuit.clamped)
    return Course(*(np.empty((n_times, m)) for m in (n, n, k, k, k)))
