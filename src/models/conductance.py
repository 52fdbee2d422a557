"""A conductance-based neuron as a model: its unknowns in a box, for several starts and conditions at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..biophysics.conductance import kind
from ..biophysics.declaration import declare
from ..biophysics.simulate import simulate
from ..errors import ConfigError, did_you_mean

Array = NDArray[np.float64]
#: Range of a conductance under a drug, relative to the first condition.
LOWEST_RATIO, HIGHEST_RATIO = 0.01, 3.0
#: Parameters that are searched on a linear scale; all others have one sign and are searched by their logarithm.
_LINEAR = ("half", "reversal", "shift")


class ConductanceModel(nn.Module):
    """A :class:`~..biophysics.conductance.Neuron` with unknown parameters.

    Unknowns live in a box: ``box`` runs from -1 to 1 between the bounds, by the logarithm where a parameter has
    one sign. ``change`` holds, for every condition after the first, the logarithm of each conductance relative to the
    first condition: kinetics are shared.

    Args:
        currents: Name to ``{gates: {gate: power}, reversal: name or ghk, calcium: hill}``.
        gates: Gate to ``[half, width, tau_width, tau_min, tau_range]``.
        values: All other parameters.
        sampling_rate_hz: Of the recordings; taken from the data.
        conditions: Names of the experimental conditions; taken from the data.
        speeds: Gate to the factor that divides its time constant.
        shifted: Gates whose half-activation falls with calcium.
        fixed: Parameters that are known.
        bounds: Parameter to ``[lower, upper]``, or gate to five of them, where the defaults do not suit.
        shared: Currents that no condition changes, such as one that stands for what the model lacks.
        n_starts: Independent estimates from different starts.
        start: ``random``: uniform in the box; ``values``: the values above, where drug tests begin; or an NPZ file of
            cells, ``names`` and ``theta``, such as an amortised posterior's prediction: a start a cell.
        substeps: Integration steps a sample.

    Example:
        >>> neuron = {"L": {"reversal": "L"}}
        >>> model = ConductanceModel(neuron, {}, {"g_L": 0.1, "E_L": -65.0}, sampling_rate_hz=50_000.0, start="values")
        >>> model(torch.zeros(1, 3, 1)).shape
        torch.Size([1, 3, 1])
    """

    def __init__(
        self,
        currents: Mapping[str, Mapping[str, Any]],
        gates: Mapping[str, Sequence[float]],
        values: Mapping[str, float],
        sampling_rate_hz: float,
        conditions: Sequence[str] = ("control",),
        speeds: Mapping[str, float] | None = None,
        shifted: Sequence[str] = (),
        fixed: Sequence[str] = ("capacitance",),
        bounds: Mapping[str, Sequence[Any]] | None = None,
        shared: Sequence[str] = (),
        n_starts: int = 1,
        start: str = "random",
        substeps: int = 1,
    ):
        super().__init__()
        if start not in ("random", "values") and not start.endswith(".npz"):
            raise ConfigError(f"model.start={start!r}: choose random, values, or an NPZ file of cells")
        if n_starts < 1 or substeps < 1:
            raise ConfigError(f"model.n_starts={n_starts}, model.substeps={substeps}: both must be at least 1")
        self.neuron = declare(currents, gates, values, speeds or {}, shifted, fixed, bounds or {})
        names = [current.name for current in self.neuron.currents]
        for name in shared:
            if name not in names:
                raise ConfigError(f"model.shared: no current is called {name!r}; {did_you_mean(name, names)}")
        self._drugged = np.array([name not in shared for name in names])
        self.dt_ms = 1e3 / sampling_rate_hz
        self.conditions, self.substeps = tuple(conditions), substeps
        self.positions = np.array([self.neuron.index[name] for name in self.neuron.free])
        low, high = self.neuron.lower[self.positions], self.neuron.upper[self.positions]
        for name, a, b in zip(self.neuron.free, low, high, strict=True):
            if a == b:
                raise ConfigError(f"model.bounds: {name} is free between {a:g} and {b:g}; give it bounds, or fix it")
        self._log = np.array(
            [kind(name) not in _LINEAR and a * b > 0 for name, a, b in zip(self.neuron.free, low, high, strict=True)]
        )
        self._sign = np.where(self._log, np.sign(low), 1.0)
        a, b = (self._scaled(edge) for edge in (low, high))
        self._middle, self._half = (a + b) / 2, np.abs(b - a) / 2
        n = len(self.positions)
        box = torch.rand(n_starts, n, dtype=torch.float64) * 2 - 1
        if start == "values":
            box = torch.from_numpy(np.tile(self.box_of(self.neuron.theta), (n_starts, 1)))
        elif start != "random":
            cells = _read_cells(Path(start), self.neuron.names, n_starts)
            box = torch.from_numpy(np.clip([self.box_of(theta) for theta in cells], -1, 1))
        self.box = nn.Parameter(box)
        if len(self.conditions) > 1:
            shape = (n_starts, len(self.conditions) - 1, len(self.neuron.currents))
            self.change = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    @property
    def bounds(self) -> dict[str, dict[str, Any]]:
        """Parameter to its bounds: of the box the same for all, of a change by current; shared currents keep 0."""
        low, high = (self._drugged * np.log(ratio) for ratio in (LOWEST_RATIO, HIGHEST_RATIO))
        return {
            "box": {"lower": -1.0, "upper": 1.0},
            "change": {"lower": low.tolist(), "upper": high.tolist()},
        }

    @property
    def n_starts(self) -> int:
        """Number of independent estimates."""
        return len(self.box)

    def box_of(self, theta: Array) -> Array:
        """Box coordinates of the free parameters of ``theta``, ``(parameter,)``; beyond ±1 outside the bounds."""
        return (self._scaled(theta[self.positions]) - self._middle) / self._half

    def theta_of(self, box: Array, change: Array | None = None) -> Array:
        """All parameters from box coordinates, ``(free,)``, and a condition's log ratios, ``(current,)``."""
        scaled = self._middle + self._half * box
        theta = self.neuron.theta.copy()
        theta[self.positions] = np.where(self._log, self._sign * np.exp(np.where(self._log, scaled, 0.0)), scaled)
        if change is not None:
            theta[list(self.neuron.conductances)] *= np.exp(change)
        return theta

    def slope_of(self, theta: Array) -> Array:
        """Derivative of the free parameters by their box coordinates, ``(free,)``."""
        return np.where(self._log, theta[self.positions], 1.0) * self._half

    def log_ratio(self, start: int, condition: int) -> Array:
        """Logarithm of each conductance relative to the first condition, ``(current,)``."""
        if not condition:
            return np.zeros(len(self.neuron.currents))
        return np.asarray(self.change[start, condition - 1].detach().numpy())

    def theta(self, start: int = 0, condition: int = 0) -> Array:
        """Parameters of one start in one condition, ``(parameter,)``."""
        return self.theta_of(self.box[start].detach().numpy(), self.log_ratio(start, condition))

    def forward(self, injected: Tensor) -> Tensor:
        """Voltage of the first start under injected currents, from rest at the leak's reversal potential.

        Args:
            injected: ``(batch, time, 1)``, µA/cm².

        Returns:
            ``(batch, time, 1)``, mV; gradients reach ``box``.
        """
        middle, half, sign, log = (torch.from_numpy(x) for x in (self._middle, self._half, self._sign, self._log))
        scaled = middle + half * self.box[0]
        values = torch.where(log, sign * torch.exp(torch.where(log, scaled, 0.0)), scaled)
        theta = torch.from_numpy(self.neuron.theta).index_put((torch.from_numpy(self.positions),), values)
        start = theta[self.neuron.index["E_L"]].item() if "E_L" in self.neuron.index else -65.0
        batch = theta.expand(len(injected), -1)
        voltage = simulate(self.neuron, batch, injected[..., 0].double(), self.dt_ms, start, self.substeps)
        return voltage[..., None].to(injected.dtype)

    def _scaled(self, free: Array) -> Array:
        return np.where(self._log, np.log(np.where(self._log, np.abs(free), 1.0)), free)


def _read_cells(path: Path, names: Sequence[str], count: int) -> Array:
    """The first ``count`` cells of an NPZ file, ``(cell, parameter)``."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            theta, found = np.asarray(kept["theta"], np.float64), kept["names"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"model.start={path}: holds no cells ({error}); `neurotwin predict` writes them") from None
    if tuple(found) != tuple(names):
        raise ConfigError(f"model.start={path}: its cells have {len(found)} parameters, others than this neuron's")
    theta = theta.reshape(-1, len(names))
    if len(theta) < count:
        raise ConfigError(f"model.start={path}: holds {len(theta)} cells, model.n_starts={count}")
    return theta[:count]
