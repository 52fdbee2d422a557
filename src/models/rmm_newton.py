"""Forced runs of a recurrent mechanistic model solved for all times at once, by Newton's method (as DEER does).

A run is the root of ``F(v)_t - v_t``, with ``F`` one step from the voltages before ``t``. Where forcing makes the
circuit contract, a few iterations from the recorded voltages reach it (Lim et al. 2024, arXiv 2309.12252; Gonzalez et
al. 2024, arXiv 2407.19115). DEER scans over dense Jacobians of the whole state; here filters are linear in what drives
them, so that they are left out of the unknowns: their states are scanned with a constant matrix, their effect on later
voltages is an impulse response, and what is solved is a unit lower triangular system in the voltages alone,
``(time x node)²`` a shot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..errors import NeurotwinError
from .filters import SigmoidBank

if TYPE_CHECKING:
    from .rmm import RMM
    from .rmm_currents import Current

#: Iterations before a run counts as not converged, and the largest change of a voltage in one of them, mV: a spike that
#: comes a step too early must not throw the next guess out of the range that the model knows.
MAX_ITERATIONS, LARGEST_MV = 30, 10.0
#: Change at which a run has converged, mV, in float32 and in float64.
TOLERANCE_MV = {torch.float32: 1e-3, torch.float64: 1e-9}


#: ``A - I`` and ``B`` of each current's filters.
Banks = list[tuple[Tensor, Tensor]]


class Solution(NamedTuple):
    """A run that solves the recursion.

    Attributes:
        voltage: After each step, ``(batch, time, node)``, mV.
        system: Jacobian of ``v - F(v)`` there, ``(batch, time x node, time x node)``, unit lower triangular.
        iterations: It took.
    """

    voltage: Tensor
    system: Tensor
    iterations: int


def newton_rollout(
    model: RMM, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
) -> tuple[Tensor, Tensor]:
    """What :func:`~.rmm_rollout.plain_rollout` returns, gradients included (implicit function theorem).

    Raises:
        NeurotwinError: If the iteration does not converge.
    """
    banks = [current.bank.matrices() for current in model.terms]
    found = solve(model, voltage, hidden, injected, teacher, forcing, banks)
    before = torch.cat([voltage[:, None], found.voltage[:, :-1]], dim=1)
    after, _ = _step(model, banks, before, hidden, injected, teacher, forcing)
    if after.requires_grad:
        # `after` depends on itself at earlier times, which its graph does not know.
        after.register_hook(lambda grad: _adjoint(found.system, grad))
    driven = torch.cat([voltage[:, None], after[:, :-1]], dim=1)
    return after, _states(model, banks, _forced(driven, teacher, forcing), hidden)[:, -1]


@torch.no_grad()
def solve(
    model: RMM,
    voltage: Tensor,
    hidden: Tensor,
    injected: Tensor,
    teacher: Tensor | None,
    forcing: float,
    banks: Banks | None = None,
) -> Solution:
    """Newton's iteration from the teacher's voltages; arguments as ``RMM.rollout``, and the matrices of the banks.

    Raises:
        NeurotwinError: If it does not converge.
    """
    n_times, shape = injected.shape[1], injected.shape
    banks = banks or [current.bank.matrices() for current in model.terms]
    known = voltage[:, None].expand(shape) if teacher is None else teacher
    guess, change = torch.cat([known[:, 1:], known[:, -1:]], dim=1), torch.tensor(torch.inf)
    for iteration in range(1, MAX_ITERATIONS + 1):
        before = torch.cat([voltage[:, None], guess[:, :-1]], dim=1)
        after, system = _linearised(model, banks, before, hidden, injected, teacher, forcing)
        error = (after - guess).reshape(len(guess), -1, 1)
        step = torch.linalg.solve_triangular(system, error, upper=False, unitriangular=True)
        guess = guess + step.reshape(shape).clamp(-LARGEST_MV, LARGEST_MV)
        change = step.abs().max()
        if change < TOLERANCE_MV[guess.dtype]:
            return Solution(guess, system, iteration)
        if not change.isfinite():
            break
    raise NeurotwinError(
        f"runs of {n_times} steps with forcing {forcing:g} did not converge within {MAX_ITERATIONS} Newton iterations "
        f"(last change {float(change):.2g} mV): the model does not contract there. Raise task.strategy.forcing, "
        "shorten datamodule.shot_steps, or set task.strategy.solver=steps"
    )


def _forced(before: Tensor, teacher: Tensor | None, forcing: float) -> Tensor:
    return before if teacher is None or not forcing else forcing * teacher + (1 - forcing) * before


def _scan(change: Tensor, inputs: Tensor) -> Tensor:
    """``y_t = A y_{t-1} + inputs_t``, ``A = I + change``, for all times in ``log2(time)`` products.

    Args:
        change: ``(state, state)``.
        inputs: ``(batch, time, state)``.
    """
    y, lag = inputs, 1
    while lag < y.shape[1]:
        earlier = y[:, :-lag]
        y = torch.cat([y[:, :lag], y[:, lag:] + earlier + earlier @ change.T], dim=1)
        change, lag = 2 * change + change @ change, 2 * lag  # (I + D)² - I: I would round small leaks away
    return y


def _states(model: RMM, banks: Banks, forced: Tensor, hidden: Tensor) -> Tensor:
    """States of all filters before each step and after the last, ``(batch, time + 1, hidden)``."""
    centred, parts = forced - model.reference_mv, []
    starts = hidden.split(model.hidden_sizes, dim=1)
    for current, (change, into), start in zip(model.terms, banks, starts, strict=True):
        inputs = current.bank.drive(centred[..., current.driver]) * into
        parts.append(_scan(change, torch.cat([start[:, None], inputs], dim=1)))
    return torch.cat(parts, dim=2)


def _step(
    model: RMM, banks: Banks, before: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Voltages one step after ``before``, at all times; and the forced voltages and states they come from."""
    forced = _forced(before, teacher, forcing)
    states = _states(model, banks, forced, hidden)[:, :-1]
    flat = [part.reshape(-1, part.shape[2]) for part in (forced, states, injected)]
    after = forced + model.dt_ms * model.derivative(*flat).reshape(forced.shape)
    return after, (forced, states)


