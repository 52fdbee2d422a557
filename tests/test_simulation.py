"""Simulated recordings: labelled, with units and truth, and readable by the readers of real ones."""

import numpy as np
import pytest
from neurotwin import simulate
from neurotwin.cli import main
from neurotwin.datamodules.formats.circuit_files import read_circuit
from neurotwin.datamodules.formats.clamp_files import read_clamp
from neurotwin.datamodules.formats.szcore_tsv import read_szcore_tsv
from neurotwin.datamodules.formats.timeseries import read_timeseries
from neurotwin.errors import ConfigError
from neurotwin.registry import list_configs
from neurotwin.simulation import make
from neurotwin.simulation_files import write

#: Settings that make a simulation short; every simulator needs an entry.
SHORT = {
    "half_center": {"seconds": 0.2, "burn_in_s": 0.0},
    "eeg": {"minutes": 1.0},
    "patch_clamp": {"neuron.name": "nakl", "duration_ms": 60.0, "conditions": ["control", "K -50%"], "repeats": 2},
    "whole_brain": {"rest_volumes": 60, "story_volumes": 40},
    "schwannoma": {"fov_mm": [96, 80, 32], "fine_mm": 1.5},
}


@pytest.fixture(scope="module")
def made():
    return {name: make(name, 1, **settings) for name, settings in SHORT.items()}


def test_every_simulator_has_a_short_form():
    assert {entry.name for entry in list_configs("simulator") if entry.source == "neurotwin"} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_every_array_has_a_unit_and_some_are_truth(made, name):
    data = made[name].data
    assert all("units" in variable.attrs for variable in data.data_vars.values())
    roles = {variable.attrs["role"] for variable in data.data_vars.values()}
    assert roles == {"measured", "truth"}
    assert data.attrs["seed"] == 1


@pytest.mark.parametrize("name", SHORT)
def test_a_seed_is_a_recording(made, name):
    assert made[name].data.equals(simulate(name, seed=1, **SHORT[name]))
    assert not made[name].data.equals(simulate(name, seed=2, **SHORT[name]))


