"""A procedural head at the level of the internal auditory canals: which tissue lies at which point.

Coordinates are millimetres in RAS with MNI's origin, so that templates and the canal's measured place (porus at
x = ±25.5, y = -29, z = -42, fundus at ±35.5, -25.2, -40.3; ridge of the full-head MNI template) share them. Shapes are
ellipsoids, planes and tubes with fractal edges, sized after the template; fine detail (folia, nerves, labyrinth, air
cells) is there because networks and readers look at it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Point = tuple[float, float, float]

#: Medial and lateral end of the right canal, mm.
PORUS: Point = (25.5, -29.0, -42.0)
FUNDUS: Point = (35.5, -25.2, -40.3)
#: Radius of the canal at the porus and at the fundus, mm (normal diameter 4-8 mm at the porus).
CANAL_RADIUS_MM = (2.7, 1.8)


class Tissue(IntEnum):
    """What a voxel of the head is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    CSF = 6
    GREY = 7
    WHITE = 8
    BRAINSTEM = 9
    NERVE = 10
    LABYRINTH = 11
    SINUS = 12
    ARTERY = 13
    DURA = 14
    MUCOSA = 15
    GLOBE = 16
    CHOROID = 17
    TUMOUR = 18
    CYST = 19
    RIM = 20


def tissue(x: Array, y: Array, z: Array, noise: Array) -> NDArray[np.uint8]:
    """Tissue at every point.

    Args:
        x: Right, mm, any shape.
        y: Anterior, mm, the same shape.
        z: Superior, mm.
        noise: Fractal noise of unit variance, the same shape; roughens edges and draws air cells and fat planes.
    """
    label = np.zeros(x.shape, dtype=np.uint8)
    side = np.abs(x)
    edge = 0.8 * noise
    scalp = _ellipsoid(x, y, z, (0, -12, -22), (78, 101, 130)) + 0.3 * edge
    label[scalp < 0] = Tissue.SKIN
    label[scalp < -2.5] = Tissue.FAT
    muscle = (scalp < -6.5 - 1.2 * edge) & ((z < -36) | (y > 20) | (scalp < -7.5))
    label[muscle] = Tissue.MUSCLE
    label[muscle & (noise > 1.1) & (z < -30)] = Tissue.FAT  # planes between muscles
    _face(label, side, y, z, noise, scalp)
    cavity = _cavity(side, y, z) + 0.25 * edge
    _skull(label, cavity, side, y, z, noise, scalp)
    label[cavity < 0] = Tissue.CSF
    label[(cavity < 0) & (cavity > -1.1)] = Tissue.DURA
    _brain(label, x, side, y, z, noise, cavity)
    _petrous_bone(label, side, y, z, noise, cavity)
    _canals(label, x, side, y, z)
    _vessels(label, x, side, y, z)
    return label


def posterior_face_mm(side: Array, y: Array, z: Array) -> Array:
    """Signed distance to the posterior face of the petrous bone, mm; positive inside the bone."""
    return (y + 29.0 + 0.78 * (side - 25.5) - 0.28 * (z + 42.0)) / np.float32(1.3)


def brainstem_mm(x: Array, y: Array, z: Array) -> Array:
    """Signed distance to pons, medulla and middle cerebellar peduncle, mm; negative inside. Koos grades need it."""
    side = np.abs(x)
    pons = _ellipsoid(x, y, z, (0, -26, -32), (17.5, 13.5, 17))
    medulla = _ellipsoid(x, y, z, (0, -37, -58), (9.5, 9, 22))
    midbrain = _ellipsoid(x, y, z, (0, -22, -12), (17, 12, 10))
    peduncle = _tube(side, y, z, (10, -31, -35), (22, -46, -37), 7.5, 7.0)
    return np.minimum(np.minimum(pons, medulla), np.minimum(midbrain, peduncle))


def _ellipsoid(x: Array, y: Array, z: Array, centre: Point, radii: Point) -> Array:
    """About the signed distance to an ellipsoid, mm."""
    a, b, c = ((v - m) / np.float32(r) for v, m, r in zip((x, y, z), centre, radii, strict=True))
    distance = (np.sqrt(a * a + b * b + c * c) - 1) * np.float32(min(radii))
    return np.asarray(distance, dtype=np.float32)


