"""Handling of symmetric connectivity matrices ``(batch, roi, roi)`` that several models need."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError


def zero_diagonal(matrix: Tensor) -> Tensor:
    """The matrix with zeros on its diagonal, ``(batch, roi, roi)``."""
    return matrix * (1 - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device))


def strongest_edges(connectivity: Tensor, density: float) -> Tensor | None:
    """Graph of the strongest pairs of each subject by absolute value.

    Args:
        connectivity: Symmetric, ``(batch, roi, roi)``.
        density: Share of the pairs that are edges, in (0, 1].

    Returns:
        Symmetric mask ``(batch, roi, roi)``, false on the diagonal; ``None`` for density 1: every pair is an edge.

    Raises:
        ConfigError: The density is out of range.
    """
    if not 0 < density <= 1:
        raise ConfigError(f"model.density={density}: must lie above 0 and at most at 1 (every pair is an edge)")
    if density == 1:
        return None
    n = connectivity.shape[-1]
    index = torch.triu_indices(n, n, 1, device=connectivity.device)
    strength = connectivity.detach()[:, index[0], index[1]].abs()
    count = max(1, round(density * index.shape[1]))
    chosen = torch.zeros_like(strength, dtype=torch.bool).scatter_(1, strength.topk(count, dim=1).indices, True)
    return from_edges(chosen, n)


def edges_of(matrix: Tensor) -> Tensor:
    """Values above the diagonal in row-major order: ``(batch, roi, roi)`` to ``(batch, edge)``."""
    index = torch.triu_indices(matrix.shape[-1], matrix.shape[-1], 1, device=matrix.device)
    return matrix[..., index[0], index[1]]


def from_edges(values: Tensor, n_nodes: int) -> Tensor:
    """Symmetric matrices with zero diagonal: the inverse of :func:`edges_of`."""
    index = torch.triu_indices(n_nodes, n_nodes, 1, device=values.device)
    matrix = values.new_zeros(*values.shape[:-1], n_nodes, n_nodes)
    matrix[..., index[0], index[1]] = values
    matrix[..., index[1], index[0]] = values
    return matrix
