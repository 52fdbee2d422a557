"""Every number that a seizure classifier is judged by, from prediction rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

from ..errors import NeurotwinError
from .alarm_curve import scored_recordings
from .calibration import area_under_risk_coverage, brier_score, expected_calibration_error
from .seizure_events import EventCounts, count_events, detection_delays

Rows = Mapping[str, np.ndarray]


def decide(probability: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """Classes from probabilities: two classes by the threshold on the last one, more by the most probable.

    Args:
        probability: ``(item, class)``.
        threshold: Lowest probability of class 1 that counts as class 1, ``(item,)`` or one for all.
    """
    if probability.shape[1] == 2:
        return (probability[:, 1] >= threshold).astype(np.int64)
    return probability.argmax(axis=1)


def best_threshold(probability: np.ndarray, target: np.ndarray) -> float:
    """Threshold with the largest sensitivity + specificity (Youden 1950), midway between the scores it separates.

    Args:
        probability: Probability of class 1, ``(item,)``.
        target: 0 or 1, ``(item,)``.

    Returns:
        0.5 if only one class is present, or if no threshold is better than chance.
    """
    if len(np.unique(target)) < 2:
        return 0.5
    false_rate, true_rate, thresholds = roc_curve(target, probability, drop_intermediate=False)
    thresholds = np.append(np.clip(thresholds, 0.0, 1.0), 0.0)
    best = int(np.argmax(true_rate - false_rate))
    if true_rate[best] <= false_rate[best]:
        return 0.5
    return float((thresholds[best] + thresholds[best + 1]) / 2)


def auroc(probability: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve; the mean of one-against-rest over the classes present where there are more than two.

    Args:
        probability: ``(item, class)``.
        target: True class, ``(item,)``.

    Returns:
        NaN if only one class is present.
    """
    classes = np.unique(target)
    if len(classes) < 2:
        return float("nan")
    if probability.shape[1] == 2:
        return float(roc_auc_score(target, probability[:, 1]))
    return float(np.mean([roc_auc_score(target == k, probability[:, k]) for k in classes]))


def require_finite(probability: np.ndarray) -> None:
    """Refuse the output of a model that has diverged.

    Raises:
        NeurotwinError: If a probability is NaN.
    """
    broken = np.count_nonzero(~np.isfinite(probability).all(axis=1))
    if broken:
        raise NeurotwinError(
            f"{broken} of {len(probability)} windows have no finite probability: the model diverged; "
            "lower optimizer.lr, set trainer.gradient_clip_val=1, or check the data for NaN"
        )


def score_rows(rows: Rows) -> dict[str, float]:
    """Score the rows of one fold, or of all folds concatenated.

    The **seizure** is the last class. Decisions are taken as :func:`decide` takes them, with the threshold that each
    row brings along (chosen on its fold's validation data). A score that has no meaning on the data is left out; one
    that is undefined on these rows is NaN.

    Windows:

    - ``accuracy``, ``balanced_accuracy``: share classified correctly; mean recall of the classes present.
    - ``sensitivity``, ``specificity``: of the seizure class against the rest.
    - ``specificity_macro``, ``f1_macro``: means over the classes present.
    - ``recall_<k>``: recall of class k.
    - ``auroc``: area under the ROC curve, the mean of one-against-rest for more than two classes.
    - ``ece``, ``brier``, ``aurc``: calibration error (15 bins), Brier score, area under the risk-coverage curve.
    - ``windows``: their number.

    Recordings, judged by the mean probability of their windows, where every recording has one class:

    - ``recording_accuracy``, ``recording_balanced_accuracy``, ``recording_sensitivity``, ``recording_specificity``.
    - ``recordings``: their number.

    Subjects who have both classes, where there are two or more:

    - ``subject_auroc_mean``, ``subject_auroc_worst``: of the areas inside the subjects.
    - ``subjects``: their number.

    Events and samples at 1 Hz in continuous recordings by SzCORE's rules, from counts pooled over all recordings:

    - ``event_sensitivity``, ``event_precision``, ``event_f1``, ``event_false_alarms_per_day``.
    - ``sample_sensitivity``, ``sample_precision``, ``sample_f1``.
    - ``events``, ``event_hours``: true events after SzCORE's merging and splitting; hours scored.
    - ``event_delay_median_s``, ``event_delayed``: median time from the onset to the end of the first alarming window,
      and the number of seizures, those with an alarm while they lasted, over which it is taken.

    The same inside each subject, then averaged over subjects, where there are two or more:

    - ``event_subject_sensitivity``, ``event_subject_precision``, ``event_subject_f1``,
      ``event_subject_false_alarms_per_day``. Undefined values are left out, as SzCORE does: a subject without seizure
      has no sensitivity, one without alarm no precision (so that mean is over alarming subjects). A silent subject
      who had seizures is not left out of F1: it counts 0.

    True events are the runs of ictal windows, so onsets and ends are known to the window's step. Event scores need
    folds by recording or group: a split by window tears recordings apart. False alarms per day are per day *of what
    was recorded*: on CHB-MIT clips, which hold seizures and the minute after them but no interictal EEG, they count
    alarms in post-ictal minutes and say nothing about a day of a patient's life. SzCORE's tolerances (30 s before, 60 s
    after) forgive most alarms of such a clip: compare with a detector that is never silent before reading much into
    its event scores.

    Args:
        rows: Arrays of equal first dimension: ``probability`` ``(row, class)``, ``target``, ``recording``,
            ``subject`` (-1: not released), ``start_s``, ``threshold``; of continuous recordings also ``end_s``,
            ``merge_gap_s`` and ``min_duration_s``, the rule that makes events of windows.

    Raises:
        NeurotwinError: If a probability is not finite.
    """
    probability, target = np.asarray(rows["probability"], dtype=np.float64), rows["target"]
    require_finite(probability)
    scores = _class_scores(target, decide(probability, rows["threshold"]), probability.shape[1])
    scores["auroc"] = auroc(probability, target)
    scores["ece"] = expected_calibration_error(probability, target)
    scores["brier"] = brier_score(probability, target)
    scores["aurc"] = area_under_risk_coverage(probability, target)
    scores["windows"] = float(len(target))
    scores.update(_recording_scores(rows, probability))
    scores.update(_subject_scores(rows, probability))
    if "end_s" in rows:
        scores.update(_event_scores(rows))
    return scores


