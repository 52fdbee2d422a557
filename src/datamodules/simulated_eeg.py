"""Simulated scalp EEG with seizures: needs no file, and the truth is known."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..contracts import Recording
from ..errors import ConfigError, did_you_mean
from ..simulators.eeg import EEGSimulator
from ..simulators.seizure_script import LONGEST_S
from .eeg import EEGDataModule
from .formats.edf import EDFReader
from .formats.montage import MONTAGES


class SimulatedEEGDataModule(EEGDataModule):
    """People with focal epilepsy from :class:`~..simulators.eeg.EEGSimulator`, one recording each.

    Args:
        n_subjects: People; ``split: group`` holds them out.
        minutes: Length of each recording.
        seizures: Seizures in each recording.
        difficulty: From 0 (large seizures, few artefacts) to 1 (small ones among artefacts and seizure-like rhythms).
        sampling_rate_hz: Samples per second.
        montage: ``common_average`` (19 electrodes) or ``double_banana`` (18 bipolar channels, as CHB-MIT).
        longest_seizure_s: Cuts the durations, whose law has the quartiles 27, 48 and 76 s.
        data_seed: Seed of the people and their recordings.
        **windowing: See :class:`EEGDataModule`.
    """

    class_names = ("background", "ictal")

    def __init__(
        self,
        n_subjects: int = 16,
        minutes: float = 5.0,
        seizures: int = 1,
        difficulty: float = 0.5,
        sampling_rate_hz: float = 128.0,
        montage: str = "common_average",
        longest_seizure_s: float = LONGEST_S,
        data_seed: int = 0,
        **windowing: Any,
    ):
        super().__init__(**windowing)
        if montage not in MONTAGES:
            raise ConfigError(f"datamodule.montage={montage!r} is unknown: {did_you_mean(montage, MONTAGES)}")
        if n_subjects < 1:
            raise ConfigError(f"datamodule.n_subjects={n_subjects}: at least one person is needed")
        self.simulator = EEGSimulator(minutes, seizures, difficulty, sampling_rate_hz, longest_seizure_s)
        self.n_subjects = n_subjects
        self.montage = MONTAGES[montage]
        self.data_seed = data_seed

    def load(self) -> list[Recording]:
        """Simulate everybody; a second for four people and five minutes."""
        return [self._derive(recording) for recording in _cohort(self.simulator, self.n_subjects, self.data_seed)]

    def read(self, path: Path) -> list[Recording]:
        """One EDF file of one's own, in the montage and at the rate of the simulation."""
        reader = EDFReader.of(self.montage, self.simulator.sampling_rate_hz, None, None)
        return [reader.fresh(Path(path), Path(path).stem)]

    def _derive(self, recording: Recording) -> Recording:
        needed, matrix = self.montage.weights(recording.channel_names, recording.name)
        metadata = {**recording.metadata, "montage": self.montage.name}
        return replace(
            recording,
            signal=matrix @ recording.signal[needed],
            channel_names=self.montage.channel_names,
            metadata=metadata,
        )


@lru_cache(maxsize=1)
def _cohort(simulator: EEGSimulator, n_subjects: int, data_seed: int) -> tuple[Recording, ...]:
    """The people last simulated in this process: the folds of one cohort differ in nothing but the split."""
    return tuple(simulator.cohort(n_subjects, data_seed))
