"""Examinations on the planned grid: reorient, resample, normalise; and back to the image's own grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..contracts import Exam, Volume
from ..errors import DataError
from .base import digest
from .formats.cache import StoredSignal, cache_folder, cached_array, cached_file
from .formats.mri_layouts import ExamFiles
from .formats.volume_files import read_mask, read_volume, resample
from .mri_plan import Plan

MODALITIES = ("ceT1w", "T2w")
#: Changes when preprocessing changes, so that nothing stale is read from the cache.
_VERSION = 1


@dataclass(frozen=True)
class Case:
    """One exam on the planned grid.

    Attributes:
        image: ``(modality, x, y, z)``, float32, zero where the modality is missing.
        present: Which modalities are there.
        mask: ``(x, y, z)``, uint8.
        affine: Of the grid, RAS axes.
    """

    image: NDArray[np.float32]
    present: tuple[bool, ...]
    mask: NDArray[np.uint8]
    affine: NDArray[np.float64]


def read_exam(files: ExamFiles, labels: tuple[int, ...] | None = None) -> Exam:
    """Read the files of an exam.

    Raises:
        DataError: Naming the file and what is wrong with it.
    """
    exam = Exam(files.patient, files.session, files.site, {}, metadata=dict(files.metadata))
    months = files.metadata.get("months")
    exam.months = None if months is None else float(months)
    for kind, path in files.images.items():
        exam.images[kind] = read_volume(path)
        if kind in files.masks:
            exam.masks[kind] = read_mask(files.masks[kind], exam.images[kind], labels)
        if kind in files.second:
            exam.second[kind] = read_mask(files.second[kind], exam.images[kind], labels)
    return exam


def reference(exam: Exam, modalities: Sequence[str]) -> str:
    """The modality whose grid the exam is judged on: the first wanted one with a label, else the first there is."""
    there = [kind for kind in modalities if kind in exam.images]
    if not there:
        raise DataError(f"{exam.name}: has {', '.join(exam.images) or 'no image'}, none of {', '.join(modalities)}")
    return next((kind for kind in there if kind in exam.masks), there[0])


def target_grid(volume: Volume, spacing_mm: Sequence[float]) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of the planned grid over a volume: its own directions in RAS order, same centre."""
    affine, shape = ras_geometry(volume)
    old = np.linalg.norm(affine[:3, :3], axis=0)
    size = np.maximum(np.round(np.asarray(shape) * old / np.asarray(spacing_mm)), 1).astype(int)
    new = np.eye(4)
    new[:3, :3] = affine[:3, :3] / old * np.asarray(spacing_mm)
    centre = affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]
    new[:3, 3] = centre - new[:3, :3] @ ((size - 1) / 2)
    return new, (int(size[0]), int(size[1]), int(size[2]))


