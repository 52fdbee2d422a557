"""Figures of predicted changes of connectivity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..contracts import Predictions
from ..metrics.connectivity_scores import drive_map, score_connectivity

STYLE: Any = {"font.size": 8, "axes.titlesize": 8, "axes.titlelocation": "left", "savefig.dpi": 200}


def change_figure(rows: Predictions, networks: Sequence[str], path: Path) -> Path:
    """Matrices of the mean measured (or, where it is known, true) and predicted change, regions ordered by network.

    Args:
        rows: As :func:`~neurotwin.metrics.connectivity_scores.score_connectivity` takes them.
        networks: Network of each region.
        path: PNG to write.
    """
    scores = score_connectivity(rows)
    known = bool(np.isfinite(rows["true_change"]).all())
    panels = {"true change" if known else "measured change": rows["true_change" if known else "change"].mean(0)}
    panels["predicted change"] = rows["predicted"].mean(0)
    panels["error, root mean square"] = np.sqrt(np.square(rows["predicted"] - rows["change"]).mean(0))
    order = np.argsort(np.asarray(networks), kind="stable")
    limit = float(np.quantile(np.abs(np.concatenate(list(panels.values())[:2])), 0.995)) or 1.0
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 2.5), layout="constrained")
        for axes, (title, values) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            matrix = symmetric(values, len(networks))[np.ix_(order, order)]
            error = title.startswith("error")
            shown = axes.imshow(matrix, cmap="magma" if error else "RdBu_r", vmin=0 if error else -limit)
            shown.set_clim(vmax=float(matrix.max()) or 1.0 if error else limit)
            axes.set_title(title)
            _label(axes, [networks[k] for k in order])
            figure.colorbar(shown, ax=axes, shrink=0.7)
        figure.suptitle(
            f"{len(rows['window'])} people: MSE {scores['mse']:.4f}, skill over mean change {scores['skill']:.3f}",
            fontsize=8,
        )
        figure.savefig(path)
    return path


def explanation_figure(rows: Predictions, networks: Sequence[str], path: Path) -> Path:
    """Which pairs of the baseline drive the predictions, beside those whose coupling truly changes.

    Args:
        rows: As :func:`~neurotwin.metrics.connectivity_scores.score_connectivity` takes them, with attributions.
        networks: Network of each region.
        path: PNG to write.
    """
    scores = score_connectivity(rows)
    order = np.argsort(np.asarray(networks), kind="stable")
    changed = np.asarray(rows["changed"], dtype=bool)[0]
    panels = {"drives the predictions, per sd": drive_map(rows)}
    if changed.any():
        panels["coupling truly changes"] = changed.astype(float)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.0 * len(panels), 2.6), layout="constrained")
        for axes, (title, values) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
            matrix = symmetric(values, len(networks))[np.ix_(order, order)]
            truth = title.startswith("coupling")
            limit = 1.0 if truth else float(np.quantile(values, 0.995)) or 1.0
            shown = axes.imshow(matrix, cmap="Greys" if truth else "magma", vmin=0, vmax=limit)
            axes.set_title(title)
            _label(axes, [networks[k] for k in order])
            if not truth:
                figure.colorbar(shown, ax=axes, shrink=0.7)
        found = f", area under the ROC curve {scores['explained_auroc']:.2f}" if "explained_auroc" in scores else ""
        figure.suptitle(f"Integrated gradients, {len(rows['window'])} people{found}", fontsize=8)
        figure.savefig(path)
    return path


def symmetric(values: NDArray[Any], n: int) -> NDArray[Any]:
    """Matrix ``(n, n)`` with zero diagonal from the values above it, row by row."""
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = values
    return matrix + matrix.T


def _label(axes: Any, networks: Sequence[str]) -> None:
    """Name each block of regions and part it from the next."""
    names = list(dict.fromkeys(networks))
    axes.set(xticks=[], yticks=[])
    if names == [""]:
        axes.set(xlabel="region", ylabel="region")
        return
    edges = np.cumsum([0, *(list(networks).count(name) for name in names)])
    for edge in edges[1:-1]:
        axes.axhline(edge - 0.5, color="0.4", linewidth=0.4)
        axes.axvline(edge - 0.5, color="0.4", linewidth=0.4)
    axes.set_yticks((edges[:-1] + edges[1:] - 1) / 2, names, fontsize=6)
    axes.tick_params(length=0)
