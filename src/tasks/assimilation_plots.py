"""Interactive figures of a tested assimilation: the forecast of the voltage, and every ionic current."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ..contracts import Predictions
from ..plotting import INK, VERMILLION, blank, trace

#: Conditions whose forecast is drawn.
_MAX_CONDITIONS = 4


def forecast_plot(rows: Predictions, conditions: Sequence[str]) -> go.Figure:
    """Recorded and freely predicted voltage of the first test window of each condition (at most four)."""
    _, first = np.unique(rows["condition"], return_index=True)
    first = first[:_MAX_CONDITIONS]
    titles = [str(conditions[int(rows["condition"][row])]) for row in first]
    figure = blank(
        "Forecast of the voltage",
        "A window that was not fitted: the neuron with its estimated parameters runs by itself from its start, under "
        "the recorded injected current. Drag to zoom in time, double-click to see all.",
        rows=len(first),
        height=140 + 190 * len(first),
        shared_xaxes=True,
        vertical_spacing=0.06,
        subplot_titles=titles if len(titles) > 1 else None,
    )
    for place, row in enumerate(first):
        step = float(rows["dt_ms"][row])
        for name, key, colour, width in (
            ("recorded", "voltage", INK, 2.4),
            ("estimated neuron, free run", "forecast", VERMILLION, 1.2),
        ):
            line = trace(rows[key][row], step, name, color=colour, width=width, legendgroup=key, showlegend=place == 0)
            figure.add_trace(line, row=place + 1, col=1)
        figure.update_yaxes(title="V (mV)", row=place + 1, col=1)
    figure.update_xaxes(title="time in the window (ms)", row=len(first), col=1)
    return figure


def currents_plot(rows: Predictions, names: Sequence[str]) -> go.Figure:
    """Every ionic current of the first test window, beside the truth where it is known; zooming one zooms all."""
    currents, truth, step = rows["currents"][0], rows["true_currents"][0], float(rows["dt_ms"][0])
    known = bool(np.isfinite(truth).all())
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = blank(
        "Ionic currents",
        "None of them was recorded: they follow from the estimated parameters along the recorded voltage"
        + (", dark is the simulator's truth. " if known else ". ")
        + "Zooming one in time zooms all.",
        rows=n_rows,
        columns=n_columns,
        height=120 + 200 * n_rows,
        shared_xaxes="all",
        subplot_titles=list(names),
        vertical_spacing=0.3 / max(n_rows, 2),
        horizontal_spacing=0.07,
    )
    for number in range(len(names)):
        place = {"row": number // n_columns + 1, "col": number % n_columns + 1}
        shown = {"showlegend": number == 0}
        if known:
            true = trace(truth[:, number], step, "true", color=INK, width=2.4, legendgroup="true", **shown)
            figure.add_trace(true, **place)
        model = trace(currents[:, number], step, "estimated", color=VERMILLION, legendgroup="estimated", **shown)
        figure.add_trace(model, **place)
    figure.update_yaxes(title="µA/cm²", col=1)
    figure.update_xaxes(title="time (ms)", row=n_rows)
    return figure
