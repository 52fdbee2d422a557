"""Spikes, charges and drugs against numbers worked out by hand."""

import numpy as np
import pytest
from neurotwin.metrics.clamp_scores import (
    coincidence,
    current_errors,
    discoveries,
    drug_scores,
    hill_fit,
    matched_spikes,
    ratio_intervals,
    spike_times,
)


def test_spike_times_are_interpolated():
    assert spike_times(np.array([-10.0, 10.0, -10.0, -30.0, 10.0]), 0.5).tolist() == [0.25, 1.875]


def test_spikes_are_matched_once():
    a, b = np.array([1.0, 10.0, 20.0]), np.array([1.5, 1.9, 21.5, 40.0])
    assert matched_spikes(a, b, 1.0) == 1
    assert matched_spikes(a, b, 2.0) == 2
    assert coincidence([(a, b)], 2.0) == pytest.approx(4 / 7)
    assert coincidence([(a[:0], b[:0])], 1.0) == 1.0


def test_small_currents_are_not_judged():
    truth = np.array([[100.0, 50.0, 1.0]])
    found = current_errors(np.array([[104.0, 40.0, 9.0]]), truth, np.array([[1.0, 4.0, 99.0]]), np.array([[100.0] * 3]))
    assert found["charge_error_worst"] == pytest.approx(0.2)
    assert found["charge_error_median"] == pytest.approx(0.12)
    assert found["charge_within_5"] == pytest.approx(0.5)
    assert found["waveform_error_worst"] == pytest.approx(0.2)


def test_a_drug_is_named_by_the_block_that_is_certain():
    change = np.log(np.array([[0.5, 0.4, 1.0]]))  # the second looks stronger, but nobody knows
    found = drug_scores(change, np.array([[0.05, 1.0, 0.05]]), np.log(np.array([[0.52, 1.0, 1.0]])), np.ones(3, bool))
    assert found["named"] == 1
    assert found["targets_judged"] == 1
    assert found["dose_error_points"] == pytest.approx(2.0)
    assert found["dose_within_5"] == 1
    assert found["false_compensation"] == 0
    assert found["interval_90_coverage"] == 1


def test_discoveries_follow_benjamini_and_hochberg():
    z = np.array([[3.5, 2.4, 1.9, 0.1]])  # p: .0005, .016, .057, .92; limits at .1: .025, .05, .075, .1
    assert discoveries(z, np.ones(4, bool)).tolist() == [[True, True, True, False]]
    assert discoveries(z, np.ones(4, bool), rate=0.05).tolist() == [[True, True, False, False]]


def test_a_hill_curve_is_recovered():
    dose = np.array([0.1, 0.5, 2.0, 10.0])
    found = hill_fit(dose, 1 / (1 + (1.5 / dose) ** 1.2), np.full(4, 0.01))
    assert found["ic50"] == pytest.approx(1.5, rel=1e-3)
    assert found["hill"] == pytest.approx(1.2, rel=1e-3)
    assert found["ic50_90"][0] < 1.5 < found["ic50_90"][1]


def test_intervals_are_symmetric_in_the_ratio():
    low, high = ratio_intervals(np.log(np.array([0.5, 0.1])), np.array([0.1, 2.0]))
    np.testing.assert_allclose(low, [0.5 - 0.08225, 0.0])
    np.testing.assert_allclose(high, [0.5 + 0.08225, 0.1 + 0.329])
