"""Diameters, the part outside the canal, grades and growth against hand-computed numbers and simulated anatomy."""

import numpy as np
import pytest
from neurotwin.metrics.growth import Measured, growth_probability, score_growth
from neurotwin.metrics.koos_grading import fit_grades, grade_probabilities, score_grades
from neurotwin.metrics.schwannoma_measures import axial_diameter_mm, grading_features, mid_plane_mm, parts
from neurotwin.metrics.segmentation_scores import growth_pairs
from neurotwin.simulators.schwannoma import SchwannomaSimulator
from scipy.stats import norm

ONE = (1.0, 1.0, 1.0)


def cone():
    """A canal of 4 x 5 voxels that opens after 8 mm into a block of 10 x 10, on the right; 1 mm voxels."""
    mask = np.zeros((60, 30, 20), bool)
    mask[42:50, 10:14, 6:11] = True  # lateral
    mask[34:42, 8:18, 4:14] = True
    return mask


def test_parts_of_a_tumour_that_opens_behind_its_canal():
    found = parts(cone(), ONE, 29.5)
    assert found["intrameatal_ml"] == pytest.approx(8 * 20 / 1000)
    assert found["extrameatal_ml"] == pytest.approx(8 * 100 / 1000)
    assert found["extrameatal_diameter_mm"] == pytest.approx(np.hypot(7, 9))
    assert found["axial_diameter_mm"] == pytest.approx(np.hypot(15, 7)), "from the tip to the corner of the block"


def test_the_left_side_is_the_mirror_image():
    assert parts(cone()[::-1], ONE, 29.5) == pytest.approx(parts(cone(), ONE, 29.5))
    np.testing.assert_allclose(*(grading_features(m, ONE, 29.5) for m in (cone(), cone()[::-1])))


def test_a_plug_lies_inside_as_far_as_a_canal_reaches():
    mask = np.zeros((60, 30, 20), bool)
    mask[36:50, 10:14, 6:11] = True  # 14 mm long
    assert parts(mask, ONE, 29.5)["intrameatal_ml"] == pytest.approx(12 * 20 / 1000)


def test_axial_diameter_does_not_look_across_slices():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, :] = True
    assert axial_diameter_mm(mask, ONE) == (0.0, 0)
    mask[1:8, 4, 6] = True
    assert axial_diameter_mm(mask, (0.5, 1.0, 1.0)) == (3.0, 6)
    assert axial_diameter_mm(np.zeros_like(mask), ONE) == (0.0, None)


def test_no_tumour_has_no_parts():
    assert set(parts(np.zeros((5, 5, 5), bool), ONE, 2.0).values()) == {None}
    assert grading_features(np.zeros((5, 5, 5), bool), ONE, 2.0) is None


@pytest.mark.parametrize("shift", [-3, 0, 4])
def test_mid_plane_of_a_symmetric_head_with_a_bright_tumour(shift):
    rng = np.random.default_rng(0)
    half = rng.normal(size=(30, 20, 10))
    image = np.roll(np.concatenate([half[::-1], half]), shift, axis=0)
    tumour = np.zeros(image.shape, bool)
    tumour[40:50, 5:12, 3:7] = True
    image[tumour] = 9.0
    assert mid_plane_mm(image, (2.0, 1.0, 1.0), tumour) == pytest.approx(2.0 * (29.5 + shift))


