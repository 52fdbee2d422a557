"""Contact sheet of simulated examinations, for eyes that read such images.

python -m neurotwin.simulators.schwannoma_sheet sheet.png --patients 6
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..contracts import Exam, Volume
from .contour_bank import load_shapes
from .schwannoma import SchwannomaSimulator

#: Half the width of the close-up, mm.
_CLOSE_MM = 28.0


def contact_sheet(exams: Sequence[Exam], path: Path) -> Path:
    """One column an exam: each sequence's slice through the largest extent of the tumour, and a close-up of it.

    Args:
        exams: Simulated or real, with masks or without.
        path: PNG to write.
    """
    figure = Figure(figsize=(3.4 * len(exams), 10.5), layout="constrained", facecolor="black")
    grid = figure.subplots(3, len(exams), squeeze=False)
    for column, exam in enumerate(exams):
        for row, kind in enumerate(("ceT1w", "T2w")):
            if kind in exam.images:
                axes = grid[row, column]
                data, mask, spacing, k = _slice(exam.images[kind], exam.masks.get(kind))
                _show(axes, data[:, :, k], spacing, None)
                sizes = " x ".join(f"{s:.2g}" for s in spacing)
                _title(axes, f"{exam.site} {kind}, {sizes} mm")
        kind = "T2w" if "T2w" in exam.images else next(iter(exam.images))
        data, mask, spacing, k = _slice(exam.images[kind], exam.masks.get(kind))
        found = mask is not None and mask[:, :, k].any()
        centre = np.argwhere(mask[:, :, k]).mean(axis=0) if found else np.array(data.shape[:2]) / 2  # type: ignore[index]
        reach = [_CLOSE_MM / s for s in spacing[:2]]
        part = tuple(slice(max(0, int(c - r)), int(c + r)) for c, r in zip(centre, reach, strict=True))
        _show(grid[2, column], data[:, :, k][part], spacing, None if mask is None else mask[:, :, k][part])
        truth = exam.metadata
        label = f"Koos {truth['koos']}, {truth['volume_ml']:.2f} ml" if truth.get("koos") else "no tumour"
        _title(grid[2, column], label + (", operated" if truth.get("operated") else ""))
    for axes in grid.flat:
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return path


def _slice(image: Volume, mask: Volume | None) -> tuple[np.ndarray, np.ndarray | None, tuple[float, ...], int]:
    """Image (the patient's right on the left, as radiologists read), mask, spacing and the slice with most tumour."""
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(image.data, image.affine))
    data, spacing = np.asanyarray(turned.dataobj)[::-1], tuple(float(s) for s in turned.header.get_zooms()[:3])
    if mask is None:
        return data, None, spacing, data.shape[2] // 2
    label = np.asanyarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(mask.data, mask.affine)).dataobj)[::-1]
    return data, label, spacing, int(label.sum(axis=(0, 1)).argmax()) if label.any() else data.shape[2] // 2


def _show(axes: Axes, image: np.ndarray, spacing: tuple[float, ...], mask: np.ndarray | None) -> None:
    high = max(float(np.percentile(image, 99.7)), 1.0)
    axes.imshow(image.T, origin="lower", cmap="gray", vmin=0, vmax=high, aspect=spacing[1] / spacing[0])
    if mask is not None and mask.any():
        axes.contour(mask.T, [0.5], colors="#e34a33", linewidths=0.9)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, color="white", fontsize=9)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contours", type=Path, help="vs_seg_contours.npz: real tumour shapes for half the patients")
    options = parser.parse_args()
    shapes = load_shapes(options.contours, limit=40) if options.contours else ()
    simulator = SchwannomaSimulator(paired=1.0, shapes=shapes)
    exams = [simulator.patient(options.seed, number)[-1] for number in range(options.patients)]
    print(contact_sheet(exams, options.path))


if __name__ == "__main__":
    main()
