"""Linear filters on the line graph, fitted in closed form: what a line network can do without nonlinearity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .connectome import edges_of, from_edges

#: Ridge penalties to choose from, relative to the mean squared size of a feature.
PENALTIES = (1e-6, 1e-4, 1e-2, 1e-1)


class LineFilter(nn.Module):
    """Mean change of every pair, and a few slopes that all pairs share, one for each part of a person's deviation.

    With d, a person's baseline minus the training people's mean, the change is ``mean + sum_k b_k f_k(d)``. The
    features f, in this order:

    1. d itself: with this one alone the rule is :class:`~.edge_baselines.SharedSlope`;
    2. ``s_i + s_j``, mean deviations of both regions;
    3. the mean over all pairs. These three are the eigenspaces of the complete line graph (``docs/line_graphs.md``), so
       that the best polynomial filter on it, of any order, is a choice of their three slopes;
    4. for each rank K, ``P d + d P`` and ``P d P`` with P, the projector on the K strongest eigenvectors of the mean
       baseline. These are messages weighted by ``P_ij``, from regions that connect alike. Their sum
       ``P d + d P - P d P`` projects on the tangent space of the matrices of rank K: what differs between people in
       their loadings on K networks stays, noise of single pairs goes.

    How many of them to use, in this order, and the ridge penalty are chosen by leave-one-person-out error in the
    training set. People differ as wholes: pairs are never left out.

    Args:
        n_nodes: Regions.
        ranks: The Ks; those above ``n_nodes`` are left out.
    """

    centre: Tensor
    offset: Tensor
    basis: Tensor
    slopes: Tensor
    fitted: Tensor

    def __init__(self, n_nodes: int, ranks: Sequence[int] = (1, 2, 4, 8, 16, 32)):
        super().__init__()
        if any(rank < 1 for rank in ranks) or list(ranks) != sorted(set(ranks)):
            raise ConfigError(f"model.ranks={list(ranks)}: needs positive numbers in rising order")
        self.n_nodes = n_nodes
        self.ranks = tuple(rank for rank in ranks if rank <= n_nodes)
        pairs = n_nodes * (n_nodes - 1) // 2
        for name in ("centre", "offset"):
            self.register_buffer(name, torch.zeros(pairs))
        self.register_buffer("basis", torch.zeros(n_nodes, max(self.ranks, default=0)))
        self.register_buffer("slopes", torch.zeros(self.n_features))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def n_features(self) -> int:
        """Features of a pair."""
        return 3 + 2 * len(self.ranks)

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to baselines and changes, both ``(n, roi, roi)``.

        Raises:
            DataError: Fewer than three people.
        """
        if len(inputs) < 3:
            raise DataError(f"LineFilter cannot be fitted to {len(inputs)} people: at least 3 are needed")
        self.centre.copy_(edges_of(inputs.double()).mean(0))
        self.offset.copy_(edges_of(targets.double()).mean(0))
        values, vectors = torch.linalg.eigh(from_edges(edges_of(inputs.double()).mean(0), self.n_nodes))
        strongest = values.abs().argsort(descending=True)[: self.basis.shape[1]]
        self.basis.copy_(vectors[:, strongest])
        moments = [self._moments(x, y) for x, y in zip(inputs, targets, strict=True)]
        gram, cross, power = (torch.stack(part) for part in zip(*moments, strict=True))
        self.slopes.copy_(_select(gram, cross, power, self._prefixes()))
        self.fitted.fill_(True)

    def features(self, connectivity: Tensor) -> Tensor:
        """The features of every pair, ``(batch, pair, feature)``, float64."""
        x = edges_of(connectivity.double())
        return torch.stack(self._filters(from_edges(x - self.centre.double(), self.n_nodes)), -1)

    def forward(self, connectivity: Tensor) -> Tensor:
        """Baseline ``(batch, roi, roi)`` to predicted change ``(batch, roi, roi)``.

        Raises:
            ConfigError: The model was not fitted.
        """
        if not self.fitted:
            raise ConfigError("LineFilter is not fitted: train it first, or load a checkpoint of a trained run")
        change = self.offset.double() + self.features(connectivity) @ self.slopes.double()
        return from_edges(change.to(connectivity.dtype), self.n_nodes)

    def _filters(self, d: Tensor) -> list[Tensor]:
        n = self.n_nodes
        strength = d.sum(-1) / (n - 1)
        both = strength.unsqueeze(2) + strength.unsqueeze(1)
        overall = strength.mean(-1)[:, None, None].expand_as(d)
        parts = [edges_of(d), edges_of(both), edges_of(overall)]
        basis = self.basis.double()
        along = d @ basis  # (batch, roi, rank)
        inner = basis.T @ along
        for rank in self.ranks:
            u = basis[:, :rank]
            one = along[..., :rank] @ u.T
            parts += [edges_of(one + one.mT), edges_of(u @ inner[:, :rank, :rank] @ u.T)]
        return parts

    def _moments(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normal equations of one person, so that no more than one person's features are in memory."""
        features = self.features(x[None])[0]
        residual = edges_of(y.double()) - self.offset.double()
        return features.T @ features, features.T @ residual, residual @ residual

    def _prefixes(self) -> list[int]:
        """Numbers of features to choose from: one, the three eigenspaces, and rank by rank."""
        return [1, 3, *(5 + 2 * k for k in range(len(self.ranks)))]


def _select(gram: Tensor, cross: Tensor, power: Tensor, prefixes: Sequence[int]) -> Tensor:
    """Slopes of the number of features and the penalty with the least leave-one-person-out error, zero-padded."""
    best: tuple[float, Tensor] = (float("inf"), cross.new_zeros(cross.shape[1]))
    for size in prefixes:
        g, c = gram[:, :size, :size], cross[:, :size]
        scale = torch.diag(g.sum(0).diagonal())
        for penalty in PENALTIES:
            others = g.sum(0) - g + penalty * scale
            slopes = torch.linalg.solve(others, (c.sum(0) - c).unsqueeze(-1)).squeeze(-1)
            fit = torch.einsum("pi,pij,pj->p", slopes, g, slopes) - 2 * (slopes * c).sum(-1)
            error = float((power + fit).sum())
            if error < best[0]:
                chosen = torch.linalg.solve(g.sum(0) + penalty * scale, c.sum(0))
                best = error, torch.cat([chosen, chosen.new_zeros(cross.shape[1] - size)])
    return best[1]
