"""Cells of one kind under one injected current, many at once: what an amortised posterior is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ..biophysics.conductance import Neuron, kind
from ..biophysics.simulate import simulate
from ..errors import ConfigError
from .patch_clamp import PatchClampSimulator

Array = NDArray[np.float64]
#: Cells that are simulated together.
_CHUNK = 512


@dataclass(frozen=True)
class CellPrior:
    """Prior over the cells of :meth:`PatchClampSimulator.cell`, in coordinates of mean 0 and variance 1.

    Half-activations are normal, widths and time constants log-normal, conductances log-uniform; what the simulator
    does not vary is no parameter here.

    Args:
        simulator: Says by how much each of them varies, which current is injected, and how much noise is added.
        which: ``all`` that vary, or ``conductances``: the others then vary unasked.
    """

    simulator: PatchClampSimulator
    which: str = "all"

    def __post_init__(self) -> None:
        if self.which not in ("all", "conductances"):
            raise ConfigError(f"datamodule.parameters={self.which!r}: choose all or conductances")
        if not len(self.positions):
            raise ConfigError("datamodule: nothing varies; raise conductance_spread, half_sd_mv or kinetics_sd")

    @property
    def neuron(self) -> Neuron:
        """Its structure and nominal parameters."""
        return self.simulator.neuron

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Where the parameters lie in ``theta``."""
        sds = [self._sd(name) for name in self.neuron.names]
        if self.which == "conductances":
            sds = [sd if kind(name) == "conductance" else 0.0 for sd, name in zip(sds, self.neuron.names, strict=True)]
        return np.flatnonzero(sds)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.neuron.names[k] for k in self.positions)

    def draw(self, count: int, seed: Sequence[int]) -> Array:
        """``(count, all parameters of the neuron)``, within their bounds."""
        rng = np.random.default_rng(list(seed))
        theta = np.tile(self.neuron.theta, (count, 1))
        for position, name in enumerate(self.neuron.names):
            z = rng.uniform(-(3**0.5), 3**0.5, count) if kind(name) == "conductance" else rng.standard_normal(count)
            theta[:, position] = self._moved(name, self.neuron.theta[position], z)
        return np.clip(theta, self.neuron.lower, self.neuron.upper)

    def coordinates(self, theta: Array) -> Array:
        """``(cell, parameter)`` from ``(cell, all parameters)``."""
        found = [
            (theta[:, k] - self.neuron.theta[k] if kind(name) == "half" else np.log(theta[:, k] / self.neuron.theta[k]))
            / self._sd(name)
            for k, name in zip(self.positions, self.names, strict=True)
        ]
        return np.stack(found, axis=1)

    def values(self, coordinates: Array) -> Array:
        """The way back, ``(cell, parameter)``."""
        pairs = zip(self.positions, self.names, coordinates.T, strict=True)
        return np.stack([self._moved(name, self.neuron.theta[k], z) for k, name, z in pairs], axis=1)

    def theta(self, coordinates: Array) -> Array:
        """The same with all other parameters at their nominal values, ``(cell, all parameters)``."""
        theta = np.tile(self.neuron.theta, (len(coordinates), 1))
        theta[:, self.positions] = self.values(coordinates)
        return np.clip(theta, self.neuron.lower, self.neuron.upper)

    def record(self, theta: Array, seed: int, every: int) -> NDArray[np.float32]:
        """Voltages without noise of cells that were at rest, ``(cell, time)``, at every ``every``-th sample.

        Args:
            theta: ``(cell, all parameters)``.
            seed: Of the injected current.
            every: Of the simulator's samples.
        """
        current = torch.from_numpy(self.simulator.current(seed)).float()
        rest = resting_voltages(self.neuron, torch.from_numpy(theta).float())
        found = []
        for first in range(0, len(theta), _CHUNK):
            part = torch.from_numpy(theta[first : first + _CHUNK]).float()
            how = (self.simulator.dt_ms, rest[first : first + _CHUNK], self.simulator.substeps)
            voltage = simulate(self.neuron, part, current.expand(len(part), -1), *how)
            found.append(voltage[:, ::every].numpy().copy())
        return np.concatenate(found)

    def _sd(self, name: str) -> float:
        """Of a parameter's deviation from its nominal value, in mV or of its logarithm."""
        what = kind(name)
        if what == "conductance":
            return float(np.log(self.simulator.conductance_spread)) / 3**0.5
        if name not in self.neuron.free:
            return 0.0
        return {"half": self.simulator.half_sd_mv}.get(what, self.simulator.kinetics_sd * (what in ("width", "time")))

    def _moved(self, name: str, nominal: float, z: Array) -> Array:
        by = self._sd(name) * z
        return nominal + by if kind(name) == "half" else nominal * np.exp(by)


def resting_voltages(neuron: Neuron, theta: torch.Tensor) -> torch.Tensor:
    """Where the steady current crosses zero upwards for the first time, ``(cell,)``, mV; -65 where it never does.

    Args:
        neuron: Its structure.
        theta: ``(cell, parameter)``.
    """
    voltage = torch.linspace(-100.0, -30.0, 71, dtype=theta.dtype)
    total = [neuron.currents_of(theta, neuron.steady(theta, v.expand(len(theta)))).sum(-1) for v in voltage]
    current = torch.stack(total, dim=1)
    crossing = (current[:, :-1] < 0) & (current[:, 1:] >= 0)
    at = crossing.to(torch.uint8).argmax(dim=1, keepdim=True)
    below, above = current.gather(1, at)[:, 0], current.gather(1, at + 1)[:, 0]
    rest = voltage[at[:, 0]] - below / (above - below) * (voltage[1] - voltage[0])
    return torch.where(crossing.any(dim=1), rest, torch.full_like(rest, -65.0))
