"""Figures of a tested amortised posterior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.stats import binom

from ..contracts import Predictions
from ..metrics.posterior_scores import coverage_curve
from .connectivity_figures import STYLE

#: Cells in the scatter plots, cells of a histogram of ranks.
_SHOWN, _CELLS = 150, 16


def draw_all(folder: Path, rows: Predictions, names: Sequence[str]) -> list[Path]:
    """Draw all figures into ``folder``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    conductances = [k for k, name in enumerate(names) if name.startswith("g_")]
    chosen = (conductances or list(range(len(names))))[:9]
    with rc_context(STYLE):
        return [
            _scatter(folder / "posterior.png", rows, names, chosen),
            _ranks(folder / "ranks.png", rows, names, chosen),
            _coverage(folder / "coverage.png", rows, names, chosen),
        ]


def _scatter(path: Path, rows: Predictions, names: Sequence[str], chosen: Sequence[int]) -> Path:
    """Median and 90 % interval of the posterior of each conductance over the true one."""
    figure = Figure(figsize=(6.4, 6.2), layout="constrained")
    axes = figure.subplots(3, 3, squeeze=False).ravel()
    for axis, k in zip(axes, chosen, strict=False):
        truth, at = rows["true_value"][:_SHOWN, k], rows["value"][:_SHOWN, k]
        reach = np.abs(np.stack([rows["value_low"][:_SHOWN, k], rows["value_high"][:_SHOWN, k]]) - at)
        axis.errorbar(truth, at, reach, fmt=".", color="C0", ecolor="0.75", elinewidth=0.6, markersize=3)
        ends = [truth.min(), truth.max()]
        axis.plot(ends, ends, color="0.2", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.tick_params(which="minor", labelleft=False, labelbottom=False)
        axis.set_title(names[k])
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    figure.supxlabel("true value, mS/cm²")
    figure.supylabel("posterior median and 90 % interval")
    figure.savefig(path)
    return path


def _ranks(path: Path, rows: Predictions, names: Sequence[str], chosen: Sequence[int]) -> Path:
    """Histograms of the truth's rank, with the band that holds 99 % of the counts of a calibrated posterior."""
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots(3, 3, squeeze=False, sharex=True, sharey=True).ravel()
    n_samples, n = int(rows["n_samples"][0]), len(rows["rank"])
    low, high = binom.interval(0.99, n, 1 / _CELLS)
    for axis, k in zip(axes, chosen, strict=False):
        axis.axhspan(low, high, color="0.9")
        axis.hist((rows["rank"][:, k] + 0.5) / (n_samples + 1), bins=_CELLS, range=(0, 1), color="C0")
        axis.set_title(names[k])
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    figure.supxlabel("rank of the truth among posterior samples")
    figure.supylabel("cells")
    figure.savefig(path)
    return path


def _coverage(path: Path, rows: Predictions, names: Sequence[str], chosen: Sequence[int]) -> Path:
    """Expected coverage over credibility: of all parameters together (TARP), and of intervals of each conductance."""
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    n_samples = int(rows["n_samples"][0])
    left.plot(*coverage_curve(rows["tarp"], n_samples), color="C0")
    for k in chosen:  # a central interval of credibility c holds ranks within c/2 of the middle
        away = np.abs(2 * (rows["rank"][:, k] + 0.5) / (n_samples + 1) - 1)
        credibility = np.linspace(0, 1, 101)
        right.plot(credibility, (away[:, None] <= credibility).mean(0), linewidth=0.9, label=names[k])
    for axis, title in ((left, f"all {len(names)} parameters (TARP)"), (right, "central intervals")):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=0)
        axis.set(xlabel="credibility", ylabel="expected coverage", title=title)
    right.legend(fontsize=6, frameon=False)
    figure.savefig(path)
    return path
