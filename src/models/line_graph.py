"""Sums and maxima over the line graph of a connectivity graph, computed on its nodes: the line graph is never built.

In the line graph every edge (i, j) becomes a node, and two of them are neighbours if they share a region. The
neighbours of (i, j) are the other edges at i and the other edges at j, and no edge is both, so that with
``S_i``, the sum over the edges at i,

    sum over neighbours of (i, j) = S_i + S_j - 2 x_ij        line degree = d_i + d_j - 2

exactly. Time and memory are O(edges x features); the line graph itself has sum_i d_i (d_i - 1) entries, O(regions^3)
for a dense matrix. Two layouts share one interface: :class:`DenseEdges` for batches of whole matrices
``(batch, roi, roi, feature)`` and :class:`SparseEdges` for edge lists ``(edge, feature)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseEdges:
    """All pairs of regions as symmetric arrays ``(batch, roi, roi, feature)``; the diagonal is ignored.

    Args:
        n_nodes: Regions.
        mask: Symmetric, ``(batch, roi, roi)`` or ``(1, roi, roi)``, true where a pair is an edge of the graph, false on
            the diagonal. Pairs that are no edges send nothing but receive like the others, so that every pair gets an
            output. ``None``: every pair is an edge.
    """

    n_nodes: int
    mask: Tensor | None = None

    def is_edge(self, x: Tensor) -> Tensor:
        """1 for the edges of the graph, 0 for other pairs and the diagonal, ``(batch or 1, roi, roi, 1)``."""
        if self.mask is None:
            return (1 - torch.eye(self.n_nodes, dtype=x.dtype, device=x.device))[None, :, :, None]
        return self.mask.to(x.dtype).unsqueeze(-1)

    def line_degree(self, x: Tensor) -> float | Tensor:
        """Neighbours of an edge: one number in a complete graph, else ``(batch or 1, roi, roi, 1)``, like ``x``."""
        if self.mask is None:
            return 2.0 * (self.n_nodes - 2)
        edge = self.is_edge(x)
        return self.pair(edge.sum(2)) - 2 * edge

    def node_sum(self, x: Tensor) -> Tensor:
        """Sum over the edges at each region, ``(batch, roi, feature)``."""
        if self.mask is None:
            return x.sum(1) - x.diagonal(dim1=1, dim2=2).transpose(1, 2)
        weight = self.mask.to(x.dtype).expand(len(x), -1, -1)
        return (weight.unsqueeze(2) @ x).squeeze(2)

    def pair(self, node: Tensor) -> Tensor:
        """Sum of the values of both ends, ``(batch, roi, roi, feature)``."""
        return node.unsqueeze(2) + node.unsqueeze(1)

    def add_pair(self, x: Tensor, node: Tensor) -> Tensor:
        """``x + pair(node)`` in the memory of ``x``."""
        return x.add_(node.unsqueeze(2)).add_(node.unsqueeze(1))

    def neighbour_sum(self, x: Tensor) -> Tensor:
        """Sum over the neighbours of every pair in the line graph."""
        own = x if self.mask is None else x * self.is_edge(x)
        return self.pair(self.node_sum(x)) - 2 * own

    def neighbour_max(self, x: Tensor) -> Tensor:
        """Maximum over the neighbours of every pair, per feature; 0 where there are none.

        The largest two values at a region decide: an edge that is the largest itself sees the second.
        """
        edge = self.is_edge(x) > 0
        x = x.masked_fill(~edge, -torch.inf)
        first, second = x.topk(2, dim=2).values.unsqueeze(2).unbind(3)
        at_end = torch.where(edge & (x == first), second, first)
        return _finite(torch.maximum(at_end, at_end.transpose(1, 2)))

    def outer_sum(self, keys: Tensor, values: Tensor) -> Tensor:
        """Sum of ``key value'`` over the edges at each region.

        Args:
            keys: ``(batch, roi, roi, head, k)``.
            values: ``(batch, roi, roi, head, v)``.

        Returns:
            ``(batch, roi, head, k, v)``.
        """
        keys = keys * self.is_edge(keys).unsqueeze(-1)
        return torch.einsum("bijhk,bijhv->bihkv", keys, values)

    def query(self, queries: Tensor, node: Tensor) -> Tensor:
        """``query' (M_i + M_j)`` for matrices ``M`` from :meth:`outer_sum`, ``(batch, roi, roi, head, v)``."""
        return torch.einsum("bijhk,bihkv->bijhv", queries, node) + torch.einsum("bijhk,bjhkv->bijhv", queries, node)


