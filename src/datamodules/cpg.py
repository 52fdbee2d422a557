"""Voltages and injected currents of small circuits, cut into shots for training and segments for free runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from torch.utils.data import DataLoader, Dataset

from ..contracts import CircuitBatch, CircuitRecording, CircuitTruth, DataSpec
from ..errors import ConfigError, DataError, MissingDataError
from .base import BaseDataModule, digest
from .formats.circuit_files import SUFFIXES, read_circuits
from .formats.nwb_writer import write_nwb


class Stretch(NamedTuple):
    """A row of the table of stretches: samples ``start`` to ``start + steps`` of a trial."""

    trial: int
    start: int
    steps: int


class CPGDataModule(BaseDataModule):
    """Recordings of a central pattern generator in the layout of Burghi et al. 2025 (Apollo, 10.17863/CAM.120457).

    Each trial is low-passed without phase and loses its first ``drop_s`` seconds, in which the filters of a model still
    carry their initial state. Then, with ``split: trial``, trial ``fold`` is the test set, and the last
    ``val_fraction`` of every other trial validates. With ``split: inside`` each trial is cut into ``folds`` blocks:
    block ``fold`` tests, the one before it validates. The paper has no test set; its split is ``trial`` without the
    held-out trial.

    Args:
        root: Folder of ``.mat``, ``.npz`` or ``.csv`` files, one a trial, or of ``.abf`` or ``.nwb`` files, one trial a
            sweep.
        pattern: Which files.
        sampling_rate_hz: Of the files.
        columns: Names of the columns of CSV files without a header.
        voltage_scale: Multiplies the voltages, to reach mV.
        low_pass_hz: Corner of a third-order Butterworth filter of the voltages, run both ways; ``None``: none.
        drop_s: Seconds dropped at the start of each trial.
        split: ``trial`` or ``inside``.
        val_fraction: Of each training trial, at its end.
        train_s: Seconds of each training stretch that train, from its start; ``None``: all of it.
        shot_steps: Length of a training shot, samples.
        segment_s: Length of a test segment, seconds; a free run starts at the first sample of each.
        val_segment_s: Of a validation segment; ``None``: the same.
        segment_every_s: Seconds from the start of a segment to that of the next, which may overlap it; ``None``: they
            follow one another, their length adjusted so that whole segments fill what there is.
        batch_size: Shots a batch.
        **arguments: See :class:`~.base.BaseDataModule`.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        pattern: str = "*.mat",
        sampling_rate_hz: float = 10_000.0,
        columns: Sequence[str] = (),
        voltage_scale: float = 1.0,
        low_pass_hz: float | None = 2000.0,
        drop_s: float = 6.9078,
        split: str = "trial",
        val_fraction: float = 0.25,
        train_s: float | None = None,
        shot_steps: int = 20,
        segment_s: float = 20.0,
        val_segment_s: float | None = None,
        segment_every_s: float | None = None,
        batch_size: int = 1344,
        **arguments: Any,
    ):
        super().__init__(root=root, batch_size=batch_size, **arguments)
        if split not in ("trial", "inside"):
            raise ConfigError(f"datamodule.split={split!r}: choose from trial, inside")
        if low_pass_hz is not None and not 0 < low_pass_hz < sampling_rate_hz / 2:
            raise ConfigError(
                f"datamodule.low_pass_hz={low_pass_hz:g} does not lie between 0 and half of {sampling_rate_hz=:g}"
            )
        if shot_steps < 1 or not 0 < val_fraction < 1:
            raise ConfigError(
                f"datamodule.shot_steps={shot_steps}, val_fraction={val_fraction:g}: nothing would be left"
            )
        if train_s is not None and train_s <= 0:
            raise ConfigError(f"datamodule.train_s={train_s:g}: seconds above 0, or null for all there is")
        self.train_s = train_s
        self.pattern, self.sampling_rate_hz, self.columns = pattern, sampling_rate_hz, tuple(columns)
        self.voltage_scale, self.low_pass_hz, self.drop_s = voltage_scale, low_pass_hz, drop_s
        self.how, self.val_fraction, self.shot_steps, self.segment_s = split, val_fraction, shot_steps, segment_s
        self.val_segment_s, self.segment_every_s = val_segment_s or segment_s, segment_every_s
        self.recordings: list[CircuitRecording] = []
        self.stretches = np.empty((0, 3), np.int64)
        self._begins: list[int] = []
        self._n_shots = 0
        self._segment_rows: dict[tuple[str, tuple[int, int, int]], NDArray[np.int64]] = {}

    def read(self, path: Path) -> list[CircuitRecording]:
        """The trials of one file of one's own, filtered as the training data."""
        given = self.sampling_rate_hz, self.columns, self.voltage_scale
        return [low_passed(trial, self.low_pass_hz) for trial in read_circuits(path, *given)]

    def write_predicted(self, path: Path, trial: CircuitRecording, synaptic_step: int, start_s: float) -> Path:
        """Write a predicted trial as NWB; its synaptic currents are those of every ``synaptic_step``-th sample."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "free run of a trained circuit"
        return write_nwb(path, trial, text, origin="prediction", synaptic_step=synaptic_step, start_s=start_s)

    def load(self) -> list[CircuitRecording]:
        """The trials as they are on disk, in the order of their names."""
        folder = self.root or Path("data")
        paths = sorted(p for p in folder.glob(self.pattern) if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        if not paths:
            raise MissingDataError(
                folder / self.pattern,
                "Burghi et al. 2025, 10.3389/fncom.2025.1515194",
                "https://doi.org/10.17863/CAM.120457",
                "rtxi_data_Trial3.mat, rtxi_data_Trial5.mat, … with V1, V2 (mV), I1, I2 (nA), Temp (synaptic "
                "currents); of other recordings, datamodule.pattern names the files",
            )
        given = self.sampling_rate_hz, self.columns, self.voltage_scale
        return [trial for path in paths for trial in read_circuits(path, *given)]

    @property
    def truth(self) -> CircuitTruth | None:
        """What is known of the circuit besides recordings; nothing of a living one."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Read, filter and cut; once."""
        self.datasets = {name: _Stretches(self, rows) for name, rows in self.split(self.fold).items()}

    def _read(self) -> None:
        """What the split depends on; loaded when it is first asked for."""
        if not self.recordings:
            self.recordings = [low_passed(trial, self.low_pass_hz) for trial in self.load()]
            self._check()
            self._begins = [round(self.drop_s * r.sampling_rate_hz) for r in self.recordings]
            shots = self._shots()
            self._n_shots = len(shots)
            self.stretches = np.array(shots + self._segments(), np.int64)

    def _check(self) -> None:
        nodes = {trial.n_nodes for trial in self.recordings}
        if len(nodes) > 1:
            raise DataError(
                f"trials of {' and '.join(map(str, sorted(nodes)))} neurons below {self.root}; choose a pattern"
            )
        if self.how == "trial" and self.folds != len(self.recordings):
            raise ConfigError(
                f"datamodule.folds={self.folds} with split=trial: there are {len(self.recordings)} trials, one of "
                f"which is tested; set folds={len(self.recordings)}, or split=inside"
            )
        shortest = min(self.recordings, key=lambda trial: trial.duration_s)
        if shortest.duration_s < self.drop_s + 1e-3 * self.folds * (self.shot_steps + 1):
            raise ConfigError(
                f"datamodule.drop_s={self.drop_s:g}: {shortest.name} lasts {shortest.duration_s:g} s; nothing is left"
            )

    @property
    def spec(self) -> DataSpec:
        """Neurons, rate, and samples of a shot."""
        trial = self.recordings[0]
        names = tuple(f"V{n + 1}" for n in range(trial.n_nodes))
        return DataSpec(
            n_nodes=trial.n_nodes,
            n_times=self.shot_steps,
            sampling_rate_hz=trial.sampling_rate_hz,
            channel_names=names,
        )

    def blocks(self, fold: int) -> dict[str, list[tuple[int, int, int]]]:
        """``(trial, first sample, end)`` of the stretches of time that train, validate and test."""
        found: dict[str, list[tuple[int, int, int]]] = {"train": [], "val": [], "test": []}
        for k, trial in enumerate(self.recordings):
            begin, end = self._begins[k], len(trial.voltage)
            if self.how == "inside":
                edges = np.linspace(begin, end, self.folds + 1).astype(int)
                for block in range(self.folds):
                    part = {fold: "test", (fold - 1) % self.folds: "val"}.get(block, "train")
                    found[part].append((k, int(edges[block]), int(edges[block + 1])))
            elif k == fold:
                found["test"].append((k, begin, end))
            else:
                cut = end - round(self.val_fraction * (end - begin))
                found["train"].append((k, begin, cut))
                found["val"].append((k, cut, end))
        if self.train_s is not None:
            rates = [trial.sampling_rate_hz for trial in self.recordings]
            found["train"] = [(k, a, min(b, a + round(self.train_s * rates[k]))) for k, a, b in found["train"]]
        return found

    def split(self, fold: int) -> dict[str, NDArray[np.int64]]:
        """Rows of ``stretches`` that train, validate and test."""
        self._read()
        trial, first, steps = self.stretches[: self._n_shots].T
        found: dict[str, NDArray[np.int64]] = {}
        for part, blocks in self.blocks(fold).items():
            if part == "train":
                inside = [np.flatnonzero((trial == k) & (first >= a) & (first + steps < b)) for k, a, b in blocks]
            else:
                inside = [self._segment_rows[part, block] for block in blocks]
            found[part] = np.concatenate([*inside, np.empty(0, np.int64)])
            if not len(found[part]):
                raise ConfigError(f"datamodule.drop_s={self.drop_s:g}: nothing is left to {part}; lower it")
        return found

    def _shots(self) -> list[Stretch]:
        return [
            Stretch(k, start, self.shot_steps)
            for k, (trial, begin) in enumerate(zip(self.recordings, self._begins, strict=True))
            for start in range(begin, len(trial.voltage) - self.shot_steps, self.shot_steps)
        ]

    def _segments(self) -> list[Stretch]:
        """Segments of the validation and test blocks of every fold; their rows go to ``_segment_rows``."""
        found: list[Stretch] = []
        for fold in range(self.folds):
            blocks = self.blocks(fold)
            for part, block in [("val", b) for b in blocks["val"]] + [("test", b) for b in blocks["test"]]:
                if (part, block) in self._segment_rows:
                    continue
                trial, begin, end = block
                rate = self.recordings[trial].sampling_rate_hz
                wanted = (self.val_segment_s if part == "val" else self.segment_s) * rate
                if self.segment_every_s is None:
                    steps = (end - begin - 1) // max(1, round((end - begin - 1) / wanted))
                    every = steps
                else:
                    steps, every = min(round(wanted), end - begin - 1), round(self.segment_every_s * rate)
                starts = np.arange(begin, end - steps, every)
                self._segment_rows[part, block] = self._n_shots + len(found) + np.arange(len(starts))
                found += [Stretch(trial, int(start), steps) for start in starts]
        return found

    def fingerprint(self) -> str:
        """Hash of traces, cuts and split."""
        traces = [part for r in self.recordings for part in (r.voltage, r.current)]
        return digest(*traces, self.stretches, self.how, self.val_fraction, self.train_s, self.fold, self.folds)

    def _loader(self, stage: str, shuffle: bool = False) -> DataLoader[Any]:
        stretches = self.datasets[stage]
        assert isinstance(stretches, _Stretches)
        # Segments run side by side, trimmed to the shortest: a free run cannot be split, so this is what saves time.
        size = self.batch_size if stage == "train" else len(stretches)
        return DataLoader(
            stretches, batch_size=size, shuffle=shuffle, num_workers=self.num_workers, collate_fn=_as_it_is
        )


