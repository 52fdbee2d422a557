"""Levenberg-Marquardt for several least-squares estimates at once, inside their boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Damping beyond which no step is worth trying, and below which it makes no difference.
_HIGHEST, _LOWEST = 1e8, 1e-9


class Normal(NamedTuple):
    """Least squares around the present estimates: ``cost + 2 gradient·d + d·curvature·d``.

    Attributes:
        cost: ``(estimate,)``; not finite where the model diverged, NaN where the estimate was not asked for.
        gradient: ``(estimate, unknown)``.
        curvature: Gauss-Newton, ``(estimate, unknown, unknown)``.
    """

    cost: Tensor
    gradient: Tensor
    curvature: Tensor


class LevenbergMarquardt(torch.optim.Optimizer):
    """One trial step an estimate and call; each estimate has its own damping and stops by itself.

    Parameters are ``(estimate, …)``; what follows the first dimension is flattened and concatenated. A
    group may have ``lower`` and ``upper``, one number or one for each entry of its last dimension; an unknown at its
    bound whose gradient points outward takes no step.

    Args:
        params: Parameters or groups.
        damping: At the start of a pass, in units of the curvature of an unknown of size 1.
        grow: Factor on the damping of a rejected step.
        shrink: Factor on the damping of an accepted one.
        longest: Largest change of an unknown in one step.
        tolerance: An estimate is done after two accepted steps in a row that lower its cost by less than this fraction.
        by_gain: Whether an accepted step shrinks the damping only if the cost fell by at least three quarters of what
            the linearised model promised, and grows it below a quarter (Fletcher 1971); rejected steps in a row grow it
            ever faster (Nielsen 1999). An estimate is done when the undamped step promises less than ``tolerance``:
            small falls in a curved valley are no minimum.
    """

    def __init__(
        self,
        params: Iterable[Any],
        damping: float = 1e-2,
        grow: float = 4.0,
        shrink: float = 0.2,
        longest: float = 0.5,
        tolerance: float = 1e-6,
        by_gain: bool = False,
    ):
        super().__init__(params, {"lower": -torch.inf, "upper": torch.inf, "lr": damping})
        self.grow, self.shrink, self.longest, self.tolerance = grow, shrink, longest, tolerance
        self.by_gain = by_gain
        self._lower = torch.cat([self._edge(p, g["lower"]) for g in self.param_groups for p in g["params"]])
        self._upper = torch.cat([self._edge(p, g["upper"]) for g in self.param_groups for p in g["params"]])
        self.restart()

    @staticmethod
    def _edge(parameter: Tensor, value: Any) -> Tensor:
        return torch.broadcast_to(torch.as_tensor(value, dtype=parameter.dtype), parameter[0].shape).flatten()

    def restart(self, tolerance: float | None = None) -> None:
        """Begin a pass: the cost has changed; ``tolerance`` is that of this pass, by default the optimiser's."""
        self._limit = self.tolerance if tolerance is None else tolerance
        n = len(self.param_groups[0]["params"][0])
        self.active = torch.ones(n, dtype=torch.bool)
        self._damping = torch.full((n,), float(self.param_groups[0]["lr"]), dtype=torch.float64)
        self._small = torch.zeros(n, dtype=torch.int64)
        self._rejected = torch.zeros(n, dtype=torch.int64)
        self.normal: Normal | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Normal]) -> Tensor:  # type: ignore[override]
        """Try one step of every active estimate.

        Args:
            closure: Evaluates :class:`Normal` at the parameters' present values; it may skip estimates that are not
                ``active``.

        Returns:
            Cost of every estimate, ``(estimate,)``.
        """
        if self.normal is None:
            self.normal = closure()
        before, normal = self._values(), self.normal
        trial = before.clone()
        for k in torch.nonzero(self.active)[:, 0].tolist():
            trial[k] = self._trial(before[k], normal.gradient[k], normal.curvature[k], float(self._damping[k]))
        self._assign(trial)
        found = closure()
        better = self.active & torch.isfinite(found.cost) & (found.cost < normal.cost)
        self._assign(torch.where(better[:, None], trial, before))
        fall = torch.where(better, 1 - found.cost / normal.cost, torch.zeros_like(normal.cost))
        self._small = torch.where(better, torch.where(fall < self._limit, self._small + 1, 0), self._small)
        self._rejected = torch.where(better, 0, self._rejected + 1)
        factor = torch.where(better, self.shrink, self.grow).to(self._damping)
        if self.by_gain:
            d = trial - before
            promised = -2 * (normal.gradient * d).sum(1) - torch.einsum("ei,eij,ej->e", d, normal.curvature, d)
            kept = (normal.cost - found.cost) / promised
            factor = torch.where(better & (kept < 0.75), torch.where(kept < 0.25, self.grow, 1.0).to(factor), factor)
            factor = torch.where(better, factor, self.grow * 2.0 ** (self._rejected - 1))
        self._damping = (self._damping * factor).clamp(min=_LOWEST)
        self.normal = Normal(
            torch.where(better, found.cost, normal.cost),
            torch.where(better[:, None], found.gradient, normal.gradient),
            torch.where(better[:, None, None], found.curvature, normal.curvature),
        )
        done = self._promises_little() if self.by_gain else self._small >= 2
        self.active = self.active & ~done & (self._damping < _HIGHEST)
        return self.normal.cost

    def _promises_little(self) -> Tensor:
        """Whether an undamped step inside the bounds would lower the linearised cost by less than the tolerance."""
        assert self.normal is not None
        little = torch.zeros(len(self.active), dtype=torch.bool)
        at = self._values()
        for k in torch.nonzero(self.active)[:, 0].tolist():
            gradient, curvature = self.normal.gradient[k], self.normal.curvature[k]
            free = ~self.at_bound(at[k], gradient)
            inverse = torch.linalg.pinv(curvature[free][:, free], rtol=1e-9, hermitian=True)
            little[k] = gradient[free] @ inverse @ gradient[free] < self._limit * self.normal.cost[k]
        return little

    def _trial(self, at: Tensor, gradient: Tensor, curvature: Tensor, damping: float) -> Tensor:
        free = ~self.at_bound(at, gradient)
        step = torch.zeros_like(at)
        if free.any() and torch.isfinite(gradient).all():
            matrix = curvature[free][:, free] + damping * torch.eye(int(free.sum()), dtype=at.dtype)
            step[free] = -torch.linalg.solve(matrix, gradient[free])
        return torch.clamp(at + step.clamp(-self.longest, self.longest), self._lower, self._upper)

    def at_bound(self, at: Tensor, gradient: Tensor) -> Tensor:
        """Unknowns that are held by a bound, ``(unknown,)``."""
        outward = ((at >= self._upper) & (gradient < 0)) | ((at <= self._lower) & (gradient > 0))
        return outward | (self._lower == self._upper)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _values(self) -> Tensor:
        return torch.cat([p.detach().flatten(1) for p in self._parameters()], dim=1)

    def _assign(self, values: Tensor) -> None:
        first = 0
        for parameter in self._parameters():
            n = parameter[0].numel()
            parameter.copy_(values[:, first : first + n].view_as(parameter))
            first += n
