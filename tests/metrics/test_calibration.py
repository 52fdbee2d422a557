import numpy as np
import pytest
import torch
from neurotwin.metrics.calibration import (
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    reliability_bins,
    risk_coverage,
)
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import multiclass_calibration_error

# Four items, two classes: confidences .9 right, .8 wrong, .6 right, .6 wrong.
PROBABILITY = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.6, 0.4]])
TARGET = np.array([0, 0, 1, 1])


def random_predictions(items=400, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), items), rng.integers(0, classes, items)


def test_calibration_error_by_hand():
    # Bins of width 0.25: (.5, .75] holds two items, accuracy .5, confidence .6; (.75, 1] accuracy .5, confidence .85.
    assert expected_calibration_error(PROBABILITY, TARGET, bins=4) == pytest.approx(0.5 * 0.1 + 0.5 * 0.35)


def test_calibration_error_agrees_with_torchmetrics():
    probability, target = random_predictions()
    theirs = multiclass_calibration_error(torch.tensor(probability), torch.tensor(target), num_classes=5, n_bins=15)
    assert expected_calibration_error(probability, target) == pytest.approx(float(theirs), abs=1e-6)


def test_certain_and_right_is_perfectly_calibrated():
    probability = np.eye(3)[[0, 1, 2, 2]]
    assert expected_calibration_error(probability, np.array([0, 1, 2, 2])) == 0
    assert brier_score(probability, np.array([0, 1, 2, 2])) == 0
    assert area_under_risk_coverage(probability, np.array([0, 1, 2, 2])) == 0


def test_empty_bins_are_nan_and_counts_add_up():
    bins = reliability_bins(PROBABILITY, TARGET, bins=4)
    assert bins.items.tolist() == [0, 0, 2, 2]
    assert np.isnan(bins.accuracy[:2]).all()
    assert bins.confidence[2:] == pytest.approx([0.6, 0.85])


def test_brier_by_hand_is_halved_for_two_classes_only():
    assert brier_score(PROBABILITY, TARGET) == pytest.approx((0.01 + 0.64 + 0.16 + 0.36) / 4)
    # One item, three classes, uniform: (2/3)^2 + 2 (1/3)^2 = 2/3.
    assert brier_score(np.full((1, 3), 1 / 3), np.array([1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 5])
def test_brier_agrees_with_sklearn(classes):
    probability, target = random_predictions(classes=classes)
    given = probability[:, 1] if classes == 2 else probability
    assert brier_score(probability, target) == pytest.approx(brier_score_loss(target, given))


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage(PROBABILITY, TARGET)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    # .9 right, .8 wrong, then a tie of one right and one wrong that shares half an error each.
    assert risk == pytest.approx([0, 1 / 2, 1.5 / 3, 2 / 4])
    assert area_under_risk_coverage(PROBABILITY, TARGET) == pytest.approx((0 + 0.5 + 0.5 + 0.5) / 4)


def test_risk_coverage_does_not_depend_on_row_order():
    probability, target = random_predictions(classes=3)
    probability = probability.round(1)  # many ties
    order = np.random.default_rng(1).permutation(len(target))
    assert area_under_risk_coverage(probability, target) == pytest.approx(
        area_under_risk_coverage(probability[order], target[order]), abs=1e-12
    )
    assert risk_coverage(probability, target)[1][-1] == pytest.approx(np.mean(probability.argmax(1) != target))
