"""Linearisation of an STG neuron under voltage clamp: what its frequency-dependent conductance truly is.

With the recorded compartment held at ``v``, all else settles at ``z`` with ``F(z, v) = 0``; a small voltage then draws
``Y(v, ω) = ∂_v I + ∂_z I (jω - ∂_z F)^{-1} ∂_v F`` (µS), and ``G = Re Y``. What other cells do to it through the
dynamic clamp's synapse is left out, as it is another cell's voltage that opens it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from .stg import CALCIUM_GAIN_UM_NA, CALCIUM_REST_UM, CHANNELS, KCA_HALF_UM, calcium_reversal
from .stg_circuit import Circuit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClampedNeuron:
    """One recorded compartment of a circuit, with the compartments that hang on it and its own clamp currents.

    The state is, compartment by compartment: its voltage (not of the recorded one), calcium, ``m`` and ``h`` of each
    channel; then ``r`` and ``m`` of the dynamic clamp.

    Args:
        circuit: The circuit.
        index: Which of its clamped compartments.
    """

    circuit: Circuit
    index: int

    @property
    def compartments(self) -> list[int]:
        """The recorded compartment, then its neighbours."""
        site = self.circuit.clamped[self.index].compartment
        joined = [(i, j) for i, j, _ in self.circuit.axial_us if site in (i, j)]
        return [site, *(j if i == site else i for i, j in joined)]

    def steady(self, voltage: float) -> Tensor:
        """State ``z`` at which everything rests while the recorded compartment is held at ``voltage`` (mV)."""
        site, *others = self.compartments
        held = {site: voltage}
        for other in others:
            # The axon's steady current can vanish at several voltages; the one nearest to the soma's is meant.
            grid = np.linspace(-90.0, 40.0, 1301)
            current = np.array([self._axon_current(other, v, voltage) for v in grid])
            roots = np.flatnonzero(np.sign(current[:-1]) != np.sign(current[1:]))
            near = roots[np.argmin(np.abs(grid[roots] - voltage))]
            held[other] = brentq(lambda v, o=other: self._axon_current(o, v, voltage), grid[near], grid[near + 1])
        parts: list[float] = []
        for i in self.compartments:
            parts += [] if i == site else [held[i]]
            calcium = self._steady_calcium(i, held[i])
            parts.append(calcium)
            for name in self.circuit.compartments[i].conductances_us:
                channel = CHANNELS[name]
                factor = calcium / (calcium + KCA_HALF_UM) if channel.needs_calcium else 1.0
                parts += [factor * channel.m.steady(held[i]), (channel.h or channel.m).steady(held[i])]
        clamp = self.circuit.clamped[self.index].clamp
        parts += [clamp.h.steady(voltage), clamp.mi.steady(voltage)]
        return torch.tensor([float(p) for p in parts], dtype=torch.float64)

    def flow(self, state: Tensor, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """Derivative of the state (per ms) and the current out of the recorded compartment (nA)."""
        site = self.compartments[0]
        at = 0
        change: list[Tensor] = []
        total = torch.zeros((), dtype=torch.float64)
        axial = {frozenset((i, j)): g for i, j, g in self.circuit.axial_us}
        for i in self.compartments:
            part = self.circuit.compartments[i]
            own = i == site
            v = voltage if own else state[at]
            slot, at = (None, at) if own else (len(change), at + 1)
            if slot is not None:
                change.append(v)  # its place; filled in below
            calcium, at = state[at], at + 1
            where = len(change)
            change.append(calcium)
            current, into = part.leak_us * (v - part.leak_mv), torch.zeros_like(total)
            for name, maximal in part.conductances_us.items():
                channel, (m, h) = CHANNELS[name], state[at : at + 2]
                at += 2
                factor = calcium / (calcium + KCA_HALF_UM) if channel.needs_calcium else 1.0
                inactivation = channel.h or channel.m
                change.append(self.circuit.speed * (factor * channel.m.steady(v) - m) / channel.m.tau(v))
                change.append(self.circuit.speed * (inactivation.steady(v) - h) / inactivation.tau(v))
                conductance = maximal * m**channel.p * (h if channel.h else 1.0)
                reversal = calcium_reversal(calcium) if channel.reversal_mv is None else channel.reversal_mv
                flowing = conductance * (v - reversal)
                into = into + flowing if channel.reversal_mv is None else into
                current = current + flowing
            target = CALCIUM_REST_UM - CALCIUM_GAIN_UM_NA * into
            change[where] = (target - calcium) / self.circuit.calcium_tau_ms
            if slot is None:
                total = total + current
            else:
                coupled = axial[frozenset((site, i))] * (v - voltage)
                change[slot] = -(current + coupled) / part.capacitance_nf
                total = total - coupled
        clamp, (r, m) = self.circuit.clamped[self.index].clamp, state[at : at + 2]
        change += [(clamp.h.steady(voltage) - r) / clamp.h.tau(voltage)]
        change += [(clamp.mi.steady(voltage) - m) / clamp.mi.tau(voltage)]
        total = total + clamp.g_h_us * r * (voltage - clamp.e_h_mv) + clamp.g_mi_us * m * (voltage - clamp.e_mi_mv)
        return torch.stack(change), total + clamp.g_leak_us * (voltage - clamp.e_leak_mv)

    def holding_current(self, voltages: Array) -> Array:
        """Current that flows out of the recorded compartment once all else rests, ``(voltage,)``, nA."""
        clamped = (torch.tensor(float(v), dtype=torch.float64) for v in voltages)
        return np.array([float(self.flow(self.steady(float(v)), v)[1]) for v in clamped])

    def admittance(self, voltages: Array, frequencies: Array) -> NDArray[np.complex128]:
        """``Y(v, ω)`` of the membrane, capacitance left out, ``(voltage, frequency)``, µS.

        Args:
            voltages: mV.
            frequencies: ``ω``, rad/ms.
        """
        found = np.empty((len(voltages), len(frequencies)), complex)
        for row, v in enumerate(voltages):
            at = torch.tensor(float(v), dtype=torch.float64)
            jacobian = torch.autograd.functional.jacobian(self.flow, (self.steady(float(v)), at))
            (f_z, f_v), (i_z, i_v) = ((a.numpy(), b.numpy()) for a, b in jacobian)
            shifted = 1j * np.asarray(frequencies)[:, None, None] * np.eye(len(f_z)) - f_z
            response = np.linalg.solve(shifted, np.broadcast_to(f_v[:, None], (*shifted.shape[:2], 1)))[..., 0]
            found[row] = i_v + response @ i_z
        return found

    def _steady_calcium(self, compartment: int, voltage: float) -> float:
        def excess(calcium: float) -> float:
            into = 0.0
            for name, maximal in self.circuit.compartments[compartment].conductances_us.items():
                channel = CHANNELS[name]
                if channel.reversal_mv is None:
                    open_ = channel.m.steady(voltage) ** channel.p * (channel.h.steady(voltage) if channel.h else 1.0)
                    into += maximal * open_ * (voltage - calcium_reversal(calcium))
            return float(CALCIUM_REST_UM - CALCIUM_GAIN_UM_NA * into - calcium)

        return float(brentq(excess, 1e-6, 1e5))

    def _axon_current(self, compartment: int, voltage: float, soma: float) -> float:
        part = self.circuit.compartments[compartment]
        calcium = self._steady_calcium(compartment, voltage)
        total = part.leak_us * (voltage - part.leak_mv)
        for name, maximal in part.conductances_us.items():
            channel = CHANNELS[name]
            factor = calcium / (calcium + KCA_HALF_UM) if channel.needs_calcium else 1.0
            open_ = (factor * channel.m.steady(voltage)) ** channel.p
            open_ *= channel.h.steady(voltage) if channel.h else 1.0
            reversal = calcium_reversal(calcium) if channel.reversal_mv is None else channel.reversal_mv
            total += maximal * open_ * (voltage - reversal)
        (axial,) = (g for i, j, g in self.circuit.axial_us if {i, j} == {compartment, self.compartments[0]})
        return float(total + axial * (voltage - soma))
