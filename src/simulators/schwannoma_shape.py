"""Shape of a vestibular schwannoma: signed distance, volume by bisection, Koos grade by geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .skull_base import CANAL_RADIUS_MM, FUNDUS, PORUS, brainstem_mm, posterior_face_mm

Array = NDArray[np.float32]
Distance = Callable[[Array, Array, Array], Array]

#: Mean and standard deviation of the volume of each Koos grade, ml, and the grades' shares (Mindermann 2013, 235
#: patients before radiosurgery).
VOLUME_ML = {1: (0.25, 0.30), 2: (0.57, 0.54), 3: (1.82, 1.88), 4: (4.17, 2.75)}
SHARE = {1: 0.136, 2: 0.302, 3: 0.298, 4: 0.264}
#: Smallest and largest tumour of 237 contoured ones (Shapey 2021), ml.
RANGE_ML = (0.04, 11.0)
#: Least depth of overlap with the undisplaced brainstem that counts as touching and as displacing it, mm.
_TOUCH_MM, _DISPLACE_MM = 0.0, 2.5


@dataclass(frozen=True)
class Shape:
    """A tumour of unit size in the head's own frame, right side (mirrored for the left).

    Attributes:
        grade: Koos grade that was drawn; :func:`koos_grade` measures what came out.
        fill: Share of the canal's length that is filled.
        aspects: Half axes of the part outside the canal relative to its size, (right, anterior, superior).
        lobes: Direction (unit vector), height and width of bumps, ``(lobe, 5)``.
        reach: How far medial of the porus the outer part is centred, in units of its own radius.
        bank: Signed distance of a real tumour of unit volume instead (see :mod:`.contour_bank`).
    """

    grade: int
    fill: float
    aspects: tuple[float, float, float]
    lobes: NDArray[np.float32]
    reach: float
    bank: Distance | None = None

    def distance(self, x: Array, y: Array, z: Array, size_mm: float) -> Array:
        """Signed distance to the tumour's surface, mm, negative inside.

        Args:
            x: Lateral, mm, on the tumour's side positive; any shape.
            y: Anterior, mm.
            z: Superior, mm.
            size_mm: Radius of the outer part; for a tumour inside the canal, of the plug.
        """
        if self.bank is not None:
            return self.bank(*((v - c) / np.float32(size_mm) for v, c in zip((x, y, z), PORUS, strict=True))) * size_mm
        porus, fundus = np.asarray(PORUS, np.float32), np.asarray(FUNDUS, np.float32)
        end = porus + self.fill * (fundus - porus)
        if self.grade == 1:
            start = porus + 0.12 * (fundus - porus)
            return self._bumpy(_capsule(x, y, z, start, end, size_mm, 0.8 * size_mm), x, y, z, start, size_mm)
        canal = _capsule(x, y, z, porus, end, min(1.1 * CANAL_RADIUS_MM[0], 1.2 * size_mm), 1.1 * CANAL_RADIUS_MM[1])
        # Medial of the porus along the canal's axis, and back where there is room between bone and cerebellum.
        out = np.asarray([-0.92, -0.36, -0.12], np.float32)
        centre = porus + out * np.float32(self.reach * size_mm)
        a, b, c = ((v - m) / np.float32(k) for v, m, k in zip((x, y, z), centre, self.aspects, strict=True))
        ball = (np.sqrt(a * a + b * b + c * c) - np.float32(size_mm)) * np.float32(min(self.aspects))
        ball = self._bumpy(ball, x, y, z, centre, size_mm)
        # Bone holds the outer part back: it flattens against the posterior face of the petrous pyramid.
        ball = np.maximum(ball, posterior_face_mm(x, y, z) - 0.6)
        return _smooth_minimum(canal, ball, np.float32(0.35 * min(size_mm, 4.0)))

    def _bumpy(self, base: Array, x: Array, y: Array, z: Array, centre: Array, size_mm: float) -> Array:
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz) + np.float32(1e-3)
        for u, v, w, height, width in self.lobes:
            cosine = (u * dx + v * dy + w * dz) / length
            base = base - np.float32(height * size_mm) * np.exp((cosine - 1) / width, dtype=np.float32)
        return base


def draw_grade_and_volume(rng: np.random.Generator) -> tuple[int, float]:
    """Koos grade and volume, ml, by the shares and volumes of a treated cohort.

    Volumes are log-normal with the published mean and standard deviation of the grade, cut to the range of the real
    contours; grade I is also cut to what a canal widened by a tumour holds.
    """
    grade = int(rng.choice(list(SHARE), p=np.array(list(SHARE.values())) / sum(SHARE.values())))
    mean, sd = VOLUME_ML[grade]
    sigma = np.sqrt(np.log1p((sd / mean) ** 2))
    high = 0.6 if grade == 1 else RANGE_ML[1]
    while True:
        volume = float(np.exp(rng.normal(np.log(mean) - sigma**2 / 2, sigma)))
        if RANGE_ML[0] <= volume <= high:
            return grade, volume


def draw_shape(rng: np.random.Generator, grade: int, bank: Distance | None = None) -> Shape:
    """Proportions of a tumour of a grade."""
    lobes = np.zeros((int(rng.integers(2, 6)), 5), dtype=np.float32)
    direction = rng.standard_normal((len(lobes), 3))
    lobes[:, :3] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    lobes[:, 3] = rng.uniform(-0.10, 0.16, len(lobes))
    lobes[:, 4] = rng.uniform(0.08, 0.30, len(lobes))
    fill = float(rng.uniform(0.55, 1.0) if grade == 1 else rng.choice([rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.0)]))
    # Longest across, flattest from top to bottom, as in 237 contoured tumours (1.22 and 1.36).
    aspects = (float(rng.normal(1.08, 0.08)), float(rng.normal(0.97, 0.09)), float(rng.normal(0.88, 0.09)))
    reach = {1: 0.0, 2: 0.35, 3: 0.75, 4: 0.85}[grade] + float(rng.normal(0, 0.06))
    return Shape(grade, fill, tuple(np.clip(aspects, 0.7, 1.3).tolist()), lobes, reach, bank)


def volume_ml(distance_mm: Array, step_mm: float) -> float:
    """Volume inside a surface from its signed distances on a grid, edges counted by halves, ml."""
    share = np.clip(0.5 - distance_mm / np.float32(step_mm), 0, 1)
    return float(share.sum(dtype=np.float64) * step_mm**3 / 1000.0)


def fit_size(distance: Callable[[float], Array], wanted_ml: float, step_mm: float, tolerance: float = 0.01) -> float:
    """Size at which a tumour has the wanted volume, mm, by bisection.

    Args:
        distance: Size in mm to signed distances on a grid, mm.
        wanted_ml: Volume, ml.
        step_mm: Spacing of that grid.
        tolerance: Relative error of the volume that ends the search.
    """
    low, high = 0.3, 25.0
    for _ in range(16):
        size = 0.5 * (low + high)
        got = volume_ml(distance(size), step_mm)
        if abs(got / wanted_ml - 1) < tolerance:
            break
        low, high = (size, high) if got < wanted_ml else (low, size)
    return size


def koos_grade(distance_mm: Array, x: Array, y: Array, z: Array) -> int:
    """Koos grade from where the tumour lies in the undisplaced head: I to IV as 1 to 4; 0 for no tumour.

    I: no more than 2 mm out of the porus. II: out, but clear of the brainstem. III: touches pons, medulla or
    peduncle. IV: overlaps where they were by more than 2.5 mm, so that it must have displaced them.

    Args:
        distance_mm: Signed distance to the tumour, any shape.
        x: The points in the head's own frame, lateral positive on the tumour's side, mm, the same shape.
        y: Anterior, mm.
        z: Superior, mm.
    """
    inside = distance_mm < 0
    if not inside.any():
        return 0
    if extrameatal_mm(x[inside], y[inside], z[inside]).max() <= 2.0:
        return 1
    depth = -float(brainstem_mm(x[inside], y[inside], z[inside]).min())
    return 4 if depth > _DISPLACE_MM else 3 if depth > _TOUCH_MM else 2


def extrameatal_mm(x: Array, y: Array, z: Array) -> Array:
    """How far points lie medial of the plane of the porus along the canal's axis, mm; negative inside the canal."""
    axis = np.subtract(PORUS, FUNDUS)
    axis = (axis / np.linalg.norm(axis)).astype(np.float32)
    along = sum((v - np.float32(p)) * a for v, p, a in zip((x, y, z), PORUS, axis, strict=True))
    return np.asarray(along, dtype=np.float32)


def _capsule(x: Array, y: Array, z: Array, start: Array, end: Array, r_start: float, r_end: float) -> Array:
    axis = (end - start).astype(np.float32)
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / max(float(axis @ axis), 1e-6), 0, 1)
    along = along.astype(np.float32)
    away = np.sqrt((dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2)
    return np.asarray(away - (r_start + along * np.float32(r_end - r_start)), dtype=np.float32)


def _smooth_minimum(a: Array, b: Array, width: np.float32) -> Array:
    """Polynomial smooth minimum: two bodies melt into one (Quilez)."""
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return np.asarray(b + (a - b) * h - width * h * (1 - h), dtype=np.float32)
