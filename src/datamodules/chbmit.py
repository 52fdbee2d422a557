"""CHB-MIT as PhysioNet publishes it: one folder a case with EDF files and a summary of the seizures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..contracts import Event, Recording
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .chbmit_clips import PATIENT_OF_CASE
from .eeg import EEGDataModule
from .formats.chbmit_summary import read_summary
from .formats.edf import EDFReader
from .formats.montage import DOUBLE_BANANA


class CHBMITDataModule(EEGDataModule):
    """CHB-MIT scalp EEG database (Shoeb 2009; PhysioNet, doi 10.13026/C2K01R): 24 cases, 686 EDF files, 42 GB.

    Each file is brought once to the 18-channel double banana at ``sampling_rate_hz`` and kept in a cache from which
    windows are mapped; recordings with a reference electrode are re-derived. chb21 is the patient of chb01.

    Args:
        root: Folder of the database; cases are found below it by their ``chbXX-summary.txt``.
        cases: Only these, such as ``[chb01, chb03]``; ``None`` for all.
        only_seizure_records: Leave out the recordings without a seizure, most of the 686.
        sampling_rate_hz: Rate of the windows, Hz; the files have 256.
        band_hz: Band-pass edges, Hz; ``None`` for no filter.
        cache_dir: Folder of the prepared signals; ``None`` for the user's cache folder.
        **windowing: See :class:`EEGDataModule`; ``split: group`` holds patients out.
    """

    def __init__(
        self,
        root: str | Path,
        cases: list[str] | None = None,
        only_seizure_records: bool = False,
        sampling_rate_hz: float = 128.0,
        band_hz: tuple[float, float] | None = None,
        cache_dir: str | Path | None = None,
        **windowing: Any,
    ):
        super().__init__(root, **windowing)
        self.cases = None if cases is None else list(cases)
        self.only_seizure_records = only_seizure_records
        self.reader = EDFReader.of(DOUBLE_BANANA, sampling_rate_hz, band_hz, cache_dir)

    def load(self) -> list[Recording]:
        """Every recording that a summary names and that is there."""
        root = Path(self.root or ".")
        summaries = {path.name.removesuffix("-summary.txt"): path for path in sorted(root.rglob("*-summary.txt"))}
        if not summaries:
            raise MissingDataError(
                root,
                citation="Guttag 2010, doi 10.13026/C2K01R; Shoeb 2009; Goldberger et al. 2000",
                source="CHB-MIT Scalp EEG Database, https://physionet.org/content/chbmit",
                layout="chb01/chb01-summary.txt, chb01/chb01_01.edf, … chb24/",
            )
        for case in self.cases or ():
            if case not in summaries:
                raise ConfigError(f"datamodule.cases: {case!r} is not below {root}: {did_you_mean(case, summaries)}")
        chosen = {case: path for case, path in summaries.items() if self.cases is None or case in self.cases}
        per_case = self.each(chosen.items(), lambda item: _records(*item))
        records = [record for case in per_case for record in case if record[2] != [] or not self.only_seizure_records]
        return self.each(records, self._recording)

    def _recording(self, record: tuple[str, Path, list[Event] | None]) -> Recording:
        case, path, events = record
        if events is None:
            raise DataError(f"{path}: {case}-summary.txt does not name this file, so its seizures are not known")
        recording = self.reader.stored(path, path.stem)
        recording.subject = recording.group = PATIENT_OF_CASE.get(case, case)
        recording.events = require_inside(events, recording)
        return recording

    def read(self, path: Path) -> list[Recording]:
        """One EDF file of one's own."""
        return [self.reader.fresh(Path(path), Path(path).stem)]


def _records(case: str, summary: Path) -> list[tuple[str, Path, list[Event] | None]]:
    """The EDF files of a case with their seizures; ``None`` for a file that the summary leaves out."""
    seizures = read_summary(summary)
    return [(case, path, seizures.get(path.name)) for path in sorted(summary.parent.glob("*.edf"))]


def require_inside(events: list[Event], recording: Recording) -> list[Event]:
    """The events, when all lie inside the recording; annotations of another file rarely do."""
    for event in events:
        end = event.onset_s + event.duration_s
        if end > recording.duration_s + 1.0:
            raise DataError(
                f"{recording.metadata.get('origin', recording.name)}: an annotated seizure ends at {end:g} s, the "
                f"recording at {recording.duration_s:g} s; the annotation belongs to another file"
            )
    return events
