"""How a recurrent model of a circuit is trained: teacher forcing, multiple shooting, generalised teacher forcing.

A strategy turns a batch of shots into a loss and knows the forcing ``γ`` with which the shots are run. Objectives are
those of the code of Burghi et al. 2025 (OpenLoopLosses.jl, ClosedLoopLosses.jl); any
:class:`~..contracts.DynamicsModel` can be trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..contracts import CircuitBatch, DynamicsModel
from ..errors import ConfigError, did_you_mean

#: Share of the penalty's gradient by which a multiplier is raised. A whole step needs the states to have settled; here
#: they have moved by a single step of Adam since the last one.
MULTIPLIER_RATE = 0.03
SOLVERS = ("steps", "newton")


class ShotStates(nn.Module):
    """Initial states of all shots, trained by Adam; only the rows of a batch are touched.

    A dense optimiser would update the moments of every shot at every step, which costs more than the model itself.

    Args:
        voltage: Start, ``(shot, node)``, mV.
        hidden: Start, ``(shot, hidden)``.
        scale: Natural size of hidden states, ``(hidden,)``: they are updated in this unit, as voltages are in mV.
        multipliers: Whether a Lagrange multiplier of each jump to the next shot is kept, in the same units.
    """

    values: Tensor
    first: Tensor
    second: Tensor
    steps: Tensor
    scale: Tensor
    multipliers: Tensor | None

    def __init__(self, voltage: Tensor, hidden: Tensor, scale: Tensor, multipliers: bool = False):
        super().__init__()
        self.n_nodes = voltage.shape[1]
        self.register_buffer("scale", torch.cat([torch.ones(self.n_nodes), scale]))
        self.register_buffer("values", torch.cat([voltage, hidden], dim=1) / self.scale)
        self.register_buffer("first", torch.zeros_like(self.values))
        self.register_buffer("second", torch.zeros_like(self.values))
        self.register_buffer("steps", torch.zeros(len(voltage)))
        self.register_buffer("multipliers", torch.zeros_like(self.values) if multipliers else None)
        self._taken: tuple[Tensor, Tensor] | None = None

    def take(self, rows: Tensor) -> Tensor:
        """States of the given rows (which may repeat), ``(row, node + hidden)``; `update` reads their gradient."""
        unique, places = torch.unique(rows, return_inverse=True)
        leaf = self.values[unique].requires_grad_()
        self._taken = unique, leaf
        return (leaf * self.scale)[places]

    @torch.no_grad()
    def update(self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        """One step of Adam on the rows taken last."""
        if self._taken is None or self._taken[1].grad is None:
            return
        rows, grad = self._taken[0], self._taken[1].grad
        self._taken = None
        self.steps[rows] += 1
        first = betas[0] * self.first[rows] + (1 - betas[0]) * grad
        second = betas[1] * self.second[rows] + (1 - betas[1]) * grad.square()
        self.first[rows], self.second[rows] = first, second
        age = self.steps[rows, None]
        self.values[rows] -= lr * (first / (1 - betas[0] ** age)) / ((second / (1 - betas[1] ** age)).sqrt() + eps)


class Shots(NamedTuple):
    """What a strategy needs besides the batch.

    Attributes:
        hidden: Recorded (warmed-up) hidden state at the start of each shot, ``(batch, hidden)``.
        rows: Position of each shot among the training shots, ``(batch,)``.
        following: Position of the shot that begins where this one ends, -1 where there is none, ``(batch,)``.
        states: Trained initial states, if the strategy trains them.
    """

    hidden: Tensor
    rows: Tensor
    following: Tensor
    states: ShotStates | None = None


class TeacherForcing:
    """Every step starts at the recorded voltage: regression of the derivative (the paper's TF).

    ``Σ_n mean_t [(v̂_n(t+1) - v̄_n(t)) / dt - (v̄_n(t+1) - v̄_n(t)) / dt]²``. Hidden states are those that the recording
    drives the model to; nothing flows back in time.
    """

    forcing = 1.0
    trains_states = lagrangian = False
    changes_loss = False

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Nothing changes from epoch to epoch."""

    def after_batch(self, model: DynamicsModel, batch: CircuitBatch, shots: Shots) -> None:
        """Nothing is adapted."""

    def loss(self, model: DynamicsModel, batch: CircuitBatch, shots: Shots) -> Tensor:
        """The loss of a batch of shots, (mV/ms)²."""
        voltage = batch.voltage
        predicted, _ = model.rollout(voltage[:, 0], shots.hidden, batch.current, voltage[:, :-1], 1.0)
        error = (predicted - voltage[:, 1:]) / model.dt_ms
        return error.square().mean(dim=(0, 1)).sum()


class MultipleShooting:
    """Shots run freely from their own initial states (the paper's MS).

    ``mean_{k,n} (v̂ - v̄)² / dt²``, plus, where initial states are trained, ``ρ_v`` and ``ρ_x`` times the squared jumps
    between the end of a shot and the start of the next, in voltages and in hidden states over their natural size.

    With ``lagrangian`` continuity is reached at finite weights: each jump also has a multiplier, raised along the
    gradient of its penalty whenever its shot has been trained (augmented Lagrangian; Nocedal & Wright 2006, sec. 17.3).

    Args:
        train_states: Whether initial states are trained (the paper), or stay what was recorded.
        voltage_weight: ``ρ_v``.
        hidden_weight: ``ρ_x``.
        lagrangian: See above; needs ``train_states``.
    """

    forcing = 0.0

    def __init__(
        self,
        train_states: bool = True,
        voltage_weight: float = 500.0,
        hidden_weight: float = 500.0,
        lagrangian: bool = False,
    ):
        if lagrangian and not train_states:
            raise ConfigError("task.strategy.lagrangian: recorded states cannot be made continuous; set train_states")
        self.trains_states, self.lagrangian = train_states, lagrangian
        self.changes_loss = lagrangian  # whether the loss means another thing from epoch to epoch
        self.voltage_weight, self.hidden_weight = voltage_weight, hidden_weight
        self._raised: tuple[Tensor, Tensor] | None = None

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Nothing changes from epoch to epoch."""

    def after_batch(self, model: DynamicsModel, batch: CircuitBatch, shots: Shots) -> None:
        """Raise the multipliers of the batch's jumps."""
        if self._raised is not None and shots.states is not None and shots.states.multipliers is not None:
            rows, change = self._raised
            shots.states.multipliers[rows] += change
        self._raised = None

    def loss(self, model: DynamicsModel, batch: CircuitBatch, shots: Shots) -> Tensor:
        """The loss of a batch of shots, (mV/ms)²."""
        recorded, known = batch.voltage, shots.following >= 0
        n, following = len(shots.rows), recorded.new_empty(0)
        if shots.states is None:
            voltage, hidden = recorded[:, 0], shots.hidden
        else:
            both = shots.states.take(torch.cat([shots.rows, shots.following[known]]))
            voltage, hidden = both[:n].tensor_split([model.n_nodes], dim=1)
            following = both[n:]
        predicted, end = self._run(model)(voltage, hidden, batch.current, recorded[:, :-1], self.forcing)
        loss = (predicted - recorded[:, 1:]).square().mean()
        if shots.states is not None and len(following):
            jumps = (following - torch.cat([predicted[known, -1], end[known]], dim=1)) / shots.states.scale
            weights = self._weights(model)
            loss = loss + (weights * jumps.square()).sum(dim=1).mean()
            if shots.states.multipliers is not None:
                rows = shots.rows[known]
                loss = loss + (shots.states.multipliers[rows] * jumps).sum(dim=1).mean()
                self._raised = rows, MULTIPLIER_RATE * 2 * weights * jumps.detach()
        return loss / model.dt_ms**2

    def _run(self, model: DynamicsModel) -> Callable[..., tuple[Tensor, Tensor]]:
        """What runs the shots."""
        return model.rollout

    def _weights(self, model: DynamicsModel) -> Tensor:
        """Of the squared jump of each state, ``(node + hidden,)``: means over neurons and over each bank."""
        voltages = torch.full((model.n_nodes,), self.voltage_weight / model.n_nodes)
        banks = [torch.full((size,), 0.5 * self.hidden_weight / size) for size in model.hidden_sizes]
        return torch.cat([voltages, *banks])


class GeneralisedTeacherForcing(MultipleShooting):
    """Multiple shooting whose every step is first pulled towards the recording (the paper's GTF; Hess et al. 2023).

    Args:
        forcing: ``γ`` at the start: 0 is multiple shooting, 1 teacher forcing.
        final_forcing: Reached at the end of the schedule; ``None`` keeps ``γ``.
        hold: Shares of all epochs during which ``γ`` stays at its first and at its final value; between them it moves
            by equal steps or, with ``geometric``, by equal factors.
        geometric: See ``hold``.
        adaptive: Follow Hess et al. 2023 instead: ``α* = max(0, 1 - 1 / σ)`` with ``σ`` the geometric mean of the
            Jacobians' spectral norms along shots; ``γ`` jumps up to it, or decays to it by a thousandth.
        adapt_every: Batches between adaptations.
        samples: States at which the Jacobian is taken.
        solver: ``steps``, one after the other, or ``newton``, all steps of a shot at once, which fails where the
            forced circuit does not contract, and does not pay on a CPU (``benchmarks/rmm_newton.py``).
        train_states: As in :class:`MultipleShooting`.
        voltage_weight: Likewise.
        hidden_weight: Likewise.
        lagrangian: Likewise.
    """

    def __init__(
        self,
        forcing: float = 0.025,
        final_forcing: float | None = None,
        hold: tuple[float, float] = (0.0, 0.0),
        geometric: bool = False,
        adaptive: bool = False,
        adapt_every: int = 5,
        samples: int = 16,
        solver: str = "steps",
        train_states: bool = True,
        voltage_weight: float = 500.0,
        hidden_weight: float = 500.0,
        lagrangian: bool = False,
    ):
        super().__init__(train_states, voltage_weight, hidden_weight, lagrangian)
        for name, value in (("forcing", forcing), ("final_forcing", final_forcing)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"task.strategy.{name}={value:g}: forcing lies between 0 (free) and 1 (teacher)")
        self.forcing, self.first_forcing, self.final_forcing = forcing, forcing, final_forcing
        if min(hold) < 0 or sum(hold) > 1:
            raise ConfigError(f"task.strategy.hold={list(hold)}: shares of the epochs, which add up to at most 1")
        if geometric and not (forcing > 0 and (final_forcing or 0) > 0):
            raise ConfigError("task.strategy.geometric: equal factors need forcing and final_forcing above 0")
        self.hold, self.geometric = tuple(hold), geometric
        if solver not in SOLVERS:
            raise ConfigError(f"task.strategy.solver={solver!r}: {did_you_mean(solver, SOLVERS)}")
        self.adaptive, self.adapt_every, self.samples, self.solver = adaptive, adapt_every, samples, solver
        self.changes_loss |= adaptive or final_forcing is not None
        self._batches = 0

    def _run(self, model: DynamicsModel) -> Callable[..., tuple[Tensor, Tensor]]:
        if self.solver == "steps":
            return model.rollout
        if not hasattr(model, "parallel_rollout"):
            name = type(model).__name__
            raise ConfigError(f"task.strategy.solver=newton: {name} runs step by step only; set solver=steps")
        return model.parallel_rollout

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Move ``γ`` along its schedule."""
        if self.final_forcing is not None and not self.adaptive:
            first, last = self.hold[0] * (epochs - 1), (1 - self.hold[1]) * (epochs - 1)
            share = min(max((epoch - first) / max(last - first, 1e-9), 0.0), 1.0)
            if self.geometric:
                self.forcing = self.first_forcing * (self.final_forcing / self.first_forcing) ** share
            else:
                self.forcing = (1 - share) * self.first_forcing + share * self.final_forcing

    def after_batch(self, model: DynamicsModel, batch: CircuitBatch, shots: Shots) -> None:
        """Adapt ``γ``, and multipliers as in :class:`MultipleShooting`."""
        super().after_batch(model, batch, shots)
        self._batches += 1
        if not self.adaptive or self._batches % self.adapt_every:
            return
        few = slice(self.samples)
        norms = jacobian_norms(model, batch.voltage[few, 0], shots.hidden[few], batch.current[few, :1])
        wanted = max(0.0, 1 - 1 / float(norms.log().mean().exp()))
        self.forcing = wanted if wanted > self.forcing else 0.999 * self.forcing + 0.001 * wanted


def jacobian_norms(model: DynamicsModel, voltage: Tensor, hidden: Tensor, injected: Tensor) -> Tensor:
    """Spectral norm of the Jacobian of one step at given states, in natural units, ``(batch,)``."""
    scale = torch.cat([torch.ones(model.n_nodes), model.hidden_scale])
    state = (torch.cat([voltage, hidden], dim=1) / scale).detach().requires_grad_()
    start_v, start_x = (state * scale).tensor_split([model.n_nodes], dim=1)
    end_v, end_x = model.rollout(start_v, start_x, injected)
    end = torch.cat([end_v[:, 0], end_x], dim=1) / scale
    rows = [torch.autograd.grad(part.sum(), state, retain_graph=True)[0] for part in end.unbind(1)]
    return torch.linalg.matrix_norm(torch.stack(rows, dim=1), 2)
