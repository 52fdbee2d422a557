"""CHB-MIT seizures with the minute that follows each: packed clips of the 18-channel double banana."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Event, Recording
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .eeg import EEGDataModule
from .formats.edf import EDFReader
from .formats.montage import DOUBLE_BANANA

SAMPLING_RATE_HZ = 128.0

#: Cases that are one patient: chb21 was recorded from chb01 1.5 years later; chb17 was packed in two parts.
PATIENT_OF_CASE = {"chb21": "chb01", "chb17a": "chb17", "chb17b": "chb17", "chb17c": "chb17"}


class CHBMITClipsDataModule(EEGDataModule):
    """Seizures of the CHB-MIT scalp EEG database (Shoeb 2009; PhysioNet, doi 10.13026/C2K01R), 128 Hz.

    The negative class is the minute after a seizure, a hard negative and not the clinical one: false alarms a day
    cannot be measured on these clips.

    Args:
        root: Folder with ``index.json`` and one ``.npz`` a case.
        cases: Only these, such as ``[chb01, chb03]``; ``None`` for all.
        **windowing: See :class:`EEGDataModule`; ``split: group`` holds patients out.
    """

    class_names = ("post-ictal", "ictal")

    def __init__(self, root: str | Path, cases: list[str] | None = None, **windowing: Any):
        super().__init__(root, **windowing)
        self.cases = None if cases is None else list(cases)

    def load(self) -> list[Recording]:
        """Every piece of every case, in the order of the index."""
        index_path = Path(self.root or ".") / "index.json"
        if not index_path.is_file():
            raise MissingDataError(
                index_path,
                citation="Guttag 2010, doi 10.13026/C2K01R; Shoeb 2009; Goldberger et al. 2000",
                source="CHB-MIT Scalp EEG Database, https://physionet.org/content/chbmit",
                layout="index.json and chb01.npz, chb02.npz … (uint8 differences, see the reader's docstring)",
            )
        try:
            index = json.loads(index_path.read_text(encoding="utf-8"))
            pieces, rate, scale, names = index["pieces"], index["fs"], index["scale"], tuple(index["channels"])
            _check_pieces(pieces)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{index_path}: not an index of clips ({error!r})") from error
        if rate != SAMPLING_RATE_HZ or names != DOUBLE_BANANA.channel_names:
            raise DataError(
                f"{index_path}: {len(names)} channels at {rate} Hz, expected the {len(DOUBLE_BANANA.channel_names)} of "
                f"the double banana at {SAMPLING_RATE_HZ:g} Hz"
            )
        present = sorted({piece["case"] for piece in pieces})
        for case in self.cases or ():
            if case not in present:
                raise ConfigError(f"datamodule.cases: {case!r} is not in {index_path}: {did_you_mean(case, present)}")
        archives: dict[str, dict[str, np.ndarray]] = {}

        def read_piece(piece: dict[str, Any]) -> Recording:
            case, key = piece["case"], piece["key"]
            path = index_path.parent / f"{case}.npz"
            if case not in archives:
                archives.clear()
                archives[case] = _read_archive(path)
            signal = decode_clip(archives[case], key, path, len(names), piece["n_samples"])
            events = [Event(float(onset), float(end) - float(onset)) for onset, end in piece["ictal"]]
            metadata = {name: piece[name] for name in ("record", "piece", "montage", "start_rel_onset_s")}
            patient = PATIENT_OF_CASE.get(case, case)
            return Recording(
                signal * np.float32(scale), float(rate), names, key, patient, patient, None, events, metadata=metadata
            )

        return self.each([p for p in pieces if self.cases is None or p["case"] in self.cases], read_piece)

    def read(self, path: Path) -> list[Recording]:
        """One EDF file of one's own, bipolar or with a reference electrode."""
        return [EDFReader(DOUBLE_BANANA, SAMPLING_RATE_HZ).fresh(Path(path), Path(path).stem)]


def _check_pieces(pieces: list[dict[str, Any]]) -> None:
    """Raise what Python does where a piece lacks a key or a number is none."""
    for piece in pieces:
        for name in ("case", "key", "record", "piece", "montage", "start_rel_onset_s"):
            piece[name]
        if re.fullmatch(r"[\w-]+", piece["case"]) is None or int(piece["n_samples"]) < 1:
            raise ValueError(f"case {piece['case']!r}, n_samples {piece['n_samples']!r}")
        for onset, end in piece["ictal"]:
            float(onset), float(end)


def decode_clip(archive: dict[str, np.ndarray], key: str, path: Path, n_channels: int, n_samples: int) -> np.ndarray:
    """Undo the packing: low and high bytes of int16 time-differences, summed modulo 2^16.

    Args:
        archive: Arrays of one case, uint8 ``(2, channel, time)``.
        key: Piece.
        path: For messages.
        n_channels: That the index promises.
        n_samples: That the index promises.

    Returns:
        ``(channel, time)``, int16, in units of the index's ``scale`` µV.
    """
    if key not in archive:
        raise DataError(f"{path}: holds no piece {key!r}, which index.json lists")
    packed = archive[key]
    if packed.dtype != np.uint8 or packed.shape != (2, n_channels, n_samples):
        raise DataError(
            f"{path}[{key}]: {packed.dtype} {packed.shape}, index.json says uint8 (2, {n_channels}, {n_samples})"
        )
    difference = (packed[0].astype(np.uint16) | (packed[1].astype(np.uint16) << 8)).view(np.int16)
    signal = np.cumsum(difference, axis=1, dtype=np.int16)
    if not np.ptp(signal, axis=1).any():
        raise DataError(f"{path}[{key}]: every channel is constant")
    return signal


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: missing, though index.json lists its pieces") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable npz file ({error})") from error
