"""The simulated half-center oscillator: anti-phase bursts, small spikes, currents that obey the clamp."""

import numpy as np
import pytest
from neurotwin.errors import ConfigError
from neurotwin.simulators.half_center import HalfCenterSimulator, ornstein_uhlenbeck, write_mat
from scipy.io import loadmat
from scipy.ndimage import uniform_filter1d


@pytest.fixture(scope="module")
def trial():
    return HalfCenterSimulator(seconds=20.0, burn_in_s=5.0).record(seed=0)


def test_it_bursts_in_antiphase_like_a_crab_neuron(trial):
    voltage = trial.hidden["voltage"]
    wave = uniform_filter1d(voltage, 400, axis=0)
    assert np.corrcoef(wave.T)[0, 1] < -0.8
    assert ((voltage - wave).max(axis=0) > 8).all(), "spikes stand at least 8 mV above the slow wave"
    assert voltage.min() > -65
    assert voltage.max() < -15
    assert (np.ptp(wave, axis=0) > 10).all()
    ahead = np.sign(wave[:, 0] - wave[:, 1])
    turns = int((np.diff(ahead[ahead != 0]) != 0).sum())
    assert 4 <= turns <= 20, "a period of 2 to 10 s"


def test_uncoupled_cells_do_not_alternate():
    alone = HalfCenterSimulator(seconds=10.0, synapse_scale=0.0).record(seed=0)
    wave = uniform_filter1d(alone.hidden["voltage"], 400, axis=0)
    assert np.abs(alone.synaptic).max() == 0
    assert np.corrcoef(wave.T)[0, 1] > -0.5


def test_true_currents_obey_the_clamp(trial):
    voltage, gate = trial.hidden["voltage"], trial.hidden["gate"]
    np.testing.assert_allclose(trial.synaptic, 0.05 * gate * (voltage + 80), rtol=1e-12)
    steady = 1 / (1 + np.exp((voltage[:, ::-1] + 47) / -2))
    slow = gate[:-1] + (1 - np.exp(-0.1 / 100)) * (steady[:-1] - gate[:-1])
    assert np.abs(gate[1:] - slow).max() < 1e-4


def test_noise_is_on_the_voltage_only(trial):
    noise = trial.voltage - trial.hidden["voltage"]
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert trial.duration_s == 20.0


def test_input_has_its_deviation_and_correlation_time():
    current = ornstein_uhlenbeck(np.random.default_rng(0), 400_000, 2, 0.05, 5.0, 0.1)
    assert current.std() == pytest.approx(0.05, rel=0.02)
    assert np.mean(current[50:] * current[:-50]) / current.var() == pytest.approx(np.exp(-1), abs=0.02)
    many = ornstein_uhlenbeck(np.random.default_rng(0), 2, 100_000, 0.05, 5.0, 0.1)
    np.testing.assert_allclose(many.std(axis=1), 0.05, rtol=0.01)


def test_seed_decides_everything():
    simulator = HalfCenterSimulator(seconds=0.2, burn_in_s=0.0)
    first, more = simulator.trials(1, data_seed=3)[0], simulator.trials(2, data_seed=3)
    np.testing.assert_array_equal(first.voltage, more[0].voltage)
    assert not np.array_equal(more[0].current, more[1].current)


def test_mat_layout(trial, tmp_path):
    content = loadmat(write_mat(tmp_path / "rtxi_data_Trial3.mat", trial))
    np.testing.assert_array_equal(content["V2"].ravel(), trial.voltage[:, 1])
    np.testing.assert_array_equal(content["I1"].ravel(), trial.current[:, 0])
    np.testing.assert_array_equal(content["Temp"], trial.synaptic.T)


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="at which sodium spikes come out wrong"):
        HalfCenterSimulator(substeps=1)
    with pytest.raises(ConfigError, match="seconds=0"):
        HalfCenterSimulator(seconds=0)
