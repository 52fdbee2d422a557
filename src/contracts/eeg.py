"""Recordings of many channels with events, and windows of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


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
