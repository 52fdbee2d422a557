"""Recordings written as EDF+ with annotations, alone or in SzCORE's BIDS layout."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from edfio import Edf, EdfAnnotation, EdfSignal
from edfio import Recording as EdfRecordingField

from ...contracts import Recording
from ...errors import DataError
from .szcore_tsv import write_szcore_tsv


def write_edf(path: Path | str, recording: Recording, start: datetime | None = None) -> Path:
    """Write a recording as EDF+, 16 bits over its own range, with all its events as annotations.

    EDF stores whole records of one second: the last one is filled up with its last sample.

    Args:
        path: File to write; its folder is created.
        recording: Signal in µV.
        start: Clock time of the first sample; ``None``: not stated.

    Returns:
        The path.

    Raises:
        DataError: The sampling rate is no whole number, or the signal is not finite.
    """
    path, rate = Path(path), recording.sampling_rate_hz
    if rate != round(rate):
        raise DataError(f"{path}: EDF records of 1 s cannot hold {rate:g} samples; resample to a whole number of Hz")
    signal = np.asarray(recording.signal, dtype=np.float64)
    if not np.isfinite(signal).all():
        raise DataError(f"{path}: {recording.name} holds samples that are NaN or infinite, which EDF cannot store")
    signal = np.pad(signal, ((0, 0), (0, -signal.shape[1] % round(rate))), mode="edge")
    bound = float(max(1.0, np.ceil(np.abs(signal).max())))
    channels = [
        EdfSignal(row, rate, label=f"EEG {name}", physical_dimension="uV", physical_range=(-bound, bound))
        for name, row in zip(recording.channel_names, signal, strict=True)
    ]
    annotations = [EdfAnnotation(e.onset_s - recording.start_s, e.duration_s, e.kind) for e in recording.events]
    path.parent.mkdir(parents=True, exist_ok=True)
    Edf(
        channels,
        recording=None if start is None else EdfRecordingField(startdate=start.date()),
        starttime=None if start is None else start.time(),
        annotations=annotations,
    ).write(path)
    return path


def write_szcore(root: Path | str, recording: Recording, start: datetime | None = None) -> tuple[Path, Path]:
    """Write a recording below a BIDS folder as SzCORE has it: the EDF file and the table of its seizures.

    Args:
        root: Folder of the data set; ``sub-…/eeg`` is created below it.
        recording: With seizures among its events (kinds that start with ``sz``).
        start: Clock time of the first sample.

    Returns:
        Paths of ``…_eeg.edf`` and ``…_events.tsv``.
    """
    subject = recording.subject or recording.name
    subject = subject if subject.startswith("sub-") else f"sub-{subject}"
    stem = Path(root) / subject / "eeg" / f"{subject}_task-szMonitoring_run-00"
    seizures = [
        event._replace(onset_s=event.onset_s - recording.start_s)
        for event in recording.events
        if event.kind.startswith("sz")
    ]
    table = write_szcore_tsv(f"{stem}_events.tsv", seizures, recording.duration_s, start)
    return write_edf(f"{stem}_eeg.edf", recording, start), table
