"""What the layers say to each other: the data's description, batches, recordings and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """What a data set is, as far as a model needs to know. Fields that do not apply stay ``None`` or empty.

    Constructor arguments of a model that its YAML leaves out and that bear the name of a field here are filled from
    the data; a YAML value that differs from the data is an error.

    Attributes:
        n_channels: Input channels of a sample.
        n_outputs: Classes or regression targets of a sample.
        n_times: Time samples in a window.
        sampling_rate_hz: Samples per second of the windows that the model sees.
        n_nodes: Nodes of a graph, regions of an atlas, neurons of a circuit.
        spacing_mm: Voxel spacing (x, y, z) of the volumes that the model sees.
        channel_names: One name a channel.
        class_names: One name an output class.
    """

    n_channels: int | None = None
    n_outputs: int | None = None
    n_times: int | None = None
    sampling_rate_hz: float | None = None
    n_nodes: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    channel_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


class Event(NamedTuple):
    """An annotated stretch of a recording (SzCORE: onset, duration, eventType, confidence)."""

    onset_s: float
    duration_s: float
    kind: str = "sz"
    confidence: float | None = None


@dataclass
class Recording:
    """A continuous multi-channel recording.

    Attributes:
        signal: Samples, ``(channel, time)``, float32 (µV for EEG).
        sampling_rate_hz: Samples per second.
        channel_names: One name a channel.
        name: Unique name of the recording within its data set.
        subject: Person it comes from; ``""`` when not released.
        group: Recordings that must share a fold (simultaneous channels, one patient) have the same group.
        label: Class of the whole recording, or ``None`` when ``events`` say it.
        events: What happens when.
        start_s: Time of the first sample on the clock that ``events`` use.
        metadata: Anything else worth keeping (montage, age, device).
    """

    signal: np.ndarray
    sampling_rate_hz: float
    channel_names: tuple[str, ...]
    name: str
    subject: str = ""
    group: str = ""
    label: int | None = None
    events: list[Event] = field(default_factory=list)
    start_s: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.signal.shape[-1] / self.sampling_rate_hz


class EEGBatch(NamedTuple):
    """Windows of EEG.

    Attributes:
        signal: ``(batch, channel, time)``, float32, in the unit that the datamodule's scaling gives.
        target: Class, ``(batch,)``, int64.
        window: Row in the datamodule's window table, ``(batch,)``, int64; the same in every fold.
        recording: Index of the recording, ``(batch,)``, int64; the same in every fold.
        subject: Index of the subject, ``(batch,)``, int64.
        start_s: Start of the window in its recording, ``(batch,)``, float64.
    """

    signal: Tensor
    target: Tensor
    window: Tensor
    recording: Tensor
    subject: Tensor
    start_s: Tensor


@runtime_checkable
class DataModule(Protocol):
    """What the engine asks of a datamodule beyond Lightning's own loaders."""

    fold: int
    folds: int

    @property
    def spec(self) -> DataSpec:
        """What the data are; available after ``setup``."""
        ...

    def fingerprint(self) -> str:
        """Short hash that changes when the data, the windows or the split change."""
        ...


#: What a task hands over after a test pass: one row a tested item. Arrays only, so that folds can be concatenated.
Predictions = Mapping[str, "np.ndarray"]


@runtime_checkable
class FittedModel(Protocol):
    """A model that is fitted in closed form (a scikit-learn estimator, a ridge), not by gradient steps.

    The task collects one epoch of training batches and calls :meth:`fit` once.
    """

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to all training samples at once: ``(n, ...)`` and ``(n, ...)``."""
        ...


@runtime_checkable
class FilePredictor(Protocol):
    """A task that can be applied to a user's own file (``neurotwin predict``)."""

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Apply the model to ``source``, write results below ``target`` and return the written paths."""
        ...


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


class ConnectivityBatch(NamedTuple):
    """Connectivity of people in two states; matrices are ``(batch, roi, roi)``, float32, symmetric, zero diagonal.

    Attributes:
        baseline: Connectivity at baseline, in the unit of the datamodule's estimator.
        change: Measured change of the correlation from baseline to target.
        true_change: What an endless recording would show, relative to the measured baseline; NaN where it is not known.
        mean_change: Mean measured change of this fold's training people: the reference that skill is measured against.
        start: Measured correlation at baseline, so that ``start + change`` is the target whatever the estimator is.
        language: Which pairs lie inside the language network, bool.
        window: Row of the person, ``(batch,)``, int64; the same in every fold.
    """

    baseline: Tensor
    change: Tensor
    true_change: Tensor
    mean_change: Tensor
    start: Tensor
    language: Tensor
    window: Tensor


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
    def transient(self) -> int:
        """Samples after which an initial hidden state is forgotten."""
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
