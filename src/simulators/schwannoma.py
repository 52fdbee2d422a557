"""Patients with a vestibular schwannoma: up to three exams each, at one of ten virtual hospitals, with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from ..contracts import Exam
from ..errors import ConfigError
from .course import Course, draw_course
from .mri_contrast import Latent, brightness, draw_latent
from .mri_sites import SITES, Site, acquire, coarsened, get_site, slice_grid, stored
from .patient_head import Anatomy, Head, draw_form
from .schwannoma_shape import Distance, Shape, draw_grade_and_volume, draw_shape, extrameatal_mm, fit_size
from .schwannoma_shape import koos_grade as measure_koos
from .schwannoma_shape import volume_ml as measure_volume
from .skull_base import PORUS, Tissue, tissue

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]

#: Difference of two observers' volumes: half width of the 95 % limits at these volumes (100 patients, 5 observers).
_OBSERVER_ML, _OBSERVER_LIMIT = (0.193, 3.10), (0.268, 0.073)


@dataclass(frozen=True)
class SchwannomaSimulator:
    """Examinations with exact tumour labels.

    A patient has one head, one tumour and one set of tissue properties for all sequences and exams; sites differ in
    field of view, spacing, noise, shading, contrast and file orientation. Koos grade and volume in an exam's metadata
    are measured on the geometry, not wishes. The same seed gives the same bits.

    Args:
        sites: Names of the virtual hospitals; patients are dealt out in turn. Empty for all ten.
        max_exams: Longest course of a patient.
        paired: Share of exams with both sequences; of the others, 60 % have T2w only.
        operated: Share of patients with two or more exams who are operated on after one of them.
        healthy: Share of people examined who have no tumour; the others stay the same whatever it is.
        fine_mm: Spacing of the grid on which anatomy is drawn.
        pixel_factor: Factor on the sites' pixel size, for cheap volumes.
        fov_mm: Field of view instead of the sites' own.
        shapes: Signed distances of real tumours of unit size (:func:`.contour_bank.load_shapes`); half the patients
            outside grade I get one.
        anatomy: Tissue at points of the template's frame.

    Example:
        >>> exam = SchwannomaSimulator(fov_mm=(96, 80, 32)).patient(0, number=0)[0]
        >>> sorted(exam.images) <= ["T2w", "ceT1w"]
        True
    """

    sites: tuple[str, ...] = ()
    max_exams: int = 3
    paired: float = 0.4
    operated: float = 0.2
    healthy: float = 0.0
    fine_mm: float = 0.7
    pixel_factor: float = 1.0
    fov_mm: tuple[float, float, float] | None = None
    shapes: tuple[Distance, ...] = ()
    anatomy: Anatomy = tissue

    def __post_init__(self) -> None:
        for name in self.sites:
            get_site(name)
        if not 1 <= self.max_exams <= 3:
            raise ConfigError(f"max_exams={self.max_exams}: a simulated patient has one to three exams")
        if not 0.3 <= self.fine_mm <= 2.0:
            raise ConfigError(f"fine_mm={self.fine_mm:g}: the anatomy needs a grid of 0.3 to 2 mm")
        for name in ("paired", "operated", "healthy"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name):g}: is a share, from 0 to 1")

    def cohort(self, n_patients: int, data_seed: int = 0) -> list[Exam]:
        """All exams of ``n_patients`` people; the first ones stay the same when more are asked for."""
        return [exam for number in range(n_patients) for exam in self.patient(data_seed, number)]

    def record(self, seed: int) -> Exam:
        """The first exam of the first patient of the cohort of that seed."""
        return self.patient(seed, 0)[0]

    def patient(self, data_seed: int, number: int) -> list[Exam]:
        """The exams of one patient.

        Args:
            data_seed: Of the cohort.
            number: Of the patient, from 0.
        """
        rng = np.random.default_rng(np.random.SeedSequence((data_seed, number)))
        names = self.sites or tuple(SITES)
        site = coarsened(get_site(names[number % len(names)]), self.pixel_factor, self.fov_mm)
        grade, volume = draw_grade_and_volume(rng)
        bank = None
        if self.shapes and grade > 1 and rng.random() < 0.5:
            bank = self.shapes[int(rng.integers(len(self.shapes)))]
        shape, latent = draw_shape(rng, grade, bank), draw_latent(rng, volume)
        course = draw_course(rng, volume, self.max_exams, self.operated)
        if np.random.default_rng(np.random.SeedSequence((data_seed, number, 1))).random() < self.healthy:
            course = replace(course, volumes_ml=(0.0,) * len(course.months), operated_before=None)
        side = 1.0 if rng.random() < 0.54 else -1.0
        margin = 12.0
        half = tuple(0.5 * f * 1.05 + margin for f in site.fov_mm)
        # The processor's time goes into the head: a coronal slab is never larger than the axial one needs.
        head = Head(draw_form(rng), half, self.fine_mm, rng, self.anatomy)  # type: ignore[arg-type]
        tumour = _Tumour(head, shape, side)
        shift = {name: rng.normal(0, site.contrast_sd, len(Tissue)).astype(np.float32) for name in site.protocols}
        exams = []
        for index in range(len(course.months)):
            exams.append(self._exam(rng, f"sim-{number:03d}", index, site, head, tumour, latent, course, shift))
        return exams

    def _exam(
        self, rng: np.random.Generator, patient: str, index: int, site: Site, head: Head, tumour: _Tumour,
        latent: Latent, course: Course, shift: dict[str, Array],
    ) -> Exam:  # fmt: skip
        operated = course.operated_before is not None and index >= course.operated_before
        state = tumour.at(course.volumes_ml[index], course.residual if operated else None, rng)
        label = head.label.copy()
        label[state.part] = _painted(state, head, latent, operated)
        if operated:
            _open_skull(label, head, tumour.side)
        kinds = ["ceT1w", "T2w"] if rng.random() < self.paired else ["T2w"] if rng.random() < 0.6 else ["ceT1w"]
        second = _second_observer(state, head.step_mm, rng)
        pose = np.eye(4)
        pose[:3, 3] = rng.normal(0, 6, 3)  # where the table stood: the same for both sequences of an exam
        exam = Exam(patient, f"ses-{index + 1}", site.name, {}, months=course.months[index])
        for kind in kinds:
            signal = brightness(label, head.texture, kind, latent, shift[kind])
            protocol = site.protocols[kind]
            affine, shape = slice_grid(site, protocol, rng, np.zeros(3, np.float32))
            image = acquire(signal, head.origin_mm, head.step_mm, affine, shape, site, protocol, kind, rng)
            grids = [_sample(d, state.part, head, affine, shape) < 0 for d in (state.distance_mm, second)]
            name = f"{exam.name}_{kind}"
            data = np.clip(image, 0, 32767).astype(np.int16)
            exam.images[kind] = stored(data, pose @ affine, site.codes, name)
            exam.masks[kind], exam.second[kind] = (
                stored(grid.astype(np.uint8), pose @ affine, site.codes, f"{name}_mask") for grid in grids
            )
        exam.metadata = {
            "koos": state.koos,
            "side": ("R" if tumour.side > 0 else "L") if state.volume_ml > 0 else "",
            "volume_ml": round(state.volume_ml, 4),
            "extrameatal_ml": round(state.extrameatal_ml, 4),
            "operated": operated,
            "cystic": bool(len(latent.cysts)) and state.koos > 1,
        }
        return exam


@dataclass(frozen=True)
class _State:
    """A tumour at one time: signed distances in a box of the head's grid, of the label and of what was removed."""

    part: Box
    distance_mm: Array
    cavity_mm: Array | None
    centre_mm: Array
    volume_ml: float
    extrameatal_ml: float
    koos: int


