"""Amortised posteriors: the prior's coordinates, cells at rest, files of one's own, and fits that begin there."""

import numpy as np
import pytest
import torch
from neurotwin.biophysics.simulate import follow
from neurotwin.config import compose_part, instantiate
from neurotwin.datamodules.simulated_cells import SimulatedCellsDataModule
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.posterior import N_FEATURES, FlowPosterior, GaussianPosterior, spike_features
from neurotwin.simulators.clamp_prior import resting_voltages
from neurotwin.tasks.posterior import PosteriorEstimation


@pytest.fixture(scope="module")
def data():
    made = SimulatedCellsDataModule(neuron="nakl", n_cells=12, folds=3, window_ms=40.0, data_seed=3)
    made.setup()
    return made


def test_coordinates_of_the_prior_go_there_and_back(data):
    theta = data.prior.draw(400, [0])
    z = data.prior.coordinates(theta)
    assert z.shape == (400, len(data.parameter_names)) == (400, 3 + 3 * 5)
    np.testing.assert_allclose(data.prior.values(z), theta[:, data.prior.positions])
    np.testing.assert_allclose(data.prior.theta(z), theta)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.25)
    np.testing.assert_allclose(z.std(0), 1, atol=0.15)
    g = data.parameter_names.index("g_K")
    assert np.abs(z[:, g]).max() <= 3**0.5 + 1e-9


def test_cells_rest_before_the_current_and_follow_the_same_equations(data):
    neuron, theta = data.prior.neuron, data.prior.draw(4, [1])
    rest = resting_voltages(neuron, torch.tensor(theta))
    state = neuron.steady(torch.tensor(theta), rest)
    assert float(neuron.currents_of(torch.tensor(theta), state).sum(-1).abs().max()) < 0.05
    current, dt_ms = data.prior.simulator.current(0), data.prior.simulator.dt_ms
    traces = data.prior.record(theta, 0, 5)
    exact = follow(neuron, theta[1], current, dt_ms, float(rest[1])).voltage[::5]
    np.testing.assert_allclose(traces[1], exact, atol=0.5)


def test_simulations_are_kept_and_found_again(data, tmp_path):
    settings = {"neuron": "nakl", "n_cells": 6, "folds": 3, "window_ms": 40.0, "root": tmp_path}
    made = []
    for noise in (0.25, 0.25):
        fresh = SimulatedCellsDataModule(noise_sd_mv=noise, **settings)
        fresh.setup()
        made.append(fresh.fingerprint())
    assert made[0] == made[1]
    assert len(list(tmp_path.glob("cells-*.npz"))) == 1


def test_a_file_of_ones_own_becomes_cells_that_a_fit_begins_from(data, tmp_path):
    simulator = data.prior.simulator
    current = simulator.current(data.protocol_seed)
    run = follow(data.prior.neuron, data.prior.neuron.theta, current, simulator.dt_ms, -65.0)
    np.savez(tmp_path / "cell.npz", V_mV=run.voltage, I_nA=current)
    torch.manual_seed(0)
    task = PosteriorEstimation(FlowPosterior(data.spec.n_times, data.spec.n_outputs), n_samples=20)
    (path,) = task.predict_file(data, tmp_path / "cell.npz", tmp_path)
    assert np.load(path)["theta"].shape == (20, 1, len(data.prior.neuron.names))
    node = compose_part("model", "nakl", [f"start={path}", "n_starts=3"]).config["model"]
    model = instantiate(node, sampling_rate_hz=50_000.0)
    np.testing.assert_allclose(model.theta(2), np.load(path)["theta"][2, 0], rtol=1e-6)
    settings = {key: value for key, value in node.items() if key != "_target_"}
    with pytest.raises(ConfigError, match=r"holds 20 cells, model\.n_starts=30"):
        type(model)(**{**settings, "n_starts": 30}, sampling_rate_hz=50_000.0)
    np.savez(tmp_path / "other.npz", V_mV=run.voltage, I_nA=current + 3)
    with pytest.raises(DataError, match="another current"):
        task.predict_file(data, tmp_path / "other.npz", tmp_path)
    np.savez(tmp_path / "short.npz", V_mV=run.voltage[:500], I_nA=current[:500])
    with pytest.raises(DataError, match="the network reads 60 ms"):
        task.predict_file(data, tmp_path / "short.npz", tmp_path)


def test_ridge_finds_what_is_linear_in_the_features_and_the_prior_does_not():
    torch.manual_seed(0)
    traces = -60 + 5 * torch.randn(300, 1, 1) + torch.randn(300, 1, 100)
    targets = torch.stack([(traces[:, 0].mean(1) + 60) / 5, torch.randn(300)], dim=1)
    ridge, prior = GaussianPosterior(2), GaussianPosterior(2, features="none")
    for model in (ridge, prior):
        model.fit(traces[:200], targets[:200])
    error = [(model(traces[200:]) - targets[200:]).square().mean(0) for model in (ridge, prior)]
    assert error[0][0] < 0.02
    assert error[1][0] > 0.5
    density = [model.posterior(traces[200:]).log_prob(targets[200:]).mean() for model in (ridge, prior)]
    assert density[0] > density[1] + 1
    with pytest.raises(ConfigError, match="not fitted"):
        GaussianPosterior(2)(traces)


def test_features_count_spikes():
    trace = torch.full((1, 1, 100), -65.0)
    trace[0, 0, [15, 17, 55]] = 20.0
    found = spike_features(trace)
    assert found.shape == (1, N_FEATURES)
    assert found[0, 6:16].tolist() == [0, 2, 0, 0, 0, 1, 0, 0, 0, 0]
    assert found[0, 3] == 20


def test_errors_name_the_setting():
    with pytest.raises(ConfigError, match=r"datamodule\.parameters='g': choose"):
        SimulatedCellsDataModule(neuron="nakl", parameters="g")
    with pytest.raises(ConfigError, match="nothing varies"):
        SimulatedCellsDataModule(neuron="nakl", half_sd_mv=0, kinetics_sd=0, conductance_spread=1.0)
    with pytest.raises(ConfigError, match="gives no posterior"):
        PosteriorEstimation(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"model\.features='x'"):
        GaussianPosterior(2, features="x")
