"""Networks on pairs of regions: what they can and cannot express, masks, and the messages of wrong arguments."""

import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.connectome import edges_of
from neurotwin.models.edge_gnn import CONVOLUTIONS, EdgeMLP, LineGNN
from neurotwin.models.line_graph import SparseEdges
from neurotwin.models.node_gnn import NodeGNN


def connectivity(batch=2, n=9, seed=0):
    torch.manual_seed(seed)
    return torch.stack([torch.corrcoef(torch.randn(n, 20)) for _ in range(batch)])


MODELS = {
    **{f"line-{name}": lambda name=name: LineGNN(9, name, hidden=(8, 8)) for name in CONVOLUTIONS},
    "line-sparse": lambda: LineGNN(9, hidden=(8, 8), density=0.3),
    "line-threshold": lambda: LineGNN(9, hidden=(8, 8), threshold=0.2),
    "line-neighbours": lambda: LineGNN(9, hidden=(8, 8), neighbours=3),
    "mlp": lambda: EdgeMLP((8,), context=True),
    "node-strength": lambda: NodeGNN(9, features="strength"),
}


@pytest.mark.parametrize("name", MODELS)
def test_relabelling_the_regions_relabels_the_prediction(name):
    torch.manual_seed(0)
    model, x = MODELS[name]().eval(), connectivity()
    order = torch.randperm(9)
    out = model(x)
    torch.testing.assert_close(model(x[:, order][:, :, order]), out[:, order][:, :, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out, out.transpose(1, 2))
    assert (out.diagonal(dim1=1, dim2=2) == 0).all()


def test_edge_bias_and_embedding_tell_pairs_apart():
    x = torch.zeros(1, 9, 9)
    assert edges_of(LineGNN(9)(x)).std() < 1e-6
    assert edges_of(LineGNN(9, embedding=3)(x)).std() > 1e-3
    model = LineGNN(9, edge_bias=True)
    torch.nn.init.normal_(model.edge_bias)
    plain = edges_of(model(x))
    torch.testing.assert_close(plain - plain.mean(), (model.edge_bias - model.edge_bias.mean())[None])


def test_dense_and_sparse_layout_of_the_whole_network_agree():
    model, x = LineGNN(9, hidden=(8, 8)), connectivity(1)
    index = torch.triu_indices(9, 9, 1)
    listed = model.propagate(edges_of(x)[0, :, None], SparseEdges(index, 9))
    torch.testing.assert_close(edges_of(model(x))[0], listed[:, 0])


def test_the_fair_head_sees_the_value_of_the_pair():
    """Two inputs that differ in one pair that is no edge: with strength features only the fair head can tell."""
    x = connectivity(1)
    torch.manual_seed(0)
    fair, blind = NodeGNN(9, edge_value=True), NodeGNN(9, edge_value=False)
    assert fair.head[0].in_features == blind.head[0].in_features + 1
    x.requires_grad_()
    weights = [torch.nn.init.zeros_(p) for c in fair.convolutions for p in c.parameters()]
    assert weights
    gradient = torch.autograd.grad(fair(x)[0, 2, 5], x)[0][0]
    assert gradient[2, 5] != 0
    assert (gradient != 0).sum() == 1


def test_messages_of_wrong_arguments():
    with pytest.raises(ConfigError, match=r"model.convolution='sag' is unknown: did you mean 'sage'"):
        LineGNN(9, "sag")
    with pytest.raises(ConfigError, match=r"model.convolution='gat' is unknown"):
        NodeGNN(9, "gat")
    with pytest.raises(ConfigError, match=r"model.features='rows' is unknown: choose from profile, strength"):
        NodeGNN(9, features="rows")
    with pytest.raises(ConfigError, match=r"model.density=0: must lie above 0"):
        LineGNN(9, density=0)(torch.zeros(1, 9, 9))
