"""A line-graph network on top of a rule: what a network adds, and nothing that it could lose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import ConfigError, did_you_mean
from .connectome import edges_of, from_edges, zero_diagonal
from .edge_baselines import SharedSlope
from .line_conv import LineSAGE
from .line_filter import LineFilter
from .line_graph import DenseEdges

RULES = {"slope": SharedSlope, "filter": LineFilter}
_PAIR_FEATURES = 4


class LineResidual(nn.Module):
    """Change = rule + line GraphSAGE residual, which is zero before training.

    The rule (mean change of every pair and a slope, or a few) is fitted in closed form to the training people before
    the first gradient step, see :meth:`start_from`. The last layer of the network starts at zero, so that training
    starts from the rule's error, and early stopping can return to it.

    A pair's features tell the network how far to trust them: the baseline x, its deviation from the training mean, the
    same after the rule's shrinkage, and ``1 - x^2``, to which the sampling standard deviation of a correlation is
    proportional (Fisher 1921). Two regions' embeddings enter by sum and product; they start at the strongest
    eigenvectors of the mean baseline, that is, at its networks, and are learned.

    Args:
        n_nodes: Regions.
        rule: ``slope`` (:class:`~.edge_baselines.SharedSlope`) or ``filter`` (:class:`~.line_filter.LineFilter`).
        hidden: Width of each hidden layer.
        embedding: Numbers a region, at most ``n_nodes``.
        dropout: Probability of dropping a hidden feature.
    """

    spread: Tensor
    scale: Tensor

    def __init__(
        self,
        n_nodes: int,
        rule: str = "slope",
        hidden: Sequence[int] = (32, 32),
        embedding: int = 8,
        dropout: float = 0.0,
    ):
        super().__init__()
        if rule not in RULES:
            raise ConfigError(f"model.rule={rule!r} is unknown: {did_you_mean(rule, RULES)}")
        if not 0 <= embedding <= n_nodes:
            raise ConfigError(f"model.embedding={embedding}: must lie between 0 and the {n_nodes} regions")
        self.n_nodes = n_nodes
        self.rule = RULES[rule](n_nodes)
        self.embedding = nn.Parameter(torch.randn(n_nodes, embedding)) if embedding else None
        widths = [_PAIR_FEATURES + 2 * embedding, *hidden, 1]
        self.convolutions = nn.ModuleList(LineSAGE(a, b) for a, b in pairwise(widths))
        for parameter in self.convolutions[-1].parameters():
            nn.init.zeros_(parameter)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("spread", torch.tensor(1.0))  # sd of the baselines around their mean
        self.register_buffer("scale", torch.tensor(1.0))  # sd of what the rule leaves

    def start_from(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit the rule, the scales and the embeddings' start to baselines and changes, both ``(n, roi, roi)``.

        Does nothing where the rule is fitted already, such as in a resumed run.
        """
        if self.rule.fitted:
            return
        self.rule.fit(inputs, targets)
        x = edges_of(inputs)
        self.spread.copy_((x - x.mean(0)).std())
        self.scale.copy_((edges_of(targets) - edges_of(self.rule(inputs))).std())
        if self.embedding is not None:
            values, vectors = torch.linalg.eigh(inputs.mean(0))
            strongest = values.abs().argsort(descending=True)[: self.embedding.shape[1]]
            with torch.no_grad():
                self.embedding.copy_(vectors[:, strongest] * len(vectors) ** 0.5)

    def forward(self, connectivity: Tensor) -> Tensor:
        """Baseline ``(batch, roi, roi)`` to predicted change ``(batch, roi, roi)``; 0 before :meth:`start_from`."""
        x = zero_diagonal(connectivity)
        known = self.rule(x) if self.rule.fitted else torch.zeros_like(x)
        mean = from_edges(self.rule.centre, x.shape[-1])
        kept = known - from_edges(self.rule.offset, x.shape[-1]) + x - mean
        h = torch.stack([x, (x - mean) / self.spread, kept / self.spread, 1 - x.square()], -1)
        if self.embedding is not None:
            a, b = self.embedding.unsqueeze(0), self.embedding.unsqueeze(1)
            h = torch.cat([h, torch.cat([a + b, a * b], -1).expand(len(h), -1, -1, -1)], -1)
        edges = DenseEdges(x.shape[-1])
        for convolution in self.convolutions[:-1]:
            h = self.dropout(torch.relu(convolution(h, edges)))
        return known + zero_diagonal(self.scale * self.convolutions[-1](h, edges).squeeze(-1))
