"""A trained circuit and an estimated neuron along a file of one's own: free runs and hidden currents as valid NWB."""

import numpy as np
import pynwb
import pytest
import torch
from neurotwin.datamodules.cpg import CPGDataModule
from neurotwin.datamodules.formats.clamp_files import read_clamp
from neurotwin.datamodules.patch_clamp import PatchClampDataModule
from neurotwin.errors import DataError
from neurotwin.models.conductance import ConductanceModel
from neurotwin.models.rmm import RMM
from neurotwin.tasks.assimilation import Assimilation
from neurotwin.tasks.circuit import READOUT_STEPS, Circuit
from neurotwin.tasks.forcing import TeacherForcing


def small_circuit():
    torch.manual_seed(0)
    filters = {"intrinsic_ms": (0.5, 5.0), "synaptic_ms": (2.0,), "hidden": (6,), "synaptic_hidden": (4,)}
    model = RMM(2, 10_000.0, start="small", **filters)
    model.refer(torch.tensor([-48.0, -46.0]))
    return model


def test_a_recording_is_filtered_before_a_circuit_runs_along_it(tmp_path):
    rng = np.random.default_rng(0)
    traces = {name: rng.normal(size=600) - (50 if name[0] == "V" else 0) for name in ("V1", "V2", "I1", "I2")}
    np.savez(tmp_path / "trial.npz", **traces)
    data = CPGDataModule(tmp_path, drop_s=0.01)
    (path,) = Circuit(small_circuit(), TeacherForcing()).predict_file(data, tmp_path / "trial.npz", tmp_path / "out")
    with pynwb.NWBHDF5IO(path, "r") as file:
        assert len(file.read().acquisition["voltage_1"].data) < 500  # the filter's edges are cut


def test_a_circuit_runs_freely_from_the_state_that_the_recording_drives_it_to(tmp_path):
    model = small_circuit()
    rng = np.random.default_rng(0)
    voltage, current = -50 + rng.normal(size=(2, 600)), 0.1 * rng.normal(size=(2, 600))
    np.savez(tmp_path / "trial.npz", V1=voltage[0], V2=voltage[1], I1=current[0], I2=current[1])
    data = CPGDataModule(tmp_path, low_pass_hz=None, drop_s=0.01)
    (path,) = Circuit(model, TeacherForcing()).predict_file(data, tmp_path / "trial.npz", tmp_path / "out")
    assert pynwb.validate(path=str(path)) == []
    start = torch.from_numpy(voltage[:, 100][None]).float()
    hidden = model.warm_up(voltage.T, np.array([100]))
    with torch.no_grad():
        run, _ = model.rollout(start, hidden, torch.from_numpy(current.T[None, 100:]).float())
    with pynwb.NWBHDF5IO(path, "r") as file:
        held = file.read()
        predicted, synaptic = held.acquisition["voltage_2"], held.processing["prediction"]["synaptic_current"]
        np.testing.assert_allclose(1e3 * predicted.data[:], run[0, :, 1], rtol=1e-4)
        assert predicted.starting_time == pytest.approx(0.01)
        assert synaptic.rate == 10_000.0 / READOUT_STEPS
        assert synaptic.data.shape == (500 // READOUT_STEPS, 2)


@pytest.fixture
def neuron():
    leak = ({"L": {"reversal": "L"}}, {}, {"g_L": 0.1, "E_L": -65.0})
    return Assimilation(ConductanceModel(*leak, sampling_rate_hz=20_000.0, start="values"), objective=None)


def leaky(n):
    """A passive membrane, 1 µF/cm², 0.1 mS/cm², -65 mV, under steps, ``(time,)``, mV and µA/cm²."""
    current = np.repeat(np.random.default_rng(0).normal(0, 2, n // 100), 100)
    voltage = np.full(n, -65.0)
    for k in range(n - 1):
        rest = -65.0 + 0.5 * (current[k] + current[k + 1]) / 0.1
        voltage[k + 1] = rest + (voltage[k] - rest) * np.exp(-0.05 * 0.1)
    return voltage, current


def test_a_neuron_runs_freely_after_the_lead(neuron, tmp_path):
    voltage, current = leaky(2000)
    wrong = voltage.copy()
    wrong[1000:] += 5.0  # what the recording does after the lead is not looked at
    np.savez(tmp_path / "cell.npz", V_mV=wrong, I_nA=current, t_ms=0.05 * np.arange(2000))
    data = PatchClampDataModule(tmp_path, lead_ms=20.0)
    (path,) = neuron.predict_file(data, tmp_path / "cell.npz", tmp_path / "out")
    assert pynwb.validate(path=str(path)) == []
    (found,) = read_clamp(path)
    np.testing.assert_allclose(found.voltage[400:], voltage[400:], atol=0.05)
    with pynwb.NWBHDF5IO(path, "r") as file:
        ionic = file.read().processing["prediction"]["ionic_current_000"]
        np.testing.assert_allclose(1e2 * ionic.data[500:, 0], 0.1 * (found.voltage[500:] + 65.0), atol=1e-3)


def test_other_rates_and_short_sweeps_are_refused(neuron, tmp_path):
    voltage, current = leaky(300)
    np.savez(tmp_path / "fast.npz", V_mV=voltage, I_nA=current, t_ms=0.01 * np.arange(300))
    np.savez(tmp_path / "short.npz", V_mV=voltage, I_nA=current, t_ms=0.05 * np.arange(300))
    data = PatchClampDataModule(tmp_path, lead_ms=20.0)
    with pytest.raises(DataError, match="100000 Hz, the neuron was fitted at 20000 Hz"):
        neuron.predict_file(data, tmp_path / "fast.npz", tmp_path / "out")
    with pytest.raises(DataError, match=r"no longer than datamodule\.lead_ms=20"):
        neuron.predict_file(data, tmp_path / "short.npz", tmp_path / "out")
