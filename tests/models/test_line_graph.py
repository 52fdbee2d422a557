"""Factorised line-graph convolutions against PyG on the line graph itself, and the spectrum of the dense line graph."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurotwin.errors import ConfigError
from neurotwin.models.line_conv import LineAttention, LineGCN, LineGIN, LineSAGE
from neurotwin.models.line_graph import DenseEdges, SparseEdges
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, GINConv, SAGEConv
from torch_geometric.transforms import LineGraph

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@st.composite
def graphs(draw):
    """Edges i < j in row-major order (the order of ``LineGraph``) of a dense or sparse random graph, and its size."""
    n = draw(st.integers(4, 16))
    density = draw(st.sampled_from([0.2, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kept = np.triu(rng.random((n, n)) < density, 1)
    kept[0, 1] = kept[1, 2] = True  # at least one pair of neighbours: LineGraph cannot be built from none
    return torch.from_numpy(np.stack(np.nonzero(kept))), n


def line_graph(index, n):
    """What PyG materialises."""
    both = torch.cat([index, index.flip(0)], 1)
    value = torch.arange(index.shape[1], dtype=torch.float64).repeat(2) / 2  # LineGraph sums both directions
    line = LineGraph()(Data(edge_index=both, edge_attr=value[:, None], num_nodes=n))
    assert torch.equal(line.x[:, 0], torch.arange(index.shape[1], dtype=torch.float64)), "order of the line nodes"
    return line.edge_index


def pairs(kind, dtype, n_in=3, n_out=5):
    """A layer of ours and PyG's with the same weights."""
    torch.manual_seed(0)
    if kind in ("mean", "max", "sum"):
        ours, theirs = LineSAGE(n_in, n_out, kind), SAGEConv(n_in, n_out, aggr=kind)
        theirs.load_state_dict(ours.state_dict())
    elif kind == "gcn":
        ours, theirs = LineGCN(n_in, n_out), GCNConv(n_in, n_out)
        torch.nn.init.normal_(ours.bias)
        theirs.load_state_dict(ours.state_dict())
    else:
        ours = LineGIN(n_in, n_out, eps=0.3)
        theirs = GINConv(ours.nn, eps=0.3, train_eps=True)
    return ours.to(dtype), theirs.to(dtype)


def gradients(module, x, out, weight):
    module.zero_grad()
    return torch.autograd.grad((out * weight).sum(), [x, *module.parameters()])


def close(a, b, tolerance):
    scale = max(1.0, float(b.detach().abs().max()))
    assert float((a - b).detach().abs().max()) <= tolerance * scale


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["mean", "gcn", "gin", "sum", "max"])
@settings(max_examples=15, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 1000))
def test_sparse_layers_equal_pyg(kind, dtype, graph, seed):
    index, n = graph
    ours, theirs = pairs(kind, dtype)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(index.shape[1], 3, dtype=dtype, generator=generator, requires_grad=True)
    weight = torch.randn(index.shape[1], 5, dtype=dtype, generator=generator)
    got, expected = ours(x, SparseEdges(index, n)), theirs(x, line_graph(index, n))
    close(got, expected, TOLERANCE[dtype])
    ours_by_name = dict(zip(["x", *dict(ours.named_parameters())], gradients(ours, x, got, weight), strict=True))
    named = dict(zip(["x", *dict(theirs.named_parameters())], gradients(theirs, x, expected, weight), strict=True))
    assert set(ours_by_name) == set(named)
    for name, gradient in named.items():
        close(ours_by_name[name], gradient, TOLERANCE[dtype])


@pytest.mark.parametrize("kind", ["mean", "gcn", "gin", "sum", "max", "attention", "gcn-root"])
@settings(max_examples=15, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 1000))
def test_dense_layout_equals_sparse_layout(kind, graph, seed):
    """Outputs and gradients; a batch of two different graphs, the second complete; junk on the diagonal."""
    index, n = graph
    if kind == "attention":
        layer = LineAttention(3, 4, heads=2).double()
    elif kind == "gcn-root":
        layer = LineGCN(3, 4, root=True).double()
    else:
        layer = pairs(kind, torch.float64, 3, 4)[0]
    complete = torch.triu_indices(n, n, 1)
    mask = torch.zeros(2, n, n, dtype=torch.bool)
    for edge, target in ((index, mask[0]), (complete, mask[1])):
        target[edge[0], edge[1]] = target[edge[1], edge[0]] = True
    torch.manual_seed(seed)
    x = torch.randn(2, n, n, 3, dtype=torch.float64)
    x = (x + x.transpose(1, 2)).requires_grad_()
    out = layer(x, DenseEdges(n, mask))
    assert torch.isfinite(out).all()
    close(out, out.transpose(1, 2), 1e-12)
    everywhere = layer(x, DenseEdges(n))
    close(everywhere[1][mask[1]], out[1][mask[1]], 1e-10)
    for graph_number, edge in enumerate((index, complete)):
        listed = x[graph_number, edge[0], edge[1]]
        expected = layer(listed, SparseEdges(edge, n))
        got = out[graph_number, edge[0], edge[1]]
        close(got, expected, 1e-10)
        weight = torch.randn_like(got)
        grads = [
            torch.autograd.grad((y * weight).sum(), layer.parameters(), retain_graph=True) for y in (got, expected)
        ]
        for a, b in zip(*grads, strict=True):
            close(a, b, 1e-10)


