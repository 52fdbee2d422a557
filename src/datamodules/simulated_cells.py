"""Many simulated cells under one injected current: training and test sets of an amortised posterior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..biophysics.declaration import load_neuron
from ..contracts import DataSpec, TraceBatch
from ..errors import ConfigError, DataError
from ..files import replaced
from ..simulators.clamp_prior import CellPrior
from ..simulators.patch_clamp import PatchClampSimulator
from .base import BaseDataModule, digest
from .formats.clamp_files import ClampFormat, read_clamp


class SimulatedCellsDataModule(BaseDataModule):
    """One noisy sweep a cell; cells are drawn from :class:`~..simulators.clamp_prior.CellPrior`.

    Block ``fold`` of the cells tests, the block after it validates. Simulations are kept in ``root``, if there is one,
    under a name that says what they are.

    Args:
        neuron: Name in ``configs/model`` of the kind of cell, or a path to such a file.
        parameters: ``all`` that vary, or ``conductances``; see the prior.
        n_cells: Of training, validation and test together.
        begin_ms: Start of the trace in the sweep; the cell rests before.
        window_ms: Length of the trace.
        sampling_rate_hz: Of the simulation.
        every: The trace holds every so many-th sample.
        noise_sd_mv: White measurement noise.
        half_sd_mv: See :class:`~..simulators.patch_clamp.PatchClampSimulator`.
        kinetics_sd: The same.
        conductance_spread: The same.
        substeps: Integration steps a sample.
        protocol_seed: Of the injected current, which all cells share.
        data_seed: Of cells and noise.
        **arguments: See :class:`~.base.BaseDataModule`.
    """

    def __init__(
        self,
        neuron: str = "hippocampal",
        parameters: str = "all",
        n_cells: int = 16_384,
        begin_ms: float = 20.0,
        window_ms: float = 200.0,
        sampling_rate_hz: float = 50_000.0,
        every: int = 5,
        noise_sd_mv: float = 0.25,
        half_sd_mv: float = 2.0,
        kinetics_sd: float = 0.05,
        conductance_spread: float = 2.0,
        substeps: int = 1,
        protocol_seed: int = 0,
        data_seed: int = 0,
        **arguments: Any,
    ):
        super().__init__(**arguments)
        if n_cells < self.folds or every < 1:
            raise ConfigError(f"datamodule.n_cells={n_cells}, datamodule.every={every}: at least {self.folds} and 1")
        simulator = PatchClampSimulator(
            load_neuron(neuron),
            duration_ms=begin_ms + window_ms,
            sampling_rate_hz=sampling_rate_hz,
            noise_sd_mv=noise_sd_mv,
            rest_ms=begin_ms,
            half_sd_mv=half_sd_mv,
            kinetics_sd=kinetics_sd,
            conductance_spread=conductance_spread,
            substeps=substeps,
        )
        self.prior = CellPrior(simulator, parameters)
        self.n_cells, self.begin_ms, self.every = n_cells, begin_ms, every
        self.protocol_seed, self.data_seed = protocol_seed, data_seed
        self.traces: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.coordinates: NDArray[np.float32] = np.empty((0, 0), np.float32)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of what is inferred."""
        return self.prior.names

    @property
    def current(self) -> NDArray[np.float64]:
        """Injected current at the samples of a trace, ``(time,)``, µA/cm²."""
        return self.prior.simulator.current(self.protocol_seed)[:: self.every][self._first :]

    @property
    def _first(self) -> int:
        return round(self.begin_ms / self.prior.simulator.dt_ms / self.every)

    def setup(self, stage: str | None = None) -> None:
        """Simulate, or load what was simulated before; once."""
        if not len(self.traces):
            self._simulate()
        self.datasets = {part: _Traces(self, rows) for part, rows in self.split(self.fold).items()}

    def _simulate(self) -> None:
        simulator = self.prior.simulator
        path = None
        if self.root is not None:
            what = (repr(self.prior), simulator.neuron.theta, self.n_cells, self.protocol_seed, self.data_seed)
            path = self.root / f"cells-{digest(*what, self.every)}.npz"
        if path is not None and path.exists():
            with np.load(path, allow_pickle=False) as kept:
                theta, clean = kept["theta"], kept["clean"]
        else:
            theta = self.prior.draw(self.n_cells, [self.data_seed, 5])
            clean = self.prior.record(theta, self.protocol_seed, self.every)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replaced(path) as file:  # another run may look for it meanwhile
                    np.savez(file, theta=theta, clean=clean)
        clean = clean[:, self._first :]
        noise = np.random.default_rng([self.data_seed, 6]).standard_normal(clean.shape, dtype=np.float32)
        self.traces = clean + np.float32(simulator.noise_sd_mv) * noise
        self.coordinates = self.prior.coordinates(theta).astype(np.float32)

    def split(self, fold: int) -> dict[str, NDArray[np.int64]]:
        """Cells that train, validate and test."""
        blocks = np.array_split(np.arange(self.n_cells), self.folds)
        after = (fold + 1) % self.folds
        train = [block for k, block in enumerate(blocks) if k not in (fold, after)]
        empty = np.empty(0, np.int64)
        return {"train": np.concatenate([empty, *train]), "val": blocks[after], "test": blocks[fold]}

    def read(self, path: Path) -> torch.Tensor:
        """Sweeps of one file as the network wants them, ``(sweep, 1, time)``, mV.

        Raises:
            DataError: If their sampling rate, length or injected current is not that of the training cells.
        """
        rate_hz, current = self.prior.simulator.sampling_rate_hz, self.prior.simulator.current(self.protocol_seed)
        traces = []
        for sweep in read_clamp(path, None, ClampFormat(sampling_rate_hz=rate_hz)):
            where = f"{path}: {sweep.name}"
            if abs(sweep.sampling_rate_hz / rate_hz - 1) > 1e-3:
                raise DataError(f"{where} is sampled at {sweep.sampling_rate_hz:g} Hz, the network was at {rate_hz:g}")
            if len(sweep.voltage) < len(current):
                needed = len(current) / rate_hz * 1e3
                raise DataError(f"{where} lasts {sweep.duration_ms:g} ms, the network reads {needed:g} ms")
            if np.abs(sweep.current[: len(current)] - current).max() > 0.01 * np.ptp(current):
                raise DataError(f"{where} is driven by another current than the cells that the network was trained on")
            traces.append(sweep.voltage[: len(current) : self.every][self._first :])
        return torch.from_numpy(np.stack(traces)[:, None].astype(np.float32))

    def write_posterior(self, path: Path, samples: NDArray[np.float64]) -> Path:
        """Write samples ``(sample, sweep, parameter)`` in the prior's unit as cells, for `model.start`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        theta = self.prior.theta(samples.reshape(-1, samples.shape[-1])).reshape(*samples.shape[:2], -1)
        with replaced(path) as file:
            np.savez(file, theta=theta, names=np.array(self.prior.neuron.names))
        return path

    @property
    def spec(self) -> DataSpec:
        """One channel, its samples, and one output a parameter."""
        return DataSpec(
            n_channels=1,
            n_outputs=len(self.parameter_names),
            n_times=self.traces.shape[1],
            sampling_rate_hz=self.prior.simulator.sampling_rate_hz / self.every,
        )

    def fingerprint(self) -> str:
        """Hash of traces, parameters and split."""
        return digest(self.traces, self.coordinates, self.fold, self.folds)


class _Traces(Dataset[TraceBatch]):
    """Cells; a batch comes whole."""

    def __init__(self, datamodule: SimulatedCellsDataModule, rows: NDArray[np.int64]):
        self.traces, self.coordinates, self.rows = datamodule.traces, datamodule.coordinates, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> TraceBatch:
        row = int(self.rows[position])
        parts = (torch.from_numpy(self.traces[row][None]), torch.from_numpy(self.coordinates[row]), torch.tensor(row))
        return TraceBatch(*parts)
