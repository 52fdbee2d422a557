"""Figures of circuit models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..contracts import Predictions


def draw_free_run(path: Path, predictions: Predictions, segment: int = 0) -> Path:
    """Voltages and synaptic currents of one test segment, recorded (black) and predicted in free run (red).

    Args:
        path: Where to.
        predictions: Rows of a tested circuit task.
        segment: Which row.
    """
    voltage, run = predictions["voltage"][segment], predictions["free_run"][segment]
    dt_s = float(predictions["dt_ms"][segment]) / 1e3
    n_nodes = voltage.shape[1]
    figure = Figure(figsize=(12, 3.2 * n_nodes), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * n_nodes, 1, sharex=True)
    time = dt_s * np.arange(1, len(voltage) + 1)
    readout = np.linspace(0, time[-1], len(predictions["synaptic"][segment]), endpoint=False)
    for n in range(n_nodes):
        above, below = axes[2 * n], axes[2 * n + 1]
        above.plot(time, voltage[:, n], "k", lw=0.6, label="recorded")
        above.plot(time, np.clip(run[:, n], -150, 100), "r", lw=0.6, label="free run")
        above.set_ylabel(f"V{n + 1} (mV)")
        below.plot(readout, predictions["synaptic"][segment][:, n], "k", lw=0.8)
        below.plot(readout, predictions["synaptic_free"][segment][:, n], "r", lw=0.8)
        below.set_ylabel(f"I_syn {n + 1} (nA)")
    axes[0].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("time (s)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
