"""The sensitivity against false alarms of detectors whose alarms can be counted by hand."""

import numpy as np
import pytest
from neurotwin.metrics.alarm_curve import alarm_curve, alarm_scores, best_event_threshold

WINDOW_S = 60.0


def recordings(*probabilities, seizures=()):
    """Rows of recordings of ten-minute windows of background, with a seizure in the named (recording, window)."""
    rows = {name: [] for name in ("probability", "target", "recording", "start_s")}
    for recording, seizure in enumerate(probabilities):
        for window, value in enumerate(seizure):
            rows["probability"].append([1 - value, value])
            rows["target"].append(int((recording, window) in seizures))
            rows["recording"].append(recording)
            rows["start_s"].append(window * WINDOW_S)
    rows = {name: np.array(value) for name, value in rows.items()}
    n = len(rows["target"])
    constant = {"subject": 0, "threshold": 0.5, "merge_gap_s": 0.0, "min_duration_s": 0.0, "window": 0}
    return {**rows, "end_s": rows["start_s"] + WINDOW_S, **{k: np.full(n, v) for k, v in constant.items()}}


#: Half an hour each: a seizure above all background, one below a lonely false alarm ten minutes away.
FIRST = [0.1, 0.1, 0.1, 0.9, *[0.1] * 26]
SECOND = [0.1, 0.1, 0.1, 0.6, *[0.1] * 16, 0.7, *[0.1] * 9]
ROWS = recordings(FIRST, SECOND, seizures={(0, 3), (1, 3)})


def test_each_threshold_finds_and_cries_as_counted_by_hand():
    thresholds, alarms, sensitivity = alarm_curve(ROWS)
    found = dict(zip(thresholds.round(3), zip(alarms, sensitivity, strict=True), strict=True))
    assert found[0.7] == (24.0, 0.5)  # at 0.7 the first seizure, and one false alarm in an hour
    assert (alarms[0], sensitivity[0]) == (0.0, 0.5)  # at 0.9 only the first seizure
    assert (np.diff(thresholds) < 0).all()


def test_operating_points_hold_the_rate_of_false_alarms():
    scores = alarm_scores(recordings(FIRST, [*SECOND[:20], 0.3, *SECOND[21:]], seizures={(0, 3), (1, 3)}))
    assert scores == {f"event_sensitivity_at_{rate}_per_day": 1.0 for rate in (1, 10, 24)}
    # Here the second seizure, at 0.6, costs the alarm at 0.7: one an hour, which only the last point allows.
    costly = recordings(FIRST, [*SECOND[:5], 0.6, *SECOND[6:]], seizures={(0, 3), (1, 3)})
    assert alarm_scores(costly)["event_sensitivity_at_10_per_day"] == 0.5


def test_rows_that_are_no_continuous_recordings_have_no_curve():
    assert alarm_scores({name: value for name, value in ROWS.items() if name != "end_s"}) == {}


def test_without_a_seizure_the_sensitivity_is_unknown():
    assert np.isnan(alarm_scores(recordings(FIRST))["event_sensitivity_at_10_per_day"])


def test_a_detector_of_constant_probability_finds_all_or_nothing():
    _, alarms, sensitivity = alarm_curve(recordings([0.5] * 30, seizures={(0, 3)}))
    assert sensitivity.tolist() == [0.0, 1.0, 1.0]  # above the constant, at it, at zero
    assert alarms[0] == 0.0
    assert alarms[1] == pytest.approx(48 * 5)  # half an hour of alarm: 30 min in pieces of at most 5, one of them true


def test_the_threshold_of_best_f1_spares_the_alarm_that_costs_more_than_it_finds():
    # Below 0.7: both seizures and one false alarm, F1 4/5; above it: one seizure, F1 2/3.
    assert 0.1 < best_event_threshold(ROWS) < 0.6
    # Three lonely alarms at 0.7 turn it round: 4/7 against 2/3.
    costly = [*SECOND[:10], 0.7, *SECOND[11:20], 0.7, *SECOND[21:29], 0.7]
    assert 0.7 < best_event_threshold(recordings(FIRST, costly, seizures={(0, 3), (1, 3)})) < 0.9


def test_without_events_the_threshold_stays_in_the_middle():
    assert best_event_threshold(recordings(FIRST)) == 0.5
