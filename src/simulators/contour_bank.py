"""Shapes of real tumours from published contours, as signed distances of unit size.

The contours are those of Shapey et al. 2021 (Vestibular-Schwannoma-SEG, doi 10.7937/TCIA.9YTJ-5Q73, CC BY 4.0), packed
as ``vs_seg_contours.npz``: closed planar polygons in LPS millimetres, differences times 100.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom

from ..errors import DataError, MissingDataError
from .schwannoma_shape import Distance

Array = NDArray[np.float32]
_TUMOUR = ("TV", "AN", "VS")
_KEYS = ("delta_0p01mm", "polygon_start", "subject", "frame", "structure", "first_polygon", "last_polygon")
#: Voxels along each axis of a stored shape.
_GRID = 48


def load_shapes(path: Path, limit: int | None = None, least_ml: float = 0.3) -> tuple[Distance, ...]:
    """Signed distances of the tumours in a contour bank, turned to the right side and centred on the porus' frame.

    Args:
        path: ``vs_seg_contours.npz``.
        limit: The first so many; None for all (15 ms each).
        least_ml: Smaller tumours have too few slices to give a form.

    Raises:
        MissingDataError: If the file is not there.
        DataError: If it is no contour bank.
    """
    if not path.exists():
        raise MissingDataError(
            path, "Shapey et al. 2021", "TCIA, doi 10.7937/TCIA.9YTJ-5Q73; contours in KCL-BMEIS/VS_Seg", path.name
        )
    with np.load(path, allow_pickle=False) as bank:
        missing = [key for key in _KEYS if key not in bank]
        if missing:
            raise DataError(f"{path}: is no contour bank: it has no {missing[0]!r}")
        data = {key: bank[key] for key in _KEYS}
    shapes: list[Distance] = []
    for row in np.flatnonzero((data["frame"] == "T1") & np.isin(data["structure"], _TUMOUR)):
        polygons = _polygons(data, int(data["first_polygon"][row]), int(data["last_polygon"][row]))
        shape = _shape(polygons, least_ml)
        if shape is not None:
            shapes.append(shape)
        if limit is not None and len(shapes) == limit:
            break
    return tuple(shapes)


def _polygons(data: dict[str, np.ndarray], first: int, last: int) -> list[NDArray[np.float64]]:
    bounds = np.append(data["polygon_start"], len(data["delta_0p01mm"]))
    parts = [data["delta_0p01mm"][bounds[k] : bounds[k + 1]] for k in range(first, last)]
    return [np.cumsum(part, axis=0) * 0.01 * (-1.0, -1.0, 1.0) for part in parts]  # LPS to RAS


class _Stored:
    """Signed distance of a stored shape, in units of the radius of a ball of its volume."""

    def __init__(self, grid: Array, step: float):
        self.grid, self.step = grid, step

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        middle = (_GRID - 1) / 2
        # The real median tumour is centred about one radius medial of the porus.
        points = [(v + s) / self.step + middle for v, s in zip((x, y, z), (0.75, 0.25, 0.1), strict=True)]
        inside = map_coordinates(self.grid, points, order=1, mode="nearest", prefilter=False)
        return np.asarray(inside, dtype=np.float32)


def _shape(polygons: list[NDArray[np.float64]], least_ml: float) -> Distance | None:
    """Rasterise by XOR fill, slice by slice, and take distances on an isotropic grid."""
    heights = np.array([round(float(p[:, 2].mean()), 2) for p in polygons])
    levels = np.unique(heights)
    if len(levels) < 4:
        return None
    thick = float(np.median(np.diff(levels)))
    points = np.concatenate(polygons)
    low, high = points.min(axis=0) - 2, points.max(axis=0) + 2
    step = 0.5
    axes = [np.arange(low[a], high[a], step) for a in range(2)]
    plane = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    mask = np.zeros((len(axes[0]), len(axes[1]), len(levels) + 4), dtype=bool)
    for polygon, height in zip(polygons, heights, strict=True):
        k = int(np.searchsorted(levels, height)) + 2
        mask[:, :, k] ^= Polygon(polygon[:, :2]).contains_points(plane).reshape(mask.shape[:2])
    volume = float(mask.sum()) * step**2 * thick / 1000
    if volume < least_ml:
        return None
    if points[:, 0].mean() < 0:
        mask = mask[::-1]
    fine = zoom(mask.astype(np.float32), (1, 1, thick / step), order=1) > 0.5
    distance = (distance_transform_edt(~fine) - distance_transform_edt(fine)).astype(np.float32) * step
    distance = gaussian_filter(distance, 1.0)
    radius = (3 * volume * 1000 / (4 * np.pi)) ** (1 / 3)
    unit_step = 5.0 / _GRID  # the grid spans five radii
    centre = np.argwhere(fine).mean(axis=0)
    axis = (np.arange(_GRID) - (_GRID - 1) / 2) * unit_step * radius / step
    grid = np.meshgrid(*(axis + c for c in centre), indexing="ij")
    outside = sum(np.maximum(0, np.maximum(-g, g - n + 1)) ** 2 for g, n in zip(grid, fine.shape, strict=True))
    stored = map_coordinates(distance, grid, order=1, mode="nearest") / radius + np.sqrt(outside) * step / radius
    return _Stored(stored.astype(np.float32), unit_step)
