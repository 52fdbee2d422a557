"""The base of every EEG datamodule: recordings become windows, folds, normalised batches."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..contracts import DataSpec, Event, Recording
from ..errors import ConfigError, DataError, did_you_mean
from .base import BaseDataModule, digest
from .formats.szcore_tsv import write_szcore_tsv
from .splits import fold_rows
from .windows import Normaliser, WindowDataset, WindowStore, window_starts, window_table

Item = TypeVar("Item")
Result = TypeVar("Result")

SPLITS = ("window", "recording", "group")
NORMALISATIONS = ("fixed", "train", "window")


class EEGDataModule(BaseDataModule):
    """Windows of EEG recordings with folds that keep windows, recordings or groups together.

    A new data set writes :meth:`load` and names its classes; :meth:`read` as well if ``neurotwin predict`` shall
    accept files. Arguments of its own come before ``**windowing``.

    Args:
        root: Folder that holds the data.
        window_s: Window length, s. Give this or ``window_samples``.
        window_samples: Window length, samples.
        stride_s: Step between windows, s; ``None``: one window length, no overlap.
        train_stride_s: Step of the training windows where they shall be denser than the tested ones, s.
        split: ``window`` (neighbouring windows of one recording train and test: leaks), ``recording``, or ``group``
            (simultaneous channels or one patient stay together).
        folds: Number of folds.
        fold: The test fold, from 0.
        split_seed: Seed of the fold assignment.
        val_fraction: Share of the training folds that validates, cut by the same unit; 0 for none.
        normalise: ``fixed`` (divide by ``scale_uv``), ``train`` (mean and standard deviation of each channel over the
            training windows) or ``window`` (z-score of each window: amplitude is lost).
        scale_uv: Divisor of ``fixed``, µV.
        on_error: ``raise`` at a corrupt file, or ``skip`` it with a warning.
        batch_size: Windows a batch.
        num_workers: Loader processes.
    """

    #: One name a class, in the order of the labels.
    class_names: tuple[str, ...] = ("background", "ictal")

    def __init__(
        self,
        root: str | Path | None = None,
        window_s: float | None = None,
        window_samples: int | None = None,
        stride_s: float | None = None,
        train_stride_s: float | None = None,
        split: str = "group",
        folds: int = 5,
        fold: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        normalise: str = "fixed",
        scale_uv: float = 50.0,
        on_error: str = "raise",
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        super().__init__(root, batch_size, num_workers, fold, folds, split_seed)
        _require_choice("split", split, SPLITS)
        _require_choice("normalise", normalise, NORMALISATIONS)
        _require_choice("on_error", on_error, ("raise", "skip"))
        if (window_s is None) == (window_samples is None):
            raise ConfigError(
                f"datamodule.window_s={window_s}, datamodule.window_samples={window_samples}: give exactly one of them"
            )
        for name, value in {
            "window_s": window_s,
            "window_samples": window_samples,
            "stride_s": stride_s,
            "train_stride_s": train_stride_s,
            "scale_uv": scale_uv,
        }.items():
            if value is not None and value <= 0:
                raise ConfigError(f"datamodule.{name}={value}: must be positive")
        self.window_s = window_s
        self.window_samples = window_samples
        self.stride_s = stride_s
        self.train_stride_s = train_stride_s
        self.split_by = split
        self.val_fraction = val_fraction
        self.normalise = normalise
        self.scale_uv = scale_uv
        self.on_error = on_error
        self._normalisers: dict[int, Normaliser] = {}

    def load(self) -> list[Recording]:
        """Read all recordings, in an order that is the same on every machine."""
        raise NotImplementedError(f"{type(self).__name__}.load")

    def read(self, path: Path) -> list[Recording]:
        """Read a user's own file with the montage, sampling rate and filters of the training data."""
        raise ConfigError(f"{path}: {type(self).__name__} reads no file of one's own; write its read() method")

    def inputs(self, path: Path) -> list[Path]:
        """The EDF files of a BIDS data set, or of one of its subjects; a file is one input.

        Raises:
            DataError: If a folder holds none.
        """
        if not path.is_dir():
            return [path]
        found = sorted(path.glob("**/*_eeg.edf" if path.name.startswith("sub-") else "sub-*/**/*_eeg.edf"))
        if not found:
            raise DataError(f"{path}: holds no sub-*/[ses-*/]eeg/*_eeg.edf; name a BIDS data set, or a recording")
        return found

    @cached_property
    def recordings(self) -> list[Recording]:
        """All recordings, alike in channels and sampling rate."""
        recordings = self.load()
        if not recordings:
            there = (
                "no recording could be read" if self.root is None or self.root.exists() else "there is no such folder"
            )
            raise DataError(f"{self.root}: {there}")
        first = recordings[0]
        for other in recordings[1:]:
            if (other.channel_names, other.sampling_rate_hz) != (first.channel_names, first.sampling_rate_hz):
                raise DataError(
                    f"{other.name}: {len(other.channel_names)} channels at {other.sampling_rate_hz} Hz, but "
                    f"{first.name} has {len(first.channel_names)} at {first.sampling_rate_hz} Hz; bring both to one "
                    f"montage and rate in load()"
                )
        return recordings

    @cached_property
    def store(self) -> WindowStore:
        """The windows of all recordings."""
        rate, longest = self.recordings[0].sampling_rate_hz, max(r.signal.shape[-1] for r in self.recordings)
        window = self.window_length(rate)
        if window > longest:
            raise ConfigError(
                f"a window of {window} samples ({window / rate:g} s) is longer than every recording (at most {longest} "
                f"samples); lower datamodule.window_s or window_samples"
            )
        dense = None if self.train_stride_s is None else max(1, round(self.train_stride_s * rate))
        table = window_table(self.recordings, window, self._stride(rate, self.stride_s), dense)
        return WindowStore(self.recordings, table, window)

    @property
    def windows(self) -> pd.DataFrame:
        """The window table, one row a window, the same in every fold (see :func:`~.windows.window_table`)."""
        return self.store.table

    @property
    def spec(self) -> DataSpec:
        """What the windows are."""
        first = self.recordings[0]
        return DataSpec(
            n_channels=len(first.channel_names),
            n_outputs=len(self.class_names),
            n_times=self.window_length(first.sampling_rate_hz),
            sampling_rate_hz=first.sampling_rate_hz,
            channel_names=first.channel_names,
            class_names=self.class_names,
        )

    def window_length(self, sampling_rate_hz: float) -> int:
        """Window length in samples."""
        return self.window_samples or max(1, round(float(self.window_s or 0) * sampling_rate_hz))

    def _stride(self, sampling_rate_hz: float, stride_s: float | None) -> int:
        if stride_s is None:
            return self.window_length(sampling_rate_hz)
        return max(1, round(stride_s * sampling_rate_hz))

    def split(self, fold: int | None = None) -> dict[str, np.ndarray]:
        """Rows of ``train``, ``val`` and ``test`` in the window table, disjoint, repeatable by ``split_seed``."""
        fold = self.fold if fold is None else fold
        table = self.windows[~self.windows["dense"]]
        unit = None if self.split_by == "window" else table[self.split_by].to_numpy()
        parts = fold_rows(
            table["target"].to_numpy(),
            unit,
            self.folds,
            fold,
            self.split_seed,
            self.val_fraction,
            self.class_names,
            self.split_by,
        )
        if self.train_stride_s is not None:
            parts["train"] = np.concatenate([parts["train"], self._dense_rows(parts)])
        return parts

    def _dense_rows(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        """The extra training windows: of training recordings, and touching no window that validates or tests."""
        table, window = self.windows, self.store.window
        dense = table[table["dense"] & table["recording"].isin(table["recording"].iloc[parts["train"]].unique())]
        held = table.iloc[np.concatenate([parts["val"], parts["test"]])]
        keep = np.ones(len(dense), dtype=bool)
        starts = {code: np.sort(rows.to_numpy()) for code, rows in held.groupby("recording")["start_sample"]}
        for position, (code, first) in enumerate(zip(dense["recording"], dense["start_sample"], strict=True)):
            near = starts.get(code)
            if near is not None:
                low, high = np.searchsorted(near, [first - window + 1, first + window])
                keep[position] = low == high
        return dense.index.to_numpy()[keep]

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: read, cut, split."""
        if self.datasets:
            return
        normaliser = self.normaliser()
        self.datasets = {part: WindowDataset(self.store, rows, normaliser) for part, rows in self.split().items()}

    def normaliser(self, fold: int | None = None) -> Normaliser:
        """The scaling of one fold's windows; statistics of ``train`` come from that fold's training windows only."""
        if self.normalise == "window":
            return Normaliser()
        if self.normalise == "fixed":
            return Normaliser(scale=self.scale_uv)
        fold = self.fold if fold is None else fold
        if fold not in self._normalisers:
            self._normalisers[fold] = self._fit(self.split(fold)["train"])
        return self._normalisers[fold]

    def _fit(self, rows: np.ndarray, chunk: int = 1024) -> Normaliser:
        total = square = np.zeros(1)
        for first in range(0, len(rows), chunk):
            signal = self.store.gather(rows[first : first + chunk]).astype(np.float64)
            total = total + signal.sum(axis=(0, 2))
            square = square + (signal**2).sum(axis=(0, 2))
        count = len(rows) * self.store.window
        mean = total / count
        deviation = np.sqrt(np.maximum(square / count - mean**2, 0.0))
        scale = np.where(deviation > 0, deviation, 1.0)
        return Normaliser(mean[:, None].astype(np.float32), scale[:, None].astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Lightning hook: training statistics travel in the checkpoint, so that prediction needs no training data."""
        if self.normalise != "train" or self.fold not in self._normalisers:
            return {}
        fitted = self._normalisers[self.fold]
        return {name: np.ravel(getattr(fitted, name)).tolist() for name in ("offset", "scale")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning hook: take the statistics that the checkpoint was trained with."""
        if self.normalise != "train" or "scale" not in state_dict:
            return
        offset, scale = (np.asarray(state_dict[name], dtype=np.float32)[:, None] for name in ("offset", "scale"))
        self._normalisers[self.fold] = Normaliser(offset, scale)
        for dataset in self.datasets.values():
            dataset.normaliser = self._normalisers[self.fold]  # type: ignore[attr-defined]

    def signal(self, rows: np.ndarray, fold: int | None = None) -> np.ndarray:
        """Normalised windows of these table rows, ``(row, channel, time)``, float32."""
        return self.normaliser(fold)(self.store.gather(rows))

    def windows_of(self, recording: Recording, stride_s: float | None = None) -> tuple[Tensor, np.ndarray]:
        """All windows of a recording, normalised as in training.

        Args:
            recording: With the channels and the rate of the training data, as :meth:`read` gives it.
            stride_s: Step, s; ``None``: the step of the tested windows.

        Returns:
            ``(window, channel, time)`` float32 (a view of one array unless windows are z-scored, so that a day of EEG
            does not multiply in memory), and the starts from the first sample, ``(window,)``, s.
        """
        rate, length = recording.sampling_rate_hz, recording.signal.shape[-1]
        window, stride = self.window_length(rate), self._stride(rate, self.stride_s if stride_s is None else stride_s)
        if length < window:
            raise DataError(f"{recording.name}: {length / rate:g} s are shorter than one window of {window / rate:g} s")
        normaliser = self.normaliser()
        signal = np.asarray(recording.signal, dtype=np.float32)
        whole = signal if self.normalise == "window" else normaliser(signal)
        windows = torch.from_numpy(np.ascontiguousarray(whole)).unfold(-1, window, stride).transpose(0, 1)
        if self.normalise == "window":
            windows = torch.from_numpy(normaliser(windows.numpy()))
        return windows, window_starts(length, window, stride) / rate

    def write_events(self, path: Path, events: Iterable[Event], recording: Recording) -> Path:
        """Write events of a recording as a SzCORE annotation file; returns its path."""
        return write_szcore_tsv(path, events, recording.duration_s, recording.metadata.get("start"))

    def with_recordings(self, recordings: list[Recording]) -> Self:
        """A copy over other recordings of the same shape; windows, folds and statistics are computed anew."""
        twin = copy.copy(self)
        twin.__dict__.pop("store", None)
        twin.__dict__["recordings"] = list(recordings)
        twin.datasets, twin._normalisers = {}, {}
        return twin

    def fingerprint(self) -> str:
        """Hash of signals, windows and split."""
        signals = [r.metadata.get("fingerprint") or digest(np.asarray(r.signal)) for r in self.recordings]
        names = [(r.name, r.subject, r.sampling_rate_hz, r.channel_names) for r in self.recordings]
        columns = self.windows[["recording", "group", "start_sample", "target"]].to_numpy()
        parts = self.split()
        return digest(signals, names, self.store.window, columns, *(parts[name] for name in ("train", "val", "test")))

    def each(self, items: Iterable[Item], reader: Callable[[Item], Result]) -> list[Result]:
        """Apply ``reader`` to every file; with ``on_error: skip`` leave out the unreadable ones and name them once."""
        results, faults = [], []
        for item in items:
            try:
                results.append(reader(item))
            except DataError as error:
                if self.on_error == "raise":
                    raise DataError(f"{error} (datamodule.on_error=skip leaves such files out)") from error
                faults.append(str(error))
        if faults:
            warnings.warn(f"left out {len(faults)} unreadable file(s):\n  " + "\n  ".join(faults), stacklevel=2)
        return results


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"datamodule.{name}={value!r} is unknown: {did_you_mean(str(value), choices)}")
