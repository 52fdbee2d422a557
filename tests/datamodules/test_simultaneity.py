"""Lag-tolerant cross-correlation and simultaneity groups: a direct sum, planted partners, the shipped Bonn groups."""

from __future__ import annotations

import numpy as np
import pytest
from neurotwin.datamodules.simultaneity import (
    circular_shift_null,
    max_abs_cross_correlation,
    peak_correlation,
    simultaneity_groups,
    standardise,
)
from neurotwin.errors import DataError

RATE_HZ = 128.0


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 1500))


def shifted(row: np.ndarray, lag: int) -> np.ndarray:
    return np.concatenate([np.zeros(lag), row[: len(row) - lag]])


def test_peak_correlation_is_the_largest_absolute_lagged_sum():
    generator = np.random.default_rng(1)
    left, right = generator.standard_normal((3, 40)), generator.standard_normal((2, 40))
    expected = np.zeros((3, 2))
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            full = np.correlate(x, y, mode="full") / 40
            expected[i, j] = np.abs(full[39 - 5 : 39 + 6]).max()
    np.testing.assert_allclose(peak_correlation(left, right, max_lag_samples=5), expected, rtol=1e-5)


def test_channels_share_one_lag():
    """Two channels whose best lags differ must not both be counted at their own best lag."""
    base = np.zeros((1, 2, 100), dtype=np.float32)
    other = base.copy()
    base[0, :, 50] = 10.0
    other[0, 0, 50], other[0, 1, 53] = 10.0, 10.0
    assert peak_correlation(base, other, max_lag_samples=5)[0, 0] == pytest.approx(100 / 200)


def test_a_delayed_inverted_partner_is_found_within_the_lag_and_not_beyond(noise):
    band_limited = standardise(noise, RATE_HZ)
    noise[4] = -3.0 * shifted(band_limited[0], 12) + 50.0
    correlation = max_abs_cross_correlation(noise, RATE_HZ, max_lag_samples=20)
    assert correlation.dtype == np.float32
    assert correlation[0, 4] > 0.9
    np.testing.assert_array_equal(correlation, correlation.T)
    np.testing.assert_allclose(correlation.diagonal(), 1.0, atol=1e-5)
    assert max_abs_cross_correlation(noise, RATE_HZ, max_lag_samples=8)[0, 4] < 0.3


def test_common_drift_and_hum_outside_the_band_are_no_partner(noise):
    seconds = np.arange(noise.shape[1]) / RATE_HZ
    noise += 10 * np.sin(2 * np.pi * 0.1 * seconds) + 3 * np.sin(2 * np.pi * 60 * seconds)
    correlation = max_abs_cross_correlation(noise, RATE_HZ)
    assert correlation[~np.eye(6, dtype=bool)].max() < 0.3


def test_a_flat_recording_correlates_with_nothing(noise):
    noise[2] = 7.0
    correlation = max_abs_cross_correlation(noise, RATE_HZ)
    assert correlation[2].max() == 0.0


def test_band_beyond_nyquist_becomes_a_high_pass(noise):
    np.testing.assert_allclose(standardise(noise, 60.0, (1.0, 40.0)), standardise(noise, 60.0, (1.0, 500.0)), atol=1e-6)


def test_groups_are_connected_components_numbered_by_first_member():
    correlation = np.eye(6)
    for i, j in ((0, 3), (3, 5), (1, 4)):
        correlation[i, j] = correlation[j, i] = 0.5
    correlation[2, 0] = correlation[0, 2] = 0.30
    assert simultaneity_groups(correlation, threshold=0.30).tolist() == [0, 1, 2, 0, 1, 0]


def test_null_maximum_separates_partners_from_strangers(noise):
    null = circular_shift_null(noise, RATE_HZ, repeats=5)
    assert null.shape == (5, 6)
    real = max_abs_cross_correlation(noise, RATE_HZ)
    assert real[~np.eye(6, dtype=bool)].max() < 1.5 * null.max() < 0.35
    np.testing.assert_array_equal(null, circular_shift_null(noise, RATE_HZ, repeats=5))
    noise[1] = noise[0]
    assert circular_shift_null(noise, RATE_HZ, repeats=5).max() < 0.35


def test_errors_name_the_cause(noise):
    broken = noise.copy()
    broken[3, 10] = np.nan
    with pytest.raises(DataError, match=r"1 of 6 signals hold NaN .* row 3"):
        standardise(broken, RATE_HZ)
    with pytest.raises(DataError, match=r"no pass band at 1\.5 Hz"):
        standardise(noise, 1.5)
    with pytest.raises(DataError, match="10 samples are too few"):
        standardise(noise[:, :10], RATE_HZ)
    with pytest.raises(DataError, match="no null distribution; at least 2 recordings of 164 samples"):
        circular_shift_null(noise[:, :120], RATE_HZ)
    with pytest.raises(DataError, match=r"\(40,\) cannot be correlated with signals of \(30,\)"):
        peak_correlation(np.zeros((2, 40)), np.zeros((2, 30)))


@pytest.mark.data
def test_bonn_gives_the_shipped_matrix_and_partition(data_root):
    archive = np.load(data_root / "eeg" / "bonn" / "bonn.npz")
    signals = np.concatenate([archive[letter] for letter in "ZONFS"])
    correlation = max_abs_cross_correlation(signals, float(archive["fs"]))
    np.fill_diagonal(correlation, archive["max_abs_xcorr"].diagonal() / 1000)
    np.testing.assert_allclose(correlation, archive["max_abs_xcorr"] / 1000, atol=6e-4)
    for threshold, name in ((0.30, "groups_t030"), (0.40, "groups_t040"), (0.50, "groups_t050")):
        ours = simultaneity_groups(correlation, threshold)
        assert len(set(zip(ours, archive[name], strict=True))) == len(set(ours)) == len(set(archive[name])), name