@settings(max_examples=10, deadline=None)
@given(graph=graphs())
def test_linear_attention_equals_the_masked_sum(graph):
    index, n = graph
    torch.manual_seed(1)
    layer = LineAttention(3, 4, heads=2).double()
    x = torch.randn(index.shape[1], 3, dtype=torch.float64)
    q, k, v = layer.lin_qkv(x).reshape(len(x), 3, 2, 2).unbind(1)
    q, k = torch.nn.functional.elu(q / 2**0.5) + 1, torch.nn.functional.elu(k) + 1
    shared = (index.T[:, None, :, None] == index.T[None, :, None, :]).any((2, 3))
    weight = torch.einsum("ehk,fhk->efh", q, k) * shared[..., None]
    expected = torch.einsum("efh,fhv->ehv", weight / weight.sum(1, keepdim=True), v).flatten(1) + layer.lin_r(x)
    close(layer(x, SparseEdges(index, n)), expected, 1e-10)


def edge_specific_pattern(n, generator):
    """A symmetric matrix whose every row sums to zero: what is left of a signal without its node sums."""
    index = torch.triu_indices(n, n, 1)
    incidence = torch.zeros(n, index.shape[1], dtype=torch.float64)
    incidence[index, torch.arange(index.shape[1])] = 1
    x = torch.randn(index.shape[1], dtype=torch.float64, generator=generator)
    return index, x - incidence.T @ torch.linalg.solve(incidence @ incidence.T, incidence @ x), x


@pytest.mark.parametrize("n", [5, 12, 84])
def test_dense_line_gcn_multiplies_edge_specific_patterns_by_minus_one_over_2n_minus_3(n):
    index, pattern, signal = edge_specific_pattern(n, torch.Generator().manual_seed(n))
    layer = LineGCN(1, 1).double()
    torch.nn.init.ones_(layer.lin.weight)
    out = layer(pattern[:, None], SparseEdges(index, n))[:, 0]
    torch.testing.assert_close(out, -pattern / (2 * n - 3), rtol=1e-10, atol=1e-14)
    if n == 84:
        share = float(pattern.square().sum() / signal.square().sum())
        assert share > 0.95, "most of a random edge signal is edge-specific"
        theirs = GCNConv(1, 1).double()
        theirs.load_state_dict(layer.state_dict())
        materialised = theirs(pattern[:, None], line_graph(index, n))[:, 0]
        torch.testing.assert_close(materialised, -pattern / (2 * n - 3), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("n", [5, 12])
def test_spectrum_of_the_complete_line_graph(n):
    """Adjacency eigenvalues 2(N-2) once, N-4 for N-1 node patterns, -2 for the rest (strongly regular T(N))."""
    index = torch.triu_indices(n, n, 1)
    source, target = line_graph(index, n)
    adjacency = np.zeros((index.shape[1], index.shape[1]))
    adjacency[source, target] = 1
    expected = [-2.0] * (index.shape[1] - n) + [n - 4.0] * (n - 1) + [2.0 * (n - 2)]
    np.testing.assert_allclose(np.linalg.eigvalsh(adjacency), np.sort(expected), atol=1e-9)


def test_a_root_weight_keeps_edge_specific_patterns():
    n = 84
    index, pattern, _ = edge_specific_pattern(n, torch.Generator().manual_seed(0))
    layer = LineGCN(1, 1, root=True).double()
    for weight in (layer.lin.weight, layer.lin_r.weight):
        torch.nn.init.ones_(weight)
    out = layer(pattern[:, None], SparseEdges(index, n))[:, 0]
    torch.testing.assert_close(out, pattern * (1 - 1 / (2 * n - 3)), rtol=1e-10, atol=1e-14)


def test_wrong_arguments_name_the_choices():
    with pytest.raises(ConfigError, match="aggregate='median': choose from mean, max, sum"):
        LineSAGE(1, 1, "median")
    with pytest.raises(ConfigError, match="n_out=5 is no multiple of heads=2"):
        LineAttention(1, 5, heads=2)
