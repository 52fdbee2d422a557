"""Interactive figures of a detector: a judged recording with what was found, and sensitivity against false alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ..contracts import Predictions
from ..metrics.alarm_curve import alarm_curve
from ..metrics.seizure_scores import score_rows
from ..plotting import AT_ONCE, BLUE, CLEAR, FAINT, INK, VERMILLION, blank, trace
from .recording_figure import Span, annotated_spans, detected_spans

if TYPE_CHECKING:
    from .seizure_prediction import Prediction

#: Longest stretch of signal that travels in the figure, s; the probability is that of the whole recording.
_SIGNAL_S = 300.0
#: Lanes are drawn in whole thousandths: integers take half the room of floats.
_LANE = 1000
_ANNOTATED_AT, _DETECTED_AT = 1.24, 1.10


def recording_plot(prediction: Prediction) -> go.Figure:
    """Signal in lanes above the probability of a seizure; zooming in time moves both.

    Args:
        prediction: Of one recording, signal in µV.
    """
    recording, rate = prediction.recording, prediction.recording.sampling_rate_hz
    annotated, detected = annotated_spans(prediction), detected_spans(prediction)
    begin_s, end_s = _stretch(prediction, annotated or detected)
    signal = recording.signal[:, round(begin_s * rate) : round(end_s * rate)].astype(float)
    signal = signal - np.median(signal, axis=1, keepdims=True)
    lane_uv = max(1e-3, 1.7 * float(np.percentile(np.abs(signal), 97)))
    n = len(signal)
    found = f"{len(detected)} detected, {len(annotated)} annotated"
    figure = blank(
        f"{recording.name}: {found}",
        f"Drag to zoom, double-click to see all. A lane is {lane_uv:.0f} µV high; what leaves its lane is cut. Below: "
        "the probability of a seizure at the end of each window, the threshold (dashed), seizures as annotated "
        "and as detected (shaded above).",
        rows=2,
        height=220 + 22 * max(n, 6),
        shared_xaxes=True,
        vertical_spacing=0.04,
        row_heights=[max(n, 6), 6],
    )
    for place, values in enumerate(signal):
        lane = (np.clip(values / lane_uv, -1, 1) - place) * _LANE
        name = recording.channel_names[place]
        line = trace(
            lane.astype(np.int16), 1 / rate, name, begin_s, color=INK, width=0.7, showlegend=False, hoverinfo="skip"
        )
        figure.add_trace(line, row=1, col=1)
    times = np.concatenate([prediction.start_s[:1], prediction.end_s])
    values = prediction.probability[:, -1]
    figure.add_scatter(
        x=times,
        y=np.concatenate([values[:1], values]).astype(np.float32),
        line={"shape": "vh", "color": BLUE, "width": 1.4},
        name="probability",
        hovertemplate="%{y:.3f} at %{x:.1f} s<extra></extra>",
        row=2,
        col=1,
    )
    figure.add_hline(prediction.threshold, line={"color": FAINT, "dash": "dash", "width": 1}, row=2, col=1)
    lanes = (("annotated", annotated, _ANNOTATED_AT, INK), ("detected", detected, _DETECTED_AT, VERMILLION))
    for name, spans, height, colour in lanes:
        if spans:
            ends = [edge for a, b in spans for edge in (a, b, None)]
            figure.add_scatter(
                x=ends,
                y=[None if edge is None else height for edge in ends],
                line={"color": colour, "width": 6},
                mode="lines",
                name=name,
                hovertemplate="%{x:.1f} s<extra>" + name + "</extra>",
                row=2,
                col=1,
            )
    for a, b in detected:
        figure.add_vrect(a, b, fillcolor=VERMILLION, opacity=0.12, line_width=0, row=1, col=1)
    figure.update_yaxes(
        tickvals=[-_LANE * place for place in range(n)],
        ticktext=list(recording.channel_names),
        range=[-_LANE * (n - 0.3), _LANE * 0.8],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        row=1,
        col=1,
    )
    figure.update_yaxes(title="P(seizure)", range=[-0.03, 1.36], tickvals=[0, 0.5, 1], fixedrange=True, row=2, col=1)
    figure.update_xaxes(range=[begin_s, end_s], showgrid=False)
    figure.update_xaxes(title="time (s)", row=2, col=1)
    return figure


def alarm_plot(rows: Predictions) -> go.Figure:
    """Event sensitivity over false alarms a day, with a slider for the threshold.

    Args:
        rows: As :func:`~neurotwin.metrics.seizure_scores.score_rows` takes them, of continuous recordings.
    """
    thresholds, alarms, sensitivity = alarm_curve(rows)
    scores, validated = score_rows(rows), float(rows["threshold"][0])
    one_alarm, chosen = 24 / scores["event_hours"], scores["event_false_alarms_per_day"]
    left = one_alarm / 2  # where "no alarm at all" stands on a logarithmic axis
    figure = blank(
        "Sensitivity against false alarms",
        f"{scores['events']:.0f} seizures in {scores['event_hours']:.3g} h; one alarm is {one_alarm:.3g} a day. "
        "Dot: the threshold that validation chose. Ring: the threshold of the slider, tried on these test recordings; "
        "it shows what may be traded for what, not what a detector would reach with it.",
        height=420,
    )
    # The highest sensitivity with at most so many alarms: merging makes the raw curve turn back.
    order = np.argsort(alarms, kind="stable")
    best = np.maximum.accumulate(sensitivity[order])
    at = np.maximum(alarms, left)
    figure.add_scatter(
        x=at[order], y=best, line={"shape": "hv", "color": BLUE, "width": 2}, name="best threshold", hoverinfo="skip"
    )
    figure.add_scatter(
        x=at,
        y=sensitivity,
        mode="markers",
        marker={"size": 5, "color": FAINT},
        name="each threshold",
        customdata=np.column_stack([thresholds, alarms]),
        hovertemplate="threshold %{customdata[0]:.3g}: %{y:.0%} found, %{customdata[1]:.3g} false alarms a day"
        "<extra></extra>",
    )
    figure.add_scatter(
        x=[max(chosen, left)],
        y=[scores["event_sensitivity"]],
        mode="markers",
        marker={"size": 11, "color": VERMILLION},
        name="validated threshold",
        hovertemplate=f"threshold {validated:.3g}: %{{y:.0%}} found, {chosen:.3g} false alarms a day<extra></extra>",
    )
    ring = {"size": 17, "color": CLEAR, "line": {"color": VERMILLION, "width": 2}}
    start = int(np.abs(thresholds - validated).argmin())
    figure.add_scatter(
        x=[at[start]], y=[sensitivity[start]], mode="markers", marker=ring, name="slider", hoverinfo="skip"
    )
    figure.frames = [
        go.Frame(name=f"{k}", data=[go.Scatter(x=[x], y=[y])], traces=[3])
        for k, (x, y) in enumerate(zip(at, sensitivity, strict=True))
    ]
    labels = [
        f"{level:.3g}: {share:.0%} of the seizures, {alarm:.3g} false alarms a day"
        for level, share, alarm in zip(thresholds, sensitivity, alarms, strict=True)
    ]
    steps = [{"label": label, "method": "animate", "args": [[f"{k}"], AT_ONCE]} for k, label in enumerate(labels)]
    hidden = {"ticklen": 0, "font": {"color": CLEAR}, "pad": {"t": 40}}
    slider = {"active": start, "steps": steps, "currentvalue": {"prefix": "threshold "}, **hidden}
    figure.update_layout(sliders=[slider], margin={"b": 110})
    span = np.log10([left / 1.2, 1.2 * at.max()])
    ticks = [digit * 10.0**power for power in range(-3, 5) for digit in (1, 3) if digit * 10.0**power >= one_alarm]
    figure.update_xaxes(type="log", title="false alarms a day", range=span.tolist())
    figure.update_xaxes(tickvals=[left, *ticks], ticktext=["0", *(f"{tick:g}" for tick in ticks)])
    figure.update_yaxes(title="share of seizures found", range=[-0.03, 1.05], tickformat=".0%")
    return figure


def _stretch(prediction: Prediction, spans: list[Span]) -> Span:
    """At most :data:`_SIGNAL_S` of the recording, a third of it before the first seizure."""
    total = prediction.recording.duration_s
    if total <= _SIGNAL_S:
        return 0.0, total
    onset = spans[0][0] if spans else float(prediction.start_s[prediction.probability[:, -1].argmax()])
    begin = float(np.clip(onset - _SIGNAL_S / 3, 0.0, total - _SIGNAL_S))
    return begin, begin + _SIGNAL_S
