"""What is known of a simulated half-center oscillator, and what it would have done had something been changed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..biophysics.stg_circuit import integrate, start
from ..biophysics.stg_linear import ClampedNeuron
from ..contracts import Intervention, SynapseConstants
from .half_center import HalfCenterSimulator

Array = NDArray[np.float64]

#: Hyperpolarising current that keeps the second cell from firing, nA: what an experimenter would do to silence it.
SILENCING_NA = -1.0
#: Name to factor on the synaptic conductances and current added to the second cell, nA.
CHANGES = {
    "synapse_0": (0.0, 0.0),
    "synapse_half": (0.5, 0.0),
    "synapse_double": (2.0, 0.0),
    "silenced": (1.0, SILENCING_NA),
}


@dataclass(frozen=True)
class HalfCenterTruth:
    """Truth about trials of a simulator; see :class:`~..contracts.CircuitTruth`.

    Args:
        simulator: As the trials were made.
        seeds: Of the trials.
        offset: Samples that were cut from the start of each trial before its samples are counted.
    """

    simulator: HalfCenterSimulator
    seeds: tuple[np.random.SeedSequence, ...]
    offset: int

    def synapses(self) -> dict[tuple[int, int], SynapseConstants]:
        """Of both synapses, by ``(pre, post)``."""
        clamp = self.simulator.clamp
        conductance = clamp.g_syn_us * self.simulator.synapse_scale
        found = SynapseConstants(conductance, clamp.half_syn_mv, -clamp.slope_syn_mv, clamp.tau_syn_ms)
        return {(1, 0): found, (0, 1): found}

    def conductance(self, neuron: int, voltages: Array, frequencies: Array) -> Array:
        """``G(v, ω)`` of a soma with its axon and its h current, ``(voltage, frequency)``, µS."""
        return ClampedNeuron(self.simulator.circuit, neuron).admittance(voltages, frequencies).real

    def holding_current(self, neuron: int, voltages: Array) -> Array:
        """Injected current that holds a soma, its axon and its h current at rest without synapses, nA."""
        return ClampedNeuron(self.simulator.circuit, neuron).holding_current(voltages)

    def interventions(self, trial: int, first: int, steps: int) -> list[Intervention]:
        """The trial simulated up to sample ``first`` and on from there with each of :data:`CHANGES`, without noise."""
        simulator = self.simulator
        burn = round(simulator.burn_in_s * simulator.sampling_rate_hz)
        injected = simulator.injected(self.seeds[trial])[: burn + self.offset + first + steps]
        before, after = injected[:-steps], injected[-steps:]
        step_ms = 1e3 / simulator.sampling_rate_hz
        found, moment = [], start(simulator.circuit)
        integrate(simulator.circuit, before, step_ms, simulator.substeps, moment)
        for name, (scale, added) in CHANGES.items():
            changed = replace(simulator, synapse_scale=simulator.synapse_scale * scale)
            current = after + np.array([0.0, added])
            course = integrate(changed.circuit, current, step_ms, simulator.substeps, deepcopy(moment))
            found.append(Intervention(name, scale, current, course.voltage[:, :2]))
        return found
