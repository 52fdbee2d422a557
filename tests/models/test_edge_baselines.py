"""One-line rules against closed forms and scikit-learn."""

import numpy as np
import pytest
import torch
from neurotwin.contracts import FittedModel
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.connectome import edges_of, from_edges
from neurotwin.models.edge_baselines import EdgeOLS, EdgeRidge, GroupMean, Identity, MeanChange, SharedSlope
from sklearn.linear_model import LinearRegression, Ridge

N = 6
E = N * (N - 1) // 2


@pytest.fixture
def data():
    """Twelve subjects and three new ones: baseline edges and changes with a slope of -0.4."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 0.2, (15, E))
    y = rng.normal(0.1, 0.05, E) - 0.4 * (x - 0.3) + 0.05 * rng.standard_normal((15, E))
    return torch.tensor(x), torch.tensor(y)


def fitted(model, data):
    x, y = (from_edges(part[:12], N) for part in data)
    model.double().fit(x, y)
    return edges_of(model(from_edges(data[0][12:], N)))


def test_rules_by_hand(data):
    x, y = data
    assert fitted(Identity(), data).abs().max() == 0
    torch.testing.assert_close(fitted(MeanChange(N), data), y[:12].mean(0).expand(3, -1))
    torch.testing.assert_close(fitted(GroupMean(N), data), (x[:12] + y[:12]).mean(0) - x[12:])
    xc, yc = x[:12] - x[:12].mean(0), y[:12] - y[:12].mean(0)
    slope = LinearRegression(fit_intercept=False).fit(xc.reshape(-1, 1), yc.reshape(-1)).coef_[0]
    assert abs(slope + 0.4) < 0.1
    torch.testing.assert_close(fitted(SharedSlope(N), data), y[:12].mean(0) + slope * (x[12:] - x[:12].mean(0)))


def test_ols_of_each_pair_equals_scikit_learn(data):
    x, y = data
    got = fitted(EdgeOLS(N), data)
    for edge in range(E):
        one = LinearRegression().fit(x[:12, edge : edge + 1], y[:12, edge])
        np.testing.assert_allclose(got[:, edge], one.predict(x[12:, edge : edge + 1]), rtol=1e-6, atol=1e-8)


def test_ridge_equals_scikit_learn_and_its_penalty_is_the_best_by_brute_force(data):
    x, y = (part.numpy() for part in data)
    penalties = (0.01, 0.1, 1.0, 10.0)
    model = EdgeRidge(N, penalties)
    got = fitted(model, data)
    scale = ((x[:12] - x[:12].mean(0)) ** 2).sum(1).mean()
    errors = []
    for relative in penalties:
        held_out = [
            Ridge(alpha=relative * scale).fit(np.delete(x[:12], i, 0), np.delete(y[:12], i, 0)).predict(x[i : i + 1])[0]
            for i in range(12)
        ]
        errors.append(((np.array(held_out) - y[:12]) ** 2).mean())
    np.testing.assert_allclose(model.solution["loo_errors"], errors, rtol=1e-4)
    best = penalties[int(np.argmin(errors))]
    assert model.solution["relative_penalty"] == pytest.approx(best)
    expected = Ridge(alpha=best * scale).fit(x[:12], y[:12]).predict(x[12:])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_ridge_travels_in_a_checkpoint(data, tmp_path):
    model = EdgeRidge(N)
    expected = fitted(model, data)
    torch.save(model.state_dict(), tmp_path / "model.ckpt")
    twin = EdgeRidge(N)
    twin.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True))
    torch.testing.assert_close(edges_of(twin(from_edges(data[0][12:], N))), expected)


def test_a_pair_that_does_not_vary_keeps_its_mean_change(data):
    x, y = data[0].clone(), data[1]
    x[:, 3] = 0.5
    torch.testing.assert_close(fitted(EdgeOLS(N), (x, y))[:, 3], y[:12, 3].mean().expand(3))


@pytest.mark.parametrize("model", [MeanChange(N), GroupMean(N), SharedSlope(N), EdgeOLS(N), EdgeRidge(N)])
def test_messages(model):
    assert isinstance(model, FittedModel)
    with pytest.raises(ConfigError, match=f"{type(model).__name__} is not fitted"):
        model(torch.zeros(1, N, N))
    with pytest.raises(DataError, match=f"{type(model).__name__} cannot be fitted to 1 subject"):
        model.fit(torch.zeros(1, N, N), torch.zeros(1, N, N))


def test_penalties_must_be_positive():
    with pytest.raises(ConfigError, match="needs one or more positive numbers"):
        EdgeRidge(N, (0.0, 1.0))
