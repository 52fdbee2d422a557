"""The neural mass shows the published regimes, and its integrator solves what it says."""

import numpy as np
import pytest
from neurotwin.biophysics import neural_mass
from scipy.optimize import brentq
from scipy.signal import welch
from scipy.stats import kurtosis

RATE = 250

#: Standard deviation in mV, spectral peak in Hz and kurtosis, measured with an independent Euler scheme at 0.5 ms.
TABLE = {
    "background": (0.24, (1.0, 5.0), (2.7, 3.4)),
    "spikes": (0.97, (1.0, 5.0), (8.0, 250.0)),
    "spike_wave": (5.24, (4.0, 5.0), (2.2, 3.0)),
    "alpha": (0.26, (9.0, 11.0), (2.7, 3.3)),
    "low_voltage_fast": (0.18, (12.0, 20.0), (2.7, 3.3)),
    "quasi_sinusoidal": (3.43, (10.0, 12.0), (1.3, 1.7)),
}


def constant(regime, n_masses, seconds, rate=RATE):
    return np.broadcast_to(np.array(regime, float)[:, None, None], (3, n_masses, int(seconds * rate)))


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_regimes(name):
    gains = constant(neural_mass.REGIMES[name], 24, 16)
    potential = neural_mass.simulate(gains, RATE, np.random.default_rng(0))[:, 2 * RATE :]
    sd, peak, kurt = TABLE[name]
    hz, density = welch(potential, RATE, nperseg=2 * RATE)
    assert neural_mass.REGIMES.keys() == TABLE.keys()
    # Sporadic spikes are few in a quarter of a minute, hence the wide band.
    assert np.median(potential.std(axis=1)) == pytest.approx(sd, rel=0.9 if name == "spikes" else 0.15)
    assert peak[0] <= hz[2:][density.mean(axis=0)[2:].argmax()] <= peak[1]
    assert kurt[0] < np.median(kurtosis(potential, axis=1, fisher=False)) < kurt[1]


def test_fixed_point_without_noise(monkeypatch):
    """With B = G = 0 the loop closes over excitation alone: y1 = A/a (p + C2 S(C1 A/a S(y1)))."""
    monkeypatch.setattr(neural_mass, "DRIVE_SD_1MS", 0.0)

    def rate(v):
        return 5.0 / (1.0 + np.exp(0.56 * (6.0 - v)))

    def residual(v):
        return 0.05 * (90.0 + 108.0 * rate(135.0 * 0.05 * rate(v))) - v

    expected = brentq(residual, 0.0, 50.0)
    potential = neural_mass.simulate(constant((5.0, 0.0, 0.0), 1, 2), RATE, np.random.default_rng(0))
    assert potential[0, -1] == pytest.approx(expected, rel=1e-5)


def test_a_slow_network_is_a_fast_one_played_slowly(monkeypatch):
    """Half the speed at half the sampling rate takes the same steps with the same noise."""
    gains = constant(neural_mass.REGIMES["spike_wave"], 3, 2, rate=1000)
    fast = neural_mass.simulate(gains, 1000, np.random.default_rng(1))
    monkeypatch.setattr(neural_mass, "MAX_STEP_S", 1.0 / 500)
    slow = neural_mass.simulate(gains, 500, np.random.default_rng(1), speed=0.5)
    np.testing.assert_allclose(slow, fast, rtol=1e-4, atol=1e-4)


def test_the_step_does_not_change_the_statistics(monkeypatch):
    """The drive is white: a sixteenth of the step, four times the deviation, the same spectrum of the potential."""
    gains = constant(neural_mass.REGIMES["background"], 24, 10)
    coarse = neural_mass.simulate(gains, RATE, np.random.default_rng(0)).std()
    monkeypatch.setattr(neural_mass, "MAX_STEP_S", 1.0 / 16000)
    fine = neural_mass.simulate(gains, RATE, np.random.default_rng(0)).std()
    assert coarse == pytest.approx(fine, rel=0.05)


def test_coupling_synchronises_and_follows_its_matrix():
    gains = constant(neural_mass.REGIMES["spike_wave"], 2, 20)
    apart = neural_mass.simulate(gains, RATE, np.random.default_rng(2))[:, 5 * RATE :]
    both = np.array([[0.0, 20.0], [20.0, 0.0]])
    together = neural_mass.simulate(gains, RATE, np.random.default_rng(2), both)[:, 5 * RATE :]
    assert np.corrcoef(together)[0, 1] > 0.8 > abs(np.corrcoef(apart)[0, 1])
    forward = np.array([[0.0, 0.0], [20.0, 0.0]])
    driven = neural_mass.simulate(gains, RATE, np.random.default_rng(2), forward)[:, 5 * RATE :]
    np.testing.assert_array_equal(driven[0], apart[0])
    assert not np.allclose(driven[1], apart[1])
