"""What the free run of the fitted layer-5 neuron (`wells2025/real_l5`) misses, and where.

Fits as the row does, then compares the test windows with the free run: spikes missed and added, voltage error near
spikes and away from them, and the course of a spike in the plane of dV/dt against V.

    NEUROTWIN_DATA=… python benchmarks/real_neuron_misses.py [--run FOLDER] [--output benchmarks/results/NAME]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from neurotwin.config import compose
from neurotwin.engine import launch
from neurotwin.metrics.clamp_scores import matched_spikes, spike_times
from neurotwin.run_folder import load_run
from neurotwin.tasks.seizure_figures import STYLE, VERMILLION

RESULT = Path(__file__).parent / "results" / "real_neuron_misses"
NEAR_MS, TOLERANCE_MS = 5.0, 4.0
#: Slope at which a spike has begun, mV/ms.
ONSET = 20.0
SHOWN_MS = (900.0, 1500.0)


def rises(voltage, dt):
    """The stretch of 2 ms before to 3 ms after each spike's crossing of 0 mV, `(spike, time)`."""
    at = (spike_times(voltage, dt) / dt).astype(int)
    a, b = round(2 / dt), round(3 / dt)
    return np.array([voltage[k - a : k + b] for k in at if a <= k < len(voltage) - b]).reshape(-1, a + b)


def onset_mv(rise, dt):
    """Voltage at which the slope first passes `ONSET`, and the steepest slope: medians over spikes."""
    if not len(rise):
        return None, None
    slope = np.diff(rise, axis=1) / dt
    first = (slope > ONSET).argmax(1)
    return float(np.median(rise[np.arange(len(rise)), first])), float(np.median(slope.max(1)))


def measure(rows):
    """Numbers over all test windows."""
    dt = float(rows["dt_ms"][0])
    recorded = missed = added = 0
    near, away = [], []
    for voltage, forecast in zip(rows["voltage"], rows["forecast"], strict=True):
        a, b = spike_times(voltage, dt), spike_times(forecast, dt)
        both = matched_spikes(a, b, TOLERANCE_MS)
        recorded, missed, added = recorded + len(a), missed + len(a) - both, added + len(b) - both
        time = np.arange(len(voltage)) * dt
        spikes = np.concatenate([a, b])
        close = (np.abs(time[:, None] - spikes[None]) < NEAR_MS).any(1)
        error = (forecast - voltage) ** 2
        near.append(error[close])
        away.append(error[~close])
    onsets = [onset_mv(np.concatenate([rises(v, dt) for v in rows[name]]), dt) for name in ("voltage", "forecast")]
    return {
        "spikes": recorded,
        "missed": missed,
        "added": added,
        f"rms_mv_within_{NEAR_MS:g}_ms_of_a_spike": float(np.sqrt(np.concatenate(near).mean())),
        "rms_mv_elsewhere": float(np.sqrt(np.concatenate(away).mean())),
        "onset_mv_recorded": onsets[0][0],
        "onset_mv_model": onsets[1][0],
        "steepest_mv_per_ms_recorded": onsets[0][1],
        "steepest_mv_per_ms_model": onsets[1][1],
    }


def draw(path, rows):
    """A stretch of the first test window, and the mean spike in the plane of dV/dt against V."""
    dt = float(rows["dt_ms"][0])
    here = slice(*(round(t / dt) for t in SHOWN_MS))
    series = (("recorded", "voltage", "#999999", 2.0), ("model, free run", "forecast", VERMILLION, 0.9))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        top, left, right = figure.subplot_mosaic([["a", "a"], ["b", "c"]]).values()
        time = np.arange(rows["voltage"].shape[1]) * dt
        for label, key, colour, width in series:
            top.plot(time[here], rows[key][0][here], color=colour, linewidth=width, label=label)
            rise = np.concatenate([rises(v, dt) for v in rows[key]])
            if not len(rise):
                continue
            left.plot((np.arange(rise.shape[1]) * dt) - 2, np.median(rise, axis=0), color=colour, linewidth=width)
            mean = np.median(rise, axis=0)
            right.plot(mean[1:-1], (mean[2:] - mean[:-2]) / (2 * dt), color=colour, linewidth=width)
        top.set(xlabel="time in the test window (ms)", ylabel="V (mV)", xlim=SHOWN_MS)
        top.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        left.set(xlabel="time from 0 mV (ms)", ylabel="V (mV)", title="median spike")
        right.set(xlabel="V (mV)", ylabel="dV/dt (mV/ms)", title="the same, slope against voltage")
        figure.savefig(path, dpi=160)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, help="folder of a run that is there, instead of fitting")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    run = load_run(arguments.run) if arguments.run else launch(compose("wells2025/real_l5"))
    found = {"run": "wells2025/real_l5", **measure(run.predictions)}
    arguments.output.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    draw(arguments.output.with_suffix(".png"), run.predictions)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
