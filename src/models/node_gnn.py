"""Traditional graph networks: regions are the nodes, pairs are read off both ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense import DenseGCNConv, DenseSAGEConv

from ..contracts.graphs import choose_edges, require_rule
from ..errors import ConfigError, did_you_mean
from .connectome import edges_of, from_edges, zero_diagonal

CONVOLUTIONS = {"sage": DenseSAGEConv, "gcn": DenseGCNConv}
NODE_FEATURES = ("profile", "strength")


class NodeGNN(nn.Module):
    """GraphSAGE or GCN on the regions (the traditional view of Acker et al. 2024), with a head for pairs.

    The head is symmetric: an MLP of ``h_i + h_j``, ``h_i h_j`` and, in the fair variant, the pair's own baseline
    connectivity, without which the network hardly sees what it should change. The paper's node features, widths and
    head are not known to us.

    Args:
        n_nodes: Regions.
        convolution: ``sage`` or ``gcn`` (PyG's dense layers).
        hidden: Width of each convolution.
        head: Width of the hidden layer of the head.
        features: Of a region: ``profile``, its row of the connectivity matrix, or ``strength``, mean and standard
            deviation of that row.
        edge_value: Show the head the pair's own value.
        density: Share of the strongest pairs of a subject that are edges; the mean over neighbours of a complete graph
            is nearly the same for all regions.
        threshold: Instead of ``density``, pairs of at least this absolute value.
        neighbours: Instead of ``density``, the k nearest neighbours of every region.
    """

    def __init__(
        self,
        n_nodes: int,
        convolution: str = "sage",
        hidden: Sequence[int] = (32, 32),
        head: int = 32,
        features: str = "profile",
        edge_value: bool = True,
        density: float = 0.2,
        threshold: float | None = None,
        neighbours: int | None = None,
    ):
        super().__init__()
        for name, value, choices in (("convolution", convolution, CONVOLUTIONS), ("features", features, NODE_FEATURES)):
            if value not in choices:
                raise ConfigError(f"model.{name}={value!r} is unknown: {did_you_mean(value, choices)}")
        require_rule(density, threshold, neighbours)
        self.n_nodes = n_nodes
        self.features = features
        self.edge_value = edge_value
        self.graph: Any = {"density": density, "threshold": threshold, "neighbours": neighbours}
        widths = [n_nodes if features == "profile" else 2, *hidden]
        self.convolutions = nn.ModuleList(CONVOLUTIONS[convolution](a, b) for a, b in pairwise(widths))
        self.head = nn.Sequential(nn.Linear(2 * widths[-1] + edge_value, head), nn.ReLU(), nn.Linear(head, 1))

    def forward(self, connectivity: Tensor) -> Tensor:
        """Predict the change of every pair.

        Args:
            connectivity: Baseline, symmetric, ``(batch, roi, roi)``, correlation; the diagonal is ignored.

        Returns:
            Predicted change, symmetric with zero diagonal, ``(batch, roi, roi)``.
        """
        matrix = zero_diagonal(connectivity)
        n = matrix.shape[-1]
        mask = choose_edges(matrix, **self.graph)
        adjacency = (1 - torch.eye(n).to(matrix)).expand_as(matrix) if mask is None else mask.to(matrix.dtype)
        h = matrix if self.features == "profile" else torch.stack([matrix.mean(-1), matrix.std(-1)], -1)
        for convolution in self.convolutions:
            h = torch.relu(convolution(h, adjacency))
        first, second = torch.triu_indices(n, n, 1, device=h.device)
        pair = [h[:, first] + h[:, second], h[:, first] * h[:, second]]
        if self.edge_value:
            pair.append(edges_of(matrix).unsqueeze(-1))
        return from_edges(self.head(torch.cat(pair, -1)).squeeze(-1), n)
