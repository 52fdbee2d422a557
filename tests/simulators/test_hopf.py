"""Oscillators below their bifurcation: one against its stationary law, sampled against approximated correlations."""

import numpy as np
import pytest
from neurotwin.errors import ConfigError
from neurotwin.simulators.hopf import BIFURCATION_PER_S, HopfBrain
from neurotwin.simulators.whole_brain import WholeBrainSimulator


def test_power_of_one_oscillator_is_that_of_its_stationary_law():
    """Without coupling the density of r^2 is known: r exp((a r^2 - r^4 / 2) / s), s the noise of a component."""
    noise = 4e-4
    r = np.linspace(0, 1, 20_001)
    density = r * np.exp((BIFURCATION_PER_S * r**2 - r**4 / 2) / noise)
    exact = (density * r**2).sum() / density.sum() / 2  # of the real part
    brain = HopfBrain(np.zeros((2, 2)), np.array([0.05, 0.06]), noise * np.eye(2))
    np.testing.assert_allclose(brain.covariance, exact * np.eye(2), rtol=0.12, atol=1e-6)
    bold = brain.sample(8_000, 1.0, np.random.default_rng(0))
    assert bold.var() == pytest.approx(exact, rel=0.15)
    crossings = (np.diff(np.sign(bold[:, 0])) > 0).mean()
    assert crossings == pytest.approx(0.05, abs=0.015)


def test_sampled_connectivity_is_near_the_approximation():
    rng = np.random.default_rng(1)
    coupling = 0.1 * rng.random((4, 4)) * (1 - np.eye(4))
    loading = rng.standard_normal((4, 2))
    brain = HopfBrain(coupling + coupling.T, np.full(4, 0.05), 2e-4 * (np.eye(4) + loading @ loading.T), 0.3)
    found = np.corrcoef(brain.sample(8_000, 1.0, rng).T) - np.eye(4)
    np.testing.assert_allclose(found, brain.expected_connectivity(1.0), atol=0.1)


def test_a_cohort_of_oscillators_resembles_resting_people():
    """As real resting connectivity (mean 0.29, sd over pairs 0.20), in expectation; listening changes it."""
    simulator = WholeBrainSimulator(dynamics="hopf")
    rest, story, _ = simulator.states(np.random.default_rng(0), 0.0, 0.5)
    pairs = np.triu_indices(94, 1)
    matrices = [brain.expected_connectivity(0.72)[pairs] for brain in (rest, story)]
    assert matrices[0].mean() == pytest.approx(0.29, abs=0.07)
    assert matrices[0].std() == pytest.approx(0.20, abs=0.03)
    language = np.isin(simulator.connectome.networks, ("language", "auditory"))
    inside = np.outer(language, language)[pairs]
    change = matrices[1] - matrices[0]
    assert change[inside].mean() > 5 * abs(change[~inside].mean())
    with pytest.raises(ConfigError, match="dynamics='hop' is unknown: did you mean 'hopf'"):
        WholeBrainSimulator(dynamics="hop")
