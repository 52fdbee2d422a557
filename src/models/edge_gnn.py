"""Networks from baseline connectivity to its change that see pairs of regions: line-graph networks, edge-wise MLPs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.graphs import choose_edges, require_rule
from ..errors import ConfigError, did_you_mean
from .connectome import from_edges, zero_diagonal
from .line_conv import LineAttention, LineGCN, LineGIN, LineSAGE
from .line_graph import DenseEdges, Edges

CONVOLUTIONS = ("sage", "sage-max", "gcn", "gcn-root", "gin", "attention")


class LineGNN(nn.Module):
    """Graph network on the line graph of a connectivity graph, after Acker et al. 2024.

    Every pair of regions is a node of the line graph and carries its connectivity; the output is the change of each
    pair. Depth, widths and graph density of the paper are not known to us: the defaults are ours. Without ``embedding``
    and ``edge_bias`` the map is the same for every pair of regions, so that it cannot express that one pair changes
    more than another of equal connectivity and strength.

    Args:
        n_nodes: Regions; needed by ``embedding`` and ``edge_bias`` only.
        convolution: ``sage`` (mean), ``sage-max``, ``gcn``, ``gcn-root`` (with a weight for the edge itself), ``gin``
            or ``attention``.
        hidden: Width of each hidden layer.
        dropout: Probability of dropping a hidden feature.
        density: Share of the strongest pairs of a subject that send messages; every pair gets an output.
        threshold: Instead of ``density``, pairs of at least this absolute value.
        neighbours: Instead of ``density``, the k nearest neighbours of every region.
        heads: Of ``attention``.
        embedding: Learned numbers a region; a pair gets their sum and their product as features. 0: none.
        edge_bias: Learn a constant change for every pair.

    Example:
        >>> LineGNN(n_nodes=5)(torch.zeros(2, 5, 5)).shape
        torch.Size([2, 5, 5])
    """

    def __init__(
        self,
        n_nodes: int,
        convolution: str = "sage",
        hidden: Sequence[int] = (32, 32),
        dropout: float = 0.0,
        density: float = 1.0,
        threshold: float | None = None,
        neighbours: int | None = None,
        heads: int = 4,
        embedding: int = 0,
        edge_bias: bool = False,
    ):
        super().__init__()
        if convolution not in CONVOLUTIONS:
            raise ConfigError(
                f"model.convolution={convolution!r} is unknown: {did_you_mean(convolution, CONVOLUTIONS)}"
            )
        require_rule(density, threshold, neighbours)
        self.n_nodes = n_nodes
        self.graph: Any = {"density": density, "threshold": threshold, "neighbours": neighbours}
        self.embedding = nn.Parameter(torch.randn(n_nodes, embedding)) if embedding else None
        self.edge_bias = nn.Parameter(torch.zeros(n_nodes * (n_nodes - 1) // 2)) if edge_bias else None
        widths = [1 + 2 * embedding, *hidden, 1]
        self.convolutions = nn.ModuleList(_convolution(convolution, a, b, heads) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, connectivity: Tensor) -> Tensor:
        """Predict the change of every pair.

        Args:
            connectivity: Baseline, symmetric, ``(batch, roi, roi)``, correlation; the diagonal is ignored.

        Returns:
            Predicted change, symmetric with zero diagonal, ``(batch, roi, roi)``.
        """
        x = zero_diagonal(connectivity).unsqueeze(-1)
        if self.embedding is not None:
            a, b = self.embedding.unsqueeze(0), self.embedding.unsqueeze(1)
            x = torch.cat([x, torch.cat([a + b, a * b], -1).expand(len(x), -1, -1, -1)], -1)
        x = self.propagate(x, DenseEdges(x.shape[1], choose_edges(connectivity, **self.graph))).squeeze(-1)
        if self.edge_bias is not None:
            x = x + from_edges(self.edge_bias, self.n_nodes)
        return zero_diagonal(x)

    def propagate(self, x: Tensor, edges: Edges) -> Tensor:
        """Apply the layers to edge features in either layout of :mod:`.line_graph`."""
        for convolution in self.convolutions[:-1]:
            x = self.dropout(torch.relu(convolution(x, edges)))
        return self.convolutions[-1](x, edges)


class EdgeMLP(nn.Module):
    """The same small network for every pair of regions, without messages.

    Args:
        hidden: Width of each hidden layer.
        context: Also show the mean connectivity of both regions and of the whole brain; one line-SAGE layer on a
            complete graph sees no more than the first two.
    """

    def __init__(self, hidden: Sequence[int] = (64,), context: bool = False):
        super().__init__()
        self.context = context
        layers: list[nn.Module] = []
        for a, b in pairwise([3 if context else 1, *hidden]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, connectivity: Tensor) -> Tensor:
        """Baseline ``(batch, roi, roi)`` to predicted change ``(batch, roi, roi)``."""
        x = zero_diagonal(connectivity).unsqueeze(-1)
        if self.context:
            edges = DenseEdges(x.shape[1])
            strength = edges.node_sum(x) / (x.shape[1] - 1)
            overall = strength.mean(1, keepdim=True).unsqueeze(1).expand_as(x)
            x = torch.cat([x, edges.pair(strength), overall], -1)
        return zero_diagonal(self.layers(x).squeeze(-1))


def _convolution(kind: str, n_in: int, n_out: int, heads: int) -> nn.Module:
    if kind == "attention":
        return LineAttention(n_in, n_out, heads if n_out % heads == 0 else 1)
    if kind == "gin":
        return LineGIN(n_in, n_out)
    if kind.startswith("gcn"):
        return LineGCN(n_in, n_out, root=kind == "gcn-root")
    return LineSAGE(n_in, n_out, "max" if kind == "sage-max" else "mean")
