"""Intracellular recordings: every format gives the same trace, units are converted and doubted, real files are read."""

from datetime import UTC, datetime

import numpy as np
import pytest
from neurotwin.datamodules.formats.clamp_files import ClampFormat, read_clamp
from neurotwin.errors import ConfigError, DataError
from scipy.io import savemat

N, RATE = 400, 20_000.0
TIME_MS = np.arange(N) * 1e3 / RATE
MV = -65 + 10 * np.sin(TIME_MS)
NA = np.where(TIME_MS > 5, 0.2, 0.0)


def check(recordings, n=1):
    assert len(recordings) == n
    np.testing.assert_allclose(recordings[0].voltage, MV, atol=2e-3)
    np.testing.assert_allclose(recordings[0].current, NA, atol=1e-6)
    assert recordings[0].sampling_rate_hz == pytest.approx(RATE)


def test_named_arrays_and_tables(tmp_path):
    savemat(tmp_path / "a.mat", {"V": MV / 1e3, "I": NA * 1e3})
    check(read_clamp(tmp_path / "a.mat", how=ClampFormat("V", "pA", RATE)))
    np.savez(tmp_path / "b.npz", V_mV=np.stack([MV, MV]), I_nA=NA, t=TIME_MS)
    check(read_clamp(tmp_path / "b.npz"), 2)
    header = "t (ms),V (mV),I (pA)"
    np.savetxt(tmp_path / "c.csv", np.stack([TIME_MS, MV, 1e3 * NA]).T, delimiter=",", header=header, comments="")
    check(read_clamp(tmp_path / "c.csv"))
    for name, values in (("v", MV), ("i", NA)):
        np.save(tmp_path / f"{name}.npy", np.stack([TIME_MS, values]).T)
    check(read_clamp(tmp_path / "v.npy", tmp_path / "i.npy", ClampFormat("mV", "nA")))


def test_igor_waves(tmp_path, data_root):
    folder = data_root / "patchclamp" / "gif_l5_fluctuating"
    if not folder.is_dir():
        pytest.skip("no patch-clamp recordings")
    pair = folder / "Cell3_Ger1Test_ch2_1009.ibw", folder / "Cell3_Ger1Test_ch3_1009.ibw"
    (sweep,) = read_clamp(*pair, ClampFormat("V", "A", 10_000.0))
    assert sweep.sampling_rate_hz == pytest.approx(10_000)
    assert len(sweep.voltage) == 200_000
    assert 0.14 < sweep.current.mean() < 0.16
    upward = (sweep.voltage[1:] > 0) & (sweep.voltage[:-1] <= 0)
    assert 220 <= upward.sum() <= 236


def test_nwb(tmp_path):
    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    file = NWBFile("session", "id", datetime(2020, 1, 1, tzinfo=UTC))
    device = file.create_device("rig")
    electrode = file.create_icephys_electrode(name="e", device=device, description="sharp")
    for number in (2, 1):
        common = {"electrode": electrode, "gain": 1.0, "rate": RATE, "sweep_number": np.uint32(number)}
        offset = 0.0 if number == 1 else 5.0
        voltage, current = MV + offset, NA
        file.add_acquisition(CurrentClampSeries(name=f"ic_{number}", data=voltage, conversion=1e-3, **common))
        file.add_stimulus(CurrentClampStimulusSeries(name=f"st_{number}", data=current, conversion=1e-9, **common))
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as io:
        io.write(file)
    check(read_clamp(tmp_path / "a.nwb"), 2)


def test_abf(tmp_path):
    from pyabf.abfWriter import writeABF1

    long = np.tile(MV, 40)
    writeABF1(np.stack([long, long]), str(tmp_path / "a.abf"), RATE, units="mV")
    with pytest.raises(DataError, match="no injected current in it"):
        read_clamp(tmp_path / "a.abf")
    np.save(tmp_path / "i.npy", np.stack([np.arange(len(long)) * 0.05, np.tile(NA, 40)]).T)
    with pytest.raises(DataError, match=r"i\.npy: 1 sweeps, a\.abf has 2"):
        read_clamp(tmp_path / "a.abf", tmp_path / "i.npy")


def test_real_files(data_root):
    folder = data_root / "patchclamp"
    if not folder.is_dir():
        pytest.skip("no patch-clamp recordings")
    sweeps = read_clamp(folder / "pyabf_steps" / "2019_07_24_0055_fsi.abf")
    assert (len(sweeps), sweeps[0].sampling_rate_hz) == (17, 20_000)
    assert sweeps[-1].current.max() == pytest.approx(0.3, abs=0.01)
    assert sweeps[-1].voltage.max() > 0
    nwb = read_clamp(folder / "bluepyefe_ca1_s1" / "99111002.nwb")
    assert len(nwb) == 16
    assert sorted(round(s.current[3000], 1) for s in nwb)[0] == pytest.approx(-2.0)
    assert -200 < nwb[0].voltage.min() < nwb[0].voltage.max() < 120


def test_what_is_wrong_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", V=MV, I=NA)
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="no sampling rate; give sampling_rate_hz"):
        read_clamp(path)
    with pytest.raises(DataError, match="states no unit of the voltage"):
        read_clamp(path, how=ClampFormat(sampling_rate_hz=RATE))
    with pytest.raises(DataError, match="which no membrane does; the unit V is wrong"):
        read_clamp(path, how=ClampFormat("V", "nA", RATE))
    with pytest.raises(DataError, match="no 'Vm' in it; it holds V, I"):
        read_clamp(path, how=ClampFormat("mV", "nA", RATE, voltage_name="Vm"))
    np.savez(tmp_path / "b.npz", V_mV=MV, I_nA=NA)
    with pytest.raises(DataError, match="voltage is in mV, voltage_unit says V"):
        read_clamp(tmp_path / "b.npz", how=ClampFormat("V", None, RATE))
    with pytest.raises(ConfigError, match="unit 'volts per m'"):
        ClampFormat("volts per m")
    (tmp_path / "c.abf").write_bytes(b"ABF2 and then nothing")
    with pytest.raises(DataError, match=r"c\.abf: its header says \d+ sweeps, but a file of 21 bytes holds fewer"):
        read_clamp(tmp_path / "c.abf")
    with pytest.raises(DataError, match="unknown format"):
        read_clamp(tmp_path / "c.smr")