class _Tumour:
    """A tumour's shape in one head; sizes by bisection in the patient's own millimetres."""

    def __init__(self, head: Head, shape: Shape, side: float):
        self.head, self.shape, self.side = head, shape, side
        porus = head.find((side * PORUS[0], PORUS[1], PORUS[2]))
        self.part = head.box(porus - np.array([side * 6.0, 0, 0], np.float32), 30.0)
        x, y, z = head.form.to_template(*head.points(self.part))
        self.x, self.y, self.z = np.float32(side) * x, y, z

    def at(self, wanted_ml: float, residual_mm: float | None, rng: np.random.Generator) -> _State:
        """The tumour at a volume; after surgery, what is left lateral of ``residual_mm`` along the canal."""
        if wanted_ml == 0:
            return _State(self.part, np.full_like(self.x, 50.0), None, np.zeros(3, np.float32), 0.0, 0.0, 0)
        scale = np.float32(float(self.head.form.scale.mean()))

        def distance(size_mm: float) -> Array:
            return self.shape.distance(self.x, self.y, self.z, size_mm) * scale

        whole = distance(fit_size(distance, wanted_ml, self.head.step_mm))
        out = extrameatal_mm(self.x, self.y, self.z) * scale
        kept, cavity = whole, None
        if residual_mm is not None:
            cavity = whole
            most = float(out[whole < 0].max()) - 3.0  # a surgeon takes 3 mm at least
            kept = np.maximum(whole + np.float32(0.4), out - np.float32(min(residual_mm, most)))
        volume = measure_volume(kept, self.head.step_mm)
        if volume < 0.03:  # less than a surgeon or a radiologist would call a residual
            kept, volume = np.full_like(kept, 50.0), 0.0
        inside = whole < 0
        points = self.head.points(self.part)
        centre = np.array([float(v[inside].mean()) for v in points], dtype=np.float32)
        outer = measure_volume(np.maximum(kept, -out), self.head.step_mm) if volume else 0.0
        koos = measure_koos(kept, self.x, self.y, self.z) if volume else 0
        return _State(self.part, kept.astype(np.float32), cavity, centre, volume, outer, koos)


