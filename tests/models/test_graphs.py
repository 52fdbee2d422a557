"""Which pairs are edges, by hand, and the same network on dense matrices and on PyG's batches."""

import pytest
import torch
from neurotwin.contracts import ConnectivityBatch
from neurotwin.contracts.graphs import choose_edges, to_pyg
from neurotwin.datamodules.simulated_fc import SimulatedFCDataModule
from neurotwin.errors import ConfigError
from neurotwin.models.connectome import edges_of, from_edges
from neurotwin.models.node_gnn import NodeGNN
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.dense import DenseSAGEConv

# pairs              01   02    03   12   13    23
X = from_edges(torch.tensor([[0.1, -0.9, 0.3, 0.2, 0.5, -0.4]]), 4)


@pytest.mark.parametrize(
    ("rule", "edges"),
    [
        ({"density": 0.5}, [False, True, False, False, True, True]),
        ({"threshold": 0.3}, [False, True, True, False, True, True]),
        ({"neighbours": 1}, [False, True, False, False, True, False]),  # 0-2, 1-3, 2-0, 3-1
        ({"neighbours": 2}, [False, True, True, True, True, True]),  # and 0-3, 1-2, 2-3, 3-2
        ({"density": 0.2, "threshold": 0.45}, [False, True, False, False, True, False]),
    ],
)
def test_edges_by_hand(rule, edges):
    mask = choose_edges(X + torch.eye(4), **rule)
    assert edges_of(mask).tolist() == [edges]
    assert torch.equal(mask, mask.mT)
    assert not mask.diagonal(dim1=1, dim2=2).any()


@pytest.mark.parametrize("rule", [{}, {"neighbours": 3}, {"neighbours": 3, "density": 0.2}])
def test_every_pair_is_an_edge(rule):
    assert choose_edges(X, **rule) is None


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        ({"density": 0}, r"density=0: must lie above 0"),
        ({"threshold": -0.1}, r"threshold=-0\.1: is held against absolute values"),
        ({"neighbours": 0}, r"neighbours=0: a region needs at least 1"),
        ({"neighbours": 2, "threshold": 0.1}, r"threshold and model\.neighbours: choose one"),
    ],
)
def test_messages(rule, match):
    with pytest.raises(ConfigError, match=match):
        NodeGNN(4, **rule)


@pytest.mark.parametrize("rule", [{}, {"density": 0.3}, {"threshold": 0.2}, {"neighbours": 4}])
def test_a_network_of_pyg_sees_the_same_graph(rule):
    """GraphSAGE on PyG's batch of edge lists equals its dense form on the mask; values lie on the right edges."""
    small = {"n_subjects": 6, "n_nodes": 40, "rest_volumes": 40, "story_volumes": 40, "folds": 2, "val_fraction": 0.0}
    datamodule = SimulatedFCDataModule(**small)
    datamodule.setup()
    batch: ConnectivityBatch = next(iter(datamodule.test_dataloader()))
    (graphs,) = datamodule.graphs("test", **rule)
    mask = choose_edges(batch.baseline, **rule)
    mask = (1 - torch.eye(40)).expand(len(batch.baseline), -1, -1) if mask is None else mask.float()
    dense, sparse = DenseSAGEConv(40, 5), SAGEConv(40, 5)
    sparse.lin_l.load_state_dict({"weight": dense.lin_rel.weight, "bias": dense.lin_root.bias})
    sparse.lin_r.load_state_dict({"weight": dense.lin_root.weight})
    torch.testing.assert_close(sparse(graphs.x, graphs.edge_index), dense(batch.baseline, mask).flatten(0, 1))
    assert graphs.num_graphs == len(batch.baseline)
    assert graphs.num_edges == int(mask.sum())
    torch.testing.assert_close(graphs.y[:, 0], batch.change[mask > 0])
    torch.testing.assert_close(graphs.edge_attr[:, 0], batch.baseline[mask > 0])
    assert torch.equal(graphs.window, batch.window)
    assert to_pyg(batch).num_edges == len(batch.baseline) * 40 * 39
