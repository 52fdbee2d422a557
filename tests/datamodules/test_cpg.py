"""Circuit recordings: the authors' layout, filtering, splits without overlap, shots that line up with their inputs."""

import numpy as np
import pytest
import torch
from neurotwin.contracts import CircuitRecording
from neurotwin.datamodules.cpg import CPGDataModule, low_passed
from neurotwin.datamodules.formats.circuit_files import read_circuit, read_circuits
from neurotwin.datamodules.formats.clamp_files import read_clamp
from neurotwin.datamodules.formats.nwb_writer import write_nwb
from neurotwin.datamodules.half_center import HalfCenterDataModule
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.simulators.half_center import write_mat
from pyabf.abfWriter import writeABF1
from scipy.io import savemat


def recording(name, seed=0, n=4000):
    rng = np.random.default_rng(seed)
    return CircuitRecording(name, 1e4, -50 + rng.standard_normal((n, 2)), rng.standard_normal((n, 2)), np.ones((n, 2)))


@pytest.fixture
def folder(tmp_path):
    for k in (3, 5, 7):
        write_mat(tmp_path / f"rtxi_data_Trial{k}.mat", recording(f"Trial{k}", k))
    return tmp_path


def cpg(folder, **settings):
    settings = {"folds": 3, "drop_s": 0.1, "segment_s": 0.05, "batch_size": 8, "low_pass_hz": None, **settings}
    datamodule = CPGDataModule(root=folder, **settings)
    datamodule.setup()
    return datamodule


def test_the_authors_layout(folder):
    trial = read_circuit(folder / "rtxi_data_Trial3.mat", 1e4)
    expected = recording("", 3)
    for part in ("voltage", "current", "synaptic"):
        np.testing.assert_array_equal(getattr(trial, part), getattr(expected, part))
    assert trial.name == "rtxi_data_Trial3"


def test_a_temperature_is_no_synaptic_current(tmp_path):
    savemat(tmp_path / "a.mat", {"V1": np.zeros(9), "V2": np.zeros(9), "Temp": np.full(9, 11.0)})
    trial = read_circuit(tmp_path / "a.mat", 1e4)
    assert trial.synaptic is None
    assert (trial.current == 0).all()


def test_csv_and_npz(tmp_path):
    (tmp_path / "header.csv").write_text("V1,V2,note\n1e-3,2,7\n3,4,7\n")
    np.testing.assert_array_equal(read_circuit(tmp_path / "header.csv", 1e4).voltage, [[1e-3, 2], [3, 4]])
    (tmp_path / "plain.csv").write_text("1 2\n3 4\n")
    trial = read_circuit(tmp_path / "plain.csv", 1e4, columns=["V2", "V1"], scale=10)
    np.testing.assert_array_equal(trial.voltage, [[20, 10], [40, 30]])
    np.savez(tmp_path / "a.npz", V1=np.ones(3), I1=np.zeros(3))
    assert read_circuit(tmp_path / "a.npz", 1e4).n_nodes == 1


def test_nwb_with_two_electrodes_and_the_truth(tmp_path):
    expected = recording("trial")
    write_nwb(tmp_path / "trial.nwb", expected, "test")
    (trial,) = read_circuits(tmp_path / "trial.nwb", 1e4)
    assert trial.name == "trial"
    for part in ("voltage", "current", "synaptic"):
        np.testing.assert_allclose(getattr(trial, part), getattr(expected, part), rtol=1e-6)
    with pytest.raises(DataError, match=r"is sampled at 10000 Hz, datamodule.sampling_rate_hz says 20000"):
        read_circuits(tmp_path / "trial.nwb", 2e4)


def test_abf_sweeps_are_trials_and_need_a_membrane_potential(tmp_path):
    sweeps = -50 + np.random.default_rng(0).standard_normal((2, 5000))
    writeABF1(sweeps, str(tmp_path / "a.abf"), 1e4, units="mV")
    trials = read_circuits(tmp_path / "a.abf", 1e4)
    assert [trial.name for trial in trials] == ["a-00", "a-01"]
    np.testing.assert_allclose(trials[1].voltage[:, 0], sweeps[1], atol=0.02)
    assert (trials[0].current == 0).all()
    writeABF1(sweeps, str(tmp_path / "nerve.abf"), 1e4, units="widgets")
    with pytest.raises(DataError, match="no channel of it is a membrane potential"):
        read_circuits(tmp_path / "nerve.abf", 1e4)
    (tmp_path / "bad.abf").write_bytes(b"ABF2 and then nothing")
    with pytest.raises(DataError, match=r"bad\.abf: its header"):
        read_circuits(tmp_path / "bad.abf", 1e4)


def test_a_real_abf_of_one_electrode(data_root):
    path = data_root / "patchclamp" / "pyabf_steps" / "2019_07_24_0055_fsi.abf"
    if not path.exists():
        pytest.skip("no patch-clamp recordings")
    (clamp, *_), (trial, *_) = read_clamp(path), read_circuits(path, read_clamp(path)[0].sampling_rate_hz)
    np.testing.assert_array_equal(trial.voltage[:, 0], clamp.voltage)
    np.testing.assert_array_equal(trial.current[:, 0], clamp.current)


