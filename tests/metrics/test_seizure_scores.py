import re

import numpy as np
import pytest
from neurotwin.errors import NeurotwinError
from neurotwin.metrics.seizure_scores import auroc, decide, score_rows
from sklearn.metrics import roc_auc_score


def rows_of(seizure, target, recording=None, subject=None, threshold=0.5, **rule):
    """Two-class rows; with ``window_s`` the recordings are continuous and windows follow each other."""
    seizure, target = np.asarray(seizure, dtype=float), np.asarray(target)
    n = len(target)
    recording = np.zeros(n, dtype=int) if recording is None else np.asarray(recording)
    position = np.array([np.count_nonzero(recording[:i] == r) for i, r in enumerate(recording)])
    window_s = rule.pop("window_s", None)
    rows = {
        "probability": np.stack([1 - seizure, seizure], axis=1),
        "target": target,
        "window": np.arange(n),
        "recording": recording,
        "subject": np.full(n, -1) if subject is None else np.asarray(subject),
        "start_s": position * float(window_s or 4.0),
        "threshold": np.broadcast_to(threshold, n).astype(float),
    }
    if window_s:
        rows["end_s"] = rows["start_s"] + window_s
        rows["merge_gap_s"] = np.full(n, rule.get("merge_gap_s", 0.0))
        rows["min_duration_s"] = np.full(n, rule.get("min_duration_s", 0.0))
    return rows


def test_window_scores_by_hand():
    scores = score_rows(rows_of([0.9, 0.6, 0.4, 0.8, 0.1, 0.2, 0.3, 0.1], [1, 1, 1, 0, 0, 0, 0, 0]))
    assert scores["accuracy"] == pytest.approx(6 / 8)
    assert scores["sensitivity"] == scores["recall_1"] == pytest.approx(2 / 3)
    assert scores["specificity"] == scores["recall_0"] == pytest.approx(4 / 5)
    assert scores["balanced_accuracy"] == scores["specificity_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["f1_macro"] == pytest.approx((2 * 4 / (2 * 4 + 1 + 1) + 2 * 2 / (2 * 2 + 1 + 1)) / 2)
    assert scores["auroc"] == pytest.approx(13 / 15)  # of 15 pairs, .8 beats .6 and .4
    assert scores["windows"] == 8
    assert "subject_auroc_mean" not in scores
    assert "event_f1" not in scores
    assert "recording_accuracy" not in scores  # the one recording holds both classes


def test_each_row_is_judged_by_its_own_threshold():
    pooled = rows_of([0.3, 0.3, 0.3, 0.3], [1, 1, 0, 0], threshold=np.array([0.2, 0.9, 0.2, 0.9]))
    assert score_rows(pooled)["accuracy"] == pytest.approx(0.5)
    assert decide(np.array([[0.2, 0.35, 0.45]]), 0.9).tolist() == [2]  # more than two classes: the most probable


def test_recordings_are_judged_by_their_mean_probability():
    # Recording 1 is right on average although two of its three windows are wrong.
    scores = score_rows(rows_of([0.1, 0.2, 0.45, 0.45, 0.9], [0, 0, 1, 1, 1], recording=[0, 0, 1, 1, 1]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["recording_accuracy"] == scores["recording_sensitivity"] == scores["recording_specificity"] == 1
    assert scores["recordings"] == 2


def test_subjects_count_where_they_have_both_classes():
    seizure = [0.9, 0.1, 0.2, 0.8, 0.6, 0.5, 0.7, 0.4]
    target = [1, 0, 1, 0, 1, 1, 0, 1]
    scores = score_rows(rows_of(seizure, target, subject=[0, 0, 1, 1, 2, 2, -1, -1]))
    # Subject 0 is ranked rightly, subject 1 wrongly; subject 2 has seizures only; the last is unknown.
    assert scores["subject_auroc_mean"] == pytest.approx(0.5)
    assert scores["subject_auroc_worst"] == pytest.approx(0.0)
    assert scores["subjects"] == 2


def test_area_of_several_classes_is_one_against_rest():
    rng = np.random.default_rng(0)
    probability, target = rng.dirichlet(np.ones(5), 300), rng.integers(0, 5, 300)
    assert auroc(probability, target) == pytest.approx(roc_auc_score(target, probability, multi_class="ovr"))
    assert np.isnan(auroc(probability, np.zeros(300, dtype=int)))


def test_event_scores_by_hand():
    # Two recordings of 400 windows of 4 s. Subject 0: seizure at 400 s found after one window; false alarm at 1200 s.
    # Subject 1: seizure at 400 s, never an alarm.
    target = np.zeros(800, dtype=int)
    target[100:110] = target[500:510] = 1
    seizure = np.zeros(800)
    seizure[101:110] = seizure[300] = 0.8
    which = np.repeat([0, 1], 400)
    scores = score_rows(rows_of(seizure, target, which, which, window_s=4.0))
    assert scores["events"] == 2
    assert scores["event_hours"] == pytest.approx(3200 / 3600)
    assert scores["event_sensitivity"] == scores["event_precision"] == scores["event_f1"] == pytest.approx(0.5)
    assert scores["event_false_alarms_per_day"] == pytest.approx(86400 / 3200)
    assert scores["event_delay_median_s"] == pytest.approx(8.0)
    assert scores["event_delayed"] == 1
    # Inside subjects: sensitivities 1 and 0, precision 1/2 and undefined, F1 2/3 and 0 for the silent one.
    assert scores["event_subject_sensitivity"] == pytest.approx(0.5)
    assert scores["event_subject_precision"] == pytest.approx(0.5)
    assert scores["event_subject_f1"] == pytest.approx(1 / 3)
    assert scores["sample_sensitivity"] == pytest.approx(36 / 80)
    assert scores["sample_precision"] == pytest.approx(36 / 40)


def test_event_rule_travels_in_the_rows():
    target = np.zeros(400, dtype=int)
    target[100:110] = 1
    seizure = np.zeros(400)
    seizure[100:110] = seizure[300] = 0.8
    kept = score_rows(rows_of(seizure, target, window_s=4.0))
    dropped = score_rows(rows_of(seizure, target, window_s=4.0, min_duration_s=10.0))
    assert kept["event_precision"] == pytest.approx(0.5)
    assert dropped["event_precision"] == 1
    assert dropped["event_delay_median_s"] == pytest.approx(10.0)


def test_scores_do_not_depend_on_row_order():
    rng = np.random.default_rng(1)
    which = np.repeat(np.arange(6), 100)
    rows = rows_of(rng.uniform(size=600), (rng.uniform(size=600) < 0.3).astype(int), which, which // 2, window_s=4.0)
    order = rng.permutation(600)
    assert score_rows({name: value[order] for name, value in rows.items()}) == pytest.approx(score_rows(rows))


def test_every_score_is_documented():
    which = np.repeat([0, 1], 20)
    rows = rows_of(np.linspace(0, 1, 40), np.tile([0, 1], 20), which, which, window_s=4.0)
    single = rows_of([0.1, 0.9], [0, 1], recording=[0, 1])
    documented = set(re.findall(r"``(\w+)``", score_rows.__doc__.replace("recall_<k>", "recall_0``, ``recall_1")))
    assert set(score_rows(rows)) | set(score_rows(single)) <= documented


def test_a_diverged_model_is_named():
    with pytest.raises(NeurotwinError, match="1 of 2 windows have no finite probability: the model diverged"):
        score_rows(rows_of([0.1, float("nan")], [0, 1]))
