"""What clinics report of a vestibular schwannoma beyond its volume: axial diameters, parts in and out of the canal.

All functions take masks with axes right, anterior, superior. Nothing but the mask says where the porus is, so its plane
is where the tumour, followed from its lateral tip, becomes wider than a canal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

Mask = NDArray[np.bool_]
Triple = tuple[float, float, float]

#: Sagittal section of a canal that a tumour has widened, mm²: radius 3.3 mm (normal 4-8 mm wide at the porus).
CANAL_MM2 = 34.0
#: Length of a canal from fundus to porus, mm.
CANAL_MM = 12.0
#: How far the middle of the head is looked for from the middle of the image, mm.
_SEARCH_MM = 12.0
#: What :func:`grading_features` gives, in order.
FEATURES = ("log volume", "reach to the mid-plane", "extrameatal diameter", "extrameatal share")


def mid_plane_mm(image: NDArray[np.floating], spacing_mm: Triple, tumour: Mask | None = None) -> float:
    """Place of the plane of best mirror symmetry, mm right of the first voxel's centre.

    The correlation of the image with its mirror image is highest there. The brightest twentieth is cut off and the
    tumour left out, because what is bright on one side only would rather be mirrored upon itself.

    Args:
        image: ``(x, y, z)``, axes right, anterior, superior.
        spacing_mm: Voxel spacing.
        tumour: ``(x, y, z)``.
    """
    size = image.shape[0]
    grey = np.clip(image, *np.percentile(image, (2, 95)))
    weight = np.ones_like(grey) if tumour is None else (~binary_dilation(tumour, iterations=2)).astype(grey.dtype)
    reach = min(int(2 * _SEARCH_MM / spacing_mm[0]), size // 3)
    best, place = -np.inf, (size - 1) / 2
    for shift in range(-reach, reach + 1):  # the mirrored image moved by whole voxels: the plane moves by halves
        kept = slice(max(0, shift), size + min(0, shift))
        moved = slice(max(0, -shift), size + min(0, -shift))
        share = weight[kept] * weight[::-1][moved]
        total = max(float(share.sum()), 1e-9)
        a, b = (part - float((part * share).sum()) / total for part in (grey[kept], grey[::-1][moved]))
        norm = float(np.sqrt((share * a * a).sum() * (share * b * b).sum()))
        score = float((share * a * b).sum()) / norm if norm else -1.0
        if score > best:
            best, place = score, (size - 1 + shift) / 2
    return place * spacing_mm[0]


def largest_component(mask: Mask) -> Mask:
    """The largest component, corners included; empty for an empty mask."""
    parts, count = label(mask, np.ones((3, 3, 3)))
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax()) if count else np.zeros_like(mask)


def axial_diameter_mm(mask: Mask, spacing_mm: Triple) -> tuple[float, int | None]:
    """Largest distance of two voxel centres within one axial slice, mm, and that slice; 0 and None without tumour."""
    best, where = 0.0, None
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        points = np.argwhere(mask[:, :, k]) * np.asarray(spacing_mm[:2])
        diameter = farthest_mm(points)
        if where is None or diameter > best:
            best, where = diameter, int(k)
    return best, where


def intrameatal(mask: Mask, spacing_mm: Triple, mid_mm: float) -> Mask:
    """The part of a tumour inside its canal.

    Sagittal sections are followed from the lateral tip towards the middle while they stay smaller than
    :data:`CANAL_MM2`, over :data:`CANAL_MM` at most; a tumour that is nowhere wider lies inside as far as that.

    Args:
        mask: One tumour, ``(x, y, z)``.
        spacing_mm: Voxel spacing.
        mid_mm: From :func:`mid_plane_mm`.
    """
    inside = np.zeros_like(mask)
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return inside
    right = _from_middle(mask, spacing_mm, mid_mm) > 0
    order = planes[::-1] if right else planes
    area = mask.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
    for number, plane in enumerate(order):
        if area[plane] > CANAL_MM2 or number * spacing_mm[0] >= CANAL_MM:
            break
        inside[plane] = mask[plane]
    return inside


def parts(mask: Mask, spacing_mm: Triple, mid_mm: float) -> dict[str, Any]:
    """Volumes in and out of the canal and axial diameters, of the largest component.

    Args:
        mask: ``(x, y, z)``, axes right, anterior, superior.
        spacing_mm: Voxel spacing.
        mid_mm: From :func:`mid_plane_mm`.

    Returns:
        ``intrameatal_ml``, ``extrameatal_ml``, ``axial_diameter_mm``, ``extrameatal_diameter_mm``; None without tumour.
    """
    names = ("intrameatal_ml", "extrameatal_ml", "axial_diameter_mm", "extrameatal_diameter_mm")
    tumour = largest_component(mask)
    if not tumour.any():
        return dict.fromkeys(names)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    inner = intrameatal(tumour, spacing_mm, mid_mm)
    outer = tumour & ~inner
    values = (
        int(inner.sum()) * voxel_ml,
        int(outer.sum()) * voxel_ml,
        axial_diameter_mm(tumour, spacing_mm)[0],
        axial_diameter_mm(outer, spacing_mm)[0],
    )
    return dict(zip(names, values, strict=True))


def grading_features(mask: Mask, spacing_mm: Triple, mid_mm: float) -> NDArray[np.float64] | None:
    """What the Koos grade is judged from, in the order of :data:`FEATURES`; None without tumour.

    The reach is how near the medial twentieth of the tumour comes to the mid-plane, mm: the brainstem is there.

    Args:
        mask: ``(x, y, z)``, axes right, anterior, superior.
        spacing_mm: Voxel spacing.
        mid_mm: From :func:`mid_plane_mm`.
    """
    tumour = largest_component(mask)
    if not tumour.any():
        return None
    found = parts(tumour, spacing_mm, mid_mm)
    volume = found["intrameatal_ml"] + found["extrameatal_ml"]
    lateral = np.argwhere(tumour)[:, 0] * spacing_mm[0] - mid_mm
    side = np.sign(np.median(lateral)) or 1.0
    reach = float(np.percentile(side * lateral, 5))
    return np.array([np.log(volume), reach, found["extrameatal_diameter_mm"], found["extrameatal_ml"] / volume])


def farthest_mm(points: NDArray[np.floating]) -> float:
    """Largest distance of two points, ``(point, 2 or 3)``, mm; only corners of the hull can be that far apart."""
    if len(points) < 5:
        return float(pdist(points).max()) if len(points) > 1 else 0.0
    try:
        hull = ConvexHull(points)
    except QhullError:  # all in one plane or line
        hull = ConvexHull(points, qhull_options="QJ")
    return float(pdist(points[hull.vertices]).max())


def _from_middle(mask: Mask, spacing_mm: Triple, mid_mm: float) -> float:
    """Centre of mass right of the mid-plane, mm."""
    return float(np.argwhere(mask)[:, 0].mean() * spacing_mm[0] - mid_mm)