def _tube(x: Array, y: Array, z: Array, start: Point, end: Point, r_start: float, r_end: float) -> Array:
    """Signed distance to a tube with round ends whose radius changes linearly, mm."""
    axis = np.subtract(end, start).astype(np.float32)
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / float(axis @ axis), 0, 1).astype(np.float32)
    away = np.sqrt((dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2)
    return np.asarray(away - (r_start + along * np.float32(r_end - r_start)), dtype=np.float32)


def _cavity(side: Array, y: Array, z: Array) -> Array:
    """Signed distance to the inside of the skull, mm."""
    posterior = _ellipsoid(side, y, z, (0, -52, -27), (57, 50, 42))
    temporal = _ellipsoid(side, y, z, (37, -6, -14), (29, 40, 33))
    frontal = _ellipsoid(side, y, z, (0, 22, 2), (50, 46, 22))
    central = _ellipsoid(side, y, z, (0, -14, 0), (40, 34, 34))
    clivus = -(y - 0.5 - 0.55 * (z + 42)) / np.float32(1.15)  # bone anterior of a plane that leans forward
    posterior = np.maximum(posterior, np.where(side < 30, -clivus, -1e3)).astype(np.float32)
    return np.minimum(np.minimum(posterior, temporal), np.minimum(frontal, central))


def _skull(
    label: NDArray[np.uint8], cavity: Array, side: Array, y: Array, z: Array, noise: Array, scalp: Array
) -> None:
    wall = (cavity >= 0) & (cavity < 6.5) & (scalp < -4)
    label[wall] = Tissue.BONE
    label[wall & (cavity > 2) & (cavity < 4.6) & (noise > -0.9)] = Tissue.MARROW
    clivus = (side < 15) & (y > -14) & (y < 12) & (z < -18) & (z > -64) & (cavity > 0)
    label[clivus] = Tissue.MARROW
    label[clivus & (cavity < 1.5)] = Tissue.BONE
    temporal = _ellipsoid(side, y, z, (40, -17, -47), (26, 22, 13)) + 2.5 * noise
    label[(cavity >= 0) & (temporal < 0) & (scalp < -9)] = Tissue.BONE


def _face(label: NDArray[np.uint8], side: Array, y: Array, z: Array, noise: Array, scalp: Array) -> None:
    """Orbits, nasal cavity, sinuses, skull base below the temporal lobe."""
    deep = scalp < -8
    maxilla = _ellipsoid(side, y, z, (27, 48, -52), (19, 22, 22))
    label[(maxilla < 3) & deep] = Tissue.BONE
    label[(maxilla < 0) & deep] = Tissue.MUCOSA
    label[(maxilla < -2 + 0.8 * noise) & deep] = Tissue.AIR
    nose = (side < 15) & (y > 14) & (z < -24) & deep
    label[nose] = Tissue.MUCOSA
    label[nose & (np.abs(side - 5) < 2.6 + 0.6 * noise)] = Tissue.AIR
    label[nose & (side < 1.2)] = Tissue.BONE
    sphenoid = _ellipsoid(side, y, z, (8, 18, -30), (11, 13, 11))
    label[(sphenoid < 2.2) & deep] = Tissue.BONE
    label[(sphenoid < 0)] = Tissue.MUCOSA
    label[(sphenoid < -1.3)] = Tissue.AIR
    orbit = _ellipsoid(side, y, z, (34, 50, -22), (19, 30, 17))
    label[(orbit < 3) & deep] = Tissue.BONE
    label[(orbit < 0) & (scalp < -3)] = Tissue.FAT
    globe = _ellipsoid(side, y, z, (34, 62, -24), (12, 12, 12))
    label[(globe < 0) & (scalp < -1)] = Tissue.GLOBE
    label[_tube(side, y, z, (33, 51, -23), (14, 24, -18), 2.2, 2.2) < 0] = Tissue.NERVE
    throat = _ellipsoid(side, y, z, (0, 18, -78), (13, 11, 22))
    label[throat < 0] = Tissue.AIR


def _brain(label: NDArray[np.uint8], x: Array, side: Array, y: Array, z: Array, noise: Array, cavity: Array) -> None:
    tentorium = z + 18 + 0.30 * np.minimum(side - 10, 30) + 0.10 * (y + 60)
    stem = brainstem_mm(x, y, z)
    # Temporal lobes and the base of the frontal lobes: grey ribbon with sulci, white core.
    upper = (cavity < -2.2) & ((y > -28) | (tentorium > 4.5))
    anterior = upper & (posterior_face_mm(side, y, z) > -2) & (side > 13)
    depth = -cavity - 2.2
    fold = np.sin((0.55 * y + 0.75 * side + 0.45 * z + 2.4 * noise) * np.float32(2 * np.pi / 13))
    sulcus = (fold > 0.93) & (depth < 12)
    ribbon = depth < 4.2 + 6.0 * np.clip(fold, 0, 1)
    lobe = anterior | (upper & (tentorium > 4.5) & (stem > 3))
    label[lobe] = Tissue.WHITE
    label[lobe & ribbon] = Tissue.GREY
    label[lobe & sulcus] = Tissue.CSF
    horn = _tube(side, y, z, (30, -8, -20), (38, -40, -6), 2.2, 4.0)
    label[(horn < 0) & lobe] = Tissue.CSF
    suprasellar = _ellipsoid(x, y, z, (0, -2, -14), (16, 13, 10))
    label[suprasellar < 0] = Tissue.CSF
    # Cerebellum: folia around a branching white core.
    hemisphere = _ellipsoid(side, y, z, (25, -63, -37), (31, 35, 28))
    vermis = _ellipsoid(x, y, z, (0, -68, -32), (16, 27, 26))
    cerebellum = np.minimum(hemisphere, vermis) + 0.5 * noise
    inside = (cerebellum < 0) & (cavity < -1.8) & (tentorium < 3)
    leaf = np.sin((0.62 * y + 0.78 * z + 0.22 * side + 1.5 * noise) * np.float32(2 * np.pi / 4.4))
    label[inside] = Tissue.GREY
    core = _ellipsoid(side, y, z, (20, -57, -37), (17, 15, 10))
    label[inside & ((core + 2.2 * leaf + 1.2 * noise < 0) | ((cerebellum < -4.5) & (leaf > 0.80)))] = Tissue.WHITE
    label[inside & (leaf < -0.93) & (core > 5) & (cerebellum > -11)] = Tissue.CSF
    flocculus = _ellipsoid(side, y, z, (20, -38, -45), (5.5, 4.5, 4)) + 0.6 * noise
    label[(flocculus < 0) & (cavity < -1)] = Tissue.GREY
    label[(stem < 0) & (cavity < -1)] = Tissue.BRAINSTEM
    ventricle = np.maximum(_ellipsoid(x, y, z, (0, -44, -35), (9, 5.5, 13)), side - 7.5)
    label[ventricle < 0] = Tissue.CSF
    label[_tube(side, y, z, (2, -44, -44), (17, -40, -49), 1.4, 2.2) < 0] = Tissue.CSF  # lateral recess
    label[_tube(side, y, z, (13, -41, -49), (18, -39, -49), 1.5, 2.0) < -0.4] = Tissue.CHOROID
    for start, end, radius in (
        ((14.0, -33.0, -43.5), FUNDUS, 0.75),  # facial and vestibulocochlear
        ((16.0, -24.0, -33.0), (17.0, -6.0, -33.0), 1.6),  # trigeminal
        ((4.0, -20.0, -50.0), (12.0, -8.0, -38.0), 0.6),  # abducens
        ((10.0, -36.0, -53.0), (22.0, -33.0, -55.0), 0.7),  # glossopharyngeal and vagus
    ):
        nerve = _tube(side, y, z, start, end, radius, radius) < 0
        label[nerve & (label == Tissue.CSF)] = Tissue.NERVE


def _petrous_bone(label: NDArray[np.uint8], side: Array, y: Array, z: Array, noise: Array, cavity: Array) -> None:
    behind = posterior_face_mm(side, y, z)
    front = -(y + 10 + 0.34 * (side - 10) + 0.75 * (z + 42)) / np.float32(1.3)
    top = -29 + 0.07 * side - z + 0.4 * noise
    wedge = (behind > 0) & (front > 0) & (top > 0) & (side > 12) & (side < 58 + 3 * noise) & (z > -60)
    inner = np.minimum(np.minimum(behind, front), top)
    label[wedge] = Tissue.BONE
    label[wedge & (inner < 1.0) & (cavity < -1)] = Tissue.DURA
    label[wedge & (inner > 2) & (side < 21) & (noise > -0.4)] = Tissue.MARROW
    mastoid = _ellipsoid(side, y, z, (56, -37, -46), (13, 17, 20)) + 2.0 * noise
    cells = (wedge & (inner > 2.0)) | (cavity > 1.5)
    label[cells & (mastoid < 2)] = Tissue.BONE
    label[cells & (mastoid < 0) & (noise > -0.35)] = Tissue.AIR
    canal = _tube(side, y, z, (50, -24, -46), (84, -22, -50), 3.8, 3.8)
    label[canal < 1.5] = Tissue.BONE
    label[canal < 0] = Tissue.AIR


def _canals(label: NDArray[np.uint8], x: Array, side: Array, y: Array, z: Array) -> None:
    """Internal auditory canals with their nerve, cochleae, vestibules and semicircular canals."""
    near = np.flatnonzero((side > 20) & (side < 52) & (y > -46) & (y < -8) & (z > -54) & (z < -28))
    if not len(near):
        return
    flat = label.reshape(-1)
    s, v, w = (a.reshape(-1)[near] for a in (side, y, z))
    part = flat[near]
    canal = _tube(s, v, w, PORUS, FUNDUS, *CANAL_RADIUS_MM)
    mouth = _tube(s, v, w, (21.0, -30.7, -42.7), PORUS, 4.5, 2.7)
    part[(mouth < 0) & np.isin(part, (Tissue.BONE, Tissue.DURA, Tissue.MARROW))] = Tissue.CSF
    part[canal < 0] = Tissue.CSF
    for offset in (-0.75, 0.75):
        fibre = _tube(s, v, w, (24.0, -29.6 + offset / 2, -42.2 - offset / 2), FUNDUS, 0.6, 0.5)
        part[(fibre < 0) & (canal < -0.2)] = Tissue.NERVE
    spiral = _spiral(s, v, w)
    vestibule = _ellipsoid(s, v, w, (41.5, -29.0, -40.5), (2.4, 2.2, 2.4))
    part[(spiral < 0.85) | (vestibule < 0)] = Tissue.LABYRINTH
    for normal, centre in (
        ((0.0, 0.2, 1.0), (43.5, -31.5, -40.0)),  # lateral
        ((0.7, -0.7, 0.1), (42.5, -31.0, -37.0)),  # anterior
        ((0.7, 0.7, 0.1), (43.0, -33.0, -40.5)),  # posterior
    ):
        part[_ring(s, v, w, centre, normal, 3.3) < 0.65] = Tissue.LABYRINTH
    flat[near] = part


def _spiral(x: Array, y: Array, z: Array) -> Array:
    """Distance to the two and a half turns of the cochlea, mm; its base is at the fundus, its axis points forward."""
    turn = np.linspace(0, 2.5 * 2 * np.pi, 60)
    radius = 3.6 * np.exp(-0.11 * turn)
    curve = np.stack([38.0 + radius * np.cos(turn), -22.0 + 0.23 * turn, -43.0 + radius * np.sin(turn)], axis=1)
    best = np.full(x.shape, 1e3, dtype=np.float32)
    for px, py, pz in curve.astype(np.float32):
        np.minimum(best, np.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2), out=best)
    return best


