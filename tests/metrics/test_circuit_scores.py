"""Scores of free runs against traces whose answer is known."""

import numpy as np
import pytest
from neurotwin.metrics.circuit_scores import (
    angular_separation,
    current_scores,
    spectral_distance,
    spike_train,
    state_space_divergence,
)


def spikes(times_ms, n=40_000):
    """Gaussian bumps of 20 mV on a slow wave."""
    time = np.arange(n) / 10
    wave = 5 * np.sin(2 * np.pi * time / 2000)
    return -50 + wave + sum(20 * np.exp(-0.5 * ((time - t) / 3) ** 2) for t in times_ms)


def test_spikes_are_found_where_they_are():
    times = np.array([500.0, 1200.0, 1300.0, 3000.0])
    np.testing.assert_allclose(np.flatnonzero(spike_train(spikes(times))) / 10, times, atol=0.3)


def test_a_perfect_run_scores_one_and_a_silent_one_zero():
    trace = spikes([700, 1200, 1500, 2600])
    same = angular_separation(trace, trace)
    assert same["angular_separation"] == pytest.approx(1)
    assert same["spike_ratio"] == 1
    assert angular_separation(spikes([]), trace)["angular_separation"] == 0
    assert angular_separation(np.full_like(trace, np.nan), trace)["cosine"] == 0


def test_the_papers_form_punishes_a_wrong_count_where_the_cosine_does_not():
    """Spikes 150 ms and more apart, kernel of 50 ms: doubling every spike is close to doubling the vector."""
    true = spikes([700, 1500, 2300])
    double = spikes([690, 710, 1490, 1510, 2290, 2310])
    scores = angular_separation(double, true)
    assert scores["cosine"] > 0.95
    assert scores["angular_separation"] == pytest.approx(0.5, abs=0.06)
    assert scores["spike_ratio"] == 2


def test_a_shift_costs_what_the_kernel_says():
    """Two Laplace kernels of width τ, shifted by s, overlap by (1 + s/τ) exp(-s/τ)."""
    scores = angular_separation(spikes([1000, 2500]), spikes([1030, 2530]))
    assert scores["angular_separation"] == pytest.approx((1 + 0.6) * np.exp(-0.6), abs=0.02)


def test_distances_are_zero_for_the_same_and_large_for_another():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20_000, 2))
    slow = np.cumsum(noise, axis=0)
    assert spectral_distance(noise, noise) == 0
    assert spectral_distance(slow, noise) > 0.8
    assert state_space_divergence(noise, noise) == 0
    assert state_space_divergence(noise + 1, noise) > 0.3
    assert state_space_divergence(noise + 20, noise) > state_space_divergence(noise + 1, noise)


def test_current_errors_by_hand():
    true = np.array([[1.0], [2.0], [3.0], [2.0]])
    scores = current_scores(true + 5, true)
    assert scores["correlation"] == pytest.approx(1)
    assert scores["nrmse"] == pytest.approx(5 / np.sqrt(0.5))
    assert scores["nrmse_shifted"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(current_scores(true * np.nan, true)["nrmse"])
