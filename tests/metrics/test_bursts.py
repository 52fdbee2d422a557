"""Rhythm of square bursts, coincidence of known spikes, and the time to a slip, against hand-made traces."""

import numpy as np
import pytest
from neurotwin.metrics.bursts import rhythm, rhythm_errors, spike_coincidence, valid_time

RATE = 1000.0


def bursting(period_s, duty, phase, seconds=30.0):
    time = np.arange(round(seconds * RATE)) / RATE
    up = [((time / period_s - shift) % 1 < duty) for shift in (0.1, 0.1 + phase)]
    return -55 + 20 * np.stack(up, axis=1).astype(float)


def spikes(times_s, seconds=10.0):
    """Bumps of 20 mV and 5 ms, two neurons alike."""
    time = np.arange(round(seconds * RATE)) / RATE
    trace = -50 + sum(20 * np.exp(-0.5 * ((time - t) / 0.005) ** 2) for t in times_s)
    return np.stack([trace, trace], axis=1)


def test_rhythm_of_square_bursts():
    found = rhythm(bursting(4.0, 0.3, 0.5), RATE)
    assert found.period_s == pytest.approx(4.0, abs=0.01)
    assert found.duty_cycle == pytest.approx(0.3, abs=0.01)
    assert found.phase == pytest.approx(0.5, abs=0.01)


def test_phase_is_averaged_on_the_circle():
    assert rhythm(bursting(4.0, 0.3, 0.98), RATE).phase == pytest.approx(0.98, abs=0.01)


def test_errors_of_a_rhythm():
    found = rhythm_errors(bursting(5.0, 0.4, 0.05), bursting(4.0, 0.3, 0.95), RATE)
    assert found["period_error"] == pytest.approx(0.25, abs=0.01)
    assert found["duty_error"] == pytest.approx(0.1, abs=0.01)
    assert found["phase_error"] == pytest.approx(0.1, abs=0.02)


def test_a_silent_run_has_no_rhythm():
    flat = np.full((30_000, 2), -50.0)
    assert np.isnan(rhythm_errors(flat, bursting(4.0, 0.3, 0.5), RATE)["period_error"])


def test_coincidence_of_spikes():
    times = np.arange(1.0, 9.0, 0.5)
    assert spike_coincidence(spikes(times), spikes(times), RATE) == pytest.approx(1.0)
    assert spike_coincidence(spikes(times + 0.1), spikes(times), RATE) == pytest.approx(-0.04 / 0.968, abs=0.02)
    half = spike_coincidence(spikes(times[::2]), spikes(times), RATE)
    assert half == pytest.approx((8 - 2 * 0.8 * 0.01 * 16) / 12 / (1 - 0.016), abs=0.01)
    assert spike_coincidence(np.full((10_000, 2), np.nan), spikes(times), RATE) == 0.0


def test_valid_time_ends_where_the_slow_waves_part():
    recorded = bursting(4.0, 0.5, 0.5)
    slipped = recorded.copy()
    slipped[20_000:] = recorded[20_000:, ::-1]
    assert valid_time(slipped, recorded, RATE) == pytest.approx(20.0, abs=0.2)
    assert valid_time(recorded, recorded, RATE) == 30.0
    slipped[5_000:] = np.nan
    assert valid_time(slipped, recorded, RATE) < 5.2