def _ring(x: Array, y: Array, z: Array, centre: Point, normal: Point, radius: float) -> Array:
    """Distance to a circle, mm."""
    n = np.asarray(normal, dtype=np.float32) / np.float32(np.linalg.norm(normal))
    dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
    height = dx * n[0] + dy * n[1] + dz * n[2]
    inplane = np.sqrt(np.maximum(dx * dx + dy * dy + dz * dz - height * height, 0)) - radius
    return np.asarray(np.sqrt(inplane**2 + height**2), dtype=np.float32)


def _vessels(label: NDArray[np.uint8], x: Array, side: Array, y: Array, z: Array) -> None:
    for start, end, radius, kind in (
        ((1.0, -10.5, -50.0), (0.0, -8.0, -22.0), 1.6, Tissue.ARTERY),  # basilar
        ((8.0, -22.0, -62.0), (1.0, -11.0, -50.0), 1.4, Tissue.ARTERY),  # vertebral
        ((24.0, -8.0, -70.0), (24.0, -10.0, -46.0), 2.4, Tissue.ARTERY),  # carotid below the bone
        ((24.0, -10.0, -46.0), (11.0, 2.0, -34.0), 2.3, Tissue.ARTERY),  # and in it
        ((11.0, 2.0, -34.0), (11.0, 8.0, -20.0), 2.3, Tissue.ARTERY),
        ((2.0, -14.0, -46.0), (22.0, -31.0, -44.0), 0.6, Tissue.ARTERY),  # anterior inferior cerebellar
        ((54.0, -58.0, -28.0), (49.0, -49.0, -46.0), 4.2, Tissue.SINUS),  # sigmoid
        ((49.0, -49.0, -46.0), (30.0, -36.0, -58.0), 3.8, Tissue.SINUS),
        ((54.0, -58.0, -28.0), (30.0, -92.0, -22.0), 3.6, Tissue.SINUS),  # transverse
        ((30.0, -36.0, -56.0), (27.0, -26.0, -74.0), 4.6, Tissue.SINUS),  # jugular
        ((12.0, 4.0, -26.0), (13.0, -6.0, -26.0), 3.4, Tissue.SINUS),  # cavernous
    ):
        across = x if kind is Tissue.ARTERY and start[0] < 2 else side
        label[_tube(across, y, z, start, end, radius, radius) < 0] = kind
    label[_ellipsoid(x, y, z, (0, 3, -22), (6, 4.5, 4)) < 0] = Tissue.MUCOSA  # pituitary: enhances alike
