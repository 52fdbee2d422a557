"""The pairs that change most, and those that drive the predictions, on a glass brain (nilearn)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..contracts import Predictions
from ..metrics.connectivity_scores import drive_map
from .connectivity_figures import STYLE, symmetric

_SHOWN = 60  # pairs a brain; more are a tangle
_KEY_COLUMNS = 7
_KEY = (
    "Dots are regions, of one size, coloured by network. Lines are pairs, of one width, coloured by the change of the"
    "\ncorrelation, or by how strongly they drive the predictions: mean |attribution| over the spread of the baseline."
)


def brain_figure(rows: Predictions, positions_mm: NDArray[np.floating], networks: Sequence[str], path: Path) -> Path:
    """The largest mean changes, true (or measured) and predicted, and where explained the strongest drives.

    Args:
        rows: As :func:`~neurotwin.metrics.connectivity_scores.score_connectivity` takes them.
        positions_mm: Of the regions, ``(roi, 3)``, right, anterior, superior; MNI space.
        networks: Network of each region, for its colour.
        path: PNG to write.
    """
    from nilearn.plotting import plot_connectome

    known = bool(np.isfinite(rows["true_change"]).all())
    panels = {
        "true change" if known else "measured change": rows["true_change" if known else "change"].mean(0),
        "predicted change": rows["predicted"].mean(0),
    }
    if "attribution" in rows:
        panels["drives the predictions"] = drive_map(rows)
    kinds = sorted(set(networks))
    palette = matplotlib.colormaps["tab10" if len(kinds) <= 10 else "tab20"]
    colours = [palette(kinds.index(name) % palette.N) for name in networks]
    brains, key = 2.1 * len(panels), 0.35 + 0.17 * -(-len(kinds) // _KEY_COLUMNS)  # inches
    share = brains / (brains + key) / len(panels)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, brains + key))
        for row, (title, values) in enumerate(panels.items()):
            bottom = 1 - (row + 1) * share
            sequential = title.startswith("drives")
            least = float(np.sort(np.abs(values))[-min(_SHOWN, len(values))])
            limit = float(np.abs(values).max()) or 1.0
            strongest = np.where(np.abs(values) >= least, values, 0.0)
            plot_connectome(
                symmetric(strongest, len(networks)),
                positions_mm,
                node_color=colours,
                node_size=8,
                edge_cmap="magma_r" if sequential else "RdBu_r",
                edge_vmin=least if sequential else -limit,
                edge_vmax=limit,
                edge_kwargs={"linewidth": 1.2},
                colorbar=True,
                figure=figure,
                axes=(0, bottom, 1, 0.88 * share),
            )
            figure.text(0.01, bottom + 0.92 * share, f"{title}, the {_SHOWN} strongest pairs")
        dots = [
            Line2D(
                [], [], marker="o", linestyle="", markersize=4, color=palette(k % palette.N), label=name or "regions"
            )
            for k, name in enumerate(kinds)
        ]
        figure.text(0.01, 0.05 / (brains + key), _KEY, fontsize=6.5, linespacing=1.3)
        figure.legend(
            handles=dots,
            loc="lower left",
            bbox_to_anchor=(0, 0.25 / (brains + key)),
            ncol=_KEY_COLUMNS,
            frameon=False,
            fontsize=6.5,
            handletextpad=0.1,
            columnspacing=1.0,
        )
        figure.savefig(path)
    return path
