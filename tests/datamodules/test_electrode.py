"""Electrode compensation: a known electrode in front of a known membrane is taken away again."""

import numpy as np
import pytest
from neurotwin.contracts import ClampRecording
from neurotwin.datamodules.electrode import ActiveElectrode, SeriesResistance
from neurotwin.errors import ConfigError, DataError
from scipy.signal import lfilter

DT_MS = 0.1


def recording(n=60_000, seed=0):
    """Membrane of 80 MOhm and 12 ms behind an electrode of 20 MOhm and 0.3 ms."""
    current = 0.1 * np.random.default_rng(seed).normal(size=n)
    parts = []
    for resistance, tau in ((80.0, 12.0), (20.0, 0.3)):
        keep = np.exp(-DT_MS / tau)
        parts.append(lfilter([resistance * (1 - keep)], [1, -keep], current))
    return ClampRecording("probe", 1e3 / DT_MS, -70 + parts[0] + parts[1], current), -70 + parts[0]


def test_the_electrode_is_taken_away(tmp_path):
    probe, _ = recording()
    path = tmp_path / "probe.npz"
    np.savez(path, V_mV=probe.voltage, I_nA=probe.current, t=np.arange(len(probe.voltage)) * DT_MS)
    electrode = ActiveElectrode(path)
    assert electrode.resistance_mohm == pytest.approx(20.0, rel=0.05)
    other, membrane = recording(seed=1)
    left = electrode(other).voltage - membrane
    assert np.std(left) < 0.1 * np.std(other.voltage - membrane)
    slower = ClampRecording("slow", 5000.0, other.voltage, other.current)
    with pytest.raises(DataError, match="slow: sampled at 5000 Hz, the electrode's recording at 10000 Hz"):
        electrode(slower)


def test_bridge_balance_subtracts_the_resistance():
    probe, _ = recording(100)
    balanced = SeriesResistance(20.0)(probe).voltage
    np.testing.assert_allclose(balanced, probe.voltage - 20 * probe.current)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.abf is missing"):
        ActiveElectrode(tmp_path / "none.abf")
    with pytest.raises(ConfigError, match=r"compensate\.tail_ms=40"):
        ActiveElectrode(tmp_path / "none.abf", tail_ms=40.0)