def _as_it_is(batch: Any) -> Any:
    return batch


class _Stretches(Dataset[CircuitBatch]):
    """Stretches of all trials; a batch is gathered in one indexing, a thousand short shots at once."""

    def __init__(self, datamodule: CPGDataModule, rows: NDArray[np.int64]):
        trials = datamodule.recordings
        self.rows = rows
        self.signals = [
            torch.from_numpy(np.concatenate(parts).astype(np.float32))
            for parts in ([r.voltage for r in trials], [r.current for r in trials], [_known(r) for r in trials])
        ]
        ends = np.cumsum([0, *(len(r.voltage) for r in trials)])
        self.first = torch.from_numpy(datamodule.stretches[rows, 1] + ends[datamodule.stretches[rows, 0]])
        self.steps = datamodule.stretches[rows, 2]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> CircuitBatch:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> CircuitBatch:
        """What the loader calls with the positions of a batch."""
        steps = int(self.steps[positions].min())
        at = self.first[positions, None] + torch.arange(steps + 1)
        voltage, current, synaptic = (s[a] for s, a in zip(self.signals, (at, at[:, :-1], at[:, :-1]), strict=True))
        return CircuitBatch(voltage, current, synaptic, torch.from_numpy(self.rows[positions]))


def _known(recording: CircuitRecording) -> NDArray:
    return np.full_like(recording.current, np.nan) if recording.synaptic is None else recording.synaptic


def low_passed(recording: CircuitRecording, corner_hz: float | None) -> CircuitRecording:
    """Low-pass the voltages both ways, as the paper does, and cut the edges (5 settling times) from everything."""
    if corner_hz is None:
        return recording
    sections = butter(3, corner_hz, fs=recording.sampling_rate_hz, output="sos")
    slowest = np.abs(np.concatenate([np.roots(section[3:]) for section in sections])).max()
    cut = 5 * int(np.ceil(np.log(0.01) / np.log(slowest)))
    kept = slice(cut, len(recording.voltage) - cut)
    filtered = sosfiltfilt(sections, recording.voltage, axis=0)
    return replace(
        recording,
        voltage=np.ascontiguousarray(filtered[kept]),  # the filter's second pass leaves it reversed
        current=recording.current[kept],
        synaptic=None if recording.synaptic is None else recording.synaptic[kept],
        hidden={name: part[kept] for name, part in recording.hidden.items()},
    )
