"""Seizures as events: from window probabilities to detections, and SzCORE scores of detections.

Scoring is ``timescoring``'s (Dan et al. 2025, SzCORE): an event counts as found when a detection overlaps it, widened
by 30 s before and 60 s after; events closer than 90 s are merged, longer than 300 s split. Versions before 0.0.7 gave
a silent detector an undefined F1, which averages then dropped; here and since, it is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from ..contracts import Event

#: Grid on which annotations are laid before scoring, the one that ``timescoring`` itself uses for events.
GRID_HZ = 10
SECONDS_PER_DAY = 86400.0


def spoken_intervals(start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """The stretch of time for which each window speaks when decisions are causal.

    A window's decision exists once its last sample is there. It therefore stands for the time since the previous
    window's end: for the last step of an overlapping window, for all of a window that overlaps none.

    Args:
        start_s: First sample of each window, ``(window,)``, s, rising.
        end_s: End of each window, ``(window,)``, s, rising.

    Returns:
        ``(window, 2)``: from, to, s.
    """
    previous_end = np.concatenate([[-np.inf], end_s[:-1]])
    return np.stack([np.maximum(start_s, previous_end), end_s], axis=1)


def detect_events(
    start_s: np.ndarray,
    end_s: np.ndarray,
    probability: np.ndarray,
    threshold: float = 0.5,
    merge_gap_s: float = 0.0,
    min_duration_s: float = 0.0,
) -> list[Event]:
    """Turn the windows of one recording into detected events.

    Neighbouring windows at or above the threshold join; then gaps of at most ``merge_gap_s`` are closed; then events
    shorter than ``min_duration_s`` are dropped. An event's confidence is the highest probability in it.

    Args:
        start_s: First sample of each window, ``(window,)``, s, rising.
        end_s: End of each window, ``(window,)``, s, rising.
        probability: Probability of a seizure, ``(window,)``.
        threshold: Lowest probability that raises an alarm.
        merge_gap_s: Longest silence inside one event, s.
        min_duration_s: Shortest event kept, s.
    """
    intervals = spoken_intervals(start_s, end_s)
    runs: list[list[float]] = []
    for (begin, end), value in zip(intervals, probability, strict=True):
        if value < threshold:
            continue
        if runs and begin - runs[-1][1] <= merge_gap_s + 1e-9:
            runs[-1] = [runs[-1][0], end, max(runs[-1][2], value)]
        else:
            runs.append([begin, end, value])
    return [
        Event(float(begin), float(end - begin), "sz", float(confidence))
        for begin, end, confidence in runs
        if end - begin >= min_duration_s - 1e-9
    ]


@dataclass(frozen=True)
class EventCounts:
    """What event and sample scores are made of; recordings, subjects and folds add up.

    Attributes:
        reference: True events.
        found: True events with a detection.
        false: Detections without a true event.
        reference_s: Seconds of seizure, of ``duration_s`` on a 1 Hz grid.
        found_s: Seconds of seizure that were detected.
        false_s: Seconds detected that are no seizure.
        duration_s: Length of what was scored, s.
    """

    reference: int = 0
    found: int = 0
    false: int = 0
    reference_s: int = 0
    found_s: int = 0
    false_s: int = 0
    duration_s: float = 0.0

    def __add__(self, other: EventCounts) -> EventCounts:
        return EventCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def sensitivity(self) -> float:
        """Share of true events found; NaN without true events."""
        return _ratio(self.found, self.reference)

    @property
    def precision(self) -> float:
        """Share of found events among found and false; NaN for a silent detector."""
        return _ratio(self.found, self.found + self.false)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 0 for a detector that is silent over seizures, NaN if there was nothing to say."""
        return _ratio(2 * self.found, self.found + self.false + self.reference)

    @property
    def false_alarms_per_day(self) -> float:
        """False detections in 24 h."""
        return _ratio(self.false * SECONDS_PER_DAY, self.duration_s)

    @property
    def sample_sensitivity(self) -> float:
        """Share of seizure seconds detected."""
        return _ratio(self.found_s, self.reference_s)

    @property
    def sample_precision(self) -> float:
        """Share of detected seconds that are seizure."""
        return _ratio(self.found_s, self.found_s + self.false_s)

    @property
    def sample_f1(self) -> float:
        """F1 of seconds."""
        return _ratio(2 * self.found_s, self.found_s + self.false_s + self.reference_s)


def count_events(reference: Iterable[Event], detected: Iterable[Event], duration_s: float) -> EventCounts:
    """Score one recording by SzCORE's rules.

    Args:
        reference: True events; onsets in s from the recording's start.
        detected: Detections on the same clock.
        duration_s: Length of the recording, s.
    """
    truth, claim = (_annotation(events, duration_s) for events in (reference, detected))
    event = EventScoring(truth, claim, EventScoring.Parameters())
    sample = SampleScoring(truth, claim, fs=1)
    return EventCounts(
        reference=int(event.refTrue),
        found=int(event.tp),
        false=int(event.fp),
        reference_s=int(sample.refTrue),
        found_s=int(sample.tp),
        false_s=int(sample.fp),
        duration_s=float(duration_s),
    )


def detection_delays(
    reference: Sequence[Event],
    detected: Iterable[Event],
    start_s: np.ndarray,
    end_s: np.ndarray,
    min_duration_s: float = 0.0,
) -> np.ndarray:
    """Seconds from each onset to the first alarm of the seizure, ``(event,)``; NaN where there was none.

    A window speaks when it is complete, so one window length is the least delay if windows start at the onset; and a
    detection that must last ``min_duration_s`` is known no sooner than that.

    Args:
        reference: True events.
        detected: What :func:`detect_events` made of the windows.
        start_s: First sample of each window, ``(window,)``, s, rising.
        end_s: End of each window, ``(window,)``, s, rising.
        min_duration_s: Shortest event that :func:`detect_events` kept, s.
    """
    intervals = spoken_intervals(start_s, end_s)
    known_s = np.full(len(intervals), np.inf)
    for event in detected:
        inside = (intervals[:, 0] >= event.onset_s - 1e-9) & (intervals[:, 1] <= _end(event) + 1e-9)
        known_s[inside] = np.maximum(intervals[inside, 1], event.onset_s + min_duration_s)
    delays = np.full(len(reference), np.nan)
    for row, event in enumerate(reference):
        alarms = known_s[(intervals[:, 1] > event.onset_s) & (intervals[:, 0] < _end(event))]
        if np.isfinite(alarms).any():
            delays[row] = alarms.min() - event.onset_s
    return delays


def _end(event: Event) -> float:
    return event.onset_s + event.duration_s


def _annotation(events: Iterable[Event], duration_s: float) -> Annotation:
    # A negative index would wrap around in the scorer's mask, so events are clipped to the recording.
    spans = sorted(
        (max(0.0, event.onset_s), min(duration_s, _end(event)))
        for event in events
        if event.onset_s < duration_s and _end(event) > 0
    )
    return Annotation(spans, GRID_HZ, max(1, round(duration_s * GRID_HZ)))


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
