"""Volumes of MRI with their place in space, examinations of a patient, and patches of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Volume:
    """A 3-D image on a regular grid.

    Attributes:
        data: Voxels, ``(i, j, k)``.
        affine: Voxel indices to millimetres in RAS (right, anterior, superior), ``(4, 4)``, as nibabel has it.
        name: File or what else messages shall say.
    """

    data: np.ndarray
    affine: np.ndarray
    name: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each array axis, mm."""
        x, y, z = ((self.affine[:3, :3] ** 2).sum(axis=0) ** 0.5).tolist()
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        x, y, z = self.spacing_mm
        return x * y * z / 1000.0


@dataclass
class Exam:
    """One examination of one patient.

    Attributes:
        patient: Unique name; all exams of a patient share a fold.
        session: Name within the patient.
        site: Where it was acquired; ``""`` when unknown.
        images: Modality (``ceT1w``, ``T2w``) to volume. Grids may differ; any of the modalities may be missing.
        masks: The same keys: tumour label on the grid of that image. Empty where there is no reference.
        second: A second observer's labels, where there are any.
        months: Since the patient's first exam; None when unknown.
        metadata: Truth that only a simulator or a radiologist's table knows: ``koos`` (1-4), ``side``, ``operated``…
    """

    patient: str
    session: str
    site: str
    images: dict[str, Volume]
    masks: dict[str, Volume] = field(default_factory=dict)
    second: dict[str, Volume] = field(default_factory=dict)
    months: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Patient and session."""
        return f"{self.patient}_{self.session}"


class MRIBatch(NamedTuple):
    """Patches (training) or one whole exam (validation, test) on the planned grid, axes right, anterior, superior.

    Attributes:
        image: ``(batch, modality, x, y, z)``, float32, z-scores; a missing modality is zero.
        present: Which modalities are there, ``(batch, modality)``, bool.
        mask: Class of every voxel, ``(batch, x, y, z)``, int64; 0 is background.
        spacing_mm: Voxel spacing of the grid, ``(batch, 3)``, float32, mm.
        koos: Koos grade 1-4; 0 where it is not known or there is no tumour, ``(batch,)``, int64.
        window: Row in the datamodule's table of exams, ``(batch,)``, int64; the same in every fold.
    """

    image: Tensor
    present: Tensor
    mask: Tensor
    spacing_mm: Tensor
    koos: Tensor
    window: Tensor


@runtime_checkable
class VolumeModel(Protocol):
    """A segmentation network that finds its own way through a whole volume instead of being slid over it."""

    def segment(self, image: Tensor) -> Tensor:
        """Logits of whole volumes, ``(batch, modality, x, y, z)`` to ``(batch, class, x, y, z)``."""
        ...


#: Koos grade to what it means (Koos et al. 1998).
KOOS: Mapping[int, str] = {
    1: "inside the canal",
    2: "in the cerebellopontine angle, clear of the brainstem",
    3: "touches the brainstem",
    4: "displaces the brainstem",
}
