"""The interactive figure of a circuit's free run."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from ..contracts import Predictions
from ..plotting import INK, VERMILLION, blank, trace

#: A model that diverges must not take the scale away from the recording, mV.
_SHOWN_MV = (-150.0, 100.0)


def free_run_plot(predictions: Predictions, segment: int = 0) -> go.Figure:
    """Voltages and synaptic currents of one test segment: recorded, or true, and as the model runs by itself.

    Args:
        predictions: Rows of a tested circuit task.
        segment: Which row.
    """
    voltage, run = predictions["voltage"][segment], predictions["free_run"][segment]
    true, free = predictions["synaptic"][segment], predictions["synaptic_free"][segment]
    dt_s = float(predictions["dt_ms"][segment]) / 1e3
    n = voltage.shape[1]
    readout_s = len(voltage) * dt_s / len(true)
    known = bool(np.isfinite(true).all())
    figure = blank(
        "Free run",
        "The model starts from the recording's first sample and then runs by itself, under the recorded injected "
        "currents; drag to zoom in time, double-click to see all. Synaptic currents were never shown to the model"
        + (
            ": where they are drawn as recorded, they are the simulator's truth."
            if known
            else "; this recording has no truth for them."
        ),
        rows=2 * n,
        height=150 + 130 * 2 * n,
        shared_xaxes=True,
        vertical_spacing=0.03,
    )
    for node in range(n):
        shown, above, below = node == 0, 2 * node + 1, 2 * node + 2
        recorded = {"color": INK, "width": 1, "legendgroup": "recorded", "showlegend": shown}
        model = {"color": VERMILLION, "width": 1, "legendgroup": "model", "showlegend": shown}
        figure.add_trace(trace(voltage[:, node], dt_s, "recorded", dt_s, **recorded), row=above, col=1)
        clipped = np.clip(run[:, node], *_SHOWN_MV)
        figure.add_trace(trace(clipped, dt_s, "model, free run", dt_s, **model), row=above, col=1)
        if known:
            figure.add_trace(trace(true[:, node], readout_s, "true", 0.0, **recorded | {"showlegend": False}), below, 1)
        line = trace(free[:, node], readout_s, "model, free run", 0.0, **model | {"showlegend": False})
        figure.add_trace(line, row=below, col=1)
        figure.update_yaxes(title=f"V<sub>{node + 1}</sub> (mV)", row=above, col=1)
        figure.update_yaxes(title=f"I<sub>syn,{node + 1}</sub> (nA)", row=below, col=1)
    figure.update_xaxes(title="time (s)", row=2 * n, col=1)
    return figure
