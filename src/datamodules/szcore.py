"""A folder of one's own recordings in the layout of SzCORE: BIDS, EDF files beside annotation TSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..contracts import Recording
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .chbmit import require_inside
from .eeg import EEGDataModule
from .formats.edf import EDFReader
from .formats.montage import MONTAGES
from .formats.szcore_tsv import read_szcore_tsv


class SzCOREDataModule(EEGDataModule):
    """EDF recordings with ``*_events.tsv`` (SzCORE; Dan et al. 2024, Epilepsia, doi 10.1111/epi.18113).

    Args:
        root: Folder that holds ``sub-*/[ses-*/]eeg/*_eeg.edf``.
        montage: ``common_average`` (19 electrodes, SzCORE's own) or ``double_banana`` (18 bipolar channels, which
            bipolar recordings such as CHB-MIT need).
        sampling_rate_hz: Rate of the windows, Hz; files of a higher rate are resampled.
        band_hz: Band-pass edges, Hz; ``None`` for no filter.
        cache_dir: Folder of the prepared signals; ``None`` for the user's cache folder.
        **windowing: See :class:`EEGDataModule`; ``split: group`` holds subjects out.
    """

    def __init__(
        self,
        root: str | Path,
        montage: str = "common_average",
        sampling_rate_hz: float = 256.0,
        band_hz: tuple[float, float] | None = None,
        cache_dir: str | Path | None = None,
        **windowing: Any,
    ):
        super().__init__(root, **windowing)
        if montage not in MONTAGES:
            raise ConfigError(f"datamodule.montage={montage!r} is unknown: {did_you_mean(montage, MONTAGES)}")
        self.reader = EDFReader.of(MONTAGES[montage], sampling_rate_hz, band_hz, cache_dir)

    def load(self) -> list[Recording]:
        """Every EDF file below ``sub-*`` folders, in the order of their paths."""
        root = Path(self.root or ".")
        paths = sorted(root.glob("sub-*/**/*.edf"))
        if not paths:
            raise MissingDataError(
                root,
                citation="Dan et al. 2024, doi 10.1111/epi.18113",
                source="your own recordings, or any set converted by https://github.com/esl-epfl/epilepsy2bids",
                layout="sub-01/eeg/sub-01_task-szMonitoring_run-00_eeg.edf and …_run-00_events.tsv",
            )
        return self.each(paths, self._recording)

    def _recording(self, path: Path) -> Recording:
        events_path = path.with_name(path.stem.removesuffix("_eeg") + "_events.tsv")
        if not events_path.is_file():
            raise DataError(f"{path}: its annotation file {events_path.name} is missing")
        annotations = read_szcore_tsv(events_path)
        recording = self.reader.stored(path, path.stem)
        recording.subject = recording.group = next(part for part in path.parts if part.startswith("sub-"))
        recording.events = require_inside(annotations.events, recording)
        return recording

    def read(self, path: Path) -> list[Recording]:
        """One EDF file of one's own."""
        return [self.reader.fresh(Path(path), Path(path).stem)]
