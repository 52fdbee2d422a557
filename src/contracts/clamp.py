"""Current-clamp recordings of one neuron: injected current in, membrane voltage out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.distributions import Distribution


@dataclass
class ClampRecording:
    """One sweep.

    Attributes:
        name: Unique name of the sweep within its data set.
        sampling_rate_hz: Samples per second.
        voltage: Membrane potential, ``(time,)``, mV.
        current: Injected current, ``(time,)``, nA, or µA/cm² where a simulator made it.
        condition: Experimental condition, ``control`` or a drug and its dose.
        currents: True ionic currents, ``(time, current)``, µA/cm², outward positive; ``None`` where unknown.
        current_names: One for each column of ``currents``.
        truth: Whatever else a simulator knows: ``theta`` (parameters), ``voltage`` (without noise).
    """

    name: str
    sampling_rate_hz: float
    voltage: np.ndarray
    current: np.ndarray
    condition: str = "control"
    currents: np.ndarray | None = None
    current_names: tuple[str, ...] = ()
    truth: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def duration_ms(self) -> float:
        """Length in ms."""
        return 1e3 * len(self.voltage) / self.sampling_rate_hz


class ClampBatch(NamedTuple):
    """Windows of current-clamp sweeps, each with the stretch before it in which a model is driven by the recording.

    Attributes:
        voltage: ``(batch, lead + time)``, mV, float64.
        current: ``(batch, lead + time)``, in the recording's unit, float64.
        currents: True ionic currents, ``(batch, lead + time, current)``; no current where unknown.
        lead: Samples before the window, ``(batch,)``, int64.
        condition: Index of the experimental condition, ``(batch,)``, int64.
        sweep: Index of the sweep, ``(batch,)``, int64.
        window: Row in the datamodule's table of windows, ``(batch,)``, int64; the same in every fold.
    """

    voltage: Tensor
    current: Tensor
    currents: Tensor
    lead: Tensor
    condition: Tensor
    sweep: Tensor
    window: Tensor


class TraceBatch(NamedTuple):
    """Voltages of different cells under one injected current, and what is to be told from them.

    Attributes:
        trace: ``(batch, 1, time)``, mV, float32.
        parameters: In the unit of the prior's standard deviation from its centre, ``(batch, parameter)``, float32.
        window: Number of the cell, ``(batch,)``, int64; the same in every fold.
    """

    trace: Tensor
    parameters: Tensor
    window: Tensor


@runtime_checkable
class PosteriorModel(Protocol):
    """A model that answers a recording with a distribution over parameters."""

    def posterior(self, trace: Tensor) -> Distribution:
        """Over ``(batch, parameter)``, of traces ``(batch, 1, time)`` in mV."""
        ...


@runtime_checkable
class EstimatedNeuron(Protocol):
    """A neuron with unknown parameters, estimated from several starts, in one or several conditions.

    Attributes:
        neuron: Its structure, a :class:`~..biophysics.conductance.Neuron`.
        dt_ms: Sampling interval of the recordings.
        substeps: Integration steps a sample.
        box: Coordinates of the free parameters in their box, ``(start, free)``.
    """

    neuron: Any
    dt_ms: float
    substeps: int
    box: Tensor

    @property
    def n_starts(self) -> int:
        """Number of independent estimates."""
        ...

    @property
    def bounds(self) -> Mapping[str, Mapping[str, Any]]:
        """Lower and upper bound of each of the model's parameters, by name: one number, or one an element."""
        ...

    def log_ratio(self, start: int, condition: int) -> np.ndarray:
        """Logarithm of each conductance relative to the first condition, ``(current,)``."""
        ...

    def theta(self, start: int = 0, condition: int = 0) -> np.ndarray:
        """All parameters, ``(parameter,)``."""
        ...

    def slope_of(self, theta: np.ndarray) -> np.ndarray:
        """Derivative of the free parameters by their box coordinates, ``(free,)``."""
        ...
