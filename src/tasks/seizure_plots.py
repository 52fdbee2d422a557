"""The interactive figure of a judged recording: its channels, the probability, what was found and annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ..plotting import BLUE, FAINT, INK, VERMILLION, blank, trace
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


def _stretch(prediction: Prediction, spans: list[Span]) -> Span:
    """At most :data:`_SIGNAL_S` of the recording, a third of it before the first seizure."""
    total = prediction.recording.duration_s
    if total <= _SIGNAL_S:
        return 0.0, total
    onset = spans[0][0] if spans else float(prediction.start_s[prediction.probability[:, -1].argmax()])
    begin = float(np.clip(onset - _SIGNAL_S / 3, 0.0, total - _SIGNAL_S))
    return begin, begin + _SIGNAL_S
