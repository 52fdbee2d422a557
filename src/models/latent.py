"""Black boxes to compare mechanistic circuits with: explicit voltages, and one latent recurrent network behind them.

Same data, training strategies and number of parameters as a recurrent mechanistic model, but no neurons, currents or
synapses inside: what is missing cannot be read out or changed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from . import latent_kernel as kernel
from .latent_kernel import Cell
from .rmm_currents import inverse_softplus

#: Time constants that latent states start with, ms; all time scales of a bursting neuron.
START_MS = (0.5, 1000.0)


class LatentCircuit(nn.Module):
    """``v⁺ = v + dt c (I - W [s, x] - b)``, ``x⁺ = advance(x, s)``, with ``s`` the standardised voltages.

    Without gradients, on a CPU, it runs in a compiled loop, :mod:`.latent_kernel`.

    Args:
        n_nodes: Neurons.
        sampling_rate_hz: Of the data; the time step is its inverse.
        size: Latent states.
        run_in_ms: For which the first sample of a recording drives the latent states, from zero, before it begins.
    """

    trains_hidden = True
    centre_mv: Tensor
    spread_mv: Tensor

    def __init__(self, n_nodes: int, sampling_rate_hz: float, size: int, run_in_ms: float = 1000.0):
        super().__init__()
        if size < 1 or run_in_ms < 0:
            raise ConfigError(f"model.size={size}, run_in_ms={run_in_ms:g}: at least one state, no negative run-in")
        self.n_nodes, self.size, self.run_in_ms, self.dt_ms = n_nodes, size, run_in_ms, 1e3 / sampling_rate_hz
        self.inverse_capacitance = nn.Parameter(inverse_softplus(torch.ones(n_nodes)))
        self.readout = nn.Linear(n_nodes + size, n_nodes)
        with torch.no_grad():
            self.readout.weight.mul_(0.1)
            self.readout.bias.zero_()
        self.register_buffer("centre_mv", torch.zeros(n_nodes))
        self.register_buffer("spread_mv", torch.ones(n_nodes))

    def advance(self, x: Tensor, s: Tensor) -> Tensor:
        """Latent states after a step, ``(batch, latent)``, from those before it and standardised voltages."""
        raise NotImplementedError

    @property
    def hidden_sizes(self) -> list[int]:
        """One group of states."""
        return [self.size]

    @property
    def hidden_scale(self) -> Tensor:
        """Latent states are of order 1."""
        return torch.ones(self.size)

    def start_decays(self) -> Tensor:
        """Share of each latent state that a step keeps at the start of training: time constants spread by factors."""
        times = torch.logspace(math.log10(START_MS[0]), math.log10(START_MS[1]), self.size)
        return torch.exp(-self.dt_ms / times)

    @torch.no_grad()
    def refer(self, voltage_mv: Tensor) -> None:
        """Centre of the standardised voltages, ``(node,)``, mV."""
        self.centre_mv.copy_(voltage_mv)

    @torch.no_grad()
    def fit_inputs(self, voltage: Tensor, hidden: Tensor) -> None:
        """Spread of the standardised voltages, from training samples ``(sample, node)``, mV."""
        self.spread_mv.copy_(voltage.std(dim=0).clamp_min(1e-3))

    def _standard(self, voltage: Tensor) -> Tensor:
        return (voltage - self.centre_mv) / self.spread_mv

    def cell_arrays(self) -> Cell:
        """The latent network, for the compiled loop."""
        raise NotImplementedError

    def warm_up(self, voltage: NDArray[np.floating], at: NDArray[np.integer]) -> Tensor:
        """Latent states that a recording ``(time, node)`` drives the model to, at samples ``at``: ``(at, latent)``."""
        signal = self._standard(torch.from_numpy(np.asarray(voltage, np.float32, "C")).to(self.spread_mv)).numpy()
        order = np.argsort(at, kind="stable")
        run_in = round(self.run_in_ms / self.dt_ms)
        found = torch.empty(len(order), self.size)
        found[order] = torch.from_numpy(kernel.drive(self.cell_arrays(), signal, run_in, np.asarray(at)[order]))
        return found

    def _outward(self, s: Tensor, x: Tensor) -> Tensor:
        return self.readout(torch.cat([s, x], dim=1))

    def rollout(
        self, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None = None, forcing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`~..contracts.DynamicsModel.rollout`."""
        if forcing and teacher is None:
            raise ConfigError(f"forcing={forcing:g} needs recorded voltages to force with")
        if not torch.is_grad_enabled() and voltage.device.type == "cpu":
            return self._compiled(voltage, hidden, injected, teacher, forcing)
        return self.plain_rollout(voltage, hidden, injected, teacher, forcing)

    def plain_rollout(
        self, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
    ) -> tuple[Tensor, Tensor]:
        """Step by step in torch, with gradients: what the compiled loop is tested against."""
        pull = self.dt_ms * F.softplus(self.inverse_capacitance)
        taught = [None] * injected.shape[1] if teacher is None else teacher.unbind(1)
        voltages = []
        for current, recorded in zip(injected.unbind(1), taught, strict=True):
            if recorded is not None and forcing:
                voltage = torch.lerp(voltage, recorded, forcing)
            s = self._standard(voltage)
            voltage = voltage + pull * (current - self._outward(s, hidden))
            hidden = self.advance(hidden, s)
            voltages.append(voltage)
        return torch.stack(voltages, dim=1), hidden

    def _compiled(
        self, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
    ) -> tuple[Tensor, Tensor]:
        pull = self.dt_ms * F.softplus(self.inverse_capacitance)
        parts = pull, self.readout.weight.T, self.readout.bias, self.centre_mv, self.spread_mv
        signals = voltage, hidden, injected, injected if teacher is None else teacher
        membrane, arrays = kernel.Membrane(*map(_array, parts)), [_array(signal) for signal in signals]
        run, last = kernel.run(self.cell_arrays(), membrane, *arrays, arrays[0].dtype.type(forcing))
        return torch.from_numpy(run), torch.from_numpy(last)

    def current(self, voltage: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The ``total`` current out of each neuron, ``(batch, node)``, nA; a black box has no other."""
        return {"total": self._outward(self._standard(voltage), hidden)}

    def penalty(self) -> Tensor:
        """Sum of the squares of all weight matrices."""
        return torch.stack([p.square().sum() for p in self.parameters() if p.ndim > 1]).sum()


class GRUCircuit(LatentCircuit):
    """A gated recurrent unit (Cho et al. 2014) behind the voltages.

    Its update gates start at spread time constants (Tallec & Ollivier 2018): at steps of 0.1 ms a usual start forgets
    within a millisecond.

    Args:
        n_nodes: Neurons.
        sampling_rate_hz: Of the data.
        size: Latent states; 34 gives two neurons 3,952 parameters.
        run_in_ms: See :class:`LatentCircuit`.
    """

    def __init__(self, n_nodes: int, sampling_rate_hz: float, size: int = 34, run_in_ms: float = 1000.0):
        super().__init__(n_nodes, sampling_rate_hz, size, run_in_ms)
        self.cell = nn.GRUCell(n_nodes, size)
        with torch.no_grad():
            self.cell.bias_ih[size : 2 * size] = torch.logit(self.start_decays())
            self.cell.bias_hh[size : 2 * size] = 0.0

    def advance(self, x: Tensor, s: Tensor) -> Tensor:
        """As :meth:`LatentCircuit.advance`."""
        return self.cell(s, x)

    def cell_arrays(self) -> Cell:
        """As :meth:`LatentCircuit.cell_arrays`."""
        cell, none = self.cell, self.cell.bias_hh[:0]
        parts = cell.weight_hh.T, cell.bias_hh, cell.weight_ih.T, cell.bias_ih, none[:, None], none
        return Cell(kernel.GRU, *map(_array, parts))


class PLRNN(LatentCircuit):
    """The clipped shallow piecewise-linear recurrent network (Hess et al. 2023, arXiv 2306.04406, eq. 3).

    ``x⁺ = a x + W_1 (relu(W_2 x + h_2) - relu(W_2 x)) + h_1 + B s``: orbits stay bounded where ``|a| < 1``, which a
    sigmoid sees to.

    Args:
        n_nodes: Neurons.
        sampling_rate_hz: Of the data.
        size: Latent states.
        width: Rectified units; 32 and 58 give two neurons 3,970 parameters.
        run_in_ms: See :class:`LatentCircuit`.
    """

    def __init__(
        self, n_nodes: int, sampling_rate_hz: float, size: int = 32, width: int = 58, run_in_ms: float = 1000.0
    ):
        super().__init__(n_nodes, sampling_rate_hz, size, run_in_ms)
        decays = self.start_decays()
        self.decay = nn.Parameter(torch.logit(decays))
        # What flows in is scaled by what is forgotten, so that slow states start at order 1 as well.
        self.first = nn.Parameter((1 - decays)[:, None] * torch.randn(size, width) / math.sqrt(width))
        self.second = nn.Parameter(torch.randn(width, size) / math.sqrt(size))
        self.shift = nn.Parameter(torch.randn(width))
        self.bias = nn.Parameter(torch.zeros(size))
        self.into = nn.Parameter((1 - decays)[:, None] * torch.randn(size, n_nodes))

    def advance(self, x: Tensor, s: Tensor) -> Tensor:
        """As :meth:`LatentCircuit.advance`."""
        seen = x @ self.second.T
        clipped = torch.relu(seen + self.shift) - torch.relu(seen)
        return torch.sigmoid(self.decay) * x + clipped @ self.first.T + self.bias + s @ self.into.T

    def cell_arrays(self) -> Cell:
        """As :meth:`LatentCircuit.cell_arrays`."""
        parts = self.second.T, self.shift, self.into.T, self.bias, self.first.T, torch.sigmoid(self.decay)
        return Cell(kernel.PLRNN, *map(_array, parts))


def _array(tensor: Tensor) -> NDArray:
    return np.ascontiguousarray(tensor.detach().numpy())
