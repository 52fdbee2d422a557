"""Run declared neurons: :func:`simulate` many of them, differentiably, or :func:`follow` one along a recording."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ConfigError
from .conductance import CALCIUM_FIXED_UM, CALCIUM_FLOOR_UM, Neuron, ghk
from .conductance_adjoint import SEGMENT, pull_batch
from .conductance_batch import run_batch
from .conductance_kernel import run_one, tables

Array = NDArray[np.float64]


class Followed(NamedTuple):
    """A neuron run along a recording.

    Attributes:
        voltage: Predictions, ``(time,)``, mV; where V was pinned, what was predicted before.
        states: ``(time, state)`` in the order of ``neuron.state_names``; no rows unless asked for.
        jacobian: ``dV/dtheta``, ``(time, column)``.
    """

    voltage: Array
    states: Array
    jacobian: NDArray[Any]


def simulate(
    neuron: Neuron,
    theta: Tensor,
    injected: Tensor,
    dt_ms: float,
    start_mv: Tensor | float,
    substeps: int = 1,
    backend: str = "compiled",
) -> Tensor:
    """Voltages of many neurons from their steady state; gradients flow in both backends.

    Those of the compiled one are by reverse mode: one loop back in time, whatever the number of parameters.

    Args:
        neuron: What they are made of.
        theta: ``(batch, parameter)``, float32 or float64.
        injected: ``(batch, time)``, µA/cm², linear between samples.
        dt_ms: Sampling interval.
        start_mv: Voltage at the first sample, a number or ``(batch,)``.
        substeps: Integration steps a sample.
        backend: ``compiled``, or ``plain`` for the same scheme in torch operations (slow; the reference).

    Returns:
        ``(batch, time)``, mV.
    """
    start = torch.as_tensor(start_mv, dtype=theta.dtype).expand(len(theta)).contiguous()
    if backend == "plain":
        return _plain(neuron, theta, injected.to(theta.dtype), dt_ms, start, substeps)
    if backend != "compiled":
        raise ConfigError(f"backend={backend!r}: choose compiled or plain")
    state = neuron.steady(theta, start)
    if not neuron.has_pool:
        state = torch.cat([state, torch.full_like(start, CALCIUM_FIXED_UM)[:, None]], dim=1)
    voltage: Tensor = _Compiled.apply(theta, injected.to(theta.dtype), state, neuron, dt_ms, substeps)
    return voltage


def follow(
    neuron: Neuron,
    theta: Array,
    injected: Array,
    dt_ms: float,
    start_mv: float,
    observed: Array | None = None,
    gain: Array | None = None,
    columns: NDArray[np.int64] | None = None,
    states: bool = False,
    substeps: int = 1,
    dtype: type = np.float64,
    start_slope: Array | None = None,
    extrapolate: bool = False,
) -> Followed:
    """Run one neuron, drawn to a recording by ``u (V_obs - V)``, with forward sensitivities.

    Args:
        neuron: What it is made of.
        theta: ``(parameter,)``.
        injected: ``(time,)``, µA/cm².
        dt_ms: Sampling interval.
        start_mv: Voltage at the first sample, at which gates and calcium are at rest.
        observed: Recording, ``(time,)``, mV.
        gain: ``u`` during the step that leads to each sample, ``(time,)``, 1/ms; ``inf``: V is set to the reading
            after the step.
        columns: Column of each parameter in the Jacobian or -1, ``(parameter,)``; ``None``: no sensitivities.
        states: Whether to keep gates and calcium.
        substeps: Integration steps a sample.
        dtype: Of the sensitivities.
        start_slope: Derivative of ``start_mv`` by the parameters, ``(parameter,)``; 0 by default.
        extrapolate: Whether to run again with twice the steps and remove the leading, quadratic error of the voltage
            (Richardson); states and sensitivities are those of the coarser run.
    """
    if extrapolate:
        how: dict[str, Any] = {"columns": columns, "states": states, "dtype": dtype, "start_slope": start_slope}
        coarse = follow(neuron, theta, injected, dt_ms, start_mv, observed, gain, substeps=substeps, **how)
        fine = follow(neuron, theta, injected, dt_ms, start_mv, observed, gain, substeps=2 * substeps)
        return coarse._replace(voltage=fine.voltage + (fine.voltage - coarse.voltage) / 3)
    n, table = len(injected), tables(neuron)
    gain = np.zeros(n) if gain is None else gain
    observed = np.zeros(n) if observed is None else observed
    columns = np.full(len(neuron.names), -1) if columns is None else columns
    kept = np.empty((n if states else 0, len(neuron.state_names)))
    voltage = np.empty(n)
    jacobian: NDArray[Any] = np.zeros((n, int(columns.max()) + 1), dtype)
    slope: NDArray[Any] = np.zeros(jacobian.shape[1], dtype)
    if start_slope is not None:
        slope[columns[columns >= 0]] = start_slope[columns >= 0]
    inputs = [np.ascontiguousarray(part, dtype=np.float64) for part in (theta, injected, observed, gain)]
    run_one(*inputs, float(start_mv), slope, dt_ms, substeps, columns, *table, voltage, kept, jacobian)
    return Followed(voltage, kept, jacobian)


@torch.enable_grad()
def resting_voltage(neuron: Neuron, theta: Array, injected: float, near_mv: float) -> tuple[float, Array]:
    """Voltage at which a neuron rests under a constant current, by Newton's method.

    Args:
        neuron: What it is made of.
        theta: ``(parameter,)``.
        injected: µA/cm², before division by the area.
        near_mv: Where to begin, and what is returned, with no derivative, where none lies within 5 mV.

    Returns:
        The voltage, mV, and its derivative by the parameters, ``(parameter,)``.
    """
    voltage = near_mv
    for _ in range(12):
        at, parameters = torch.tensor([voltage], dtype=torch.float64), torch.from_numpy(theta)[None]
        at.requires_grad_()
        parameters.requires_grad_()
        state = neuron.steady(parameters, at)
        outward = neuron.currents_of(parameters, state).sum() - injected / parameters[0, neuron.index["area"]]
        by_voltage, by_theta = torch.autograd.grad(outward, (at, parameters))
        step = -float(outward.detach()) / float(by_voltage)
        if not (by_voltage > 0 and abs(voltage + step - near_mv) <= 5.0):
            break
        voltage += step
        if abs(step) < 1e-9:
            return voltage, (-by_theta[0] / by_voltage).numpy()
    return near_mv, np.zeros(len(theta))


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, injected: Tensor, start: Tensor, neuron: Neuron, dt_ms: float, substeps: int
    ) -> Tensor:
        parts = [part.detach().numpy().T.copy() for part in (theta, injected, start)]
        segments = -(-injected.shape[1] // SEGMENT) if any(ctx.needs_input_grad) else 0
        kept = np.empty((segments, *parts[2].shape), parts[0].dtype)
        voltage = np.empty_like(parts[1])
        run_batch(*parts, dt_ms, substeps, *tables(neuron), voltage, kept, SEGMENT)
        ctx.save_for_backward(theta, injected)
        ctx.how = neuron, dt_ms, substeps, kept
        return torch.from_numpy(voltage.T.copy())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        neuron, dt_ms, substeps, kept = ctx.how
        theta, injected, bar = (part.detach().numpy().T.copy() for part in (*ctx.saved_tensors, bar))
        found = [np.empty_like(part) for part in (theta, injected, kept[0])]
        pull_batch(theta, injected, dt_ms, substeps, *tables(neuron), kept, SEGMENT, bar, *found)
        return *(torch.from_numpy(part.T) for part in found), None, None, None


def _plain(neuron: Neuron, theta: Tensor, injected: Tensor, dt_ms: float, start: Tensor, substeps: int) -> Tensor:
    """The scheme of :mod:`.conductance_kernel` in torch operations."""
    h = dt_ms / substeps
    state = neuron.steady(theta, start)
    voltage, gates = start, state[:, 1 : 1 + len(neuron.gates)]
    calcium = state[:, -1] if neuron.has_pool else torch.full_like(start, CALCIUM_FIXED_UM)
    ohmic = [k for k, current in enumerate(neuron.currents) if current.reversal != "ghk"]
    inward = [k for k, current in enumerate(neuron.currents) if current.reversal == "ghk"]
    reversal = [neuron.index[f"E_{neuron.currents[k].reversal}"] for k in ohmic]
    kept = [voltage]
    for k in range(injected.shape[1] - 1):
        for m in range(substeps):
            steady, tau = neuron.gate_kinetics(theta, voltage, calcium)
            gates = gates + h / (tau + 0.5 * h) * (steady - gates)
            conductance = neuron.open_conductances(theta, gates, calcium)
            if neuron.has_pool:
                calcium = _calcium(neuron, theta, 0.5 * h, voltage, conductance[:, inward].sum(-1), calcium)
                conductance = neuron.open_conductances(theta, gates, calcium)
            total, calcium_g = conductance[:, ohmic].sum(-1), conductance[:, inward].sum(-1)
            late = (m + 0.5) / substeps
            current = (1 - late) * injected[:, k] + late * injected[:, k + 1]
            scale = theta[:, 0] / h + 0.5 * total
            base = (
                (scale - total) * voltage + (conductance[:, ohmic] * theta[:, reversal]).sum(-1) + current / theta[:, 1]
            )
            predictor = (base - calcium_g * ghk(voltage, calcium)) / scale
            voltage = (base - calcium_g * ghk(0.5 * (voltage + predictor), calcium)) / scale
            if neuron.has_pool:
                calcium = _calcium(neuron, theta, 0.5 * h, voltage, conductance[:, inward].sum(-1), calcium)
        kept.append(voltage)
    return torch.stack(kept, dim=1)


def _calcium(neuron: Neuron, theta: Tensor, h: float, voltage: Tensor, conductance: Tensor, calcium: Tensor) -> Tensor:
    gain, tau, rest = (theta[:, neuron.index[name]] for name in ("calcium_gain", "calcium_tau", "calcium_rest"))
    leak = h / (tau + 0.5 * h)
    new = calcium - leak * (tau * gain * conductance * ghk(voltage, calcium) + calcium - rest)
    return new.clamp(min=CALCIUM_FLOOR_UM)
