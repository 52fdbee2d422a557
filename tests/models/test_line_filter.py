"""Line filters against least squares by hand, and the network on top of a rule."""

import pytest
import torch
from neurotwin.contracts import FittedModel, StartedModel
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.connectome import edges_of, from_edges
from neurotwin.models.edge_baselines import SharedSlope
from neurotwin.models.line_filter import LineFilter, _select
from neurotwin.models.line_residual import LineResidual

N = 10
E = N * (N - 1) // 2


@pytest.fixture
def people():
    """Thirty people; what a pair changes by depends on its own deviation and, three times as much, on its regions'."""
    generator = torch.Generator().manual_seed(0)
    x = from_edges(0.3 + 0.2 * torch.randn(30, E, generator=generator, dtype=torch.float64), N)
    strength = (x - x.mean(0)).sum(-1) / (N - 1)
    y = from_edges(torch.randn(E, generator=generator, dtype=torch.float64), N) - 0.5 * (x - x.mean(0))
    y = y + 1.5 * from_edges(edges_of(strength.unsqueeze(1) + strength.unsqueeze(2)), N)
    noise = from_edges(0.01 * torch.randn(30, E, generator=generator, dtype=torch.float64), N)
    return x, y + noise


def test_features_by_hand(people):
    model = LineFilter(N, ranks=(2,)).double()
    model.fit(*people)
    d = people[0][3] - people[0].mean(0)
    values, vectors = torch.linalg.eigh(people[0].mean(0))
    u = vectors[:, values.abs().argsort(descending=True)[:2]]
    projector = u @ u.T
    strength = d.sum(1) / (N - 1)
    expected = [d, strength[:, None] + strength[None], strength.mean().expand(N, N)]
    expected += [projector @ d + d @ projector, projector @ d @ projector]
    torch.testing.assert_close(model.features(people[0][3:4])[0], torch.stack([edges_of(e) for e in expected], -1))


def test_slopes_that_made_the_data_are_found(people):
    model = LineFilter(N, ranks=()).double()
    model.fit(*people)
    torch.testing.assert_close(model.slopes[:2], torch.tensor([-0.5, 1.5], dtype=torch.float64), atol=0.02, rtol=0)
    error = (model(people[0]) - people[1]).square().mean()
    slope = SharedSlope(N).double()
    slope.fit(*people)
    assert error < 0.2 * (slope(people[0]) - people[1]).square().mean()
    assert isinstance(model, FittedModel)


def test_leave_one_person_out_error_is_that_of_refitting():
    """Two features of which the second is noise: the chosen size and slopes are those of a loop over people."""
    torch.manual_seed(1)
    f = torch.randn(8, 40, 2, dtype=torch.float64)
    y = 0.7 * f[..., 0] + 3 * torch.randn(8, 40, dtype=torch.float64)
    gram = f.mT @ f
    cross = (f.mT @ y.unsqueeze(-1)).squeeze(-1)
    errors = {}
    for size in (1, 2):
        total = 0.0
        for k in range(8):
            rest = [i for i in range(8) if i != k]
            a, b = f[rest][..., :size].reshape(-1, size), y[rest].reshape(-1)
            slopes = torch.linalg.lstsq(a, b.unsqueeze(-1)).solution.squeeze(-1)
            total += float((f[k][..., :size] @ slopes - y[k]).square().sum())
        errors[size] = total
    chosen = _select(gram, cross, y.square().sum(1), [1, 2])
    assert (chosen[1] == 0) == (errors[1] < errors[2])


def test_residual_starts_as_its_rule_and_then_learns(people):
    x, y = people[0].float(), people[1].float()
    torch.manual_seed(0)
    model = LineResidual(N, rule="slope", embedding=3)
    assert isinstance(model, StartedModel)
    assert model(x).abs().max() == 0
    model.start_from(x, y)
    rule = SharedSlope(N)
    rule.fit(x, y)
    torch.testing.assert_close(model(x), rule(x))
    start = model.embedding.detach().clone()
    model.start_from(x, -y)
    torch.testing.assert_close(model(x), rule(x))  # a resumed run keeps what it has
    torch.testing.assert_close(model.embedding.detach(), start)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = float((model(x) - y).square().mean().detach())
    for _ in range(60):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    output = model(x)
    assert float((output.detach() - y).square().mean()) < 0.5 * first
    torch.testing.assert_close(output, output.mT)
    assert output.diagonal(dim1=1, dim2=2).abs().max() == 0


def test_messages():
    with pytest.raises(ConfigError, match=r"model.ranks=\[4, 2\]: needs positive numbers in rising order"):
        LineFilter(N, ranks=(4, 2))
    with pytest.raises(ConfigError, match="LineFilter is not fitted"):
        LineFilter(N)(torch.zeros(1, N, N))
    with pytest.raises(DataError, match="cannot be fitted to 2 people"):
        LineFilter(N).fit(torch.zeros(2, N, N), torch.zeros(2, N, N))
    with pytest.raises(ConfigError, match=r"model\.rule='slop' is unknown: did you mean 'slope'"):
        LineResidual(N, rule="slop")
    with pytest.raises(ConfigError, match=r"model\.embedding=11: must lie between 0 and the 10 regions"):
        LineResidual(N, embedding=11)
