"""Ten virtual hospitals and their scanners: field of view, spacing, noise, bias field, artefacts, file orientation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from ..contracts import Volume
from ..errors import ConfigError, did_you_mean

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Protocol:
    """One sequence of a site.

    Attributes:
        inplane_mm: Pixel size.
        slice_mm: Slice thickness.
        gap: Gap between slices, share of the thickness.
        snr: White matter (ceT1w) or grey matter (T2w) over the noise of one channel.
        matrix: Share of the matrix that is measured; the rest is filled with zeros, which blurs and rings.
        plane: ``axial`` or ``coronal`` slices.
    """

    inplane_mm: float
    slice_mm: float
    gap: float = 0.0
    snr: float = 25.0
    matrix: float = 0.9
    plane: str = "axial"


@dataclass(frozen=True)
class Site:
    """A hospital.

    Attributes:
        name: Folder name.
        protocols: Modality to sequence.
        fov_mm: Field of view: right-left, front-back, and height of the slab, mm.
        bias_sd: Standard deviation of the log bias field.
        gamma: Exponent of the scanner's grey scale.
        ghost: Amplitude of motion ghosts along the phase axis.
        tilt_deg: Standard deviation of the tilt of the slices.
        codes: Storage order of the voxel axes in the file, as nibabel's axis codes.
        contrast_sd: Spread of the tissues' log brightness at this site.
        scale: Grey value of white matter.
    """

    name: str
    protocols: dict[str, Protocol] = field(default_factory=dict)
    fov_mm: tuple[float, float, float] = (176.0, 200.0, 48.0)
    bias_sd: float = 0.12
    gamma: float = 1.0
    ghost: float = 0.0
    tilt_deg: float = 4.0
    codes: str = "LPS"
    contrast_sd: float = 0.05
    scale: float = 300.0


def _site(name: str, t1: Protocol, t2: Protocol, **other: object) -> Site:
    return Site(name, {"ceT1w": t1, "T2w": t2}, **other)  # type: ignore[arg-type]


#: From a radiosurgery planning scanner to thick routine slices; no two alike.
SITES: dict[str, Site] = {
    site.name: site
    for site in (
        _site("gk", Protocol(0.45, 1.5, 0, 32, 0.9), Protocol(0.5, 1.5, 0, 26, 0.9), bias_sd=0.08, tilt_deg=2),
        _site("north", Protocol(0.6, 3.0, 0.1, 28, 0.8), Protocol(0.5, 0.8, 0, 20, 0.9), codes="RAS"),
        _site("harbour", Protocol(0.9, 1.0, 0, 20, 1.0), Protocol(0.6, 1.2, 0, 16, 0.85), gamma=1.1, codes="LAS"),
        _site("valley", Protocol(0.7, 4.0, 0.2, 35, 0.75), Protocol(0.7, 3.0, 0.1, 30, 0.8), bias_sd=0.18, scale=900.0),
        _site("castle", Protocol(0.5, 2.0, 0, 15, 0.85), Protocol(0.4, 1.0, 0, 14, 0.9), ghost=0.03, codes="RPS"),
        _site("mill", Protocol(0.8, 1.6, 0, 24, 1.0), Protocol(0.8, 1.6, 0, 24, 1.0), fov_mm=(150.0, 150.0, 44.0)),
        _site("forest", Protocol(0.6, 3.0, 0, 26, 0.8, "coronal"), Protocol(0.6, 2.0, 0, 22, 0.85), gamma=0.9),
        _site("lake", Protocol(0.85, 5.0, 0.1, 40, 0.8), Protocol(0.55, 4.0, 0.1, 28, 0.8), bias_sd=0.15, tilt_deg=7),
        _site("bridge", Protocol(0.5, 1.2, 0, 13, 0.9), Protocol(0.35, 0.7, 0, 12, 0.9), fov_mm=(150.0, 150.0, 40.0)),
        _site("island", Protocol(0.75, 2.4, 0.15, 20, 0.7), Protocol(0.65, 2.4, 0, 18, 0.75), bias_sd=0.22, ghost=0.05,
              codes="LPI", scale=120.0),
    )
}  # fmt: skip


def get_site(name: str) -> Site:
    """A site by name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in SITES:
        raise ConfigError(f"site {name!r} is unknown: {did_you_mean(name, SITES)}")
    return SITES[name]


def coarsened(site: Site, factor: float, fov_mm: tuple[float, float, float] | None) -> Site:
    """The site with larger pixels and another field of view: cheap volumes for demonstrations and tests."""
    protocols = {
        name: replace(p, inplane_mm=p.inplane_mm * factor, slice_mm=max(p.slice_mm, 0.8 * p.inplane_mm * factor))
        for name, p in site.protocols.items()
    }
    return replace(site, protocols=protocols, fov_mm=fov_mm or site.fov_mm)