@dataclass(frozen=True)
class SparseEdges:
    """An undirected simple graph as a list of edges; features are ``(edge, feature)``. Graphs of a batch are one list.

    Args:
        index: Ends of each edge, ``(2, edge)``, int64, each edge once, no self-loops.
        n_nodes: Regions, over all graphs of the batch.
    """

    index: Tensor
    n_nodes: int

    def is_edge(self, x: Tensor) -> Tensor:
        """1 for every entry of the list, ``(edge, 1)``, like ``x``."""
        return x.new_ones(len(x), 1)

    def line_degree(self, x: Tensor) -> float | Tensor:
        """Neighbours of an edge: one number in a complete graph, else ``(edge, 1)``, like ``x``."""
        if self.index.shape[1] == self.n_nodes * (self.n_nodes - 1) // 2:
            return 2.0 * (self.n_nodes - 2)
        degree = torch.bincount(self.index.reshape(-1), minlength=self.n_nodes)
        return self.pair(degree.to(x.dtype).unsqueeze(-1)) - 2

    def node_sum(self, x: Tensor) -> Tensor:
        """Sum over the edges at each region, ``(roi, feature)``."""
        total = x.new_zeros(self.n_nodes, *x.shape[1:])
        return total.index_add(0, self.index[0], x).index_add(0, self.index[1], x)

    def pair(self, node: Tensor) -> Tensor:
        """Sum of the values of both ends, ``(edge, feature)``."""
        return node[self.index[0]] + node[self.index[1]]

    def add_pair(self, x: Tensor, node: Tensor) -> Tensor:
        """``x + pair(node)`` in the memory of ``x``."""
        return x.add_(node[self.index[0]]).add_(node[self.index[1]])

    def neighbour_sum(self, x: Tensor) -> Tensor:
        """Sum over the neighbours of every edge in the line graph."""
        return self.pair(self.node_sum(x)) - 2 * x

    def neighbour_max(self, x: Tensor) -> Tensor:
        """Maximum over the neighbours of every edge, per feature; 0 where there are none."""
        both = x.expand(2, -1, -1)
        first = self._node_max(both)[self.index]
        largest = (x == first).to(x.dtype)
        count = x.new_zeros(self.n_nodes, x.shape[1])
        count = count.index_add(0, self.index[0], largest[0]).index_add(0, self.index[1], largest[1])
        alone = (x == first) & (count[self.index] == 1)
        second = self._node_max(both.masked_fill(alone, -torch.inf))[self.index]
        return _finite(torch.where(alone, second, first).amax(0))

    def _node_max(self, values: Tensor) -> Tensor:
        """Maximum at each region of ``(end, edge, feature)``."""
        values, ends = values.flatten(0, 1), self.index.reshape(-1, 1)
        lowest = values.new_full((self.n_nodes, values.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, ends.expand_as(values), values, "amax")

    def outer_sum(self, keys: Tensor, values: Tensor) -> Tensor:
        """Sum of ``key value'`` over the edges at each region, ``(roi, head, k, v)``."""
        return self.node_sum(keys.unsqueeze(-1) * values.unsqueeze(-2))

    def query(self, queries: Tensor, node: Tensor) -> Tensor:
        """``query' (M_i + M_j)`` for matrices ``M`` from :meth:`outer_sum`, ``(edge, head, v)``."""
        return torch.einsum("ehk,ehkv->ehv", queries, self.pair(node))


Edges = DenseEdges | SparseEdges


def _finite(x: Tensor) -> Tensor:
    return x.masked_fill(x == -torch.inf, 0.0)
