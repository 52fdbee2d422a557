"""The interactive figures of predicted changes of connectivity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ..contracts import Predictions
from ..plotting import heatmaps
from .connectivity_figures import symmetric


def change_plot(rows: Predictions, names: Sequence[str], networks: Sequence[str]) -> go.Figure:
    """Mean measured (or true) and predicted change, and the error, regions ordered by network.

    Args:
        rows: As :func:`~neurotwin.metrics.connectivity_scores.score_connectivity` takes them.
        names: Of the regions.
        networks: Network of each region.
    """
    known = bool(np.isfinite(rows["true_change"]).all())
    order = np.argsort(np.asarray(networks), kind="stable")
    reference = "true change" if known else "measured change"
    error = "error, root mean square"
    panels = {
        reference: rows["true_change" if known else "change"].mean(0),
        "predicted change": rows["predicted"].mean(0),
        error: np.sqrt(np.square(rows["predicted"] - rows["change"]).mean(0)),
    }
    matrices = {title: symmetric(values, len(names))[np.ix_(order, order)] for title, values in panels.items()}
    limit = float(np.quantile(np.abs(np.stack([matrices[reference], matrices["predicted change"]])), 0.995)) or 1.0
    labels = [f"{names[k]} ({networks[k]})" if networks[k] else names[k] for k in order]
    return heatmaps(
        "Change of connectivity",
        f"Mean over {len(rows['window'])} people of the test set; regions ordered by network, names under the pointer. "
        "Zooming one matrix zooms all. The error is of single people against their own measurement, noise included.",
        matrices,
        labels,
        [networks[k] for k in order],
        limit,
        sequential=[error],
    )
