"""EDF and EDF+ through MNE, with the checks that MNE leaves out, brought to one montage and sampling rate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import mne
import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from ...contracts import Event, Recording
from ...errors import ConfigError, DataError
from ..base import digest
from .cache import StoredSignal, cache_folder, cached_file
from .montage import Montage

_ANNOTATION_LABELS = ("EDF Annotations", "BDF Annotations")
#: Those that MNE scales; it takes every other unit for volt. The two letters mu are different characters.
_UNITS = frozenset({"uV", "\u03bcV", "\u00b5V", "mV", "V"})
#: Samples that are read and derived at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class EDFHeader:
    """The part of an EDF header that says what is in the file.

    Attributes:
        labels: Channel labels as written, annotation channels left out.
        sampling_rates_hz: One a channel.
        units: Physical dimension of each channel, as written.
        duration_s: Length that the header announces.
    """

    labels: tuple[str, ...]
    sampling_rates_hz: tuple[float, ...]
    units: tuple[str, ...]
    duration_s: float


def read_edf_header(path: Path) -> EDFHeader:
    """Read the header and compare the announced with the actual length: MNE reads a truncated file without a word.

    Raises:
        DataError: The file is empty, no EDF file, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(256)
            size = path.stat().st_size
            if size == 0:
                raise DataError(f"{path}: empty file (0 bytes)")
            n_signals = int(head[252:256])
            fields = file.read(256 * n_signals)
        header_bytes, n_records, record_s = int(head[184:192]), int(head[236:244]), float(head[244:252])
        names = [fields[16 * i : 16 * (i + 1)].decode("latin-1").strip() for i in range(n_signals)]
        # Fields stand in columns: label 16 bytes, transducer 80, unit 8, four ranges 32, filter 80, samples 8.
        units = [fields[o : o + 8].decode("latin-1").strip() for o in range(96 * n_signals, 104 * n_signals, 8)]
        samples = [int(fields[o : o + 8]) for o in range(216 * n_signals, 224 * n_signals, 8)]
        if n_signals < 1 or record_s < 0 or header_bytes != 256 * (n_signals + 1):
            raise ValueError("inconsistent header")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: not an EDF file, or its header is damaged ({error})") from error
    record_bytes = (3 if head[:1] == b"\xff" else 2) * sum(samples)
    present = (size - header_bytes) // record_bytes if record_bytes else 0
    # A recorder that was not stopped properly leaves -1, which the standard allows.
    if present < max(n_records, 1):
        raise DataError(
            f"{path}: truncated: the header announces {n_records} records of {record_s:g} s, the file holds {present}"
        )
    kept = [i for i, name in enumerate(names) if name not in _ANNOTATION_LABELS]
    rates = tuple(samples[i] / record_s if record_s else 0.0 for i in kept)
    duration_s = max(n_records, present) * record_s
    return EDFHeader(tuple(names[i] for i in kept), rates, tuple(units[i] for i in kept), duration_s)