def test_bad_files_are_named(tmp_path):
    savemat(tmp_path / "none.mat", {"x": np.zeros(3)})
    with pytest.raises(DataError, match="no V1, V2, … in it; it holds x"):
        read_circuit(tmp_path / "none.mat", 1e4)
    np.savez(tmp_path / "length.npz", V1=np.zeros(3), V2=np.zeros(4))
    with pytest.raises(DataError, match="differ in length"):
        read_circuit(tmp_path / "length.npz", 1e4)
    np.savez(tmp_path / "input.npz", V1=np.zeros(3), I1=np.zeros(4))
    with pytest.raises(DataError, match="they must match"):
        read_circuit(tmp_path / "input.npz", 1e4)
    np.savez(tmp_path / "nan.npz", V1=np.full(3, np.nan))
    with pytest.raises(DataError, match="not finite"):
        read_circuit(tmp_path / "nan.npz", 1e4)
    (tmp_path / "text.mat").write_text("not MATLAB")
    with pytest.raises(DataError, match="cannot be read"):
        read_circuit(tmp_path / "text.mat", 1e4)


@pytest.mark.parametrize(("how", "folds"), [("trial", 3), ("inside", 5)])
def test_no_sample_is_in_two_parts(folder, how, folds):
    datamodule = cpg(folder, split=how, folds=folds, fold=folds - 1)
    seen = {}
    for part, rows in datamodule.split(datamodule.fold).items():
        taken = {(k, t) for k, first, steps in datamodule.stretches[rows] for t in range(first, first + steps + 1)}
        seen[part] = taken
        assert min(t for _, t in taken) >= 1000
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]
    if how == "trial":
        assert {k for k, _ in seen["test"]} == {2}
        assert {k for k, _ in seen["train"]} == {0, 1} == {k for k, _ in seen["val"]}
        assert len(seen["train"]) / len(seen["val"]) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("how", ["trial", "inside"])
def test_less_training_data_leaves_validation_and_test_alone(folder, how):
    every, less = cpg(folder, split=how, fold=0), cpg(folder, split=how, fold=0, train_s=0.05)
    for part in ("val", "test"):
        np.testing.assert_array_equal(every.split(0)[part], less.split(0)[part])
    assert [end - begin for _, begin, end in less.blocks(0)["train"]] == [500] * len(less.blocks(0)["train"])
    assert set(less.split(0)["train"]) < set(every.split(0)["train"])
    assert every.fingerprint() != less.fingerprint()
    with pytest.raises(ConfigError, match="train_s"):
        cpg(folder, train_s=0.0)


def test_batches_line_up(folder):
    datamodule = cpg(folder)
    batch = next(iter(datamodule.train_dataloader()))
    assert batch.voltage.shape == (8, 21, 2)
    assert batch.current.shape == batch.synaptic.shape == (8, 20, 2)
    assert batch.voltage.dtype == torch.float32
    for row, voltage, current in zip(batch.window, batch.voltage, batch.current, strict=True):
        trial, first, steps = datamodule.stretches[row]
        source = datamodule.recordings[trial]
        np.testing.assert_array_equal(voltage, source.voltage[first : first + steps + 1].astype(np.float32))
        np.testing.assert_array_equal(current, source.current[first : first + steps].astype(np.float32))
    tested = next(iter(datamodule.test_dataloader()))
    assert tested.voltage.shape == (6, 500, 2)


def test_low_pass_has_no_phase_and_cuts_the_edges():
    time = np.arange(4000) / 1e4
    slow, fast = np.sin(2 * np.pi * 20 * time), np.sin(2 * np.pi * 4000 * time)
    trial = CircuitRecording("a", 1e4, np.stack([slow, slow + fast], axis=1), np.stack([time, time], axis=1))
    filtered = low_passed(trial, 2000.0)
    at = np.round(filtered.current[:, 0] * 1e4).astype(int)
    assert 0 < at[0] < 100
    np.testing.assert_allclose(filtered.voltage[:, 1], slow[at], atol=0.02)


def test_the_simulated_twin_needs_no_file():
    settings = {"n_trials": 2, "folds": 2, "seconds": 0.4, "drop_s": 0.1, "segment_s": 0.05}
    twin, other = HalfCenterDataModule(**settings), HalfCenterDataModule(**settings, data_seed=1)
    twin.setup()
    other.setup()
    assert twin.spec.n_nodes == 2
    assert twin.fingerprint() != other.fingerprint()
    assert torch.isfinite(next(iter(twin.train_dataloader())).synaptic).all()


def test_errors_name_the_key(folder, tmp_path):
    with pytest.raises(MissingDataError, match=r"10\.17863/CAM\.120457"):
        cpg(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="set folds=3, or split=inside"):
        cpg(folder, folds=5)
    with pytest.raises(ConfigError, match=r"lasts 0\.4 s; nothing is left"):
        cpg(folder, drop_s=0.4)
    with pytest.raises(ConfigError, match="choose from trial, inside"):
        cpg(folder, split="random")
    with pytest.raises(ConfigError, match="half of"):
        cpg(folder, low_pass_hz=6000)
    write_mat(folder / "b.mat", recording("b"))
    np.savez(folder / "c.npz", V1=np.zeros(4000))
    with pytest.raises(DataError, match="of 1 and 2 neurons"):
        cpg(folder, pattern="*")


@pytest.mark.data
def test_real_pyloric_voltages(data_root):
    path = data_root / "cpg" / "gnb_uam_pyloric"
    datamodule = CPGDataModule(
        root=path,
        pattern="burst_reset*.csv",
        columns=["V1", "V2"],
        voltage_scale=10.0,
        split="inside",
        folds=4,
        drop_s=0.0,
        segment_s=0.2,
    )
    datamodule.setup()
    (trial,) = datamodule.recordings
    assert trial.duration_s == pytest.approx(1.08, abs=0.02)
    assert -70 < trial.voltage.min() < trial.voltage.max() < -15
    assert torch.isnan(next(iter(datamodule.train_dataloader())).synaptic).all()
