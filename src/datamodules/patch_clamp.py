"""Current-clamp sweeps of one neuron, cut into a stretch to fit and windows to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ..contracts import ClampBatch, ClampRecording, DataSpec
from ..errors import ConfigError, DataError, MissingDataError
from .base import BaseDataModule, digest
from .formats.clamp_files import READERS, ClampFormat, read_clamp
from .formats.nwb_writer import write_clamp_nwb


class Window(NamedTuple):
    """A row of the table of windows: samples ``start`` to ``stop`` of a sweep, the lead before it not counted."""

    sweep: int
    start: int
    stop: int


class PatchClampDataModule(BaseDataModule):
    """Sweeps of one neuron in one or several conditions, the same protocol in all of them or not.

    The time after ``begin_ms`` is cut into ``folds`` blocks: block ``fold`` tests, the block before it validates, all
    others train, of which the last ``fit_ms`` are kept. With the default, the last fold, a model is fitted early and
    predicts what comes later. Validation and test blocks are cut into windows of ``window_ms``.

    Args:
        root: Folder of the recordings.
        pattern: Which files hold voltages.
        current_file: ``[text, other]``: the current of ``x_text_y`` lies in ``x_other_y`` (Igor waves, NPY). One name:
            that file holds the current of all sweeps.
        conditions: Condition to a part of the names of its files; the first is the reference. Empty: all are control.
        sweeps: Numbers of the sweeps that are kept of each file, which must have them, in this order; empty for all.
        fit_sweeps: Sweeps (of those kept, in each condition) that train; the others only validate and test.
        voltage_unit: Where the file does not say; see :class:`.formats.clamp_files.ClampFormat`.
        current_unit: The same for the current.
        sampling_rate_hz: For files without a time axis.
        voltage_name: Array or column in MATLAB, NPZ and CSV files.
        current_name: The same for the current.
        offset_mv: Added to every voltage (junction potential, electrode offset).
        compensate: Called with each recording, returns it without the electrode's part; see :mod:`.electrode`.
        begin_ms: Start of the first block.
        end_ms: End of the last block; ``None``: of the shortest sweep.
        lead_ms: Before each window, in which the recording drives the model to its state: at least twice the slowest
            time constant. Shorter, for all windows of a batch, where one of them begins earlier in its sweep; the
            neuron should then be at rest where the sweep starts.
        fit_ms: Length of the stretch that is fitted; ``None``: all training blocks.
        window_ms: Length of a window that is predicted.
        **arguments: See :class:`~.base.BaseDataModule`.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        pattern: str = "*.abf",
        current_file: Sequence[str] = (),
        conditions: Mapping[str, str] | Sequence[str] | None = None,
        sweeps: Sequence[int] = (),
        fit_sweeps: int | None = None,
        voltage_unit: str | None = None,
        current_unit: str | None = None,
        sampling_rate_hz: float | None = None,
        voltage_name: str = "V",
        current_name: str = "I",
        offset_mv: float = 0.0,
        compensate: Callable[[ClampRecording], ClampRecording] | None = None,
        begin_ms: float = 100.0,
        end_ms: float | None = None,
        lead_ms: float = 100.0,
        fit_ms: float | None = None,
        window_ms: float = 400.0,
        batch_size: int = 64,
        **arguments: Any,
    ):
        super().__init__(root=root, batch_size=batch_size, **arguments)
        if self.folds < 3:
            raise ConfigError(f"datamodule.folds={self.folds}: one block tests, one validates, so 3 are needed")
        if lead_ms < 0 or begin_ms < 0:
            raise ConfigError(f"datamodule.lead_ms={lead_ms:g}, begin_ms={begin_ms:g}: neither may be negative")
        if window_ms <= 0 or (fit_ms is not None and fit_ms <= 0):
            raise ConfigError(f"datamodule.window_ms={window_ms:g}, fit_ms={fit_ms}: a window has a length")
        self.pattern, self.current_file = pattern, tuple(current_file)
        named = conditions if isinstance(conditions, Mapping) else dict.fromkeys(conditions or ("control",), "")
        self.conditions: dict[str, str] = dict(named)
        self.sweeps, self.fit_sweeps = tuple(sweeps), fit_sweeps
        self.format = ClampFormat(voltage_unit, current_unit, sampling_rate_hz, voltage_name, current_name)
        self.offset_mv, self.compensate = offset_mv, compensate
        self.begin_ms, self.end_ms, self.lead_ms = begin_ms, end_ms, lead_ms
        self.fit_ms, self.window_ms = fit_ms, window_ms
        self.recordings: list[ClampRecording] = []
        self.windows = np.empty((0, 3), np.int64)

    def load(self) -> list[ClampRecording]:
        """The sweeps as they are on disk, by file name."""
        folder = self.root or Path("data")
        suffixes = tuple(READERS)
        paths = sorted(p for p in folder.glob(self.pattern) if p.suffix.lower() in suffixes) if folder.is_dir() else []
        if not paths:
            raise MissingDataError(
                folder / self.pattern,
                "Wells et al. 2025, 10.3389/fncom.2025.1458878",
                "your own recordings, or any public current clamp",
                f"files with {', '.join(READERS)}; voltage and injected current",
            )
        found = []
        for path in paths:
            other = None
            if self.current_file:
                name = self.current_file[0]
                if len(self.current_file) > 1:
                    name = path.name.replace(name, self.current_file[1], 1)
                other = path.with_name(name)
                if not other.is_file():
                    raise DataError(f"{path}: the file of its current, {other.name}, is missing; see current_file")
            chosen = read_clamp(path, other, self.format)
            if self.sweeps and not 0 <= min(self.sweeps) <= max(self.sweeps) < len(chosen):
                raise ConfigError(f"datamodule.sweeps={list(self.sweeps)}: {path} has sweeps 0 to {len(chosen) - 1}")
            if len(set(self.sweeps)) < len(self.sweeps):
                raise ConfigError(f"datamodule.sweeps={list(self.sweeps)}: names a sweep twice")
            chosen = [chosen[k] for k in self.sweeps] if self.sweeps else chosen
            found += [replace(sweep, condition=self._condition(path)) for sweep in chosen]
        found = [replace(sweep, voltage=sweep.voltage + self.offset_mv) for sweep in found]
        return [self.compensate(sweep) for sweep in found] if self.compensate else found

    def read(self, path: Path) -> list[ClampRecording]:
        """The sweeps of one file of one's own, in the units and with the corrections of the training data."""
        sweeps = read_clamp(path, None, self.format)
        named = [name for name, part in self.conditions.items() if part and part in path.name]
        condition = named[0] if len(named) == 1 else next(iter(self.conditions))
        sweeps = [replace(sweep, condition=condition, voltage=sweep.voltage + self.offset_mv) for sweep in sweeps]
        return [self.compensate(sweep) for sweep in sweeps] if self.compensate else sweeps

    def write_predicted(self, path: Path, sweeps: Sequence[ClampRecording], names: Sequence[str]) -> Path:
        """Write predicted sweeps with their ionic currents, called ``names``, as NWB."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_clamp_nwb(path, sweeps, "predicted by an estimated neuron", names, origin="prediction")

    def _condition(self, path: Path) -> str:
        fitting = [name for name, part in self.conditions.items() if part in path.name]
        if len(fitting) != 1:
            raise ConfigError(f"datamodule.conditions: {path.name} fits {fitting or 'none'} of {list(self.conditions)}")
        return fitting[0]

    def setup(self, stage: str | None = None) -> None:
        """Read and cut; once."""
        self.datasets = {name: _Windows(self, rows) for name, rows in self.split(self.fold).items()}

    def _read(self) -> None:
        if self.recordings:
            return
        self.recordings = self.load()
        rates = {round(r.sampling_rate_hz, 3) for r in self.recordings}
        if len(rates) > 1:
            raise DataError(f"sweeps below {self.root} are sampled at {sorted(rates)} Hz; choose a pattern")
        windows = [window for fold in range(self.folds) for part in self.blocks(fold).values() for window in part]
        self.windows = np.array(sorted(set(windows)), np.int64)

    def blocks(self, fold: int) -> dict[str, list[Window]]:
        """The windows that train, validate and test."""
        rate = self.recordings[0].sampling_rate_hz / 1e3
        begin = round(self.begin_ms * rate)
        shortest = min(len(r.voltage) for r in self.recordings)
        end = shortest if self.end_ms is None else min(shortest, round(self.end_ms * rate))
        edges = np.linspace(begin, end, self.folds + 1).astype(int)
        if np.diff(edges).min() < max(2, round(rate)):
            raise ConfigError(f"datamodule.begin_ms={self.begin_ms:g}: leaves {self.folds} blocks below 1 ms; lower it")
        before = (fold - 1) % self.folds
        found: dict[str, list[Window]] = {"train": [], "val": [], "test": []}
        seen: dict[str, int] = {}
        for k, sweep in enumerate(self.recordings):
            seen[sweep.condition] = seen.get(sweep.condition, 0) + 1
            if self.fit_sweeps is None or seen[sweep.condition] <= self.fit_sweeps:
                found["train"] += [Window(k, *stretch) for stretch in self._stretches(edges, {fold, before}, rate)]
            for part, block in (("val", before), ("test", fold)):
                n = max(1, round((edges[block + 1] - edges[block]) / rate / self.window_ms))
                cuts = np.linspace(edges[block], edges[block + 1], n + 1).astype(int)
                found[part] += [Window(k, int(a), int(b)) for a, b in pairwise(cuts)]
        return found

    def _stretches(self, edges: NDArray[np.int64], out: set[int], rate: float) -> list[tuple[int, int]]:
        """Training blocks, neighbours joined, and of them the last ``fit_ms``."""
        joined: list[list[int]] = []
        for block in range(self.folds):
            if block in out:
                continue
            if joined and joined[-1][1] == edges[block]:
                joined[-1][1] = int(edges[block + 1])
            else:
                joined.append([int(edges[block]), int(edges[block + 1])])
        left = round(self.fit_ms * rate) if self.fit_ms else sum(b - a for a, b in joined)
        kept = []
        for a, b in reversed(joined):
            length = min(left, b - a)
            left -= length
            if length > 1:
                kept.append((b - length, b))
        return kept[::-1]

    def split(self, fold: int) -> dict[str, NDArray[np.int64]]:
        """Rows of ``windows`` that train, validate and test."""
        self._read()
        rows = {tuple(window): row for row, window in enumerate(self.windows.tolist())}
        return {
            part: np.array([rows[tuple(w)] for w in windows], np.int64) for part, windows in self.blocks(fold).items()
        }

    @property
    def spec(self) -> DataSpec:
        """One neuron, its sampling rate, and the conditions."""
        there = {r.condition for r in self.recordings}
        missing = [name for name in self.conditions if name not in there]
        if missing:
            raise DataError(f"no file of the condition {missing[0]!r} below {self.root}; see datamodule.conditions")
        steps = int((self.windows[:, 2] - self.windows[:, 1]).min())
        return DataSpec(
            n_nodes=1,
            n_times=steps,
            sampling_rate_hz=self.recordings[0].sampling_rate_hz,
            conditions=tuple(self.conditions),
        )

    def fingerprint(self) -> str:
        """Hash of traces, cuts and split."""
        traces = [part for r in self.recordings for part in (r.voltage, r.current, r.condition)]
        return digest(*traces, self.windows, self.lead_ms, self.fit_ms, self.fit_sweeps, self.fold, self.folds)

    def _loader(self, stage: str, shuffle: bool = False) -> DataLoader[Any]:
        # A fit needs all its windows at once, and in the same order each time.
        windows = self.datasets[stage]
        size = self.batch_size if stage != "train" else len(windows)  # type: ignore[arg-type]
        return DataLoader(windows, batch_size=size, num_workers=self.num_workers, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch


class _Windows(Dataset[ClampBatch]):
    """Windows with their leads; a batch is trimmed to its shortest window."""

    def __init__(self, datamodule: PatchClampDataModule, rows: NDArray[np.int64]):
        self.recordings, self.rows = datamodule.recordings, rows
        self.windows = datamodule.windows[rows]
        rate = self.recordings[0].sampling_rate_hz / 1e3 if self.recordings else 1.0
        self.lead = round(datamodule.lead_ms * rate)
        self.names = list(datamodule.conditions)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> ClampBatch:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> ClampBatch:
        """What the loader calls with the positions of a batch."""
        steps = int((self.windows[positions, 2] - self.windows[positions, 1]).min())
        lead = min(self.lead, int(self.windows[positions, 1].min()))
        cut = [(self.recordings[k], slice(a - lead, a + steps)) for k, a, _ in self.windows[positions]]
        currents = [np.empty((steps + lead, 0)) if r.currents is None else r.currents[here] for r, here in cut]
        parts = [np.stack([getattr(r, name)[here] for r, here in cut]) for name in ("voltage", "current")]
        whole = [
            np.full(len(cut), lead),
            np.array([self.names.index(r.condition) for r, _ in cut]),
            self.windows[positions, 0],
            self.rows[positions],
        ]
        traces = [part.astype(np.float64) for part in (*parts, np.stack(currents))]
        arrays = [*traces, *(part.astype(np.int64) for part in whole)]
        return ClampBatch(*map(torch.from_numpy, arrays))
