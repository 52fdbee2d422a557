"""Windows, their labels and their normalisation, against numbers worked out by hand."""

import numpy as np
import pytest
from neurotwin.contracts import Event, Recording
from neurotwin.datamodules.windows import Normaliser, WindowStore, ictal_fraction, window_starts, window_table


def recording(samples=100, rate=10.0, name="r", channels=1, **fields):
    signal = np.arange(channels * samples, dtype=np.float32).reshape(channels, samples)
    return Recording(signal, rate, tuple(f"c{i}" for i in range(channels)), name, **fields)


def test_window_starts_leave_out_the_tail():
    assert window_starts(10, 4, 3).tolist() == [0, 3, 6]
    assert window_starts(10, 4, 4).tolist() == [0, 4]
    assert window_starts(3, 4, 1).tolist() == []


@pytest.mark.parametrize(
    ("start", "fraction"),
    [(0.0, 0.0), (6.0, 0.0), (8.0, 0.5), (8.1, 0.525), (10.0, 1.0), (18.0, 1.0), (28.0, 0.5), (30.0, 0.0)],
)
def test_fraction_of_a_window_inside_one_seizure(start, fraction):
    # The seizure lasts from 10 s to 30 s; the windows at 10 s and 18 s lie wholly inside it.
    assert ictal_fraction(np.array([start]), 4.0, [Event(10.0, 20.0)])[0] == pytest.approx(fraction)


def test_overlapping_events_count_once_and_other_kinds_not_at_all():
    events = [Event(2.0, 2.0), Event(3.0, 3.0, "sz_foc_a"), Event(0.0, 100.0, "bckg"), Event(8.0, 1.0, "sz")]
    assert ictal_fraction(np.array([0.0]), 10.0, events)[0] == pytest.approx(0.5)


def test_windows_wholly_inside_a_seizure_are_ictal():
    """Labels by onset or end alone, as in a widely copied script, would call the windows in between background."""
    table = window_table([recording(400, events=[Event(6.0, 20.0)])], window=40, stride=40)
    # Windows of 4 s at 0, 4, 8 …: 4-8 s overlaps by half, 8-24 s wholly, 24-28 s by half.
    assert table["target"].tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_label_threshold_is_half_the_window():
    just_less = window_table([recording(40, events=[Event(2.001, 10.0)])], window=40, stride=40)
    half = window_table([recording(40, events=[Event(2.0, 10.0)])], window=40, stride=40)
    assert just_less["target"].tolist() == [0]
    assert half["target"].tolist() == [1]


def test_events_use_the_clock_of_the_recording():
    table = window_table([recording(80, start_s=100.0, events=[Event(104.0, 4.0)])], window=40, stride=40)
    assert table["target"].tolist() == [0, 1]
    assert table["start_s"].tolist() == [0.0, 4.0]


def test_codes_of_recordings_subjects_and_groups():
    recordings = [
        recording(40, name="a", subject="p1", group="g"),
        recording(40, name="b", subject="p1", group="g"),
        recording(40, name="c"),
        recording(40, name="d", subject="p2"),
    ]
    table = window_table(recordings, window=40, stride=40)
    assert table["recording"].tolist() == [0, 1, 2, 3]
    assert table["subject"].tolist() == [0, 0, -1, 1]
    assert table["group"].tolist() == [0, 0, 1, 2]


def test_dense_windows_come_last_and_leave_the_others_in_place():
    pair = [recording(100, name="a"), recording(100, name="b")]
    plain = window_table(pair, window=40, stride=40)
    both = window_table(pair, window=40, stride=40, dense_stride=20)
    assert both[~both["dense"]].equals(plain)
    assert both.loc[both["dense"], "start_sample"].tolist() == [20, 60, 20, 60]


def test_gather_cuts_the_right_samples():
    pair = [recording(100, name="a", channels=2), recording(100, name="b", channels=2)]
    store = WindowStore(pair, window_table(pair, window=40, stride=40), 40)
    windows = store.gather([3, 0])
    assert windows.shape == (2, 2, 40)
    assert windows[0, 1].tolist() == list(range(140, 180))
    assert windows[1, 0].tolist() == list(range(40))


def test_normaliser_scales_or_z_scores():
    signal = np.array([[[0.0, 2.0, 4.0, 6.0], [5.0, 5.0, 5.0, 5.0]]], dtype=np.float32)
    assert Normaliser(scale=2.0)(signal)[0, 0].tolist() == [0, 1, 2, 3]
    scored = Normaliser()(signal)
    assert scored[0].mean(axis=-1) == pytest.approx([0, 0], abs=1e-6)
    assert scored[0, 0].std() == pytest.approx(1)
    assert scored[0, 1].tolist() == [0, 0, 0, 0]
    assert scored.dtype == np.float32
