"""One simulated patient's head: size, pose, individual form, and the tissues of it on a fine grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .skull_base import Tissue, tissue

Array = NDArray[np.float32]
Labels = NDArray[np.uint8]
#: Tissue at points of the template's frame: x, y, z in mm and fractal noise of unit variance.
Anatomy = Callable[[Array, Array, Array, Array], Labels]

#: Middle between both canals in the template's frame, mm: about what a patient's head is scaled and turned.
CENTRE = (0.0, -29.0, -42.0)
#: What a growing tumour cannot push aside.
_RIGID = (Tissue.AIR, Tissue.BONE, Tissue.MARROW, Tissue.LABYRINTH, Tissue.MUCOSA, Tissue.FAT, Tissue.SKIN)


@dataclass(frozen=True)
class Form:
    """What makes a head individual.

    Attributes:
        scale: Size relative to the template along each axis (MNI heads are larger than people's).
        rotation: Head frame to scanner, ``(3, 3)``.
        waves: Smooth deformation: wave vector (1/mm), phase and amplitude (mm) of plane waves, ``(axis, wave, 5)``.
    """

    scale: Array
    rotation: Array
    waves: Array

    def to_template(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Points of the patient's space (mm from the middle between the canals) in the template's frame."""
        turned = [self.rotation[0, a] * x + self.rotation[1, a] * y + self.rotation[2, a] * z for a in range(3)]
        point = [value / self.scale[a] for a, value in enumerate(turned)]
        moved = []
        for axis in range(3):
            shift = np.zeros_like(x)
            for kx, ky, kz, phase, amplitude in self.waves[axis]:
                shift += amplitude * np.sin(kx * point[0] + ky * point[1] + kz * point[2] + phase)
            moved.append(np.asarray(point[axis] + shift + np.float32(CENTRE[axis]), dtype=np.float32))
        return moved[0], moved[1], moved[2]


def draw_form(rng: np.random.Generator) -> Form:
    """Scale .92 ± .03, turned by about 4 degrees on each axis, bent by up to about 3 mm."""
    from scipy.spatial.transform import Rotation

    waves = np.empty((3, 3, 5), dtype=np.float32)
    direction = rng.standard_normal((3, 3, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    waves[..., :3] = direction * (2 * np.pi / rng.uniform(70, 150, (3, 3, 1)))
    waves[..., 3] = rng.uniform(0, 2 * np.pi, (3, 3))
    waves[..., 4] = rng.normal(0, 0.8, (3, 3))
    rotation = Rotation.from_euler("xyz", np.deg2rad(rng.normal(0, 4.0, 3) * (1, 0.7, 0.7))).as_matrix()
    scale = rng.normal(0.92, 0.03) * (1 + rng.normal(0, 0.015, 3))
    return Form(scale.astype(np.float32), rotation.astype(np.float32), waves)


class Head:
    """The healthy head of a patient on an isotropic grid around the canals.

    Args:
        form: Individual form.
        half_mm: Half the extent of the grid along each axis, mm.
        step_mm: Spacing of the grid.
        rng: Draws the fractal texture.
        anatomy: Tissue at points of the template's frame; :func:`.skull_base.tissue` needs no file.

    Attributes:
        label: Tissue, ``(x, y, z)``.
        texture: Fractal noise of unit variance, the same shape.
        origin_mm: Place of the first voxel, RAS, mm from the middle between the canals.
    """

    def __init__(
        self,
        form: Form,
        half_mm: tuple[float, float, float],
        step_mm: float,
        rng: np.random.Generator,
        anatomy: Anatomy = tissue,
    ):
        self.form, self.step_mm, self.anatomy = form, step_mm, anatomy
        self.shape = tuple(int(2 * h / step_mm) + 1 for h in half_mm)
        self.origin_mm = np.array([-0.5 * (n - 1) * step_mm for n in self.shape], dtype=np.float32)
        self.texture = fractal_noise(self.shape, step_mm, rng)
        self.label = np.empty(self.shape, dtype=np.uint8)
        depth = max(1, 2_000_000 // (self.shape[0] * self.shape[1]))  # slabs that stay in the processor's cache
        for first in range(0, self.shape[2], depth):
            part = (slice(None), slice(None), slice(first, first + depth))
            self.label[part] = anatomy(*form.to_template(*self.points(part)), self.texture[part])

    def points(self, part: tuple[slice, slice, slice]) -> tuple[Array, Array, Array]:
        """Coordinates of a part of the grid in the patient's space, mm."""
        axes = [
            (np.arange(n, dtype=np.float32) * np.float32(self.step_mm) + o)[s]
            for n, o, s in zip(self.shape, self.origin_mm, part, strict=True)
        ]
        x, y, z = np.meshgrid(*axes, indexing="ij")
        return x, y, z

    def box(self, centre_mm: Array, half_mm: float) -> tuple[slice, slice, slice]:
        """The part of the grid within ``half_mm`` of a point of the patient's space, along each axis."""
        low = np.floor((centre_mm - half_mm - self.origin_mm) / self.step_mm).astype(int)
        high = np.ceil((centre_mm + half_mm - self.origin_mm) / self.step_mm).astype(int) + 1
        a, b, c = (slice(max(0, int(f)), min(n, int(t))) for f, t, n in zip(low, high, self.shape, strict=True))
        return a, b, c

    def find(self, point: tuple[float, float, float]) -> Array:
        """The place of a template point in the patient's space, mm, by fixed-point iteration."""
        target = np.asarray(point, dtype=np.float32)
        guess = self.form.rotation @ ((target - np.asarray(CENTRE, np.float32)) * self.form.scale)
        for _ in range(8):
            found = np.array([v[0] for v in self.form.to_template(*(np.array([g], np.float32) for g in guess))])
            guess = guess + self.form.rotation @ ((target - found) * self.form.scale)
        return np.asarray(guess, dtype=np.float32)

    def displaced(self, part: tuple[slice, slice, slice], distance_mm: Array, centre_mm: Array) -> Labels:
        """Tissue around a tumour that has pushed it aside; bone stays where it is.

        A point at distance d from the tumour shows what lay nearer to the tumour's centre: at the surface the centre
        itself, from 1.2 R + 6 mm on what is there (R: radius of a ball of the tumour's size).

        Args:
            part: Part of the grid.
            distance_mm: Signed distance to the tumour there.
            centre_mm: Its centre.
        """
        x, y, z = self.points(part)
        dx, dy, dz = x - centre_mm[0], y - centre_mm[1], z - centre_mm[2]
        r = np.sqrt(dx * dx + dy * dy + dz * dz) + np.float32(1e-3)
        volume = float((distance_mm < 0).sum()) * self.step_mm**3
        band = np.float32(1.2 * (3 * volume / (4 * np.pi)) ** (1 / 3) + 6.0)
        d = np.clip(distance_mm, 0, band)
        factor = np.minimum((r - d + band) * d / (band * r), 1.0)
        source = self.form.to_template(
            dx * factor + centre_mm[0], dy * factor + centre_mm[1], dz * factor + centre_mm[2]
        )
        before = self.label[part]
        after = self.anatomy(*source, self.texture[part])
        keep = np.isin(before, _RIGID) | np.isin(after, (*_RIGID, Tissue.DURA))
        return np.where(keep, before, after)


def fractal_noise(shape: tuple[int, ...], step_mm: float, rng: np.random.Generator) -> Array:
    """Noise of unit variance with detail at 1, 2 and 5 mm."""
    total = np.zeros(shape, dtype=np.float32)
    white = rng.standard_normal(shape, dtype=np.float32)
    for sigma_mm, weight in ((0.9, 0.75), (2.0, 0.8), (5.0, 0.7)):
        sigma = max(sigma_mm / step_mm, 0.6)
        layer = gaussian_filter(white, sigma, truncate=2.5, mode="wrap")
        total += np.float32(weight / max(float(layer.std()), 1e-6)) * layer
        white = np.roll(white, 7, axis=0)
    return total / np.float32(total.std())
