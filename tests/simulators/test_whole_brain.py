"""Linear whole brain: closed forms, exact sampling, resemblance to real resting connectivity, known task effect."""

import numpy as np
import pytest
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.simulators.connectome import generate_connectome, load_connectome
from neurotwin.simulators.linear_brain import LinearBrain, double_gamma
from neurotwin.simulators.whole_brain import WholeBrainSimulator
from sklearn.metrics import roc_auc_score


@pytest.fixture(scope="module")
def cohort():
    simulator = WholeBrainSimulator()
    return simulator, simulator.cohort(10, seed=3)


def edges(matrices):
    matrices = np.asarray(matrices)
    return matrices[(..., *np.triu_indices(matrices.shape[-1], 1))]


def test_covariance_of_two_coupled_regions_by_hand():
    """For symmetric J and white input of variance s, Q = -s J^-1 / 2."""
    jacobian = np.array([[-2.0, 1.0], [1.0, -2.0]])
    brain = LinearBrain(jacobian, 0.5 * np.eye(2))
    np.testing.assert_allclose(brain.covariance, -0.25 * np.linalg.inv(jacobian))
    slow, fast = np.exp(-0.3), np.exp(-0.9)  # the modes (1, 1) and (1, -1) decay with 1/s and 3/s
    own, other = (slow + fast) / 2, (slow - fast) / 2
    np.testing.assert_allclose(brain.lag_one(0.3), [[own, other], [other, own]])


def test_haemodynamic_response():
    response = double_gamma(0.72)
    assert response.sum() == pytest.approx(1)
    assert np.argmax(response) * 0.72 == pytest.approx(5.0, abs=0.72)
    assert response.min() < 0


def test_sampled_moments_are_the_exact_ones():
    rng = np.random.default_rng(0)
    jacobian = -np.eye(4) / 0.5 + 0.6 * rng.random((4, 4)) * (1 - np.eye(4))  # not symmetric
    loading = rng.standard_normal((4, 4))
    brain = LinearBrain(jacobian, loading @ loading.T + np.eye(4), noise_ratio=0.4)
    bold = brain.sample(60_000, 0.72, rng)
    expected = brain.bold_covariance(0.72)
    np.testing.assert_allclose(np.cov(bold.T), expected, atol=0.04 * expected.max())
    correlation = np.corrcoef(bold.T) - np.eye(4)
    np.testing.assert_allclose(correlation, brain.expected_connectivity(0.72), atol=0.03)


def test_resting_connectivity_resembles_the_human_connectome_project(cohort):
    """Seven people of the HCP, 94 regions, 1,200 volumes: mean 0.29, sd over pairs 0.20, between people r 0.71."""
    fc = edges([np.corrcoef(scans.rest.T) for scans in cohort[1]])
    assert fc.mean() == pytest.approx(0.29, abs=0.03)
    assert fc.std(1).mean() == pytest.approx(0.20, abs=0.02)
    assert np.corrcoef(fc)[np.triu_indices(10, 1)].mean() == pytest.approx(0.71, abs=0.05)


def test_story_changes_the_coupled_pairs_most(cohort):
    simulator, people = cohort
    change = edges(np.mean([s.story_connectivity - s.rest_connectivity for s in people], 0))
    default = simulator.connectome.members("default")
    assert roc_auc_score(edges(simulator.task_pattern) > 0, change) > 0.85
    assert roc_auc_score(edges(np.outer(default, default)), -change) > 0.9
    pattern = (edges(simulator.task_pattern) > 0) | edges(np.outer(default, default))
    np.testing.assert_array_equal(edges(simulator.changed), pattern)
    language = simulator.connectome.members("language", "L")
    assert change[edges(np.outer(language, language))].mean() > 0.05


def test_the_trait_shows_in_resting_connectivity(cohort):
    simulator, people = cohort
    traits = [simulator.states(np.random.default_rng(0), trait, 0.5)[0] for trait in (-2.0, 0.0, 2.0)]
    language = simulator.connectome.members("language", "L")
    inside = edges(np.outer(language, language))
    means = [edges(brain.expected_connectivity(0.72))[inside].mean() for brain in traits]
    assert means == sorted(means)
    assert means[2] - means[0] > 0.05
    assert np.corrcoef([s.trait for s in people], [s.effect for s in people])[0, 1] > 0.4


def test_a_person_does_not_depend_on_the_size_of_the_cohort():
    simulator = WholeBrainSimulator(generate_connectome(40, seed=1), 60, 30, tr_s=2.0)
    few, many = simulator.cohort(2, seed=5), simulator.cohort(3, seed=5)
    np.testing.assert_array_equal(few[1].rest, many[1].rest)
    assert few[0].story.shape == (30, 40)
    assert not np.array_equal(few[0].rest, few[1].rest)
    assert not np.array_equal(few[0].rest, simulator.cohort(1, seed=6)[0].rest)


def test_generated_connectome():
    c = generate_connectome(94, seed=2)
    assert c.weights.min() >= 0
    np.testing.assert_array_equal(c.weights, c.weights.T)
    assert c.networks[::2] == c.networks[1::2]
    assert len(set(c.names)) == 94
    distance = np.linalg.norm(c.positions_mm[:, None] - c.positions_mm[None], axis=2)
    near, mirror = edges(distance) < 40, c.weights[np.arange(0, 94, 2), np.arange(1, 94, 2)]
    assert edges(c.weights)[near].mean() > 2 * edges(c.weights)[~near].mean()
    assert mirror.mean() > 2 * edges(c.weights).mean()


def test_a_connectome_of_ones_own(tmp_path):
    c = generate_connectome(20)
    np.savez(tmp_path / "c.npz", weights=c.weights, networks=c.networks, hemispheres=c.hemispheres)
    loaded = load_connectome(tmp_path / "c.npz")
    np.testing.assert_array_equal(loaded.weights, c.weights)
    assert loaded.networks == c.networks
    with pytest.raises(MissingDataError, match="weights \\(roi, roi\\)"):
        load_connectome(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", weights=c.weights)
    with pytest.raises(DataError, match="has no networks, hemispheres"):
        load_connectome(tmp_path / "half.npz")
    np.savez(tmp_path / "log.npz", weights=c.weights - 5, networks=c.networks, hemispheres=c.hemispheres)
    with pytest.raises(DataError, match="symmetric and not negative"):
        load_connectome(tmp_path / "log.npz")
    np.savez(tmp_path / "short.npz", weights=c.weights, networks=c.networks[:3], hemispheres=c.hemispheres)
    with pytest.raises(DataError, match="do not fit 3 networks"):
        load_connectome(tmp_path / "short.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(DataError, match="not readable as NPZ"):
        load_connectome(tmp_path / "text.npz")


def test_messages():
    with pytest.raises(ConfigError, match="n_nodes=15: a generated connectome needs an even number"):
        generate_connectome(15)
    with pytest.raises(ConfigError, match="rest_volumes=3: connectivity needs at least 10 volumes"):
        WholeBrainSimulator(rest_volumes=3)
    with pytest.raises(ConfigError, match="n_subjects=0"):
        WholeBrainSimulator().cohort(0)
    with pytest.raises(ConfigError, match="unstable"):
        LinearBrain.coupled(np.ones((3, 3)), 1.0, 0.5, np.eye(3))
    with pytest.raises(ConfigError, match="no region of the auditory network"):
        WholeBrainSimulator(generate_connectome(16))
