"""One-line rules from baseline to change of connectivity, fitted in closed form: what every network has to beat.

All take symmetric matrices ``(n, roi, roi)`` and predict the change of every pair. Networks are compared with the
*best* of them: part of any change of a measured connectivity is regression to the mean, which one slope explains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .connectome import edges_of, from_edges

#: Penalties that the ridge chooses from, relative to the mean squared norm of the centred training inputs.
RELATIVE_PENALTIES = tuple(10.0 ** (k / 2) for k in range(-8, 7))


class EdgeRule(nn.Module):
    """Base: an intercept and a slope a pair, ``change = offset + slope (x - centre)``.

    Args:
        n_nodes: Regions.
    """

    centre: Tensor
    offset: Tensor
    slope: Tensor
    fitted: Tensor

    def __init__(self, n_nodes: int):
        super().__init__()
        self.n_nodes = n_nodes
        for name in ("centre", "offset", "slope"):
            self.register_buffer(name, torch.zeros(n_nodes * (n_nodes - 1) // 2))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to baselines and changes, both ``(n, roi, roi)``.

        Raises:
            DataError: Fewer than two subjects.
        """
        if len(inputs) < 2:
            raise DataError(f"{type(self).__name__} cannot be fitted to {len(inputs)} subject: at least 2 are needed")
        x, y = edges_of(inputs).double(), edges_of(targets).double()
        self.centre.copy_(x.mean(0))
        self.offset.copy_(y.mean(0))
        self.slope.copy_(self.slopes(x - x.mean(0), y - y.mean(0)))
        self.fitted.fill_(True)

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """Slope of every pair from centred baselines and changes ``(n, edge)``, float64."""
        raise NotImplementedError

    def forward(self, connectivity: Tensor) -> Tensor:
        """Baseline ``(batch, roi, roi)`` to predicted change ``(batch, roi, roi)``.

        Raises:
            ConfigError: The model was not fitted.
        """
        _require(bool(self.fitted), self)
        change = self.offset + self.slope * (edges_of(connectivity) - self.centre)
        return from_edges(change, self.n_nodes)


class MeanChange(EdgeRule):
    """Everybody changes as the training subjects did on average."""

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(x[0])


class GroupMean(EdgeRule):
    """Everybody ends at the average of the training subjects: a slope of -1."""

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus one."""
        return -torch.ones_like(x[0])


class SharedSlope(EdgeRule):
    """Mean change of every pair and one slope for all pairs, by least squares.

    The strongest simple rule on simulated and real data: one number shrinks everybody towards the group.
    """

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """Pooled covariance over pooled variance."""
        variance = x.square().sum()
        return (x * y).sum() / torch.where(variance > 0, variance, 1.0) * torch.ones_like(x[0])


class EdgeOLS(EdgeRule):
    """Ordinary least squares for every pair by itself: two numbers a pair."""

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """Covariance over variance of each pair; 0 where the baseline does not vary."""
        variance = x.square().sum(0)
        return torch.where(variance > 0, (x * y).sum(0) / torch.where(variance > 0, variance, 1.0), 0.0)


class Identity(nn.Module):
    """Nothing changes. Nothing is fitted either; the method is there so that no optimiser is asked for."""

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Do nothing."""

    def forward(self, connectivity: Tensor) -> Tensor:
        """Zeros, ``(batch, roi, roi)``."""
        return torch.zeros_like(connectivity)


class EdgeRidge(nn.Module):
    """Ridge regression from all pairs to all pairs, in its dual form, penalty by leave-one-out error.

    With n subjects and E pairs the solution lives in the span of the subjects, so that it costs O(n^2 E) instead of
    O(E^3), and leave-one-out residuals are ``(y - H y) / (1 - diag H)`` exactly.

    Args:
        n_nodes: Regions.
        relative_penalties: Penalties to choose from, relative to the mean squared norm of the centred inputs.
    """

    def __init__(self, n_nodes: int, relative_penalties: tuple[float, ...] = RELATIVE_PENALTIES):
        super().__init__()
        if not relative_penalties or min(relative_penalties) <= 0:
            raise ConfigError(f"model.relative_penalties={relative_penalties}: needs one or more positive numbers")
        self.n_nodes = n_nodes
        self.relative_penalties = tuple(relative_penalties)
        self.solution: dict[str, Tensor] = {}

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to baselines and changes, both ``(n, roi, roi)``.

        Raises:
            DataError: Fewer than three subjects.
        """
        n = len(inputs)
        if n < 3:
            raise DataError(f"EdgeRidge cannot be fitted to {n} subjects: at least 3 are needed")
        x, y = edges_of(inputs).double(), edges_of(targets).double()
        centre, offset = x.mean(0), y.mean(0)
        x, y = x - centre, y - offset
        values, vectors = torch.linalg.eigh(x @ x.T)
        values = values.clamp(min=0)
        rotated = vectors.T @ y
        scale = values.mean()
        errors = []
        for relative in self.relative_penalties:
            kept = values / (values + relative * scale)
            leverage = vectors.square() @ kept + 1 / n  # the mean of the targets leaves its own mark
            residual = (y - vectors @ (kept[:, None] * rotated)) / (1 - leverage).clamp(min=1e-12)[:, None]
            errors.append(residual.square().mean())
        best = int(torch.stack(errors).argmin())
        dual = vectors @ (rotated / (values + self.relative_penalties[best] * scale)[:, None])
        found = {"inputs": x, "centre": centre, "offset": offset, "dual": dual}
        self.solution = {name: value.to(inputs) for name, value in found.items()}
        self.solution["relative_penalty"] = torch.tensor(self.relative_penalties[best])
        self.solution["loo_errors"] = torch.stack(errors)

    def forward(self, connectivity: Tensor) -> Tensor:
        """Baseline ``(batch, roi, roi)`` to predicted change ``(batch, roi, roi)``.

        Raises:
            ConfigError: The model was not fitted.
        """
        _require(bool(self.solution), self)
        known = {name: value.to(connectivity) for name, value in self.solution.items()}
        similarity = (edges_of(connectivity) - known["centre"]) @ known["inputs"].T
        return from_edges(known["offset"] + similarity @ known["dual"], self.n_nodes)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The solution, whose size is that of the training set."""
        return self.solution

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        self.solution = dict(state)


def _require(fitted: bool, model: nn.Module) -> None:
    if not fitted:
        name = type(model).__name__
        raise ConfigError(f"{name} is not fitted: train it first, or load a checkpoint of a trained run")
