"""Scores of predicted changes against numbers by hand and against constructed predictors."""

import numpy as np
import pytest
from neurotwin.metrics.connectivity_scores import drive_map, edge_correlation, fingerprint_accuracy, score_connectivity


def rows(predicted, change, **others):
    shape = np.shape(change)
    known = {"mean_change": np.zeros(shape), "start": np.zeros(shape), "true_change": np.full(shape, np.nan)}
    known |= {"language": np.zeros(shape, dtype=bool)}
    return {"predicted": np.asarray(predicted), "change": np.asarray(change), **known, **others}


def test_by_hand():
    language = np.array([[True, False]] * 2)
    scores = score_connectivity(
        rows([[0.1, 0.2], [0.0, 0.2]], [[0.1, 0.0], [0.2, 0.2]], mean_change=np.full((2, 2), 0.1), language=language)
    )
    assert scores["mse"] == pytest.approx((0.04 + 0.04) / 4)
    assert scores["mse_identity"] == pytest.approx((0.01 + 0.04 + 0.04) / 4)
    assert scores["mse_mean_change"] == pytest.approx((0.0 + 0.01 + 0.01 + 0.01) / 4)
    assert scores["skill"] == pytest.approx(1 - 0.02 / 0.0075)
    assert scores["better_than_mean_change"] == 0
    assert scores["language_mse"] == pytest.approx(0.02)
    assert "true_mse" not in scores


def test_truth_noise_ceiling_and_skill():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.1, (40, 300))
    change = truth + rng.normal(0, 0.2, truth.shape)
    scores = score_connectivity(rows(truth, change, true_change=truth))
    assert scores["true_mse"] == 0
    assert scores["true_skill"] == 1
    assert scores["mse"] == scores["noise_ceiling_mse"] == pytest.approx(0.04, rel=0.05)
    assert scores["calibration_slope"] == pytest.approx(1, abs=0.05)
    assert scores["p_mean_change"] < 1e-6
    too_extreme = score_connectivity(rows(2 * truth, change, true_change=truth))
    assert too_extreme["calibration_slope"] == pytest.approx(0.5, abs=0.03)


def test_mean_change_has_no_skill_and_no_correlation():
    """A leave-one-out mean correlates negatively with what it leaves out; deviations from it do not."""
    change = np.random.default_rng(1).normal(0, 0.1, (10, 50))
    mean = np.stack([np.delete(change, i, 0).mean(0) for i in range(10)])
    scores = score_connectivity(rows(mean.astype(np.float32), change, mean_change=mean))
    assert scores["skill"] == pytest.approx(0, abs=1e-6)
    assert scores["edge_r"] == 0
    assert "p_mean_change" not in scores
    assert "calibration_slope" not in scores


def test_correlation_of_pairs_and_fingerprint():
    a = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    assert edge_correlation(a, np.array([[0.0, 0.1], [2.0, 0.4], [4.0, 0.2]])) == pytest.approx(0.5)
    people = np.random.default_rng(2).standard_normal((6, 40))
    assert fingerprint_accuracy(3 * people + 5, people) == 1
    assert fingerprint_accuracy(people[::-1], people) == 0


def test_the_language_network_is_found_by_the_predicted_group_map():
    rng = np.random.default_rng(3)
    language = np.zeros((30, 200), dtype=bool)
    language[:, :40] = True
    change = 0.1 * language + rng.normal(0, 0.1, language.shape)
    scores = score_connectivity(rows(np.where(language, 0.1, 0.0), change, language=language))
    assert scores["language_auroc"] == 1
    assert 0.95 < scores["language_auroc_measured"] <= 1
    blind = score_connectivity(rows(np.where(language, -0.1, 0.0), change, language=language))
    assert blind["language_auroc"] == 0


def test_drives_are_per_standard_deviation_and_scored_against_the_truth():
    start = np.array([[0.0, 0.0, 0.0], [0.1, 0.1, 0.3], [0.2, 0.2, 0.6]])  # sd of the last three times that of others
    drive = np.array([[2.0, 1.0, -3.0]] * 3)
    given = rows(np.zeros((3, 3)), np.ones((3, 3)), start=start, attribution=drive)
    np.testing.assert_allclose(drive_map(given) / drive_map(given)[1], [2, 1, 1])
    found = score_connectivity(given | {"changed": np.array([[True, False, False]] * 3)})
    assert found["explained_auroc"] == 1
    assert "explained_language_auroc" not in found
    found = score_connectivity(given | {"changed": np.array([[False, True, False]] * 3)})
    assert found["explained_auroc"] == pytest.approx(0.25)
