"""One figure of a judged recording: signal, probability, detected and annotated seizures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .seizure_figures import BLUE, GREY, STYLE, VERMILLION

if TYPE_CHECKING:
    from .seizure_prediction import Prediction

Span = tuple[float, float]

#: Longest stretch of signal that the width of a page shows legibly, s.
_PAGE_S = 60.0
#: Share of a panel that lies before the onset it shows.
_BEFORE_ONSET = 0.3
_MAX_CHANNELS = 10
_MAX_PANELS = 3
#: Heights of the two lanes above a probability trace.
_ANNOTATED_AT, _DETECTED_AT = 1.25, 1.10


def recording_figure(prediction: Prediction, path: Path) -> Path:
    """Draw a prediction: a short recording whole, a long one as an overview above the onsets in it.

    Shown are the annotated onsets, then those of the detections of highest confidence, at most three; in a recording
    without any, the highest probability.

    Args:
        prediction: Of one recording, signal in µV.
        path: PNG to write.
    """
    recording = prediction.recording
    detected, annotated = detected_spans(prediction), annotated_spans(prediction)
    overview = recording.duration_s > _PAGE_S
    panels = _panels(prediction, annotated) if overview else [(0.0, recording.duration_s)]
    channels = _chosen(len(recording.channel_names))
    offset_uv = _offset(prediction, channels, panels)
    signal_height = 0.5 + 0.26 * len(channels)
    heights = [1.0, signal_height, 1.0] if overview else [signal_height, 1.0]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, sum(heights) + 0.9 + 0.4 * overview), layout="constrained")
        grid = figure.add_gridspec(len(heights), len(panels), height_ratios=heights)
        if overview:
            scale, unit = _time_unit(recording.duration_s)
            axes = figure.add_subplot(grid[0, :])
            _probability(axes, prediction, (0.0, recording.duration_s), detected, annotated, scale)
            _name_lanes(axes, prediction.threshold, detected, annotated)
            axes.set(xlabel=f"time ({unit})", ylabel="P(seizure)")
            for letter, (begin, end) in zip("abc", panels, strict=False):
                axes.axvspan(begin / scale, end / scale, color="0.9", zorder=0, linewidth=0)
                axes.text((begin + end) / 2 / scale, 1.36, letter, ha="center", va="bottom", weight="bold")
        for number, (letter, span) in enumerate(zip("abc", panels, strict=False)):
            signal = figure.add_subplot(grid[len(heights) - 2, number])
            _signal(signal, prediction, channels, span, offset_uv, named=number == 0)
            _shade(signal, detected, span)
            trace = figure.add_subplot(grid[len(heights) - 1, number])
            _probability(trace, prediction, span, detected, annotated)
            trace.set(xlabel="time (s)", ylabel="" if number else "P(seizure)")
            if overview:
                signal.set_title(letter, weight="bold")
            if number == len(panels) - 1:
                _scale_bar(signal, offset_uv)
                if not overview:
                    _name_lanes(trace, prediction.threshold, detected, annotated)
        found = f"{len(detected)} detected" + (f", {len(annotated)} annotated" if annotated else "")
        figure.suptitle(f"{recording.name}: {found}", x=0.01, ha="left", fontsize=9)
        figure.savefig(path)
    return path


def detected_spans(prediction: Prediction) -> list[Span]:
    """Begin and end of every detection, from the first sample, s."""
    return [(event.onset_s, event.onset_s + event.duration_s) for event in prediction.events]


def annotated_spans(prediction: Prediction) -> list[Span]:
    """Begin and end of every annotated seizure, from the first sample, s."""
    recording = prediction.recording
    return [
        (event.onset_s - recording.start_s, event.onset_s - recording.start_s + event.duration_s)
        for event in recording.events
        if event.kind.startswith("sz")
    ]


def _time_unit(duration_s: float) -> tuple[float, str]:
    """Seconds in the unit of the overview's axis, and its name."""
    if duration_s < 600:
        return 1.0, "s"
    return (60.0, "min") if duration_s < 7200 else (3600.0, "h")


def _panels(prediction: Prediction, annotated: list[Span]) -> list[Span]:
    """The stretches of signal to show, in order of time, together about as long as a page is wide."""
    total = prediction.recording.duration_s
    confident = sorted(prediction.events, key=lambda event: -(event.confidence or 0.0))
    onsets = [begin for begin, _ in annotated] + [event.onset_s for event in confident]
    onsets = onsets or [float(prediction.start_s[prediction.probability[:, -1].argmax()])]
    for count in range(min(_MAX_PANELS, len(onsets)), 0, -1):
        length = _PAGE_S / count
        chosen: list[Span] = []
        for onset in onsets:
            begin = min(max(0.0, onset - _BEFORE_ONSET * length), total - length)
            if len(chosen) < count and all(abs(begin - other) >= length for other, _ in chosen):
                chosen.append((begin, begin + length))
        if len(chosen) == count:
            return sorted(chosen)
    raise AssertionError("one panel always fits a recording longer than a page")