def test_dotted_settings_reach_the_parts(made):
    other = simulate("half_center", 1, {"clamp.half_syn_mv": -50.0}, **SHORT["half_center"])
    assert not np.allclose(other.synaptic_current, made["half_center"].data.synaptic_current)


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".csv"])
def test_circuit_files_come_back(made, tmp_path, suffix):
    (path,) = write(made["half_center"], tmp_path / f"trial{suffix}")
    found, data = read_circuit(path, 10_000.0), made["half_center"].data
    np.testing.assert_allclose(found.voltage, data.voltage, rtol=2e-5)
    np.testing.assert_allclose(found.current, data.injected_current, rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(found.synaptic, data.synaptic_current, rtol=2e-5)


def test_nwb_holds_volts_and_amperes(made, tmp_path):
    from pynwb import NWBHDF5IO

    (path,) = write(made["half_center"], tmp_path / "trial.nwb")
    data = made["half_center"].data
    with NWBHDF5IO(path, "r") as file:
        held = file.read()
        np.testing.assert_allclose(held.acquisition["voltage_2"].data[:], 1e-3 * data.voltage[:, 1])
        np.testing.assert_allclose(held.stimulus["current_1"].data[:], 1e-9 * data.injected_current[:, 0])
        truth = held.processing["truth"]["synaptic_current"]
        assert (truth.unit, truth.rate) == ("amperes", 10_000.0)


@pytest.mark.parametrize("suffix", [".nwb", ".npz", ".mat"])
def test_clamp_files_come_back_one_a_condition(made, tmp_path, suffix):
    control, blocked = write(made["patch_clamp"], tmp_path / f"cell{suffix}")
    assert (control.name, blocked.name) == (f"cell_control{suffix}", f"cell_K-50{suffix}")
    data = made["patch_clamp"].data
    for number, sweep in enumerate(read_clamp(blocked), start=2):
        np.testing.assert_allclose(sweep.voltage, data.voltage[number], rtol=1e-6)
        np.testing.assert_allclose(sweep.current, data.injected_current[number], atol=1e-9)
        assert sweep.sampling_rate_hz == pytest.approx(50_000.0)


def test_a_csv_holds_a_sweep(made, tmp_path):
    paths = write(made["patch_clamp"], tmp_path / "cell.csv")
    assert len(paths) == 4
    np.testing.assert_allclose(read_clamp(paths[3])[0].voltage, made["patch_clamp"].data.voltage[3], rtol=1e-6)


@pytest.mark.parametrize("name", ["half_center", "patch_clamp"])
def test_nwb_is_valid(made, tmp_path, name):
    import pynwb

    for path in write(made[name], tmp_path / "trial.nwb"):
        assert pynwb.validate(path=str(path)) == []


def test_ionic_currents_add_up_to_what_charges_the_membrane(made):
    data = made["patch_clamp"].data.isel(sweep=0)
    slope = np.gradient(data.true_voltage.values, 0.02)
    net = data.injected_current - data.ionic_current.sum("current")
    assert data.parameters.sel(parameter="capacitance") == 1.0
    assert np.corrcoef(slope[5:-5], net[5:-5])[0, 1] > 0.99


def test_eeg_is_written_with_its_seizures(made, tmp_path):
    import edfio

    edf, table = write(made["eeg"], tmp_path / "night.edf")
    seizures = [event for event in made["eeg"].recording.events if event.kind.startswith("sz")]
    assert [event.kind for event in read_szcore_tsv(table).events] == [event.kind for event in seizures]
    held = edfio.read_edf(edf)
    assert len(held.annotations) == len(made["eeg"].recording.events)
    np.testing.assert_allclose(held.signals[3].data, made["eeg"].data.signal[3], atol=0.05)


@pytest.mark.parametrize("suffix", [".ptseries.nii", ".npz", ".tsv", ".csv"])
def test_scans_come_back_with_names(made, tmp_path, suffix):
    rest, _, truth = write(made["whole_brain"], tmp_path / f"sub-01{suffix}")
    found, data = read_timeseries(rest), made["whole_brain"].data
    np.testing.assert_allclose(found.values, data.rest, rtol=1e-5, atol=1e-5)
    assert found.names == tuple(data.region.values)
    if suffix in (".ptseries.nii", ".npz"):
        assert found.tr_s == pytest.approx(0.72)
    np.testing.assert_array_equal(np.load(truth)["rest_connectivity"], data.rest_connectivity)


def test_volumes_come_back_in_their_place(made, tmp_path):
    import nibabel

    exam = made["schwannoma"].recording
    written = {path.name: nibabel.load(path) for path in write(made["schwannoma"], tmp_path / "p01.nii.gz")}
    assert len(written) == len(exam.images) + len(exam.masks)
    for name, volume in exam.masks.items():
        image, mask = written[f"p01_{name}.nii.gz"], written[f"p01_{name}_mask.nii.gz"]
        np.testing.assert_allclose(image.affine, volume.affine)
        np.testing.assert_array_equal(mask.get_fdata(), volume.data)


def test_mistakes_are_named(made, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'half_center'"):
        simulate("half_centre")
    with pytest.raises(ConfigError, match="did you mean 'seconds'"):
        simulate("half_center", secnds=1)
    with pytest.raises(ConfigError, match="seconds='abc' is no number"):
        simulate("half_center", overrides=["seconds=abc"])
    with pytest.raises(ConfigError, match=r"choose from \.edf"):
        write(made["eeg"], tmp_path / "night.mat")


def test_command_line_writes_the_file(tmp_path, capsys):
    target = tmp_path / "new" / "trial.npz"
    assert main(["simulate", "half_center", "seconds=0.1", "burn_in_s=0", "--seed", "1", "--out", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.exists()
