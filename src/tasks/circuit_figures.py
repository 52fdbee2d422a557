"""Figures of circuit models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..contracts import Predictions
from .circuit_truth import FORCINGS, FREQUENCIES, AfterChange, ConductanceMap, Stability

#: Where voltages after an intervention are drawn, mV.
_SHOWN_MV = (-80.0, -15.0)


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


def draw_conductances(path: Path, maps: list[ConductanceMap]) -> Path:
    """``G(v, ω)`` of each neuron, true and learned, and their cuts at three frequencies.

    Args:
        path: Where to.
        maps: One a neuron.
    """
    hertz = FREQUENCIES * 1e3 / (2 * np.pi)
    figure = Figure(figsize=(12, 3.4 * len(maps)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(maps), 3, squeeze=False)
    for n, (row, one) in enumerate(zip(axes, maps, strict=True)):
        limit = np.quantile(np.abs(one.true), 0.99)
        for axis, values, title in zip(row, (one.true, one.learned), ("true", "learned"), strict=False):
            mesh = axis.pcolormesh(
                hertz, one.voltages, values, cmap="RdBu_r", vmin=-limit, vmax=limit, shading="nearest", rasterized=True
            )
            axis.set_xscale("log")
            axis.set_title(f"neuron {n + 1}, {title}", fontsize="medium")
            axis.set_xlabel("frequency (Hz)")
        row[0].set_ylabel("clamped at (mV)")
        figure.colorbar(mesh, ax=row[1], label="G (µS)")
        for k, colour in zip((0, len(hertz) // 2, len(hertz) - 1), ("C0", "C1", "C2"), strict=True):
            row[2].plot(one.voltages, one.true[:, k], color=colour, label=f"{hertz[k]:.3g} Hz")
            row[2].plot(one.voltages, one.learned[:, k], "--", color=colour)
        low, high = one.true.min(), one.true.max()
        row[2].set_ylim(low - 0.5 * (high - low), high + 0.5 * (high - low))
        row[2].axhline(0, color="0.8", lw=0.8, zorder=0)
        row[2].set_xlabel("clamped at (mV)")
        row[2].set_ylabel("G (µS)")
    axes[0, 2].set_title("cuts: true solid, learned dashed", fontsize="medium")
    axes[0, 2].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def draw_stability(path: Path, found: Stability) -> Path:
    """Currents that hold isolated neurons, with the model's bifurcations, and Lyapunov exponents under forcing.

    Args:
        path: Where to.
        found: Of a trained model.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    *currents, last = figure.subplots(1, len(found.voltages) + 1)
    for n, axis in enumerate(currents):
        axis.plot(found.voltages[n], found.true[n], "k", label="circuit")
        axis.plot(found.voltages[n], found.learned[n], "r--", label="model")
        for kind, marker in (("saddle-node", "s"), ("Hopf", "o")):
            here = [b for b in found.bifurcations[n] if b.kind == kind]
            axis.plot([b.voltage_mv for b in here], [b.current_na for b in here], "r" + marker, mfc="w", label=kind)
        axis.set_title(f"neuron {n + 1}, no synapses", fontsize="medium")
        axis.set_xlabel("held at (mV)")
        axis.set_ylabel("by a current of (nA)")
    currents[0].legend(fontsize="small")
    last.plot(FORCINGS, found.lyapunov, "ro-")
    last.axhline(0, color="0.8", lw=0.8, zorder=0)
    last.set_title("along the recording", fontsize="medium")
    last.set_xlabel("forcing γ")
    last.set_ylabel("largest Lyapunov exponent (1/s)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def draw_changes(path: Path, changes: list[AfterChange], dt_ms: float) -> Path:
    """Voltages after each intervention, of the circuit (black) and of the model (red).

    Args:
        path: Where to.
        changes: The runs.
        dt_ms: Time step.
    """
    n_nodes = changes[0].true.shape[1]
    figure = Figure(figsize=(12, 1.7 * n_nodes * len(changes)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_nodes * len(changes), 1, sharex=True)
    for k, change in enumerate(changes):
        time = dt_ms / 1e3 * np.arange(len(change.true))
        for n in range(n_nodes):
            axis = axes[k * n_nodes + n]
            axis.plot(time, change.true[:, n], "k", lw=0.6, label="circuit")
            axis.plot(time, np.clip(change.predicted[:, n], -150, 100), "r", lw=0.6, label="model")
            axis.set_ylim(*_SHOWN_MV)  # a model that runs away must not flatten the circuit
            axis.set_ylabel(f"V{n + 1} (mV)")
        axes[k * n_nodes].set_title(change.name.replace("_", " "), fontsize="medium", loc="left")
    axes[0].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("time after the change (s)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