def slice_grid(
    site: Site, protocol: Protocol, rng: np.random.Generator, centre_mm: Array
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of an acquisition whose slab is centred, within a few mm, on the canals.

    Axis order is (column, row, slice) in RAS direction before :func:`stored` turns it into the file's.
    """
    fov = np.asarray(site.fov_mm) * rng.uniform(0.95, 1.05, 3)
    thick = protocol.slice_mm * (1 + protocol.gap)
    order = (0, 1, 2) if protocol.plane == "axial" else (0, 2, 1)
    if protocol.plane == "coronal":
        fov = np.array([fov[0], max(70.0, 0.45 * fov[1]), max(fov[2], 0.6 * fov[0])])
    spacing = np.empty(3)
    spacing[list(order)] = (protocol.inplane_mm, protocol.inplane_mm, thick)
    shape = np.maximum(np.round(fov / spacing).astype(int), 8)
    tilt = np.deg2rad(rng.normal(0, site.tilt_deg, 3)) * (1.0, 0.5, 0.5)
    rotation = _rotation(tilt)
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    offset = rng.normal(0, (2, 3, 3)) + np.array([0, 0 if protocol.plane == "axial" else 4, 0])
    affine[:3, 3] = centre_mm + offset - affine[:3, :3] @ ((shape - 1) / 2)
    return affine.astype(np.float64), tuple(int(n) for n in shape)  # type: ignore[return-value]


def acquire(
    signal: Array, origin_mm: Array, step_mm: float, affine: NDArray[np.float64], shape: tuple[int, int, int],
    site: Site, protocol: Protocol, modality: str, rng: np.random.Generator,
) -> Array:  # fmt: skip
    """What the scanner makes of a noise-free signal on a fine grid.

    The signal is averaged over the slice profile, sampled, cut in k-space, shaded by a quadratic bias field, ghosted,
    and gets the noise of the magnitude of a complex signal (Rician).

    Args:
        signal: ``(x, y, z)`` on an isotropic RAS grid, white matter about 1.
        origin_mm: Centre of its first voxel.
        step_mm: Its spacing.
        affine: Of the acquired grid.
        shape: Of the acquired grid.
        site: Where.
        protocol: Which sequence.
        modality: For the reference of the signal-to-noise ratio.
        rng: Draws noise and shading.
    """
    thick_axis = 2 if protocol.plane == "axial" else 1
    # A box of the slice's thickness, approximated by the Gaussian of the same variance: tilts are small.
    smooth = signal
    for axis in range(3):
        width = protocol.slice_mm if axis == thick_axis else protocol.inplane_mm
        smooth = gaussian_filter1d(smooth, max(width / np.sqrt(12), 0.35 * step_mm) / step_mm, axis=axis, truncate=3)
    axes = [np.arange(n, dtype=np.float64) for n in shape]
    image = np.zeros(shape, dtype=np.float32)
    matrix, start = affine[:3, :3] / step_mm, (affine[:3, 3] - origin_mm) / step_mm
    for k in range(shape[2]):
        i, j = np.meshgrid(axes[0], axes[1], indexing="ij")
        points = [matrix[r, 0] * i + matrix[r, 1] * j + matrix[r, 2] * k + start[r] for r in range(3)]
        image[:, :, k] = map_coordinates(smooth, points, order=1, mode="constant", cval=0.0, prefilter=False)
    phase_axis = 1 if protocol.plane == "axial" else 0
    inplane = (0, 1) if protocol.plane == "axial" else (0, 2)
    image *= np.exp(site.bias_sd * _quadratic(shape, rng))
    if site.ghost:
        shift = int(shape[phase_axis] * rng.uniform(0.2, 0.45))
        image = image + site.ghost * (np.roll(image, shift, phase_axis) + np.roll(image, -shift, phase_axis))
    reference = 1.0 if modality == "ceT1w" else 0.58
    noise = reference / protocol.snr
    field_ = image + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    if protocol.matrix < 1:
        field_ = _cut_k_space(field_, protocol.matrix, inplane)
    image = np.abs(field_).astype(np.float32)
    return np.asarray(image**site.gamma * site.scale, dtype=np.float32)


def stored(data: NDArray[Any], affine: NDArray[Any], codes: str, name: str) -> Volume:
    """The volume with its axes in the order and direction that the site's files have."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    transform = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    return Volume(
        np.ascontiguousarray(apply_orientation(data, transform)), affine @ inv_ornt_aff(transform, data.shape), name
    )


def _cut_k_space(image: Array, share: float, axes: tuple[int, int]) -> Array:
    """Zero the outer k-space along the in-plane axes; the noise's power is kept."""
    spectrum = np.fft.fftn(image, axes=axes)
    for axis in axes:
        frequency = np.abs(np.fft.fftfreq(image.shape[axis]))
        keep = frequency <= 0.5 * share
        spectrum *= keep.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(np.fft.ifftn(spectrum, axes=axes), dtype=np.complex64)


def _quadratic(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """A smooth field of unit standard deviation: all terms up to the second order with random weights."""
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    weights = rng.standard_normal(9).astype(np.float32)
    terms = (
        weights[0] * x[:, None, None] + weights[1] * y[:, None] + 0.5 * weights[2] * z
        + weights[3] * (x**2)[:, None, None] + weights[4] * (y**2)[:, None] + 0.5 * weights[5] * z**2
        + weights[6] * (x[:, None] * y)[:, :, None] + weights[7] * x[:, None, None] * z + weights[8] * y[:, None] * z
    )  # fmt: skip
    terms = terms - terms.mean()
    return np.asarray(terms / max(float(terms.std()), 1e-6), dtype=np.float32)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", angles).as_matrix())
