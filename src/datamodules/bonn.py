"""The Bonn EEG time series: five sets of 100 single-channel recordings of 23.6 s, healthy to ictal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Recording
from ..errors import ConfigError, DataError, MissingDataError
from .base import digest
from .eeg import EEGDataModule
from .formats.bonn_text import BAND_HZ, PAPER_TO_FILE, SAMPLING_RATE_HZ, SETS, BonnFile, find_bonn, read_bonn_text
from .formats.cache import cached_array
from .formats.edf import EDFReader
from .formats.montage import SingleChannel
from .simultaneity import max_abs_cross_correlation, simultaneity_groups


class BonnDataModule(EEGDataModule):
    """Sets A-E of Andrzejak et al., Phys. Rev. E 64:061907 (2001), as text folders, zips or ``bonn.npz``.

    A (Z) healthy, eyes open; B (O) healthy, eyes closed; C (N) interictal, opposite hippocampus; D (F) interictal,
    epileptogenic zone; E (S) ictal. A and B are scalp EEG, the others intracranial. Who is who was not released, so
    no split can promise new patients. Many recordings are simultaneous channels of one epoch: ``split: group`` keeps
    recordings together whose cross-correlation exceeds ``group_threshold``, over all five sets.

    Args:
        root: Folder with the data; they are found below it.
        classes: Letters of the sets, classes set apart by dashes: ``A-E``, ``ABCD-E``, ``AB-CD-E``, ``A-B-C-D-E``; the
            file letters ``Z O N F S`` mean the same sets.
        group_threshold: Largest absolute cross-correlation between groups.
        recordings_per_set: Recordings that a complete set has.
        **windowing: See :class:`EEGDataModule`.
    """

    def __init__(
        self,
        root: str | Path,
        classes: str = "A-B-C-D-E",
        group_threshold: float = 0.30,
        recordings_per_set: int = 100,
        **windowing: Any,
    ):
        super().__init__(root, **windowing)
        self.label_of_set = parse_classes(classes)
        self.class_names = tuple(classes.split("-"))
        self.group_threshold = group_threshold
        self.recordings_per_set = recordings_per_set

    def load(self) -> list[Recording]:
        """The recordings of the chosen sets; of all five while groups are computed."""
        files = find_bonn(self.root, self.each) if self.root else []
        if not files:
            raise MissingDataError(
                self.root or "(no root)",
                citation="Andrzejak et al. 2001, Phys. Rev. E 64:061907",
                source="Bonn EEG time series, https://www.ukbonn.de/epileptologie/arbeitsgruppen/ag-lehnertz-neurophysik/downloads/",
                layout="Z/Z001.txt … S/S100.txt (or folders A-E), z.zip … s.zip, or bonn.npz",
            )
        wanted = set(SETS) if self.split_by == "group" else set(self.label_of_set)
        files = [file for file in files if file.letter in wanted]
        self._require_complete(files, wanted)
        loaded = self.each(files, lambda file: (file, file.signal()))
        groups = self._groups([signal for _, signal in loaded])
        return [
            self._recording(file, signal, group)
            for (file, signal), group in zip(loaded, groups, strict=True)
            if file.letter in self.label_of_set
        ]

    def _require_complete(self, files: list[BonnFile], wanted: set[str]) -> None:
        for letter in (letter for letter in SETS if letter in wanted):
            numbers = {file.number for file in files if file.letter == letter}
            absent = sorted(set(range(1, self.recordings_per_set + 1)) - numbers)
            if absent and self.on_error == "raise":
                shown = ", ".join(f"{letter}{number:03d}" for number in absent[:5]) + (" …" if len(absent) > 5 else "")
                why = ", which group folds need," if letter not in self.label_of_set else ""
                raise DataError(
                    f"{self.root}: set {letter} ({SETS[letter]}){why} lacks {len(absent)} of {self.recordings_per_set} "
                    f"recordings: {shown}; complete it, or datamodule.on_error=skip goes on without"
                )

    def _groups(self, signals: list[np.ndarray]) -> list[str]:
        """Simultaneity groups of all recordings; the correlation takes seconds, so it is kept on disk by content."""
        if self.split_by != "group":
            return [""] * len(signals)
        stacked = np.stack(signals)
        correlation = cached_array(
            f"bonn/correlation-{digest(stacked)}", lambda: max_abs_cross_correlation(stacked, SAMPLING_RATE_HZ)
        )
        return [f"g{group:03d}" for group in simultaneity_groups(correlation, self.group_threshold)]

    def _recording(self, file: BonnFile, signal: np.ndarray, group: str) -> Recording:
        return Recording(
            signal=signal[None],
            sampling_rate_hz=SAMPLING_RATE_HZ,
            channel_names=("EEG",),
            name=f"{file.letter}{file.number:03d}",
            group=group,
            label=self.label_of_set[file.letter],
            metadata={"set": SETS[file.letter], "origin": file.origin},
        )

    def read(self, path: Path) -> list[Recording]:
        """A text file of integers at the rate of the set, or an EDF file of one channel."""
        path = Path(path)
        if path.suffix.lower() == ".edf":
            return [
                EDFReader(SingleChannel("single channel", ("EEG",)), SAMPLING_RATE_HZ, BAND_HZ).fresh(path, path.stem)
            ]
        signal = read_bonn_text(path, n_samples=None)
        return [Recording(signal[None], SAMPLING_RATE_HZ, ("EEG",), name=path.stem, metadata={"origin": str(path)})]


def parse_classes(classes: str) -> dict[str, int]:
    """Class of each set letter (``Z O N F S``) from a combination such as ``AB-CD-E``.

    Example:
        >>> parse_classes("AB-E")
        {'Z': 0, 'O': 0, 'S': 1}
    """
    label: dict[str, int] = {}
    names = str(classes).upper().split("-")
    for index, name in enumerate(names):
        for letter in name:
            file_letter = PAPER_TO_FILE.get(letter, letter)
            if file_letter not in SETS or file_letter in label:
                fault = "occurs twice" if file_letter in label else "is no set"
                raise ConfigError(
                    f"datamodule.classes={classes!r}: {letter!r} {fault}; choose from A B C D E (or Z O N F S), "
                    f"classes set apart by dashes, such as A-E, ABCD-E, AB-CD-E, A-B-C-D-E"
                )
            label[file_letter] = index
    if len(names) < 2 or not all(names):
        raise ConfigError(f"datamodule.classes={classes!r}: needs two or more classes, such as A-E or AB-CD-E")
    return label