def ras_geometry(volume: Volume) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape after turning the axes to the nearest of right, anterior, superior."""
    if None in aff2axcodes(volume.affine):
        raise DataError(f"{volume.name}: its axes cannot be told apart; the orientation in the header is damaged")
    empty = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), volume.data.shape, (0, 0, 0))
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(empty, volume.affine))
    a, b, c = (int(n) for n in turned.shape)
    return np.asarray(turned.affine, dtype=np.float64), (a, b, c)


def preprocess(exam: Exam, plan: Plan, modalities: Sequence[str], normalise: str = "foreground") -> Case:
    """Bring an exam to the planned grid.

    Images are smoothed where the new grid is coarser and interpolated by cubic splines; labels are interpolated
    linearly and cut at one half. The z-score takes mean and standard deviation over the voxels above the image's mean
    (``foreground``: the head, whatever the field of view) or over all voxels (``image``, as nnU-Net has it).

    Args:
        exam: Images and labels.
        plan: Spacing.
        modalities: Order of the channels.
        normalise: ``foreground`` or ``image``.
    """
    base = reference(exam, modalities)
    affine, shape = target_grid(exam.images[base], plan.spacing_mm)
    image = np.zeros((len(modalities), *shape), dtype=np.float32)
    for channel, kind in enumerate(modalities):
        if kind in exam.images:
            image[channel] = _normalised(
                _resampled(exam.images[kind], affine, shape), normalise, exam.images[kind].name
            )
    labels = exam.masks.get(base) or next(iter(exam.masks.values()), None)
    mask = np.zeros(shape, dtype=np.uint8)
    if labels is not None and labels.data.any():
        soft = Volume(labels.data.astype(np.float32), labels.affine)
        mask = (_resampled(soft, affine, shape, order=1) > 0.5).astype(np.uint8)
    return Case(image, tuple(kind in exam.images for kind in modalities), mask, affine)


def cached_case(
    files: ExamFiles, plan: Plan, modalities: Sequence[str], normalise: str, labels: tuple[int, ...] | None
) -> tuple[StoredSignal, StoredSignal]:
    """Image (float16) and mask on the planned grid, on disk, where the same files were prepared in the same way.

    Raises:
        DataError: If the files are unusable, or the cache cannot be written.
    """
    # What is in the files is part of the key, where they lie is not.
    held = [[(kind, content(path)) for kind, path in store.items()] for store in (files.images, files.masks)]
    key = digest(_VERSION, plan.spacing_mm, tuple(modalities), normalise, labels, held)
    made: list[Case] = []

    def case() -> Case:
        if not made:
            made.append(preprocess(read_exam(files, labels), plan, modalities, normalise))
        return made[0]

    try:
        image = cached_file(f"mri/{key}_image", lambda: case().image.astype(np.float16))
        mask = cached_file(f"mri/{key}_mask", lambda: case().mask)
    except OSError as error:
        raise DataError(
            f"{cache_folder()}: cannot be written ({error}); set NEUROTWIN_CACHE to a folder that can"
        ) from error
    return StoredSignal(image), StoredSignal(mask)


def to_native(probability: NDArray[Any], affine: NDArray[Any], image: Volume) -> NDArray[np.float32]:
    """Probabilities of the planned grid at the voxels of the image, linear."""
    return resample(Volume(probability, affine), image.affine, image.data.shape, order=1).astype(np.float32)


def content(path: Path) -> str:
    """Hash of a file's bytes, or of those of a folder of DICOM slices.

    It is kept in the cache under place, size and time of change, so that gigabytes are read once and not at each start.
    """
    inner = sorted(path.iterdir()) if path.is_dir() else [path]
    known = digest([(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in inner])

    def compute() -> NDArray[np.uint8]:
        total = hashlib.blake2b(digest_size=16)
        for file in inner:
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "blake2b").digest())
        return np.frombuffer(total.digest(), dtype=np.uint8)

    return cached_array(f"mri/content/{known}", compute).tobytes().hex()


def _resampled(volume: Volume, affine: NDArray[Any], shape: tuple[int, ...], order: int = 3) -> NDArray[np.float32]:
    matrix = np.linalg.inv(volume.affine) @ affine
    step = np.abs(matrix[:3, :3]).max(axis=1)  # voxels of the volume per voxel of the new grid, along its own axes
    sigma = np.where(step > 1.2, 0.35 * step, 0.0)
    data = volume.data.astype(np.float32)
    smooth = gaussian_filter(data, sigma, truncate=2.5) if sigma.any() else data
    return resample(Volume(smooth, volume.affine), affine, shape, order).astype(np.float32)


def _normalised(image: NDArray[np.float32], how: str, name: str) -> NDArray[np.float32]:
    chosen = image[image > image.mean()] if how == "foreground" else image
    deviation = float(chosen.std()) if chosen.size else 0.0
    if deviation == 0:
        raise DataError(f"{name}: every voxel has the same value; the image is empty")
    scaled = (image - float(chosen.mean())) / deviation
    return np.asarray(np.clip(scaled, -10, 10), dtype=np.float32)