def _linearised(
    model: RMM, banks: Banks, before: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
) -> tuple[Tensor, Tensor]:
    """Voltages one step after ``before``, and the matrix of :class:`Solution`."""
    after, (forced, states) = _step(model, banks, before, hidden, injected, teacher, forcing)
    n_shots, n_times, n_nodes = forced.shape
    with torch.enable_grad():
        v, x = (part.reshape(-1, part.shape[2]).requires_grad_() for part in (forced, states))
        slopes = model.derivative(v, x, injected.reshape(-1, n_nodes)).sum(dim=0)
        by = [torch.autograd.grad(slope, (v, x), retain_graph=True) for slope in slopes]
    free = 1 - forcing
    # (batch, time, node after, time, node before): what a voltage does to those after it
    effect = after.new_zeros(n_shots, n_times, n_nodes, n_times, n_nodes)
    to_voltage = torch.stack([part for part, _ in by], dim=1).reshape(n_shots, n_times, n_nodes, n_nodes)
    now = free * (torch.eye(n_nodes) + model.dt_ms * to_voltage)
    steps = torch.arange(1, n_times)
    effect[:, steps, :, steps - 1] = now[:, 1:].transpose(0, 1)  # advanced indices come first
    starts = [0, *torch.tensor(model.hidden_sizes).cumsum(0).tolist()]
    for current, matrices, first in zip(model.terms, banks, starts[:-1], strict=True):
        here = slice(first, first + len(current.bank))
        to_state = by[current.target][1].reshape(n_shots, n_times, -1)[..., here]
        centred = forced[..., current.driver] - model.reference_mv[current.driver]
        later = model.dt_ms * free * _response(current, matrices, to_state, centred)
        effect[:, :, current.target, :-1, current.driver] += later[:, :, 1:]  # the first voltage is no unknown
    system = -effect.reshape(n_shots, n_times * n_nodes, n_times * n_nodes)
    system.diagonal(dim1=1, dim2=2).fill_(1.0)
    return after, system


def _response(current: Current, matrices: tuple[Tensor, Tensor], to_state: Tensor, centred: Tensor) -> Tensor:
    """Effect through a bank of the driver's voltage at one time on the target's derivative at another.

    Args:
        current: Of the bank.
        matrices: Of the bank.
        to_state: Derivative of the target's derivative with respect to the states, ``(batch, time, filter)``.
        centred: Voltage of the driver, ``(batch, time)``, mV.

    Returns:
        ``(batch, time of the effect, time of the cause)``, 0 unless the cause is earlier.
    """
    n_times, bank = centred.shape[1], current.bank
    lags = torch.arange(n_times)[:, None] - torch.arange(n_times) - 1
    if isinstance(bank, SigmoidBank):
        # Filters of one time constant differ by their sigmoids alone: one decay for all of them.
        causes, later = bank.slope(centred) * bank.gain, to_state.new_zeros(())
        for leak in bank.leak.unique():
            here = bank.leak == leak
            decay = torch.log1p(-leak).mul(lags.clamp_min(0)).exp()
            later = later + decay * (to_state[..., here] @ causes[..., here].mT)
        return torch.where(lags >= 0, later, 0.0)
    change, into = matrices
    impulse = torch.cat([into[None, None], into.new_zeros(1, n_times - 1, len(into))], dim=1)
    by_lag = to_state @ _scan(change, impulse)[0].T
    later = by_lag.gather(2, lags.clamp_min(0).expand(len(by_lag), -1, -1))
    return torch.where(lags >= 0, later, 0.0)


def _adjoint(system: Tensor, grad: Tensor) -> Tensor:
    """Gradient with respect to each voltage, through the later ones too, from that with respect to each alone."""
    flat = grad.reshape(len(grad), -1, 1)
    return torch.linalg.solve_triangular(system.mT, flat, upper=True, unitriangular=True).reshape(grad.shape)
