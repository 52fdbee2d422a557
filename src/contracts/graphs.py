"""Which pairs of regions are edges of a graph, and the same graph as PyG knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Batch

    from .connectivity import ConnectivityBatch


def require_rule(density: float, threshold: float | None, neighbours: int | None) -> None:
    """Refuse two rules at once and what is out of range; arguments as of :func:`choose_edges`.

    Raises:
        ConfigError: With the argument's name.
    """
    if threshold is not None and neighbours is not None:
        raise ConfigError("model.threshold and model.neighbours: choose one, each alone says which pairs are edges")
    if not 0 < density <= 1:
        raise ConfigError(f"model.density={density}: must lie above 0 and at most at 1 (every pair is an edge)")
    if threshold is not None and threshold < 0:
        raise ConfigError(f"model.threshold={threshold}: is held against absolute values, so it must not be negative")
    if neighbours is not None and neighbours < 1:
        raise ConfigError(f"model.neighbours={neighbours}: a region needs at least 1")


def choose_edges(
    connectivity: Tensor, density: float = 1.0, threshold: float | None = None, neighbours: int | None = None
) -> Tensor | None:
    """Graph of each person by one rule, on absolute values.

    Args:
        connectivity: Symmetric, ``(batch, roi, roi)``; the diagonal is ignored.
        density: The strongest pairs, this share of all, in (0, 1].
        threshold: Instead, pairs of at least this absolute value.
        neighbours: Instead, nearest neighbours: pairs among the k strongest of at least one of their regions.

    Returns:
        Symmetric mask ``(batch, roi, roi)``, false on the diagonal; ``None`` where every pair is an edge.

    Raises:
        ConfigError: See :func:`require_rule`.
    """
    require_rule(density, threshold, neighbours)
    n = connectivity.shape[-1]
    if threshold is None and (neighbours >= n - 1 if neighbours is not None else density == 1):
        return None
    strength = connectivity.detach().abs()
    own = torch.eye(n, dtype=torch.bool, device=strength.device)
    if threshold is not None:
        return (strength >= threshold) & ~own
    chosen = torch.zeros_like(strength, dtype=torch.bool)
    if neighbours is not None:
        nearest = strength.masked_fill(own, -1).topk(neighbours, dim=-1).indices
        chosen = chosen.scatter_(2, nearest, True)
        return chosen | chosen.mT
    first, second = torch.triu_indices(n, n, 1, device=strength.device)
    pairs = strength[:, first, second]
    count = max(1, round(density * pairs.shape[1]))
    kept = torch.zeros_like(pairs, dtype=torch.bool).scatter_(1, pairs.topk(count, dim=1).indices, True)
    chosen[:, first, second] = chosen[:, second, first] = kept
    return chosen


def to_pyg(batch: ConnectivityBatch, mask: Tensor | None = None) -> Batch:
    """People as PyG graphs, for networks made of PyG's own layers.

    Args:
        batch: Matrices of people.
        mask: From :func:`choose_edges`; None: every pair is an edge.

    Returns:
        One graph a person: ``x``, the rows of the baseline matrix ``(roi, roi)``; ``edge_index``, every edge in both
        directions; ``edge_attr``, its baseline ``(edge, 1)``; ``y``, its measured change ``(edge, 1)``; ``window``.
    """
    from torch_geometric.data import Batch, Data

    n = batch.baseline.shape[-1]
    every = ~torch.eye(n, dtype=torch.bool, device=batch.baseline.device)
    graphs = []
    for k, baseline in enumerate(batch.baseline):
        index = (every if mask is None else mask[k]).nonzero().T
        own, change = (matrix[index[0], index[1]].unsqueeze(1) for matrix in (baseline, batch.change[k]))
        window = batch.window[k : k + 1]
        graphs.append(Data(x=baseline, edge_index=index, edge_attr=own, y=change, window=window))
    return Batch.from_data_list(graphs)
