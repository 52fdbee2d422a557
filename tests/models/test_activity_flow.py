"""Activity flow by hand, and what the learned rules find in data made by them."""

import numpy as np
import pytest
import torch
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.activity_flow import FlowRule, GroupActivation, OwnFlow, ProfileRidge, activity_flow
from neurotwin.models.connectome import from_edges
from sklearn.linear_model import Ridge

N, E = 6, 15


@pytest.fixture
def rest():
    return from_edges(torch.randn(20, E, generator=torch.Generator().manual_seed(0), dtype=torch.float64), N)


def test_flow_by_hand():
    connectivity = torch.tensor([[[1.0, 0.5, 0.2], [0.5, 1.0, 0.0], [0.2, 0.0, 1.0]]])
    found = activity_flow(connectivity, torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.6, 0.5, 0.2]]))


def test_the_slope_that_made_the_data_is_found(rest):
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(N, generator=generator, dtype=torch.float64)
    flow = activity_flow(rest, mean[None])
    model = FlowRule(N).double()
    model.fit(rest, mean + 0.3 * (flow - flow.mean(0)))
    assert float(model.slope) == pytest.approx(0.3)
    torch.testing.assert_close(model(rest), mean + 0.3 * (flow - flow.mean(0)))


def test_own_flow_is_the_regression_on_the_flow(rest):
    """The intercept and slope that made the data are found, and a region's own activation is never looked at."""
    activity = torch.randn(20, N, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    messages = rest * activity.unsqueeze(-1)
    model = OwnFlow().double()
    model.fit(messages, 2 - 0.5 * activity_flow(rest, activity))
    assert float(model.intercept) == pytest.approx(2)
    assert float(model.slope) == pytest.approx(-0.5)
    torch.testing.assert_close(model(messages + 7 * torch.eye(N)), model(messages))


def test_profile_ridge_is_that_of_scikit_learn(rest):
    generator = torch.Generator().manual_seed(2)
    y = (rest * torch.randn(N, N, generator=generator, dtype=torch.float64)).sum(1)
    model = ProfileRidge(N).double()
    model.fit(rest[:15], y[:15])
    assert float((model(rest[15:]) - y[15:]).square().mean()) < 0.05 * float(y[15:].var())
    x = rest[:15, 2].numpy()
    centred = x - x.mean(0)
    alpha = float(model.penalty) * np.trace(centred @ centred.T) / 15
    expected = Ridge(alpha=alpha).fit(x, y[:15, 2].numpy()).predict(rest[15:, 2].numpy())
    np.testing.assert_allclose(model(rest[15:])[:, 2], expected, rtol=1e-6)


def test_noise_is_answered_with_the_mean(rest):
    y = torch.randn(20, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    model = ProfileRidge(N).double()
    model.fit(rest, y)
    assert float((model(rest) - y.mean(0)).std()) < 0.5 * float(y.std())


def test_messages():
    with pytest.raises(ConfigError, match="FlowRule is not fitted"):
        FlowRule(N)(torch.zeros(1, N, N))
    with pytest.raises(ConfigError, match="GroupActivation is not fitted"):
        GroupActivation(N)(torch.zeros(1, N, N))
    with pytest.raises(ConfigError, match="OwnFlow is not fitted"):
        OwnFlow()(torch.zeros(1, N, N))
    with pytest.raises(ConfigError, match="ProfileRidge is not fitted"):
        ProfileRidge(N)(torch.zeros(1, N, N))
    with pytest.raises(DataError, match="to 2 people: at least 3"):
        ProfileRidge(N).fit(torch.zeros(2, N, N), torch.zeros(2, N))
    with pytest.raises(DataError, match="to 1 person: at least 2"):
        FlowRule(N).fit(torch.zeros(1, N, N), torch.zeros(1, N))
