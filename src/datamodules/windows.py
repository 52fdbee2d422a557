"""Windows over recordings: the table, the labels from events, normalisation, and a dataset that gathers batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ..contracts import EEGBatch, Event, Recording

#: A window is ictal when at least this share of it overlaps seizure events (SzCORE sample scoring, Dan et al. 2024).
ICTAL_OVERLAP = 0.5


def window_starts(n_samples: int, window: int, stride: int) -> np.ndarray:
    """First sample of every whole window, ``(window,)``; a tail shorter than a window is left out."""
    return np.arange(0, n_samples - window + 1, stride, dtype=np.int64)


def ictal_fraction(starts_s: np.ndarray, window_s: float, events: Iterable[Event]) -> np.ndarray:
    """Share of each window that lies inside a seizure event, ``(window,)``, 0 to 1.

    Overlapping events count once, and a window wholly inside a seizure has the fraction 1: it needs to hold neither
    the onset nor the end.

    Args:
        starts_s: Window starts on the clock of the events, ``(window,)``, s.
        window_s: Window length, s.
        events: Annotations; those whose kind starts with ``sz`` count.
    """
    seizures = sorted((e.onset_s, e.onset_s + e.duration_s) for e in events if e.kind.startswith("sz"))
    merged: list[list[float]] = []
    for onset, end in seizures:
        if merged and onset <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([onset, end])
    if not merged:
        return np.zeros(len(starts_s))
    # Ictal time before t grows by 1 s/s inside a seizure and rests outside: interpolation between the edges is exact.
    edges = np.asarray(merged)
    seconds = np.concatenate([[0.0], np.cumsum(edges[:, 1] - edges[:, 0])])
    knots = np.stack([seconds[:-1], seconds[1:]], axis=1).ravel()
    before = np.interp(starts_s, edges.ravel(), knots)
    until = np.interp(starts_s + window_s, edges.ravel(), knots)
    return (until - before) / window_s


def window_table(
    recordings: Sequence[Recording], window: int, stride: int, dense_stride: int | None = None
) -> pd.DataFrame:
    """One row a window of every recording.

    Args:
        recordings: Of one sampling rate.
        window: Window length, samples.
        stride: Step between windows, samples.
        dense_stride: Smaller step of extra windows that only training uses; their rows follow all others, so that
            they leave the row numbers of the windows that are tested as they are.

    Returns:
        Columns ``recording``, ``subject``, ``group`` (int codes; subject is -1 where it is not released),
        ``start_s`` (from the first sample of the recording), ``start_sample``, ``target``, ``dense``.
    """
    subjects = _codes([recording.subject for recording in recordings])
    groups = _codes([recording.group or recording.subject or recording.name for recording in recordings])
    frames = []
    for index, recording in enumerate(recordings):
        n_samples, rate = recording.signal.shape[-1], recording.sampling_rate_hz
        starts = window_starts(n_samples, window, stride)
        dense = np.zeros(len(starts), dtype=bool)
        if dense_stride is not None:
            extra = np.setdiff1d(window_starts(n_samples, window, dense_stride), starts)
            starts, dense = np.concatenate([starts, extra]), np.concatenate([dense, np.ones(len(extra), dtype=bool)])
        if recording.label is not None:
            target = np.full(len(starts), recording.label, dtype=np.int64)
        else:
            clock = recording.start_s + starts / rate
            # The tolerance keeps an exact half ictal when the seconds are not representable.
            target = (ictal_fraction(clock, window / rate, recording.events) >= ICTAL_OVERLAP - 1e-9).astype(np.int64)
        frames.append(
            pd.DataFrame(
                {
                    "recording": np.full(len(starts), index),
                    "subject": np.full(len(starts), subjects[index]),
                    "group": np.full(len(starts), groups[index]),
                    "start_s": starts / rate,
                    "start_sample": starts,
                    "target": target,
                    "dense": dense,
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values("dense", kind="stable", ignore_index=True)


def _codes(names: Sequence[str]) -> np.ndarray:
    """Integer codes in order of appearance; -1 for the empty name."""
    return pd.factorize(pd.Series(names, dtype=object).replace("", None))[0].astype(np.int64)


@dataclass(frozen=True)
class Normaliser:
    """Scaling of windows: ``(x - offset) / scale``; where ``scale`` is ``None``, a z-score of each window and channel.

    Attributes:
        offset: ``(channel, 1)`` or one number, µV.
        scale: ``(channel, 1)`` or one number, µV.
    """

    offset: np.ndarray | float = 0.0
    scale: np.ndarray | float | None = None

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Normalise ``(..., channel, time)`` in µV; float32."""
        if self.scale is None:
            centred = signal - signal.mean(axis=-1, keepdims=True, dtype=np.float64)
            deviation = centred.std(axis=-1, keepdims=True)
            # A flat stretch has no amplitude to scale by: it becomes zeros, not NaN.
            return (centred / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
        result = np.subtract(signal, self.offset, dtype=np.float32)
        return np.divide(result, self.scale, out=result, dtype=np.float32)


@dataclass
class WindowStore:
    """Recordings and their window table, with the one place where windows are cut out.

    Attributes:
        recordings: What the table's ``recording`` column indexes.
        table: See :func:`window_table`.
        window: Window length, samples.
    """

    recordings: Sequence[Recording]
    table: pd.DataFrame
    window: int

    def __post_init__(self) -> None:
        self.columns = {name: self.table[name].to_numpy() for name in self.table.columns}

    def gather(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Raw windows of these table rows, ``(row, channel, time)``, float32, µV."""
        recording, start = self.columns["recording"], self.columns["start_sample"]
        channels = self.recordings[0].signal.shape[0]
        out = np.empty((len(rows), channels, self.window), dtype=np.float32)
        for position, row in enumerate(rows):
            first = start[row]
            out[position] = self.recordings[recording[row]].signal[:, first : first + self.window]
        return out


class WindowDataset(Dataset[EEGBatch]):
    """Normalised windows of some rows of a :class:`WindowStore`.

    Args:
        store: The windows.
        rows: Table rows of this part, ``(item,)``.
        normaliser: Applied to each batch.
    """

    def __init__(self, store: WindowStore, rows: np.ndarray, normaliser: Normaliser):
        self.store = store
        self.rows = rows
        self.normaliser = normaliser

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> EEGBatch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[EEGBatch]:
        """Items for one batch, gathered and normalised together: PyTorch's loader calls this where it exists."""
        rows = self.rows[indices]
        signal = torch.from_numpy(self.normaliser(self.store.gather(rows)))
        columns = self.store.columns
        fields = (
            columns["target"][rows].tolist(),
            rows.tolist(),
            columns["recording"][rows].tolist(),
            columns["subject"][rows].tolist(),
            columns["start_s"][rows].tolist(),
        )
        return [EEGBatch(*item) for item in zip(signal.unbind(), *fields, strict=True)]
