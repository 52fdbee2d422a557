"""Scores of masks and volume intervals against hand-computed numbers."""

import numpy as np
import pytest
from neurotwin.metrics.segmentation_scores import SCORES, human_limit, score_exams, score_pair
from neurotwin.metrics.volume_interval import conformal_offset, radius_mm, widened


def cube(first, last, shape=(20, 20, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[first:last, 5:15, 5:15] = True
    return mask


def table(*exams, koos=2):
    columns = {name: np.array([exam[name] for exam in exams]) for name in SCORES}
    return {**columns, "koos": np.full(len(exams), koos)}


def test_shifted_cubes():
    scores = score_pair(cube(5, 15), cube(6, 16), (2.0, 1.0, 1.0))
    assert scores["dsc"] == pytest.approx(0.9)
    assert scores["truth_ml"] == pytest.approx(2.0)
    assert scores["hd95_mm"] == pytest.approx(2.0)
    assert 0 < scores["assd_mm"] < 2.0
    assert scores["lesions"] == scores["lesions_found"] == 1
    assert scores["false_lesions"] == 0


def test_equal_masks():
    scores = score_pair(cube(5, 15), cube(5, 15), (1.0, 1.0, 1.0))
    assert (scores["dsc"], scores["hd95_mm"], scores["assd_mm"], scores["surface_dice"]) == (1, 0, 0, 1)


def test_a_missed_tumour_counts():
    scores = score_pair(cube(5, 15), cube(0, 0), (1.0, 1.0, 2.0))
    assert scores["dsc"] == scores["surface_dice"] == 0
    assert scores["hd95_mm"] == scores["assd_mm"] == pytest.approx(np.sqrt(400 + 400 + 1600))
    found = score_exams(table(scores, score_pair(cube(5, 15), cube(5, 15), (1, 1, 2))))
    assert found["misses"] == 1
    assert found["miss_rate"] == 0.5
    assert found["dsc_mean"] == 0.5


def test_an_exam_without_tumour_has_no_dice_but_may_have_a_false_volume():
    clean, false = (score_pair(cube(0, 0), cube(5, last), (1, 1, 1)) for last in (5, 7))
    assert np.isnan(clean["dsc"])
    found = score_exams(table(clean, false))
    assert found["false_volume_rate"] == 0.5
    assert found["false_lesions_per_exam"] == 0.5
    assert np.isnan(found["dsc_median"])


def test_two_lesions_one_found():
    truth = cube(2, 4) | cube(10, 12)
    scores = score_pair(truth, cube(2, 4) | cube(16, 18), (1, 1, 1))
    assert (scores["lesions"], scores["lesions_found"], scores["false_lesions"]) == (2, 1, 1)


def test_bins_and_grades():
    rows = table(*(score_pair(cube(5, n), cube(5, 6), (1, 1, 1)) for n in (6, 15)), koos=np.array([1]))
    rows["koos"] = np.array([1, 3])
    found = score_exams(rows)
    assert found["dsc_mean_small"] == 1.0
    assert found["dsc_mean_medium"] == pytest.approx(2 * 100 / 1100)
    assert found["dsc_mean_koos1"] == 1.0
    assert np.isnan(found["dsc_mean_koos4"])
    assert found["rve_mean"] == pytest.approx(-0.45)
    assert (found["exams_small"], found["exams_medium"], found["exams_large"]) == (1, 1, 0)
    assert found["miss_rate_medium"] == 0


def test_a_second_reader_is_scored_on_the_exams_that_have_one():
    pairs = [score_pair(cube(5, 15), cube(5, last), (1, 1, 1)) for last in (15, 10)]
    rows = table(*pairs)
    again = [score_pair(cube(5, 15), cube(6, 16), (1, 1, 1)), dict.fromkeys(SCORES, float("nan"))]
    rows |= {f"reader_{name}": np.array([one[name] for one in again]) for name in SCORES}
    found = score_exams(rows)
    assert found["reader_exams"] == 1
    assert found["reader_dsc_mean"] == pytest.approx(0.9)
    assert found["dsc_mean"] == pytest.approx((1 + 2 * 500 / 1500) / 2)


def test_one_modality_alone_is_scored_like_all():
    whole = table(*(score_pair(cube(5, 15), cube(5, last), (1, 1, 1)) for last in (15, 10)))
    single = [dict.fromkeys(SCORES, float("nan")), score_pair(cube(5, 15), cube(5, 10), (1, 1, 1))]
    rows = whole | {f"T2w_{name}": np.array([one[name] for one in single]) for name in SCORES}
    rows |= {"T2w_low_ml": np.array([np.nan, 0.9]), "T2w_high_ml": np.array([np.nan, 1.1])}
    found = score_exams(rows)
    assert (found["T2w_exams"], found["T2w_interval_coverage"]) == (1, 1)
    assert found["T2w_dsc_mean"] == pytest.approx(2 * 500 / 1500)


def test_width_of_intervals_is_relative_to_the_truth():
    rows = table(score_pair(cube(5, 15), cube(5, 15), (1, 1, 1)), score_pair(cube(0, 0), cube(0, 0), (1, 1, 1)))
    rows |= {"low_ml": np.array([0.8, 0.2]), "high_ml": np.array([1.3, 0.4])}
    assert score_exams(rows)["interval_width_median"] == pytest.approx(0.5)
    assert score_exams(rows)["interval_coverage"] == 1, "an exam without tumour has no volume to cover"


def test_human_limits_at_the_quartiles():
    np.testing.assert_allclose(human_limit(np.array([0.01, 0.193, 3.1, 9.0])), [0.268, 0.268, 0.073, 0.073])


def test_conformal_offset_is_the_rank_that_covers():
    truth = np.ones(19)
    low = 4 / 3e3 * np.pi * (radius_mm(truth) + np.arange(19) / 10) ** 3  # radii differ by k / 10 mm
    assert conformal_offset(low, low + 1, truth) == pytest.approx(1.7)  # ceil(20 * 0.9) = 18th smallest


def test_intervals_move_by_the_same_distance_at_every_size():
    low, high = widened(np.array([0.1, 10.0]), np.array([0.1, 10.0]), 0.3)
    np.testing.assert_allclose(radius_mm(high) - radius_mm(low), 0.6)
    assert (high - low)[0] / 0.1 > 4 * (high - low)[1] / 10
    low, high = widened(np.array([0.0]), np.array([0.0]), 2.0)
    assert (low[0], radius_mm(high)[0]) == (0.0, pytest.approx(2.0)), "a tumour that was not found"


def test_intervals_cover_what_they_promise():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        truth = np.exp(rng.normal(0, 1, 41))
        guess = truth * np.exp(rng.normal(0, 0.2, 41))
        low, high = 0.9 * guess, 1.1 * guess
        offset = conformal_offset(low[:40], high[:40], truth[:40])
        a, b = widened(low[40:], high[40:], offset)
        inside.append(bool((a <= truth[40:])[0] and (truth[40:] <= b)[0]))
    assert 0.87 < np.mean(inside) < 0.95
