"""Interactive figures show the numbers that they are given."""

import numpy as np
import pytest
from neurotwin.metrics.alarm_curve import alarm_curve
from neurotwin.tasks.assimilation_plots import drug_plots
from neurotwin.tasks.seizure_figures import median_recording, ranked_recordings
from neurotwin.tasks.seizure_plots import alarm_plot

DOSES = np.array([0.5, 2.0, 8.0, 30.0])


def half_hours(*detected):
    """Recordings of half an hour in windows of a minute; the fourth window is a seizure, seen with this probability."""
    n = 30 * len(detected)
    probability = np.full(n, 0.1)
    probability[3::30] = detected
    probability[20] = 0.5  # one false alarm
    start = np.tile(60.0 * np.arange(30), len(detected))
    return {
        "probability": np.stack([1 - probability, probability], 1),
        "target": (np.arange(n) % 30 == 3).astype(int),
        **{name: np.repeat(np.arange(len(detected)), 30) for name in ("recording", "subject")},
        **{"start_s": start, "end_s": start + 60.0, "window": np.arange(n)},
        **{"threshold": np.full(n, 0.4), "merge_gap_s": np.zeros(n), "min_duration_s": np.zeros(n)},
    }


def test_the_slider_of_the_alarm_curve_starts_at_the_validated_threshold_and_moves_the_ring():
    rows = half_hours(0.9, 0.3)
    figure = alarm_plot(rows)
    thresholds, alarms, sensitivity = alarm_curve(rows)
    slider = figure.layout.sliders[0]
    assert abs(thresholds[slider.active] - 0.4) == np.abs(thresholds - 0.4).min()
    (last,) = figure.frames[-1].data
    assert (last.x[0], last.y[0]) == (alarms[-1], sensitivity[-1])
    assert np.all(np.diff(figure.data[0].y) >= 0), "more alarms never find less"
    assert (figure.data[2].x[0], figure.data[2].y[0]) == (24.0, 0.5), "0.4: one of two found, one alarm in an hour"


def test_recordings_are_ranked_from_worst_to_best():
    rows = half_hours(0.05, 0.9, 0.2)
    assert ranked_recordings(rows) == [0, 1, 2], "one below its background, two above theirs"
    assert median_recording(rows) == 1


def drug_rows():
    """Control and four doses that block the second of two currents with IC50 2 and Hill coefficient 1."""
    left = np.concatenate([[1.0], 1 - 1 / (1 + 2.0 / DOSES)])
    change = np.stack([np.zeros(5), np.log(left)], 1)
    return {"condition": np.arange(5), "change": change, "change_sd": np.full((5, 2), 0.02), "true_change": change}


def test_dose_response_names_the_current_and_its_half_block():
    conditions = ["control", *(f"ZD7288 {dose:g} uM" for dose in DOSES)]
    figures = drug_plots(drug_rows(), ["Na", "H"], conditions)
    assert list(figures) == ["drugs", "dose"]
    meta = figures["dose"].layout.meta
    assert meta["title"] == "Block of H by ZD7288"
    assert "at 2 uM" in meta["caption"]
    estimated = figures["dose"].data[-1]
    np.testing.assert_allclose(estimated.y, 1 / (1 + 2.0 / DOSES))
    assert estimated.error_y.array[0] == pytest.approx(1.645 * 0.02 * (1 - estimated.y[0]))


def test_blocks_without_doses_have_no_dose_curve():
    assert list(drug_plots(drug_rows(), ["Na", "H"], ["control", "a", "b", "c", "d"])) == ["drugs"]
    assert drug_plots(drug_rows(), ["Na", "H"], ["control"]) == {}
