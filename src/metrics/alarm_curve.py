"""What a detector finds against how often it cries wolf: event sensitivity over false alarms a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..contracts import Event
from .seizure_events import EventCounts, count_events, detect_events

#: False alarms a day at which sensitivity is reported: a patient's diary, a ward, one an hour.
ALARM_RATES = (1, 10, 24)


class ScoredRecording(NamedTuple):
    """The windows of one continuous recording, in the order of time.

    Attributes:
        subject: Code of the person; -1 where it was not released.
        truth: True events, s from the first window.
        start_s: First sample of each window, ``(window,)``, s from the first window.
        end_s: End of each window, ``(window,)``, s.
        probability: Probability of a seizure, ``(window,)``.
        threshold: Lowest probability that raises an alarm.
        merge_gap_s: See :func:`~.seizure_events.detect_events`.
        min_duration_s: See :func:`~.seizure_events.detect_events`.
    """

    subject: int
    truth: list[Event]
    start_s: np.ndarray
    end_s: np.ndarray
    probability: np.ndarray
    threshold: float
    merge_gap_s: float
    min_duration_s: float

    def detect(self, threshold: float | None = None) -> list[Event]:
        """Detections at the recording's own threshold, or at another."""
        level = self.threshold if threshold is None else threshold
        return detect_events(self.start_s, self.end_s, self.probability, level, self.merge_gap_s, self.min_duration_s)

    def event_counts(self, threshold: float | None = None) -> EventCounts:
        """SzCORE's counts of :meth:`detect`."""
        return count_events(self.truth, self.detect(threshold), float(self.end_s[-1]))


def scored_recordings(rows: Mapping[str, np.ndarray]) -> Iterator[ScoredRecording]:
    """The recordings of prediction rows, as :func:`~.seizure_scores.score_rows` takes them."""
    seizure, target = rows["probability"][:, -1].astype(np.float64), rows["target"]
    last = rows["probability"].shape[1] - 1
    for recording in np.unique(rows["recording"]):
        at = np.flatnonzero(rows["recording"] == recording)
        at = at[np.argsort(rows["start_s"][at], kind="stable")]
        begin = rows["start_s"][at[0]]
        start, end = rows["start_s"][at] - begin, rows["end_s"][at] - begin
        truth = detect_events(start, end, (target[at] == last).astype(float))
        rule = (float(rows[name][at[0]]) for name in ("threshold", "merge_gap_s", "min_duration_s"))
        yield ScoredRecording(int(rows["subject"][at[0]]), truth, start, end, seizure[at], *rule)


def alarm_curve(rows: Mapping[str, np.ndarray], points: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Event sensitivity and false alarms a day at many thresholds, one threshold for all recordings.

    The thresholds are quantiles of the probabilities of background and of seizure windows, the rarest first, so that
    each step of the curve lets about as many more windows raise an alarm as the one before, in proportion.

    Args:
        rows: As :func:`~.seizure_scores.score_rows` takes them, of continuous recordings.
        points: Quantiles of each kind of window at most.

    Returns:
        Thresholds, falling, ``(n,)``; false alarms a day, ``(n,)``; sensitivity, ``(n,)``, NaN without events.
    """
    recordings = list(scored_recordings(rows))
    thresholds = _thresholds(rows, points)
    rates = np.array([_rates(recordings, float(level)) for level in thresholds])
    return thresholds, rates[:, 0], rates[:, 1]


def alarm_scores(rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """``event_sensitivity_at_<n>_per_day``: best sensitivity with at most n false alarms a day, n of 1, 10 and 24.

    The threshold is chosen on the scored recordings themselves: these are points of a curve, for comparing detectors,
    and not what a detector with a fixed threshold reaches. Nothing where recordings are not continuous.
    """
    if "end_s" not in rows:
        return {}
    _, alarms, sensitivity = alarm_curve(rows)
    return {
        f"event_sensitivity_at_{rate}_per_day": float(np.max(sensitivity[alarms <= rate], initial=0.0))
        for rate in ALARM_RATES
    }


def best_event_threshold(rows: Mapping[str, np.ndarray], points: int = 40) -> float:
    """Threshold with the best F1 over events by SzCORE's rules, midway to the next lower one tried.

    Args:
        rows: As :func:`alarm_curve` takes them, of validation recordings.
        points: Thresholds tried, as there.

    Returns:
        0.5 if the recordings hold no event.
    """
    recordings = list(scored_recordings(rows))
    levels = _thresholds(rows, points)
    counts = [sum((r.event_counts(float(level)) for r in recordings), EventCounts()) for level in levels[:-1]]
    f1 = np.array([count.f1 for count in counts])
    if not counts[0].reference:
        return 0.5
    best = int(np.argmax(f1))
    return float((levels[best] + levels[best + 1]) / 2)


def _thresholds(rows: Mapping[str, np.ndarray], points: int) -> np.ndarray:
    """Falling quantiles of the probabilities of background and of seizure, and one above all background."""
    seizure = rows["target"] == rows["probability"].shape[1] - 1
    levels = [np.zeros(1)]
    for part in (~seizure, seizure):
        ranked = np.sort(rows["probability"][part, -1])[::-1]
        if len(ranked):
            levels.append(ranked[np.unique(np.geomspace(1, len(ranked), points).astype(int)) - 1])
    if not seizure.all():
        levels.append(np.nextafter(levels[1][:1], np.inf))  # no background window raises an alarm
    return np.unique(np.concatenate(levels).astype(np.float64))[::-1]


def _rates(recordings: list[ScoredRecording], threshold: float) -> tuple[float, float]:
    total = sum((recording.event_counts(threshold) for recording in recordings), EventCounts())
    return total.false_alarms_per_day, total.sensitivity