def _class_scores(target: np.ndarray, decision: np.ndarray, classes: int) -> dict[str, float]:
    present = np.unique(target)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (target, decision), 1)
    hits, actual, claimed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall = hits / actual
        specificity = 1 - (claimed - hits) / (len(target) - actual)
    return {
        "accuracy": float(hits.sum() / len(target)),
        "balanced_accuracy": float(recall[present].mean()),
        "sensitivity": float(recall[-1]),
        "specificity": float(specificity[-1]),
        "specificity_macro": float(specificity[present].mean()),
        "f1_macro": float(f1_score(target, decision, labels=present, average="macro", zero_division=0)),
        **{f"recall_{k}": float(recall[k]) for k in range(classes)},
    }


def _recording_scores(rows: Rows, probability: np.ndarray) -> dict[str, float]:
    names, index = np.unique(rows["recording"], return_inverse=True)
    target = np.zeros(len(names), dtype=np.int64)
    target[index] = rows["target"]
    if not np.array_equal(target[index], rows["target"]):
        return {}
    count = np.bincount(index)
    mean = np.stack([np.bincount(index, weights=column) for column in probability.T], axis=1) / count[:, None]
    threshold = np.bincount(index, weights=rows["threshold"]) / count
    scores = _class_scores(target, decide(mean, threshold), probability.shape[1])
    kept = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
    return {f"recording_{name}": scores[name] for name in kept} | {"recordings": float(len(names))}


def _subject_scores(rows: Rows, probability: np.ndarray) -> dict[str, float]:
    values = np.array([auroc(probability[at], rows["target"][at]) for _, at in _groups(rows["subject"])])
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return {}
    return {
        "subject_auroc_mean": float(values.mean()),
        "subject_auroc_worst": float(values.min()),
        "subjects": float(len(values)),
    }


def _event_scores(rows: Rows) -> dict[str, float]:
    by_subject: dict[int, EventCounts] = {}
    total, delays = EventCounts(), []
    for recording in scored_recordings(rows):
        detected = recording.detect()
        counts = count_events(recording.truth, detected, float(recording.end_s[-1]))
        by_subject[recording.subject] = by_subject.get(recording.subject, EventCounts()) + counts
        total += counts
        delays.append(
            detection_delays(recording.truth, detected, recording.start_s, recording.end_s, recording.min_duration_s)
        )
    delay = np.concatenate(delays)
    delay = delay[np.isfinite(delay)]
    scores = {
        "event_sensitivity": total.sensitivity,
        "event_precision": total.precision,
        "event_f1": total.f1,
        "event_false_alarms_per_day": total.false_alarms_per_day,
        "events": float(total.reference),
        "event_hours": total.duration_s / 3600,
        "event_delay_median_s": float(np.median(delay)) if len(delay) else float("nan"),
        "event_delayed": float(len(delay)),
        "sample_sensitivity": total.sample_sensitivity,
        "sample_precision": total.sample_precision,
        "sample_f1": total.sample_f1,
    }
    known = [counts for subject, counts in by_subject.items() if subject >= 0]
    if len(known) > 1:
        for name in ("sensitivity", "precision", "f1", "false_alarms_per_day"):
            values = np.array([getattr(counts, name) for counts in known])
            values = values[np.isfinite(values)]
            scores[f"event_subject_{name}"] = float(values.mean()) if len(values) else float("nan")
    return scores


def _groups(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each label of at least 0 with the rows that bear it."""
    for label in np.unique(labels[labels >= 0]):
        yield int(label), np.flatnonzero(labels == label)