def _painted(state: _State, head: Head, latent: Latent, operated: bool) -> NDArray[np.uint8]:
    """Tissue in the tumour's box: the head, pushed aside, with tumour, cysts, or a surgeon's cavity in it."""
    part, texture = state.part, head.texture[state.part]
    if operated:
        assert state.cavity_mm is not None
        label = head.label[part].copy()
        # The brain comes back half way, fluid fills the rest; its wall enhances here and there.
        cavity = state.cavity_mm + 1.5 + 0.5 * texture
        label[cavity < 0] = Tissue.CSF
        label[(np.abs(cavity) < 0.6) & (texture > 0.2) & (label != Tissue.BONE)] = Tissue.RIM
    elif state.koos > 1:
        label = head.displaced(part, state.distance_mm, state.centre_mm)
    else:
        label = head.label[part].copy()
    inside = state.distance_mm < 0
    label[inside] = Tissue.TUMOUR
    if not operated and state.koos > 1:
        radius = (3 * state.volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
        x, y, z = head.points(part)
        for cx, cy, cz, size in latent.cysts:
            centre = state.centre_mm + np.array([cx, cy, cz]) * radius
            away = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
            cyst = (away < size * radius + 0.4 * texture) & (state.distance_mm < -0.8)
            label[cyst] = Tissue.CYST
    return label


def _open_skull(label: NDArray[np.uint8], head: Head, side: float) -> None:
    """A retrosigmoid craniectomy, closed with fat and muscle."""
    centre = head.find((side * 50.0, -72.0, -40.0))
    part = head.box(centre, 17.0)
    x, y, z = head.points(part)
    near = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 15.0**2
    bone = near & np.isin(label[part], (Tissue.BONE, Tissue.MARROW, Tissue.DURA))
    label[part] = np.where(bone, np.where(head.texture[part] > -0.2, Tissue.FAT, Tissue.MUSCLE), label[part])


def _second_observer(state: _State, step_mm: float, rng: np.random.Generator) -> Array:
    """Distances of another reader's contour: a constant and a smooth offset.

    Their size gives two readers' volumes the 95 % limits of agreement of the literature, ±27 % for small and ±7 % for
    large tumours: a shift of a sphere's surface by δ changes its volume by 3 δ / R.
    """
    offset = float(rng.standard_normal())
    field = rng.standard_normal(tuple(max(2, n // 8) for n in state.distance_mm.shape))
    if state.volume_ml == 0:
        return state.distance_mm
    limit = np.interp(np.log(state.volume_ml), np.log(_OBSERVER_ML), _OBSERVER_LIMIT)
    radius = (3 * state.volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    grid = np.meshgrid(
        *(np.linspace(0, m - 1, n) for m, n in zip(field.shape, state.distance_mm.shape, strict=True)), indexing="ij"
    )
    smooth = map_coordinates(gaussian_filter(field, 0.7), grid, order=1, prefilter=False)
    smooth = 0.25 * (smooth - smooth.mean()) / max(float(smooth.std()), 1e-6)
    return np.asarray(state.distance_mm + offset * limit / 1.96 * radius / 3 + smooth, dtype=np.float32)


def _sample(distance: Array, part: Box, head: Head, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Array:
    """Signed distances at the centres of an acquisition's voxels; far away outside the tumour's box."""
    result = np.full(shape, 50.0, dtype=np.float32)
    origin = head.origin_mm + np.array([s.start for s in part]) * head.step_mm
    inverse = np.linalg.inv(affine)
    corner = np.array(
        [[origin[a] + (c >> a & 1) * (distance.shape[a] - 1) * head.step_mm for a in range(3)] for c in range(8)]
    )
    index = corner @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.maximum(np.floor(index.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(index.max(0)).astype(int) + 1, shape)
    if (low >= high).any():
        return result
    ijk = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    matrix = affine[:3, :3] / head.step_mm
    start = (affine[:3, 3] - origin) / head.step_mm
    points = [sum(matrix[r, a] * ijk[a] for a in range(3)) + start[r] for r in range(3)]
    inner = map_coordinates(distance, points, order=1, mode="constant", cval=50.0, prefilter=False)
    result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = inner
    return result
