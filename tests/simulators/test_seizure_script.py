"""When seizures happen, how long they last, and what the gains do."""

import numpy as np
import pytest
from neurotwin.biophysics.neural_mass import REGIMES
from neurotwin.errors import ConfigError
from neurotwin.simulators import seizure_script as script

RATE = 128


def test_durations_have_the_quartiles_of_chbmit():
    durations = script.draw_durations(np.random.default_rng(0), 20_000)
    np.testing.assert_allclose(np.percentile(durations, [25, 50, 75]), [27, 48, 76], rtol=0.09)
    assert durations.min() == script.SHORTEST_S
    assert durations.max() == script.LONGEST_S
    assert script.draw_durations(np.random.default_rng(0), 1000, longest_s=20.0).max() == 20.0


def test_seizures_keep_to_their_slots():
    for seed in range(20):
        seizures = script.draw_seizures(np.random.default_rng(seed), 600.0, 3, 6)
        edges = [0.0]
        for index, seizure in enumerate(seizures):
            assert 200 * index < seizure.onset_s < seizure.end_s < 200 * (index + 1)
            edges += [seizure.onset_s - seizure.preictal_s, seizure.end_s + seizure.postictal_s]
        assert edges == sorted(edges)
        assert edges[-1] <= 600.0


def test_long_recordings_have_long_preictal_periods():
    seizure = script.draw_seizures(np.random.default_rng(0), 3 * 3600.0, 1, 6)[0]
    assert script.PREICTAL_S[0] <= seizure.preictal_s <= script.PREICTAL_S[1]
    assert script.POSTICTAL_S[0] <= seizure.postictal_s <= script.POSTICTAL_S[1]


def test_gains_follow_the_script():
    seizure = script.Seizure(
        onset_s=20.0,
        duration_s=30.0,
        preictal_s=10.0,
        postictal_s=10.0,
        fast_s=6.0,
        clonic_s=8.0,
        delays_s=np.array([0.0, 4.0, np.inf]),
        bursts_hz=(2.0, 1.0),
    )
    gains = script.gain_course(np.random.default_rng(0), [seizure], 3, 64 * RATE, RATE, spikes_per_min=0.0)

    def at(mass, second):
        return gains[:, mass, round(second * RATE)]

    np.testing.assert_allclose(at(0, 5.0), REGIMES["background"])
    np.testing.assert_allclose(at(0, 15.0), [5, 45, 15], atol=0.1)  # halfway down the preictal ramp
    np.testing.assert_allclose(at(1, 15.0), REGIMES["background"])
    np.testing.assert_allclose(at(0, 24.0), REGIMES["low_voltage_fast"], atol=1e-4)
    np.testing.assert_allclose(at(1, 22.0), REGIMES["background"], atol=1e-4)  # joins four seconds later
    np.testing.assert_allclose(at(1, 28.0), REGIMES["low_voltage_fast"], atol=1e-4)
    np.testing.assert_allclose(at(0, 41.95)[2], 15.0, atol=0.3)  # slid from 0 to 15 when the clonic phase starts
    clonic = gains[1, 0, 43 * RATE : 49 * RATE]
    assert clonic.max() == pytest.approx(50.0)
    assert clonic.min() < 30
    for mass in range(3):
        np.testing.assert_allclose(at(mass, 50.2), REGIMES["background"], atol=1e-4)
    np.testing.assert_allclose(gains[:, 2], gains[:, 2, :1] * np.ones(64 * RATE), rtol=1e-6)  # never joins


def test_states():
    seizure = script.draw_seizures(np.random.default_rng(1), 300.0, 1, 5)[0]
    codes = script.states([seizure], 300 * RATE, RATE)
    names = [script.STATES[codes[round(t * RATE)]] for t in (1.0, seizure.onset_s - 1, seizure.end_s - 1)]
    assert names == ["interictal", "preictal", "ictal"]
    assert script.STATES[codes[round((seizure.end_s + 1) * RATE)]] == "postictal"
    assert (codes == 2).mean() * 300 == pytest.approx(seizure.duration_s, abs=0.02)


def test_too_many_seizures():
    with pytest.raises(ConfigError, match=r"5 seizures do not fit into 2 minutes: .* ask for at most 4"):
        script.draw_seizures(np.random.default_rng(0), 120.0, 5, 5)
