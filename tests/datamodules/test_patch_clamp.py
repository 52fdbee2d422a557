"""Sweeps cut into a stretch to fit and windows to predict; the simulated twin knows what it did."""

import numpy as np
import pytest
import torch
from datamodules.fixtures import make_patch_clamp
from neurotwin.biophysics.declaration import load_neuron
from neurotwin.datamodules.patch_clamp import PatchClampDataModule
from neurotwin.datamodules.simulated_clamp import SimulatedClampDataModule
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.simulators.patch_clamp import PatchClampSimulator, lorenz


@pytest.fixture
def data(tmp_path):
    arguments = {**make_patch_clamp(tmp_path / "d"), "conditions": {"control": "control", "drug": "drug"}}
    return PatchClampDataModule(**{**arguments, "pattern": "*.npz"})


def test_fit_comes_before_what_is_predicted(data):
    data.fit_ms = 30.0
    data.setup("fit")
    train, val, test = (data.windows[data.split(3)[part]] for part in ("train", "val", "test"))
    assert train[:, 2].max() <= val[:, 1].min()
    assert (train[:, 2] - train[:, 1] == 600).all(), "30 ms at 20 kHz"
    assert val[:, 2].max() <= test[:, 1].min()
    assert test[:, 2].max() == 4000


def test_only_the_first_sweeps_of_a_condition_train(data):
    data.fit_sweeps = 1
    data.setup("fit")
    sweeps = data.windows[data.split(3)["train"], 0]
    assert [data.recordings[k].condition for k in sweeps] == ["control", "drug"]
    assert len(set(data.windows[data.split(3)["test"], 0].tolist())) == 4


def test_a_batch_holds_the_lead_and_the_window(data):
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    first = data.windows[int(batch.window[0])]
    assert int(batch.lead[0]) == 200
    recorded = data.recordings[int(batch.sweep[0])].voltage[first[1] - 200 : first[1]]
    torch.testing.assert_close(batch.voltage[0, :200], torch.from_numpy(recorded))
    assert data.spec.conditions == ("control", "drug")


def test_a_lead_is_no_longer_than_what_was_recorded_before_the_earliest_window(data):
    data.lead_ms = 1e4
    data.setup("fit")
    for batch in (next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))):
        earliest = int(data.windows[batch.window.numpy(), 1].min())
        assert batch.lead.tolist() == [earliest] * len(batch.window)
        recorded = data.recordings[int(batch.sweep[0])].voltage
        assert float(batch.voltage[0, 0]) == recorded[data.windows[int(batch.window[0]), 1] - earliest]


def test_mistakes_are_named(data, tmp_path):
    with pytest.raises(MissingDataError, match="voltage and injected current"):
        PatchClampDataModule(root=tmp_path / "none", pattern="*.abf").setup("fit")
    with pytest.raises(ConfigError, match=r"datamodule\.lead_ms=-5"):
        PatchClampDataModule(lead_ms=-5.0)
    with pytest.raises(ConfigError, match="so 3 are needed"):
        PatchClampDataModule(folds=2, fold=1)
    data.sweeps = (2,)
    with pytest.raises(ConfigError, match=r"datamodule\.sweeps=\[2\].* has sweeps 0 to 1"):
        data.setup("fit")
    data.sweeps = (0, 0)
    with pytest.raises(ConfigError, match="names a sweep twice"):
        data.setup("fit")
    data.sweeps, data.conditions = (), {"control": "cell", "drug": "drug"}
    with pytest.raises(ConfigError, match=r"cell_drug\.npz fits \['control', 'drug'\]"):
        data.setup("fit")
    data.conditions, data.current_file = {"control": ""}, ("cell", "stim")
    with pytest.raises(DataError, match=r"stim_control\.npz, is missing"):
        data.setup("fit")


def test_drugs_block_as_their_dose_says():
    simulator = PatchClampSimulator(load_neuron("hippocampal"))
    names = [current.name for current in simulator.neuron.currents]
    half = simulator.ratios("iberiotoxin 1.16 nM")
    assert half[names.index("BK")] == pytest.approx(0.5)
    assert np.delete(half, names.index("BK")) == pytest.approx(1.0)
    assert simulator.ratios("ZD7288 0.002 mM")[names.index("H")] == pytest.approx(0.5)
    assert simulator.ratios("SK -30%")[names.index("SK")] == pytest.approx(0.7)
    off = PatchClampSimulator(load_neuron("hippocampal"), off_target=True).ratios("4-AP 0.14 mM")
    assert off[names.index("BK")] < 1
    with pytest.raises(ConfigError, match="write control, BK -50%, or DRUG DOSE UNIT"):
        simulator.ratios("aspirin 1 mM")
    with pytest.raises(ConfigError, match="the neuron has no SKX; did you mean 'SK'"):
        simulator.ratios("SKX -10%")


def test_the_simulated_truth_balances_and_repeats():
    simulator = PatchClampSimulator(load_neuron("nakl"), duration_ms=60.0)
    theta = simulator.cell(3)
    sweep = simulator.sweep(theta, seed=1)
    again = simulator.sweep(theta, seed=1, noise_seed=5)
    np.testing.assert_array_equal(sweep.current, again.current)
    assert np.std(sweep.voltage - sweep.truth["voltage"]) == pytest.approx(0.25, rel=0.05)
    slope = np.gradient(sweep.truth["voltage"], simulator.dt_ms)
    residual = (sweep.current - sweep.currents.sum(1) - slope)[2:-2]
    assert np.std(residual) < 0.02 * np.std(slope)


def test_chaos_is_bounded_and_sensitive():
    a, b = (lorenz(5000, 0.1, np.random.default_rng(seed)) for seed in (0, 1))
    assert 0.8 < np.abs(a).max() < 1.3
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.5


def test_model_error_moves_kinetics_only_where_asked():
    neuron = load_neuron("hippocampal")
    theta = PatchClampSimulator(neuron, kinetics_sd=0.05).cell(0)
    relative = theta / neuron.theta - 1
    assert relative[neuron.index["m_half"]] == 0
    assert 0 < abs(relative[neuron.index["m_tau_min"]]) < 0.3
    assert relative[neuron.index["g_NaT"]] == 0
    assert SimulatedClampDataModule(neuron="nakl", duration_ms=90.0).simulator.neuron.names == load_neuron("nakl").names