@dataclass(frozen=True)
class EDFReader:
    """Reads EDF files into one montage, one sampling rate, one band: the same for training and for a user's file.

    Attributes:
        montage: Channels that a model sees.
        sampling_rate_hz: Rate that a model sees; files of a higher rate are resampled (polyphase filter).
        band_hz: Zero-phase Butterworth band-pass of order 4, or ``None``.
        cache_dir: Folder of the prepared signals, see :func:`~.cache.cache_folder`.
    """

    montage: Montage
    sampling_rate_hz: float
    band_hz: tuple[float, float] | None = None
    cache_dir: Path | None = None

    @classmethod
    def of(
        cls,
        montage: Montage,
        sampling_rate_hz: float,
        band_hz: Sequence[float] | None,
        cache_dir: str | Path | None,
    ) -> EDFReader:
        """Build a reader from the values of a config, after checking them."""
        if sampling_rate_hz <= 0:
            raise ConfigError(f"datamodule.sampling_rate_hz={sampling_rate_hz}: must be positive")
        band = None if band_hz is None else tuple(float(edge) for edge in band_hz)
        if band is not None and not (len(band) == 2 and 0 < band[0] < band[1] < sampling_rate_hz / 2):
            raise ConfigError(
                f"datamodule.band_hz={list(band)}: needs two edges, 0 < low < high < {sampling_rate_hz / 2:g} Hz (half "
                f"of datamodule.sampling_rate_hz)"
            )
        folder = None if cache_dir is None else Path(cache_dir).expanduser()
        return cls(montage, float(sampling_rate_hz), band, folder)

    def stored(self, path: Path, name: str) -> Recording:
        """A recording whose signal stays on disk: prepared once, then mapped, so that a set may exceed the memory."""
        try:
            with path.open("rb") as file:
                head = file.read(1 << 20)
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        # The identity must not depend on where the file lies, and reading all of a large set to hash it takes hours.
        identity = digest(head, stat.st_size, self.montage, self.sampling_rate_hz, self.band_hz)
        key = digest(identity, str(path.resolve()), stat.st_mtime_ns)
        try:
            stored = cached_file(f"edf/{name}-{key}", lambda: self.prepare(path), self.cache_dir)
        except OSError as error:
            raise ConfigError(
                f"datamodule.cache_dir={self.cache_dir or cache_folder()}: prepared signals cannot be written there "
                f"({error.strerror}); choose a folder with space, or set NEUROTWIN_CACHE"
            ) from error
        return self._recording(StoredSignal(stored), path, name, identity)  # type: ignore[arg-type]

    def fresh(self, path: Path, name: str) -> Recording:
        """A recording in memory, for a user's own file: a flat channel is a warning here, not an error.

        EDF+ annotations become events as they are; only those whose text starts with ``sz`` count as seizures.
        """
        signal = self.prepare(path, allow_flat=True)
        recording = self._recording(signal, path, name, digest(signal))
        raw = mne.io.read_raw_edf(path, preload=False, verbose="error")
        if raw.info["meas_date"] is not None:
            recording.metadata["start"] = raw.info["meas_date"].replace(tzinfo=None)
        recording.events = [
            Event(float(onset), float(duration), str(text))
            for onset, duration, text in zip(
                raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
            )
        ]
        return recording

    def _recording(self, signal: np.ndarray, path: Path, name: str, identity: str) -> Recording:
        metadata = {"origin": str(path), "montage": self.montage.name, "fingerprint": identity}
        return Recording(signal, self.sampling_rate_hz, self.montage.channel_names, name, metadata=metadata)

    def prepare(self, path: Path, allow_flat: bool = False) -> np.ndarray:
        """Read, derive the montage, filter, resample: ``(channel, time)``, float32, µV.

        Raises:
            DataError: The file is damaged, lacks channels, has a lower sampling rate, or holds NaN or flat channels.
        """
        header = read_edf_header(path)
        needed, matrix = self.montage.weights(header.labels, str(path))
        rates = {header.sampling_rates_hz[index] for index in needed}
        if len(rates) > 1:
            raise DataError(f"{path}: EEG channels have different sampling rates: {sorted(rates)} Hz")
        units = {header.units[index] for index in needed} - _UNITS
        if units:
            raise DataError(
                f"{path}: unit {sorted(units)[0]!r} of an EEG channel is unknown, and so is its amplitude; write uV, "
                f"mV or V into the header"
            )
        rate = rates.pop()
        if rate < self.sampling_rate_hz * (1 - 1e-6):
            raise DataError(
                f"{path}: sampling rate {rate:g} Hz is below the {self.sampling_rate_hz:g} Hz that is asked for, the "
                f"upper band would be empty; lower datamodule.sampling_rate_hz or leave the file out"
            )
        samples = _samples(path, needed, rate)
        ratio = Fraction(self.sampling_rate_hz / rate).limit_denominator(1000)
        # One channel after the other: filters work in float64, and hours of all channels would fill the memory.
        rows = (self._channel(_derived(weights, samples), rate, ratio, str(path)) for weights in matrix)
        first, constant = next(rows)
        signal, flat = np.empty((len(matrix), len(first)), dtype=np.float32), [constant]
        signal[0] = first
        for row, (channel, constant) in enumerate(rows, start=1):
            signal[row] = channel
            flat.append(constant)
        if any(flat):
            names = [name for name, constant in zip(self.montage.channel_names, flat, strict=True) if constant]
            fault = f"{path}: constant signal in {', '.join(names)}"
            if not allow_flat or all(flat):
                raise DataError(fault)
            warnings.warn(fault, stacklevel=2)
        return signal

    def _channel(self, channel: np.ndarray, rate: float, ratio: Fraction, where: str) -> tuple[np.ndarray, bool]:
        """One derived channel, ``(time,)``, filtered and resampled, and whether it is constant."""
        if not np.isfinite(channel).all():
            raise DataError(f"{where}: holds samples that are NaN or infinite")
        constant = bool(np.ptp(channel) == 0)
        if self.band_hz is not None:
            sections = butter(4, self.band_hz, btype="bandpass", fs=rate, output="sos")
            channel = sosfiltfilt(sections, channel)
        if ratio != 1:
            # A line through both ends keeps an offset from ringing at the edges, as zero padding makes it do.
            channel = resample_poly(channel, ratio.numerator, ratio.denominator, padtype="line")
        return channel, constant


def _derived(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """A weighted sum of channels, ``(time,)``, with the precision of the weights."""
    blocks = range(0, samples.shape[1], _BLOCK)
    return np.concatenate([weights @ samples[:, start : start + _BLOCK] for start in blocks])


def _samples(path: Path, needed: list[int], rate: float) -> np.ndarray:
    """Some channels of a file, ``(needed, time)``, float32, µV."""
    try:
        raw = mne.io.read_raw_edf(path, preload=False, verbose="error")
        if abs(raw.info["sfreq"] - rate) > 1e-6 * rate:
            # MNE brings all channels to the highest rate in the file; go back to the one of the EEG.
            raw.pick(needed).load_data(verbose="error").resample(rate, verbose="error")
            needed = list(range(len(needed)))
        found = np.empty((len(needed), raw.n_times), dtype=np.float32)
        for start in range(0, raw.n_times, _BLOCK):  # MNE gives float64
            found[:, start : start + _BLOCK] = 1e6 * raw.get_data(needed, start, min(start + _BLOCK, raw.n_times))
        return found
    except (ValueError, RuntimeError, OSError, KeyError, IndexError, AssertionError, OverflowError) as error:
        raise DataError(f"{path}: MNE cannot read it as EDF ({error})") from error