def test_grades_follow_the_labels_of_simulated_exams():
    simulator = SchwannomaSimulator(max_exams=1, paired=1.0, fine_mm=1.5, fov_mm=(100, 60, 32), sites=("mill",))
    features, grades, shares = [], [], []
    for number in range(24):
        exam = simulator.patient(3, number)[0]
        image, mask = exam.images["ceT1w"], exam.masks["ceT1w"].data > 0
        assert np.all(np.diag(image.affine)[:2] < 0), "the site stores LPS"
        image, mask = image.data[::-1, ::-1].astype(np.float32), mask[::-1, ::-1]
        spacing = exam.images["ceT1w"].spacing_mm
        middle = mid_plane_mm(image, spacing, mask)
        features.append(grading_features(mask, spacing, middle))
        grades.append(exam.metadata["koos"])
        shares.append(exam.metadata["extrameatal_ml"] / exam.metadata["volume_ml"])
    assert np.median(np.abs(np.array(features)[:, 3] - shares)) < 0.1
    table = fit_grades(features[:16], grades[:16])
    chances = np.array([grade_probabilities(table, one) for one in features[16:]])
    np.testing.assert_allclose(chances.sum(1), 1)
    assert score_grades(chances, np.array(grades[16:]))["koos_within_one"] >= 0.75


def test_too_few_grades_are_not_fitted():
    table = fit_grades([np.ones(4)] * 5, [1, 2, 3, 4, 1])
    assert np.isnan(table).all()
    assert np.isnan(grade_probabilities(table, np.ones(4))).all()


def test_a_grade_that_nobody_has_is_impossible_and_two_grades_are_enough():
    features = [np.array([x, 0.0, 0.0, 0.0]) for x in (0, 1) * 10]
    table = fit_grades(features, [1, 3] * 10)
    low, high = (grade_probabilities(table, np.array([x, 0.0, 0.0, 0.0])) for x in (0, 1))
    assert low[1] == low[3] == 0
    assert low[0] == pytest.approx(high[2])
    assert low[0] > 0.8


def test_scores_of_grades():
    chances = np.array([[0.7, 0.3, 0, 0], [0.2, 0.8, 0, 0], [np.nan] * 4, [1, 0, 0, 0]])
    found = score_grades(chances, np.array([1, 3, 2, 0]))
    assert found["koos_accuracy"] == pytest.approx(1 / 3), "a missed tumour is a wrong grade, no tumour is none"
    assert found["koos_within_one"] == pytest.approx(2 / 3)
    assert found["koos_brier"] == pytest.approx((0.09 + 0.09 + 0.04 + 0.64 + 1) / 2)


def test_probability_of_growth_in_closed_form():
    width = np.exp(0.1 * norm.ppf(0.95))
    first, second = (
        Measured(v, (v + 0.02) / width - 0.02, (v + 0.02) * width - 0.02) for v in (0.98, 1.02 * np.exp(0.2) - 0.04)
    )
    change = np.log(second.volume_ml + 0.02) - np.log(1.0)
    assert first.log_sd == pytest.approx(0.1)
    assert growth_probability(first, second) == pytest.approx(norm.cdf(change / np.hypot(0.1, 0.1)))
    assert growth_probability(first, first) == pytest.approx(0.5)
    assert growth_probability(first, second, 1.2) < growth_probability(first, second)


def test_pairs_are_of_one_patient_and_not_across_surgery():
    rows = {
        "window": np.array([3, 0, 1, 2]),
        "patient": np.array([1, 0, 0, 1]),
        "operated": np.array([1, 0, 0, 0]),
        "exact_ml": np.array([0.5, 1.0, 1.3, 2.0]),
        "predicted_ml": np.array([0.5, 1.0, 1.3, 2.0]),
        "low_ml": np.array([0.4, 0.9, 1.2, 1.9]),
        "high_ml": np.array([0.6, 1.1, 1.4, 2.1]),
        "coverage": np.full(4, 0.9),
    }
    chances, grew = growth_pairs(rows)
    assert grew.tolist() == [True]
    assert 0.5 < chances[0] < 0.95


def test_scores_of_growth():
    found = score_growth(np.array([0.9, 0.4, 0.2, 0.6]), np.array([True, True, False, False]))
    assert found["growth_auroc"] == pytest.approx(0.75)
    assert found["growth_brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.36) / 4)
    assert (found["growth_sensitivity"], found["growth_specificity"]) == (0.5, 0.5)
    assert score_growth(np.zeros(0), np.zeros(0, bool))["growth_pairs"] == 0
