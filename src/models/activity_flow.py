"""From resting connectivity to task activation: activity flow and what can be learned beyond it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .connectome import zero_diagonal
from .edge_baselines import RELATIVE_PENALTIES


def activity_flow(connectivity: Tensor, activity: Tensor) -> Tensor:
    """Activation of every region as that of all others, weighted by connectivity (Cole et al. 2016, equation 1).

    Args:
        connectivity: ``(person, roi, roi)``; the diagonal is ignored.
        activity: ``(person or 1, roi)``, any unit.

    Returns:
        ``sum over i != j of activity_i connectivity_ij``, ``(person, roi)``.
    """
    return (zero_diagonal(connectivity) * activity.unsqueeze(-1)).sum(1)


class GroupActivation(nn.Module):
    """Everybody is activated as the training people were on average.

    Args:
        n_nodes: Regions.
    """

    mean: Tensor

    def __init__(self, n_nodes: int):
        super().__init__()
        self.register_buffer("mean", torch.full((n_nodes,), torch.nan))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to activation ``(n, roi)``; the resting connectivity is not looked at."""
        self.mean.copy_(targets.mean(0))

    def forward(self, connectivity: Tensor) -> Tensor:
        """Activation ``(batch, roi)`` whatever the resting connectivity ``(batch, roi, roi)``."""
        _require(self, not self.mean.isnan().any())
        return self.mean.expand(len(connectivity), -1)


class OwnFlow(nn.Module):
    """Activity flow from a person's own other regions (Cole et al. 2016), scaled by one intercept and one slope.

    It sees the activation that it predicts in all other regions, so that it is a bar for rules that do not. Its input
    are messages, connectivity times the sender's activation; the diagonal, a region's own activation, is ignored.
    """

    intercept: Tensor
    slope: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("intercept", torch.tensor(torch.nan))
        self.register_buffer("slope", torch.tensor(0.0))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to messages ``(n, from roi, to roi)`` and activation ``(n, roi)``."""
        x = zero_diagonal(inputs).sum(1)
        d = x - x.mean()
        self.slope.copy_((d * (targets - targets.mean())).sum() / d.square().sum().clamp(min=1e-12))
        self.intercept.copy_(targets.mean() - self.slope * x.mean())

    def forward(self, messages: Tensor) -> Tensor:
        """Activation ``(batch, roi)`` from messages ``(batch, from roi, to roi)``."""
        _require(self, not self.intercept.isnan())
        return self.intercept + self.slope * zero_diagonal(messages).sum(1)


class FlowRule(nn.Module):
    """Mean activation plus one slope of a person's own flow of the *group's* activity: needs no task data of theirs.

    Args:
        n_nodes: Regions.
    """

    mean: Tensor
    centre: Tensor
    slope: Tensor

    def __init__(self, n_nodes: int):
        super().__init__()
        self.register_buffer("mean", torch.full((n_nodes,), torch.nan))
        self.register_buffer("centre", torch.zeros(n_nodes))
        self.register_buffer("slope", torch.tensor(0.0))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to resting connectivity ``(n, roi, roi)`` and activation ``(n, roi)``.

        Raises:
            DataError: Fewer than two people.
        """
        if len(inputs) < 2:
            raise DataError(f"FlowRule cannot be fitted to {len(inputs)} person: at least 2 are needed")
        self.mean.copy_(targets.mean(0))
        flow = activity_flow(inputs, self.mean.unsqueeze(0))
        self.centre.copy_(flow.mean(0))
        x, y = flow - self.centre, targets - self.mean
        self.slope.copy_((x * y).sum() / x.square().sum().clamp(min=1e-12))

    def forward(self, connectivity: Tensor) -> Tensor:
        """Activation ``(batch, roi)`` from resting connectivity ``(batch, roi, roi)``."""
        _require(self, not self.mean.isnan().any())
        return self.mean + self.slope * (activity_flow(connectivity, self.mean.unsqueeze(0)) - self.centre)


class ProfileRidge(nn.Module):
    """Ridge regression of each region's activation on its own connectivity profile (after Tavor et al. 2016).

    Dual form; one penalty for all regions, by leave-one-person-out error in the training set. An infinite penalty, the
    group mean, is among the choices.

    Args:
        n_nodes: Regions.
    """

    weight: Tensor
    centre: Tensor
    mean: Tensor
    penalty: Tensor

    def __init__(self, n_nodes: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_nodes, n_nodes))  # row: of the region that is predicted
        self.register_buffer("centre", torch.zeros(n_nodes, n_nodes))
        self.register_buffer("mean", torch.full((n_nodes,), torch.nan))
        self.register_buffer("penalty", torch.tensor(torch.nan))  # relative

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to resting connectivity ``(n, roi, roi)`` and activation ``(n, roi)``.

        Raises:
            DataError: Fewer than three people.
        """
        n = len(inputs)
        if n < 3:
            raise DataError(f"ProfileRidge cannot be fitted to {n} people: at least 3 are needed")
        profile = zero_diagonal(inputs).double().transpose(0, 1)  # (roi, person, roi)
        centre, mean = profile.mean(1, keepdim=True), targets.double().mean(0)
        x, y = profile - centre, (targets.double() - mean).T.unsqueeze(-1)
        values, vectors = torch.linalg.eigh(x @ x.mT)
        values = values.clamp(min=0)
        rotated = vectors.mT @ y
        scale = values.mean(1, keepdim=True)
        best: tuple[float, float] = (float((y * n / (n - 1)).square().mean()), float("inf"))
        for relative in RELATIVE_PENALTIES:
            kept = values / (values + relative * scale)
            leverage = (vectors.square() @ kept.unsqueeze(-1)) + 1 / n
            residual = (y - vectors @ (kept.unsqueeze(-1) * rotated)) / (1 - leverage).clamp(min=1e-12)
            best = min(best, (float(residual.square().mean()), relative))
        dual = vectors @ (rotated / (values + best[1] * scale).unsqueeze(-1))
        self.weight.copy_((x.mT @ dual).squeeze(-1))
        self.centre.copy_(centre.squeeze(1))
        self.mean.copy_(mean)
        self.penalty.fill_(best[1])

    def forward(self, connectivity: Tensor) -> Tensor:
        """Activation ``(batch, roi)`` from resting connectivity ``(batch, roi, roi)``."""
        _require(self, not self.mean.isnan().any())
        return self.mean + ((zero_diagonal(connectivity) - self.centre) * self.weight).sum(-1)


def _require(model: nn.Module, fitted: bool | Tensor) -> None:
    if not fitted:
        raise ConfigError(
            f"{type(model).__name__} is not fitted: train it first, or load a checkpoint of a trained run"
        )
