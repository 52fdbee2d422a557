"""Handling of symmetric connectivity matrices ``(batch, roi, roi)`` that several models need."""

from __future__ import annotations

import torch
from torch import Tensor


def zero_diagonal(matrix: Tensor) -> Tensor:
    """The matrix with zeros on its diagonal, ``(batch, roi, roi)``."""
    return matrix * (1 - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device))


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
