from importlib.metadata import version

import numpy as np
import pytest
from neurotwin.contracts import Event
from neurotwin.metrics.seizure_events import (
    EventCounts,
    count_events,
    detect_events,
    detection_delays,
    spoken_intervals,
)
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring


def windows(n, window_s=4.0, step_s=4.0):
    start = np.arange(n) * step_s
    return start, start + window_s


def random_events(rng, duration_s, n):
    edges = np.sort(rng.uniform(0, duration_s, 2 * n)).round(1)
    return [Event(a, b - a) for a, b in edges.reshape(n, 2) if b > a]


def spans(events):
    return [(e.onset_s, e.onset_s + e.duration_s) for e in events]


def test_scorer_is_the_corrected_one():
    assert tuple(map(int, version("timescoring").split("."))) >= (0, 0, 7)
    silent = count_events([Event(100, 30)], [], duration_s=600)
    assert silent.f1 == 0
    assert np.isnan(silent.precision)
    assert silent.sensitivity == 0


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_timescoring_on_random_annotations(seed):
    rng = np.random.default_rng(seed)
    duration_s = float(rng.integers(600, 4000))
    truth, claim = (random_events(rng, duration_s, int(rng.integers(1, 8))) for _ in range(2))
    ours = count_events(truth, claim, duration_s)
    reference, hypothesis = (Annotation(spans(e), 10, round(duration_s * 10)) for e in (truth, claim))
    event = EventScoring(reference, hypothesis)
    sample = SampleScoring(reference, hypothesis)
    nan = {"nan_ok": True}
    assert ours.sensitivity == pytest.approx(event.sensitivity, **nan)
    assert ours.precision == pytest.approx(event.precision, **nan)
    assert ours.f1 == pytest.approx(event.f1, **nan)
    assert ours.false_alarms_per_day == pytest.approx(event.fpRate)
    assert ours.sample_sensitivity == pytest.approx(sample.sensitivity, **nan)
    assert ours.sample_precision == pytest.approx(sample.precision, **nan)
    assert ours.sample_f1 == pytest.approx(sample.f1, **nan)


def test_counts_by_hand():
    # Ten minutes: one seizure of 30 s found, one missed, one alarm far from both.
    truth = [Event(100, 30), Event(400, 20)]
    counts = count_events(truth, [Event(110, 10), Event(250, 10)], duration_s=600)
    assert (counts.reference, counts.found, counts.false) == (2, 1, 1)
    assert (counts.reference_s, counts.found_s, counts.false_s) == (50, 10, 10)
    assert counts.f1 == pytest.approx(0.5)
    assert counts.false_alarms_per_day == pytest.approx(144)


def test_counts_add_up_over_recordings():
    total = sum((EventCounts(2, 1, 1, 50, 10, 10, 600.0), EventCounts(1, 1, 0, 30, 30, 0, 300.0)), EventCounts())
    assert total == EventCounts(3, 2, 1, 80, 40, 10, 900.0)
    assert total.sensitivity == pytest.approx(2 / 3)


def test_nothing_to_say_is_undefined():
    assert np.isnan(EventCounts(duration_s=60.0).f1)


def test_events_outside_the_recording_are_clipped():
    counts = count_events([Event(-5, 10), Event(700, 10)], [], duration_s=600)
    assert counts.reference_s == 5


def test_windows_speak_for_their_last_step():
    start, end = windows(3, window_s=4, step_s=1)
    assert spoken_intervals(start, end).tolist() == [[0, 4], [4, 5], [5, 6]]
    start, end = windows(2, window_s=4, step_s=10)  # a gap is nobody's
    assert spoken_intervals(start, end).tolist() == [[0, 4], [10, 14]]


def test_events_join_merge_and_drop():
    start, end = windows(10, step_s=4)
    probability = np.array([0.1, 0.9, 0.7, 0.2, 0.8, 0.1, 0.1, 0.1, 0.6, 0.1])
    assert spans(detect_events(start, end, probability)) == [(4, 12), (16, 20), (32, 36)]
    assert spans(detect_events(start, end, probability, merge_gap_s=4)) == [(4, 20), (32, 36)]
    assert spans(detect_events(start, end, probability, merge_gap_s=4, min_duration_s=5)) == [(4, 20)]
    assert detect_events(start, end, probability)[0].confidence == pytest.approx(0.9)
    assert spans(detect_events(start, end, probability, threshold=0.75)) == [(4, 8), (16, 20)]
    assert detect_events(start, end, np.zeros(10)) == []


def test_delay_runs_from_the_onset_to_the_end_of_the_first_alarming_window():
    start, end = windows(60, window_s=4, step_s=1)
    probability = np.zeros(60)
    probability[20:23] = 1  # the windows that end at 24, 25 and 26 s

    def delay(onset_s, duration_s=30.0, **rule):
        detected = detect_events(start, end, probability, **rule)
        return detection_delays([Event(onset_s, duration_s)], detected, start, end, rule.get("min_duration_s", 0.0))[0]

    assert delay(18.5) == pytest.approx(5.5)
    assert delay(24.5) == pytest.approx(0.5)  # the alarm is on already
    assert np.isnan(delay(26.0))
    assert np.isnan(delay(5.0, duration_s=10.0))
    # The detection begins at 23 s and counts only once it has lasted 3 s.
    assert delay(18.5, min_duration_s=3.0) == pytest.approx(7.5)
    assert np.isnan(delay(18.5, min_duration_s=3.5))
