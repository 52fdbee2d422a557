"""The figure of an audit: who resembles whom, how far above chance, and what an untrained probe makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .audit import AuditReport

_LEAK, _HONEST, _CHANCE = "#c0392b", "#2c6e9b", "#9aa0a6"


def draw(report: AuditReport, path: Path) -> Path:
    """Draw correlation matrix, partners against the null, and probe accuracy, with the verdict in the title.

    Args:
        report: Of :func:`neurotwin.leakage.audit.audit`.
        path: PNG (or any format of matplotlib) to write.
    """
    figure = Figure(figsize=(16, 4.8), layout="constrained", dpi=130)
    matrix, partners, probe = figure.subplots(1, 3, width_ratios=(1.05, 1.1, 1.0))
    colour = _LEAK if report.verdict == "leak" else "#2e7d32"
    faults = [check.name for check in report.checks if check.status == "leak"]
    title = f"{report.verdict.upper()}   {report.dataset}" + (f"\n{', '.join(faults)}" if faults else "")
    figure.suptitle(title, color=colour, fontsize=12, fontweight="bold")
    _draw_matrix(matrix, report)
    _draw_partners(partners, report)
    _draw_probe(probe, report)
    figure.savefig(path)
    return path


def _draw_matrix(axes: Axes, report: AuditReport) -> None:
    similarity = report.similarity
    if not len(similarity.members):
        axes.text(0.5, 0.5, "recordings too short\nto correlate", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    family = similarity.families[similarity.members]
    size = np.bincount(family)[family]
    # Largest families first: they appear as blocks on the diagonal.
    order = np.lexsort((family, -size))
    image = axes.imshow(
        similarity.correlation[np.ix_(order, order)], vmin=0, vmax=1, cmap="magma_r", interpolation="antialiased"
    )
    axes.figure.colorbar(image, ax=axes, shrink=0.85, label="largest |cross-correlation|")
    related = np.unique(family[size > 1])
    axes.set_title(
        f"{len(related)} families of related recordings, largest {size.max()}"
        if len(related)
        else "no related recordings"
    )
    axes.set(xlabel="recording, by family", ylabel="recording, by family")


def _draw_partners(axes: Axes, report: AuditReport) -> None:
    similarity, real = report.similarity, report.partners
    if not len(similarity.members):
        axes.set_axis_off()
        return
    null = similarity.null.ravel()
    colour = _LEAK if report["simultaneous partners"].status == "leak" else _HONEST
    bins = np.linspace(0, 1, 51).tolist()
    for values, shade, name in ((null, _CHANCE, "null: rotated in time"), (real, colour, "as recorded")):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, bins, weights=weights, color=shade, alpha=0.65, label=name)
    share = float((real > similarity.threshold).mean()) if len(real) else 0.0
    axes.axvline(
        similarity.threshold,
        color="black",
        lw=1,
        ls="--",
        label=f"threshold {similarity.threshold:.2f}: {share:.0%} above",
    )
    axes.set(xlim=(0, 1), xlabel="|cross-correlation| with the most similar recording", ylabel="share of recordings")
    axes.set_title("tested recordings and their nearest in training")
    axes.legend(loc="upper right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_probe(axes: Axes, report: AuditReport) -> None:
    probe = report.probe
    bars = [
        ("this split", probe.accuracy, _LEAK if report["untrained probe"].status == "leak" else _HONEST),
        ("relatives\ntaken out", probe.accuracy_without, _HONEST),
        ("majority\nclass", probe.majority, _CHANCE),
    ]
    if probe.leave_one_out is not None:
        bars.insert(0, ("leave one\nrecording out", probe.leave_one_out, _CHANCE))
    for position, (_, value, colour) in enumerate(bars):
        axes.bar(position, value, color=colour, width=0.65)
        axes.text(position, value + 0.015, f"{value:.1%}", ha="center")
    axes.set_xticks(range(len(bars)), [name for name, _, _ in bars], fontsize=9)
    axes.set(ylim=(0, 1.08), ylabel=f"accuracy, {probe.n_classes} classes, {len(probe.right)} {probe.unit}")
    axes.set_title("untrained probe: label of the nearest waveform")
    axes.spines[["top", "right"]].set_visible(False)
