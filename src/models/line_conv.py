"""Graph convolutions on the line graph, equal to PyG's on ``LineGraph()`` but at the cost of the original graph.

Every layer maps edge features to edge features in either layout of :mod:`.line_graph`:
``layer(x, edges)`` with ``x`` of ``(batch, roi, roi, in)`` or ``(edge, in)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .line_graph import Edges


class LineSAGE(nn.Module):
    """GraphSAGE on the line graph (Hamilton et al. 2017, algorithm 1), as PyG's ``SAGEConv``.

    ``y = W_l agg(neighbours) + W_r x + b``. In a complete graph all line degrees D are equal, and the mean becomes
    ``(W_r - 2 W_l / D) x_ij + W_l (S_i + S_j) / D``: one matrix product over edges, one over regions.

    Args:
        n_in: Features in.
        n_out: Features out.
        aggregate: ``mean``, ``max`` or ``sum`` over the neighbours.
    """

    def __init__(self, n_in: int, n_out: int, aggregate: str = "mean"):
        super().__init__()
        if aggregate not in ("mean", "max", "sum"):
            raise ConfigError(f"{aggregate=}: choose from mean, max, sum")
        self.aggregate = aggregate
        self.lin_l = nn.Linear(n_in, n_out)
        self.lin_r = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """New features of every edge."""
        if self.aggregate == "mean":
            degree = edges.line_degree(x)
            if isinstance(degree, float):
                share = self.lin_l.weight / max(degree, 1.0)
                own = functional.linear(x, self.lin_r.weight - 2 * share, self.lin_l.bias)
                return edges.add_pair(own, functional.linear(edges.node_sum(x), share))
            message = edges.neighbour_sum(x) / degree.clamp(min=1)
        else:
            message = edges.neighbour_max(x) if self.aggregate == "max" else edges.neighbour_sum(x)
        return self.lin_l(message) + self.lin_r(x)


class LineGCN(nn.Module):
    """GCN with self-loops on the line graph (Kipf & Welling 2017, equation 2), as PyG's ``GCNConv``.

    ``y_e = sum over f in {e} and neighbours of W x_f / sqrt((D_e + 1) (D_f + 1)) + b``. On a dense graph this
    multiplies whatever is specific to an edge by -1/(2N - 3) (``docs/line_graphs.md``); ``root`` adds ``W_r x_e``,
    which restores it.

    Args:
        n_in: Features in.
        n_out: Features out.
        root: Add a weight of its own for the edge itself.
    """

    def __init__(self, n_in: int, n_out: int, root: bool = False):
        super().__init__()
        self.lin = nn.Linear(n_in, n_out, bias=False)
        self.lin_r = nn.Linear(n_in, n_out, bias=False) if root else None
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """New features of every edge."""
        degree = edges.line_degree(x)
        if isinstance(degree, float):
            share = self.lin.weight / (degree + 1)
            weight = -share if self.lin_r is None else self.lin_r.weight - share
            out = functional.linear(x, weight, self.bias)
            return edges.add_pair(out, functional.linear(edges.node_sum(x), share))
        scale = (degree + 1).rsqrt()
        z = self.lin(x) * scale
        out = (edges.neighbour_sum(z) + z) * scale + self.bias
        return out if self.lin_r is None else out + self.lin_r(x)


class LineGIN(nn.Module):
    """GIN on the line graph (Xu et al. 2019, equation 4.1), as PyG's ``GINConv``.

    ``y = MLP((1 + eps) x + sum of neighbours)``. The sum grows with the number of regions: on dense graphs give it
    centred inputs.

    Args:
        n_in: Features in.
        n_out: Features out.
        eps: Initial weight of the edge itself, minus 1; learned.
    """

    def __init__(self, n_in: int, n_out: int, eps: float = 0.0):
        super().__init__()
        self.eps = nn.Parameter(torch.tensor(float(eps)))
        self.nn = nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Linear(n_out, n_out))

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """New features of every edge."""
        return self.nn((1 + self.eps) * x + edges.neighbour_sum(x))


class LineAttention(nn.Module):
    """Linear attention of an edge over itself and its neighbours (Katharopoulos et al. 2020, equation 5).

    ``y_e = sum_f phi(q_e)' phi(k_f) v_f / sum_f phi(q_e)' phi(k_f)`` with ``phi = elu + 1`` and f in the
    neighbours and e itself. Softmax attention does not separate into sums at regions; this does: ``sum phi(k) v'`` at i
    and j. The sparse layout holds ``edge x n_out x n_out / heads`` numbers at a time, the dense one never does.

    Args:
        n_in: Features in.
        n_out: Features out, a multiple of ``heads``.
        heads: Independent attentions, concatenated.
    """

    def __init__(self, n_in: int, n_out: int, heads: int = 1):
        super().__init__()
        if n_out % heads:
            raise ConfigError(f"{n_out=} is no multiple of {heads=}")
        self.heads = heads
        self.lin_qkv = nn.Linear(n_in, 3 * n_out)
        self.lin_r = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """New features of every edge."""
        q, k, v = self.lin_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        q = functional.elu(q / math.sqrt(q.shape[-1])) + 1
        k = functional.elu(k) + 1
        v = torch.cat([v, torch.ones_like(v[..., :1])], -1)  # the last column sums the weights
        own = (q * k).sum(-1)
        once = own - 2 * own * edges.is_edge(own)  # an edge stands in the sums of both its ends and counts once
        total = edges.query(q, edges.outer_sum(k, v)) + once.unsqueeze(-1) * v
        return (total[..., :-1] / total[..., -1:]).flatten(-2) + self.lin_r(x)
