"""What a prediction for one person leaves behind: a matrix, a table of pairs and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .connectivity_figures import STYLE


def write_change(
    source: Path,
    names: Sequence[str],
    start: NDArray[np.floating],
    change: NDArray[np.floating],
    drive: NDArray[np.floating] | None,
    target: Path,
) -> list[Path]:
    """Write a predicted change of connectivity.

    ``NAME_change.csv`` is the matrix ``(roi, roi)`` with region names. ``NAME_pairs.tsv`` lists every pair, the largest
    change first: ``region_a``, ``region_b``, ``baseline``, ``change`` and ``predicted``, their sum, all correlations,
    and ``drive``, how much the pair's baseline contributes to the size of the whole predicted change.
    ``NAME_change.png`` shows baseline and change.

    Args:
        source: The scan's file; its name up to the first dot becomes NAME.
        names: One name a region.
        start: Correlation at baseline, ``(roi, roi)``.
        change: Predicted change, ``(roi, roi)``.
        drive: Attributions of the pairs, row by row above the diagonal, see
            :func:`~.connectivity_explain.attributions`; None where the training people's mean is not known.
        target: Folder for the files; made if it is not there.
    """
    target.mkdir(parents=True, exist_ok=True)
    stem = source.name.split(".")[0]
    matrix, table, picture = (target / f"{stem}_{end}" for end in ("change.csv", "pairs.tsv", "change.png"))
    pd.DataFrame(change, index=list(names), columns=list(names)).to_csv(matrix, float_format="%.6f")
    first, second = np.triu_indices(len(names), 1)
    order = np.argsort(-np.abs(change[first, second]), kind="stable")
    first, second = first[order], second[order]
    columns = {
        "region_a": [names[k] for k in first],
        "region_b": [names[k] for k in second],
        "baseline": start[first, second],
        "change": change[first, second],
        "predicted": start[first, second] + change[first, second],
    }
    if drive is not None:
        columns["drive"] = drive[order]
    pd.DataFrame(columns).to_csv(table, sep="\t", index=False, float_format="%.6f")
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 2.9), layout="constrained")
        panels = {f"{stem}: correlation at baseline": start, "predicted change": change}
        for axes, (title, values) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            limit = float(np.quantile(np.abs(values[first, second]), 0.995)) or 1.0
            shown = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(title=title, xlabel="region", ylabel="region")
            figure.colorbar(shown, ax=axes, shrink=0.8)
        figure.savefig(picture)
    return [matrix, table, picture]
