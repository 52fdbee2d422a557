"""Interactive figures of a tested assimilation: forecast of the voltage, ionic currents, what drugs block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..contracts import Predictions
from ..metrics.clamp_scores import ratio_intervals
from ..plotting import BLUE, INK, VERMILLION, blank, trace
from .assimilation_figures import dose_response, doses_of, largest_entries

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
    known = bool(np.isfinite(truth).any())
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = blank(
        "Ionic currents",
        "None of them was recorded: they follow from the estimated parameters along the recorded voltage"
        + (", beside the simulator's truth. " if known else ". ")
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


def directions_plot(rows: Predictions, parameters: Sequence[str]) -> go.Figure:
    """How well each direction of the parameters is known, and what the least known one consists of."""
    sd = rows["direction_sd"][0]
    names, entries = largest_entries(rows, parameters)
    figure = blank(
        "What the recording does not tell",
        "Left: posterior standard deviation along each principal direction of the parameters, in halves of the search "
        "box; 1 is no better than the box. Right: the largest entries of the least known direction, along which "
        "parameters can change together unnoticed.",
        columns=2,
        height=420,
        horizontal_spacing=0.15,
    )
    dots = {"size": 6, "color": VERMILLION}
    shown = np.where(sd > 0, sd, np.nan)
    figure.add_scatter(
        x=np.arange(1, len(sd) + 1), y=shown, mode="markers", marker=dots, name="posterior", row=1, col=1,
        hovertemplate="direction %{x}: %{y:.2g}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.add_bar(
        y=names[::-1], x=entries[::-1], orientation="h", marker={"color": BLUE}, row=1, col=2,
        hovertemplate="%{y}: %{x:.2f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(title="direction", row=1, col=1)
    figure.update_yaxes(title="sd / half of the box", type="log", exponentformat="power", row=1, col=1)
    figure.update_xaxes(title="half boxes", row=1, col=2)
    return figure


def drug_plots(rows: Predictions, names: Sequence[str], conditions: Sequence[str]) -> dict[str, go.Figure]:
    """What the conditions left of each conductance and, from three doses of one drug on, block against dose."""
    if len(conditions) < 2:
        return {}
    doses = doses_of(conditions)
    dose = {"dose": _dose_plot(rows, names, doses)} if len(doses) > 2 else {}
    return {"drugs": _drugs_plot(rows, names, conditions), **dose}


def _drugs_plot(rows: Predictions, names: Sequence[str], conditions: Sequence[str]) -> go.Figure:
    _, first = np.unique(rows["condition"], return_index=True)
    drugs = [row for row in first if rows["condition"][row] > 0]
    titles = [str(conditions[int(rows["condition"][row])]) for row in drugs]
    known = bool(np.isfinite(rows["true_change"][drugs]).any())
    figure = blank(
        "Conductances under drugs",
        "Each condition's conductances relative to the first condition, with 90 % intervals; 1 is no change."
        + (" Dashes: the simulator's truth." if known else ""),
        rows=len(drugs),
        height=100 + 190 * len(drugs),
        shared_xaxes=True,
        vertical_spacing=0.3 / max(len(drugs), 3),
        subplot_titles=titles,
    )
    for place, row in enumerate(drugs):
        ratio = np.exp(rows["change"][row])
        low, high = ratio_intervals(rows["change"][row], rows["change_sd"][row])
        where = {"row": place + 1, "col": 1}
        if known:
            dash = {"symbol": "line-ew", "size": 16, "line": {"width": 3, "color": INK}}
            truth = np.exp(rows["true_change"][row])
            figure.add_scatter(
                x=list(names), y=truth, mode="markers", marker=dash, name="true", showlegend=place == 0, **where
            )
        figure.add_scatter(
            x=list(names),
            y=ratio,
            error_y={"array": high - ratio, "arrayminus": ratio - low, "color": VERMILLION, "width": 4},
            mode="markers",
            marker={"size": 8, "color": VERMILLION},
            name="estimated",
            showlegend=place == 0,
            hovertemplate="%{x}: %{y:.2f} of control<extra></extra>",
            **where,
        )
        figure.update_yaxes(title="of control", range=[0, 2], **where)
    return figure


def _dose_plot(rows: Predictions, names: Sequence[str], doses: Mapping[int, tuple[str, float, str]]) -> go.Figure:
    response = dose_response(rows, names, doses)
    fit, dose, unit = response.fit, response.dose, response.unit
    a, b = fit["ic50_90"]
    known = bool(np.isfinite(response.truth).all())
    figure = blank(
        f"Block of {response.current} by {response.drug}",
        f"Hill curve through the estimated blocks: half of the conductance is gone at {fit['ic50']:.3g} {unit} (90 %: "
        f"{a:.2g} to {b:.2g}), Hill coefficient {fit['hill']:.2g}. Bars: 90 % intervals."
        + (" Diamonds: the simulator's truth." if known else ""),
        height=400,
    )
    grid = np.geomspace(dose.min() / 3, dose.max() * 3, 100)
    figure.add_scatter(x=grid, y=response.curve(grid), line={"color": BLUE, "width": 2}, name="Hill curve")
    if known:
        diamond = {"symbol": "diamond-open", "size": 12, "color": INK, "line": {"width": 2}}
        figure.add_scatter(x=dose, y=response.truth, mode="markers", marker=diamond, name="true")
    reach = {"array": response.high - response.block, "arrayminus": response.block - response.low, "width": 4}
    figure.add_scatter(
        x=dose,
        y=response.block,
        error_y={**reach, "color": VERMILLION},
        mode="markers",
        marker={"size": 9, "color": VERMILLION},
        name="estimated",
        hovertemplate=f"%{{x:.3g}} {unit}: %{{y:.1%}} blocked<extra></extra>",
    )
    figure.update_xaxes(type="log", title=f"{response.drug} ({unit})", dtick="D2")
    figure.update_yaxes(title=f"block of {response.current}", range=[-0.05, 1.05], tickformat=".0%")
    return figure
