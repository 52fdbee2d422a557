"""Current-clamp recordings of one neuron: injected current in, membrane voltage out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


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
        truth: Whatever else a simulator knows: ``theta`` (parameters), ``voltage`` (without noise).
    """

    name: str
    sampling_rate_hz: float
    voltage: np.ndarray
    current: np.ndarray
    condition: str = "control"
    currents: np.ndarray | None = None
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
