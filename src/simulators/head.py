"""Electrodes of the 10-20 system and the potential of cortical dipoles on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

#: Inclination from Cz and azimuth from the right ear, degrees; negative inclinations lie on the left. SzCORE order.
_ANGLES_DEG: dict[str, tuple[float, float]] = {
    "Fp1": (-92, -72),
    "F3": (-60, -51),
    "C3": (-46, 0),
    "P3": (-60, 51),
    "O1": (-92, 72),
    "F7": (-92, -36),
    "T3": (-92, 0),
    "T5": (-92, 36),
    "Fz": (46, 90),
    "Cz": (0, 0),
    "Pz": (46, -90),
    "Fp2": (92, 72),
    "F4": (60, 51),
    "C4": (46, 0),
    "P4": (60, -51),
    "O2": (92, -72),
    "F8": (92, 36),
    "T4": (92, 0),
    "T6": (92, -36),
}
#: The 19 electrodes in the order of SzCORE.
ELECTRODES = tuple(_ANGLES_DEG)

HEAD_RADIUS_M, CONDUCTIVITY_S_M = 0.09, 0.33
#: Radius of the cortex over that of the scalp.
CORTEX = 0.85
#: A dipole below the skull looks like one in a homogeneous sphere nearer to the centre (Ary, Klein & Fender 1981).
_ARY = 0.6


def electrode_positions() -> Array:
    """Unit vectors (right, front, up) of :data:`ELECTRODES`, ``(19, 3)``."""
    inclination, azimuth = np.deg2rad(list(_ANGLES_DEG.values())).T
    return np.stack(
        [np.sin(inclination) * np.cos(azimuth), np.sin(inclination) * np.sin(azimuth), np.cos(inclination)], axis=1
    )


def sphere_potential(electrodes: Array, positions: Array, moments: Array) -> Array:
    """Potential of current dipoles on a homogeneous conducting sphere of radius one head.

    Closed form of Brody, Terry & Ideker 1973 in the notation of Mosher, Leahy & Lewis 1999 (eq. 21-23)::

        V = q · [(c1 - c2 r·r0) r0 + c2 |r0|² r]

    Args:
        electrodes: Points on the unit sphere, ``(electrode, 3)``.
        positions: Dipoles ``r0`` inside the unit sphere, not at its centre, ``(dipole, 3)``.
        moments: Dipole moments ``q``, ``(dipole, 3)``, A m.

    Returns:
        Potential against infinity, ``(electrode, dipole)``, V.
    """
    r, r0 = electrodes[:, None, :], positions[None, :, :]
    offset = r - r0
    d = np.linalg.norm(offset, axis=-1)
    along = (offset * r0).sum(-1)
    projection = (r * r0).sum(-1)
    squared = (r0**2).sum(-1)
    scale = 1.0 / (4 * np.pi * CONDUCTIVITY_S_M * HEAD_RADIUS_M**2 * squared)
    c1 = scale * (2 * along / d**3 + 1 / d - 1.0)
    c2 = scale * (2 / d**3 + (d + 1.0) / (d * (d + 1.0 - projection)))
    return (c1 - c2 * projection) * (moments @ positions.T).diagonal() + c2 * squared * (electrodes @ moments.T)


def lead_field(positions: Array, orientations: Array) -> Array:
    """Common-average potential of unit dipoles in a head with a skull, ``(19, dipole)``, V per A m.

    The skull enters through Ary's rule: the homogeneous sphere with dipole depths scaled by 0.6.

    Args:
        positions: Dipoles in head radii, ``(dipole, 3)``.
        orientations: Unit vectors, ``(dipole, 3)``.
    """
    field = sphere_potential(electrode_positions(), _ARY * positions, orientations)
    return field - field.mean(axis=0)


def bump(centre: Array, width: float) -> Array:
    """Weights of the electrodes around a point, ``exp(-(angle / width)²)``, ``(19,)``; width in radians."""
    angle = np.arccos(np.clip(electrode_positions() @ (centre / np.linalg.norm(centre)), -1.0, 1.0))
    return np.exp(-((angle / width) ** 2))
