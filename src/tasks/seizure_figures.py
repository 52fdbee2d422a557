"""Figures of a tested seizure classifier. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from sklearn.metrics import roc_curve

from ..contracts import Predictions
from ..metrics.alarm_curve import alarm_curve
from ..metrics.calibration import reliability_bins, risk_coverage
from ..metrics.seizure_scores import auroc, decide, score_rows

BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"
#: Matplotlib's own annotation lists every setting by name, which differs between its versions.
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "savefig.dpi": 200,
}


def classification_figure(rows: Predictions, class_names: Sequence[str], path: Path) -> Path:
    """Confusion matrix, reliability diagram and risk-coverage curve of the tested windows.

    Args:
        rows: As :func:`~neurotwin.metrics.seizure_scores.score_rows` takes them.
        class_names: One name a class.
        path: PNG to write.
    """
    scores = score_rows(rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.7), layout="constrained")
        confusion, reliability, risk = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
        _confusion(confusion, rows, class_names)
        confusion.set_title(f"Windows: balanced accuracy {scores['balanced_accuracy']:.3f}")
        _reliability(reliability, rows)
        reliability.set_title(f"Calibration: ECE {scores['ece']:.3f}, Brier {scores['brier']:.3f}")
        coverage, error = risk_coverage(rows["probability"], rows["target"])
        risk.plot(coverage, error, color=BLUE)
        risk.axhline(error[-1], color=GREY, linewidth=0.8, linestyle=":")
        risk.set(xlabel="coverage (most confident first)", ylabel="error rate", xlim=(0, 1), ylim=(0, None))
        risk.set_title(f"Selective prediction: AURC {scores['aurc']:.3f}")
        figure.savefig(path)
    return path


def subject_figure(rows: Predictions, subject_names: Mapping[int, str], path: Path) -> Path:
    """ROC curve of every subject, and their areas in order.

    Args:
        rows: As :func:`~neurotwin.metrics.seizure_scores.score_rows` takes them, of two classes.
        subject_names: Names of the subject codes.
        path: PNG to write.
    """
    score, target, subject = rows["probability"][:, -1], rows["target"], rows["subject"]
    areas = {
        int(code): auroc(rows["probability"][subject == code], target[subject == code]) for code in np.unique(subject)
    }
    ranked = sorted((code for code in areas if code >= 0 and np.isfinite(areas[code])), key=areas.__getitem__)
    scores = score_rows(rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, max(3.0, 0.17 * len(ranked) + 0.9)), layout="constrained")
        curves, dots = figure.subplots(1, 2, width_ratios=(1.25, 1))
        for code in reversed(ranked):
            worst = code == ranked[0]
            curves.plot(
                *roc_curve(target[subject == code], score[subject == code])[:2],
                color=VERMILLION if worst else "#BBBBBB",
                linewidth=1.2 if worst else 0.8,
                label=f"worst subject, {areas[code]:.2f}" if worst else None,
            )
        curves.plot(*roc_curve(target, score)[:2], color=BLUE, linewidth=2, label=f"all windows, {scores['auroc']:.2f}")
        curves.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        curves.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        curves.legend(loc="lower right", title="AUROC", alignment="left")
        values = [areas[code] for code in ranked]
        colours = [VERMILLION, *[GREY] * (len(ranked) - 1)]
        dots.hlines(range(len(ranked)), 0.5, values, color=colours, linewidth=0.8)
        dots.scatter(values, range(len(ranked)), color=colours, s=14, zorder=3)
        dots.axvline(scores["subject_auroc_mean"], color=BLUE, linewidth=1)
        dots.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        dots.set_yticks(range(len(ranked)), [subject_names.get(code, str(code)) for code in ranked])
        dots.set(xlabel="AUROC inside the subject", xlim=(min(0.45, min(values) - 0.03), 1.01))
        dots.set_title(f"mean {scores['subject_auroc_mean']:.3f}, n = {len(ranked)}", color=BLUE)
        figure.savefig(path)
    return path


def alarm_figure(rows: Predictions, path: Path) -> Path:
    """Event sensitivity over false alarms a day, and where the validated threshold puts the detector.

    Args:
        rows: As :func:`~neurotwin.metrics.seizure_scores.score_rows` takes them, of continuous recordings.
        path: PNG to write.
    """
    _, alarms, sensitivity = alarm_curve(rows)
    scores = score_rows(rows)
    least = 86400 / (3600 * scores["event_hours"])  # one alarm in all that was scored
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 3.0), layout="constrained")
        axes = figure.subplots()
        # The highest sensitivity with at most so many alarms: merging makes the raw curve turn back.
        order = np.argsort(alarms, kind="stable")
        best = np.maximum.accumulate(sensitivity[order])
        axes.step(np.maximum(alarms[order], least / 2), best, where="post", color=BLUE, label="any threshold")
        axes.plot(
            max(scores["event_false_alarms_per_day"], least / 2),
            scores["event_sensitivity"],
            "o",
            color=VERMILLION,
            label="validated threshold",
            clip_on=False,
        )
        axes.set_xscale("log")
        most = max(alarms.max(initial=0.0), 10 * least)
        ticks = [tick for tick in LogLocator(subs=(1, 3)).tick_values(least, most) if least <= tick <= most]
        axes.set_xticks([least / 2, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="false alarms a day", ylabel="share of seizures found", ylim=(0, 1.02))
        axes.set_xlim(least / 2, 1.1 * most)
        axes.legend(loc="lower right")
        axes.set_title(
            f"{scores['events']:.0f} seizures in {scores['event_hours']:.3g} h; one alarm is {least:.3g} a day"
        )
        figure.savefig(path)
    return path


def median_recording(rows: Predictions) -> int | None:
    """The recording whose windows are separated as in the median of them.

    An example that was chosen by a rule shows what to expect; the best one would not.
    """
    ranked = ranked_recordings(rows)
    return ranked[(len(ranked) - 1) // 2] if ranked else None


def ranked_recordings(rows: Predictions) -> list[int]:
    """The recordings with seizure and background, from the one whose windows are separated worst to the best."""
    values = {}
    for index in np.unique(rows["recording"]):
        at = rows["recording"] == index
        values[int(index)] = auroc(rows["probability"][at], rows["target"][at])
    return [index for _, index in sorted((value, index) for index, value in values.items() if np.isfinite(value))]


def _confusion(axes: Axes, rows: Predictions, class_names: Sequence[str]) -> None:
    classes = len(class_names)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (rows["target"], decide(rows["probability"], rows["threshold"])), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        text = f"{100 * value:.0f} %\n{counts[row, column]}" if classes <= 3 else f"{100 * value:.0f}"
        axes.text(column, row, text, ha="center", va="center", color="white" if value > 0.55 else "black")
    axes.set_xticks(range(classes), class_names)
    axes.set_yticks(range(classes), class_names)
    unit = "" if classes <= 3 else " (% of the true class)"
    axes.set(xlabel="predicted", ylabel=f"true{unit}")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _reliability(axes: Axes, rows: Predictions) -> None:
    counts, confidence, accuracy = reliability_bins(rows["probability"], rows["target"])
    used = counts > 0
    least = 1 / rows["probability"].shape[1]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(confidence[used], accuracy[used], color=BLUE)
    axes.scatter(confidence[used], accuracy[used], s=4 + 90 * counts[used] / counts.max(), color=BLUE, linewidth=0)
    axes.set(xlabel="probability of the predicted class", ylabel="share correct", xlim=(least - 0.04, 1.04))
    axes.set_ylim(min(least, accuracy[used].min()) - 0.04, 1.04)
