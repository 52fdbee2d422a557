"""Pictures of segmented exams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..contracts import Volume
from ..plotting import slices

#: Half the width of the close-up, mm.
_CLOSE_MM = 28.0
TRUTH, PREDICTED = "#009E73", "#E69F00"
Panel = tuple[str, Volume, Volume | None, NDArray[np.bool_]]


def exam_figure(panels: Sequence[Panel], path: Path) -> Path:
    """One column an exam: whole slice and close-up where truth and prediction are largest, both outlined.

    Args:
        panels: Title, image, label (None where there is none), predicted mask on the image's grid.
        path: PNG to write.
    """
    figure = Figure(figsize=(3.4 * len(panels), 6.6), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, (title, image, label, mask) in enumerate(panels):
        data, spacing = radiological(image.data, image.affine)
        found = radiological(mask.astype(np.uint8), image.affine)[0] > 0
        truth = np.zeros_like(found) if label is None else radiological(label.data, label.affine)[0] > 0
        either = found | truth
        k = int(either.sum(axis=(0, 1)).argmax()) if either.any() else data.shape[2] // 2
        close = close_up(either[:, :, k], spacing[:2])
        high = max(float(np.percentile(data[:, :, k], 99.7)), 1.0)
        for row, part in enumerate(((slice(None), slice(None)), close)):
            where = axes[row, column]
            where.imshow(
                data[:, :, k][part].T, origin="lower", cmap="gray", vmin=0, vmax=high, aspect=spacing[1] / spacing[0]
            )
            for outline, colour in ((truth, TRUTH), (found, PREDICTED)):
                if outline[:, :, k][part].any():
                    where.contour(outline[:, :, k][part].T, [0.5], colors=colour, linewidths=1.1)
            where.set_axis_off()
        axes[0, column].set_title(title, fontsize=8)
    figure.supxlabel("green: label, orange: prediction", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def exam_plot(panel: Panel) -> go.Figure:
    """One exam in three planes with sliders: where label and prediction agree and where they do not."""
    title, image, label, mask = panel
    data, spacing = radiological(image.data, image.affine)
    truth = None if label is None else radiological(label.data, label.affine)[0] > 0
    predicted = radiological(mask.astype(np.uint8), image.affine)[0] > 0
    caption = (
        "The sliders move through the slices around the tumour; the patient's right is on the left. Exams are ordered "
        "by Dice, the first shown is the middle one. Drag to zoom, double-click to see all."
    )
    return slices(title, caption, data, truth, predicted, spacing)


def close_up(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[slice, ...]:
    """The part of a slice around a mask, or around the middle where it is empty; ``spacing`` in mm."""
    centre = np.argwhere(mask).mean(0) if mask.any() else np.array(mask.shape) / 2
    return tuple(
        slice(max(0, int(c - _CLOSE_MM / s)), int(c + _CLOSE_MM / s) + 1) for c, s in zip(centre, spacing, strict=True)
    )


def radiological(data: NDArray[Any], affine: NDArray[Any]) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Data with axes turned to the nearest of left, anterior, superior, and their spacing, mm.

    Drawn from the left and from below, the patient's right is on the left, as radiologists read images.
    """
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine))
    return np.asanyarray(turned.dataobj)[::-1], tuple(float(s) for s in turned.header.get_zooms()[:3])