def _chosen(n_channels: int) -> np.ndarray:
    """At most ten channels, spread over the montage."""
    return np.unique(np.linspace(0, n_channels - 1, min(n_channels, _MAX_CHANNELS)).round().astype(int))


def _offset(prediction: Prediction, channels: np.ndarray, panels: Iterable[Span]) -> float:
    """Distance between traces, µV, at which all but a few samples stay clear of the neighbours."""
    rate, signal = prediction.recording.sampling_rate_hz, prediction.recording.signal
    shown = [signal[channels, round(a * rate) : round(b * rate)] for a, b in panels]
    deviation = np.concatenate([np.abs(part - np.median(part, axis=1, keepdims=True)).ravel() for part in shown])
    return max(1e-3, 1.7 * float(np.percentile(deviation, 97 if len(channels) > 1 else 99.9)))


def _signal(
    axes: Axes, prediction: Prediction, channels: np.ndarray, span: Span, offset_uv: float, named: bool
) -> None:
    recording, rate = prediction.recording, prediction.recording.sampling_rate_hz
    begin, end = round(span[0] * rate), min(round(span[1] * rate), recording.signal.shape[1])
    times = np.arange(begin, end) / rate
    for place, channel in enumerate(channels):
        values = recording.signal[channel, begin:end].astype(float)
        # Traces that leave their lane by more than its width would bury the neighbours.
        lane = np.clip((values - np.median(values)) / offset_uv, -1.0, 1.0)
        axes.plot(times, lane - place, color="0.15", linewidth=0.35)
    axes.set(xlim=span, ylim=(0.3 - len(channels), 0.7))
    axes.set_yticks(-np.arange(len(channels)), [recording.channel_names[c] for c in channels] if named else [])
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def _shade(axes: Axes, spans: Iterable[Span], shown: Span) -> None:
    for begin, end in spans:
        if end > shown[0] and begin < shown[1]:
            left, right = max(begin, shown[0]), min(end, shown[1])
            axes.axvspan(left, right, color=VERMILLION, alpha=0.13, linewidth=0, zorder=0)


def _scale_bar(axes: Axes, offset_uv: float) -> None:
    power = 10.0 ** np.floor(np.log10(offset_uv))
    bar_uv = power * max(step for step in (1, 2, 5) if step * power <= offset_uv)
    beside = axes.get_yaxis_transform()  # x in shares of the axes, y in lanes
    axes.plot([1.012] * 2, [-bar_uv / offset_uv, 0], color="black", linewidth=1.5, transform=beside, clip_on=False)
    axes.annotate(
        f"{bar_uv:g} µV",
        (1.012, -bar_uv / offset_uv / 2),
        xycoords=beside,
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )


def _probability(
    axes: Axes, prediction: Prediction, span: Span, detected: list[Span], annotated: list[Span], scale: float = 1.0
) -> None:
    times = np.concatenate([prediction.start_s[:1], prediction.end_s])
    values = prediction.probability[:, -1]
    axes.step(times / scale, np.concatenate([values[:1], values]), where="pre", color=BLUE, linewidth=0.8)
    axes.axhline(prediction.threshold, color=GREY, linewidth=0.8, linestyle="--")
    for spans, height, colour in ((annotated, _ANNOTATED_AT, "black"), (detected, _DETECTED_AT, VERMILLION)):
        for begin, end in spans:
            end = max(end, begin + 0.003 * (span[1] - span[0]))  # a second of a day is still seen
            axes.plot([begin / scale, end / scale], [height] * 2, color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.set(xlim=(span[0] / scale, span[1] / scale), ylim=(-0.03, 1.32), yticks=(0, 0.5, 1))


def _name_lanes(axes: Axes, threshold: float, detected: list[Span], annotated: list[Span]) -> None:
    labels = [("threshold", threshold, GREY)]
    labels += [("detected", _DETECTED_AT - 0.03, VERMILLION)] if detected else []
    labels += [("annotated", _ANNOTATED_AT + 0.03, "black")] if annotated else []
    for name, height, colour in labels:
        axes.annotate(
            name,
            (1.0, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=7,
        )
