"""Recordings of neural circuits, stretches of them, and the models that training methods can drive."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass
class CircuitRecording:
    """Simultaneous recordings of the neurons of a circuit.

    Attributes:
        name: Unique name of the trial within its data set.
        sampling_rate_hz: Samples per second.
        voltage: Membrane potentials, ``(time, node)``, mV.
        current: Injected currents, ``(time, node)``, nA; zeros where none was injected.
        synaptic: True synaptic currents, ``(time, node)``, nA, outward positive; ``None`` where unknown.
        hidden: Whatever else a simulator knows, ``(time, node)`` each.
    """

    name: str
    sampling_rate_hz: float
    voltage: np.ndarray
    current: np.ndarray
    synaptic: np.ndarray | None = None
    hidden: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_nodes(self) -> int:
        """Number of recorded neurons."""
        return self.voltage.shape[1]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.voltage) / self.sampling_rate_hz


class CircuitBatch(NamedTuple):
    """Stretches of recordings of a circuit: short shots in training, long segments in evaluation.

    Attributes:
        voltage: At the start of each step and after the last, ``(batch, steps + 1, node)``, mV, float32.
        current: Injected during each step, ``(batch, steps, node)``, nA, float32.
        synaptic: True synaptic current at the start of each step, ``(batch, steps, node)``, nA; NaN where unknown.
        window: Row in the datamodule's table of stretches, ``(batch,)``, int64; the same in every fold.
    """

    voltage: Tensor
    current: Tensor
    synaptic: Tensor
    window: Tensor


@runtime_checkable
class DynamicsModel(Protocol):
    """A recurrent model of a circuit whose voltages are explicit and whose other states are hidden.

    What teacher forcing, multiple shooting and generalised teacher forcing need, whatever is inside: filters, a latent
    recurrent network, a conductance-based model.
    """

    dt_ms: float
    n_nodes: int

    @property
    def hidden_scale(self) -> Tensor:
        """Natural size of each hidden state, ``(hidden,)``: differences are divided by it where states are compared."""
        ...

    @property
    def hidden_sizes(self) -> list[int]:
        """Sizes of the groups of hidden states, one after the other."""
        ...

    @property
    def trains_hidden(self) -> bool:
        """Whether hidden states change with training, so that recordings must drive them anew."""
        ...

    def refer(self, voltage_mv: Tensor) -> None:
        """Learn the mean training voltages, ``(node,)``, mV; called once, before the first :meth:`warm_up`."""
        ...

    def warm_up(self, voltage: np.ndarray, at: np.ndarray) -> Tensor:
        """Hidden states that a recording ``(time, node)`` drives the model to, at samples ``at``: ``(at, hidden)``."""
        ...

    def fit_inputs(self, voltage: Tensor, hidden: Tensor) -> None:
        """Learn the range of inputs from training samples, ``(sample, node)`` and ``(sample, hidden)``; called once."""
        ...

    def rollout(
        self, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None = None, forcing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Run from a state, each step first pulled by ``forcing`` towards the teacher's voltage.

        Args:
            voltage: ``(batch, node)``, mV.
            hidden: ``(batch, hidden)``.
            injected: ``(batch, time, node)``, nA.
            teacher: Recorded voltage at the start of each step, ``(batch, time, node)``, mV.
            forcing: From 0 (free run) to 1 (teacher forcing).

        Returns:
            Voltages after each step, ``(batch, time, node)``, and the last hidden states, ``(batch, hidden)``.
        """
        ...

    def current(self, voltage: Tensor, hidden: Tensor) -> Mapping[str, Tensor]:
        """Currents out of each neuron, ``(batch, node)``, nA; ``synaptic`` among them where the model has synapses."""
        ...

    def penalty(self) -> Tensor:
        """Sum of squares that weight decay acts on."""
        ...


class SynapseConstants(NamedTuple):
    """Of a synapse ``I = g s (V_post - E)`` with ``tau s' = 1 / (1 + exp(-(V_pre - half) / slope)) - s``.

    Attributes:
        conductance_us: ``g``.
        half_mv: Presynaptic voltage at which ``s`` settles at one half.
        slope_mv: Positive: depolarisation opens.
        tau_ms: Time constant.
    """

    conductance_us: float
    half_mv: float
    slope_mv: float
    tau_ms: float


class Bifurcation(NamedTuple):
    """Where an isolated neuron's rest changes its stability.

    Attributes:
        kind: ``saddle-node`` (a real eigenvalue crosses 1) or ``Hopf`` (a pair crosses the unit circle).
        voltage_mv: Of the rest.
        frequency_hz: Of the oscillation that is born; 0 for a saddle-node.
        current_na: Injected current that holds the rest.
    """

    kind: str
    voltage_mv: float
    frequency_hz: float
    current_na: float


class Intervention(NamedTuple):
    """What a circuit does when something is changed at a moment of a recording.

    Attributes:
        name: What is changed.
        synapse_scale: Factor on all synaptic conductances.
        current: Injected from the change on, ``(time, node)``, nA.
        voltage: The circuit's answer, ``(time, node)``, mV.
    """

    name: str
    synapse_scale: float
    current: np.ndarray
    voltage: np.ndarray


class CircuitTruth(Protocol):
    """What is known of a simulated circuit; ``datamodule.truth``."""

    def synapses(self) -> Mapping[tuple[int, int], SynapseConstants]:
        """Of every synapse, by ``(pre, post)``."""
        ...

    def conductance(self, neuron: int, voltages: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """``G(v, ω)`` of a neuron's membrane, capacitance and synapses left out, ``(voltage, frequency)``, µS.

        Args:
            neuron: Which.
            voltages: mV.
            frequencies: ``ω``, rad/ms.
        """
        ...

    def holding_current(self, neuron: int, voltages: np.ndarray) -> np.ndarray:
        """Injected current that holds a neuron without synapses at each voltage, nA."""
        ...

    def interventions(self, trial: int, first: int, steps: int) -> list[Intervention]:
        """What would have happened in ``steps`` steps after sample ``first`` of a trial, had things been changed."""
        ...


@runtime_checkable
class ReadableModel(Protocol):
    """A circuit model whose parts mean something, and can be changed: what :class:`CircuitTruth` is compared with."""

    def synapses(self) -> Mapping[tuple[int, int], SynapseConstants]:
        """Constants of every synapse that has some, by ``(pre, post)``."""
        ...

    def conductance(self, neuron: int, voltages: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """As :meth:`CircuitTruth.conductance`."""
        ...

    def holding_current(self, neuron: int, voltages: np.ndarray) -> np.ndarray:
        """As :meth:`CircuitTruth.holding_current`."""
        ...

    def bifurcations(self, neuron: int, voltages: np.ndarray) -> list[Bifurcation]:
        """Of a neuron without synapses under constant current, between ascending voltages."""
        ...

    def lyapunov_exponent(self, voltage: np.ndarray, hidden: Tensor, injected: np.ndarray, forcing: float) -> float:
        """Largest Lyapunov exponent along a recording whose voltages pull the run by ``forcing``, per second.

        Args:
            voltage: Recorded, ``(time + 1, node)``, mV.
            hidden: At the start, ``(hidden,)``.
            injected: ``(time, node)``, nA.
            forcing: ``γ``.
        """
        ...

    def synapses_scaled(self, factor: float) -> AbstractContextManager[None]:
        """While open, all synaptic currents are ``factor`` times what was learned."""
        ...
