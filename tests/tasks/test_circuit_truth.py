"""What a model is held to where the circuit is simulated: no change is the trial itself, equal maps have no error."""

import numpy as np
import pytest
import torch
from neurotwin.contracts import CircuitTruth, ReadableModel
from neurotwin.datamodules.half_center import HalfCenterDataModule
from neurotwin.models.rmm import RMM
from neurotwin.simulators import half_center_truth
from neurotwin.tasks.circuit_truth import (
    AfterChange,
    ConductanceMap,
    Stability,
    after_changes,
    change_scores,
    conductance_scores,
    stability_scores,
    synapse_scores,
)


@pytest.fixture(scope="module")
def data():
    made = HalfCenterDataModule(n_trials=2, folds=2, fold=1, seconds=1.5, drop_s=0.2, segment_s=0.4, noise_sd_mv=0.0)
    made.setup("fit")
    return made


def test_without_a_change_the_circuit_goes_on_as_it_was_recorded(data, monkeypatch):
    monkeypatch.setattr(half_center_truth, "CHANGES", {"none": (1.0, 0.0)})
    (change,) = data.truth.interventions(1, 3000, 5000)
    recording = data.recordings[1]
    np.testing.assert_allclose(change.voltage, recording.hidden["voltage"][3000:8000], atol=1e-9)
    np.testing.assert_allclose(change.current, recording.current[3000:8000], atol=1e-12)


def test_each_change_does_what_it_is_called(data):
    changes = {change.name: change for change in data.truth.interventions(0, 3000, 5000)}
    assert {name: change.synapse_scale for name, change in changes.items()} == {
        **{"synapse_0": 0.0, "synapse_half": 0.5, "synapse_double": 2.0},
        "silenced": 1.0,
    }
    np.testing.assert_allclose(changes["silenced"].current - changes["synapse_0"].current, [[0.0, -1.0]] * 5000)
    alone, coupled = changes["synapse_0"].voltage, changes["synapse_double"].voltage
    assert alone[2000:].mean() > coupled[2000:].mean() + 1, "a synapse that reverses at -80 mV hyperpolarises"


def test_truth_of_the_synapses_is_that_of_the_clamp(data):
    truth: CircuitTruth = data.truth
    assert truth.synapses()[0, 1] == (0.05, -47.0, 2.0, 100.0)


def test_scores_of_conductances():
    true = np.array([[1.0, -2.0], [2.0, 4.0]])
    voltages = np.array([-50.0, -40.0])
    assert conductance_scores([ConductanceMap(voltages, true, true)])["conductance_error"] == 0
    found = conductance_scores([ConductanceMap(voltages, true, true), ConductanceMap(voltages, 3 * true, true)])
    assert found == pytest.approx({"conductance_error": 1.0, "conductance_correlation": 1.0})


def test_a_model_that_rests_as_the_circuit_does_has_no_error(data):
    """Held where ``V = R I``: the error of twice the current is its root mean square over its deviation."""
    voltages = np.array([np.linspace(-50.0, -40.0, 5)] * 2)
    current = (voltages + 45) * 0.1
    same = Stability(voltages, current, current, [[], []], np.array([-1.0]))
    assert stability_scores(same) == {"holding_current_error": 0.0, "lyapunov_per_s": -1.0}
    assert stability_scores(same._replace(learned=2 * current))["holding_current_error"] == pytest.approx(1.0)


def test_truth_of_the_holding_current_is_where_the_slow_conductance_integrates_to(data):
    voltages = np.linspace(-50.0, -49.9, 3)
    rise = np.diff(data.truth.holding_current(0, voltages))
    assert rise.sum() / 0.1 == pytest.approx(data.truth.conductance(0, voltages[1:2], np.zeros(1))[0, 0], rel=1e-2)


def test_scores_after_changes():
    """Ten spikes a second against five, in the second neuron alone; a run that diverges has no spikes."""
    time = np.arange(0, 5, 1e-4)
    spikes = {hz: -50 + 30 * np.exp(-((((time * hz % 1) - 0.5) / hz / 0.002) ** 2)) for hz in (5, 10)}
    true = np.stack([spikes[10], spikes[10]], axis=1)
    same = change_scores([AfterChange("a", true, true)], 1e4)
    assert same["rate_error_hz_a"] == same["divergence_a"] == same["counterfactual_divergence"] == 0
    off = change_scores([AfterChange("a", true, np.stack([spikes[10], spikes[5]], axis=1))], 1e4)
    assert off["rate_error_hz_a"] == pytest.approx(2.5, abs=0.2)
    lost = change_scores([AfterChange("a", true, np.full_like(true, np.nan))], 1e4)
    assert lost["rate_error_hz_a"] == pytest.approx(10, abs=0.5)
    assert lost["divergence_a"] > 1


def test_a_model_is_changed_as_the_circuit_is(data):
    torch.manual_seed(0)
    model = RMM(2, 1e4, "hammerstein", start="small", intrinsic_ms=(1.0,))
    assert isinstance(model, ReadableModel)
    model.refer(torch.tensor([-48.0, -48.0]))
    start, hidden = torch.tensor([-48.0, -48.0]), torch.full((sum(model.hidden_sizes),), 0.5)
    runs = {run.name: run for run in after_changes(model, data.truth, 0, 3000, 200, start, hidden)}
    mean = {name: run.predicted.mean(axis=0) for name, run in runs.items()}
    assert mean["synapse_0"][0] > mean["synapse_half"][0] > mean["synapse_double"][0]
    assert mean["silenced"][1] < mean["synapse_half"][1] - 5
    assert all(current.factor == 1 for current in model.terms)
    assert set(synapse_scores(model, data.truth)) >= {"synapse_g_error", "synapse_tau_error"}
