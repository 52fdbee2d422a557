"""Simulated examinations with a vestibular schwannoma: written once as NIfTI files, then read like any data set."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..contracts import Exam
from ..errors import ConfigError
from ..simulators.contour_bank import load_shapes
from ..simulators.schwannoma import SchwannomaSimulator
from .base import digest
from .formats.cache import cache_folder
from .formats.mri_layouts import ExamFiles, find_exams
from .formats.volume_files import write_volume
from .mri import MRIDataModule

_COLUMNS = ("patient", "session", "site", "months", "koos", "side", "operated", "volume_ml", "extrameatal_ml")
#: Changes when the simulator changes, so that no older patients are read from the cache.
_VERSION = 1


class SimulatedMRIDataModule(MRIDataModule):
    """Patients from :class:`~..simulators.schwannoma.SchwannomaSimulator`.

    Args:
        n_patients: Patients, dealt out to the sites in turn.
        data_seed: Seed of the patients; ``split_seed`` is that of the folds.
        sites: Names of virtual sites; empty for all ten.
        max_exams: Longest course of a patient.
        paired: Share of exams with both sequences.
        operated: Share of patients with two or more exams who have surgery.
        healthy: Share of people without tumour.
        fine_mm: Grid of the anatomy, mm.
        pixel_factor: Factor on the sites' pixel size.
        fov_mm: Field of view instead of the sites'.
        contours: ``vs_seg_contours.npz``: real tumour shapes for half the patients.
        **reading: See :class:`MRIDataModule`.
    """

    def __init__(
        self,
        n_patients: int = 40,
        data_seed: int = 0,
        sites: Sequence[str] = (),
        max_exams: int = 3,
        paired: float = 0.4,
        operated: float = 0.2,
        healthy: float = 0.0,
        fine_mm: float = 0.8,
        pixel_factor: float = 1.0,
        fov_mm: Sequence[float] | None = None,
        contours: str | None = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        if n_patients < 3:
            raise ConfigError(f"datamodule.n_patients={n_patients}: training, validation and test need 3 or more")
        if fov_mm is not None and (len(fov_mm) != 3 or min(fov_mm) < 20):
            raise ConfigError(f"datamodule.fov_mm={list(fov_mm)}: three lengths of 20 mm or more are needed")
        self.n_patients, self.data_seed = n_patients, data_seed
        fov = None if fov_mm is None else (float(fov_mm[0]), float(fov_mm[1]), float(fov_mm[2]))
        settings: dict[str, Any] = {
            "sites": tuple(sites),
            "max_exams": max_exams,
            "paired": paired,
            "operated": operated,
            "healthy": healthy,
            "fine_mm": fine_mm,
            "pixel_factor": pixel_factor,
            "fov_mm": fov,
        }
        self._key = digest(_VERSION, settings, contours, n_patients, data_seed)
        shapes = load_shapes(Path(contours).expanduser()) if contours else ()
        self.simulator = SchwannomaSimulator(shapes=shapes, **settings)

    @property
    def folder(self) -> Path:
        """Where the simulated files lie; safe to delete."""
        return cache_folder() / "simulated_mri" / self._key

    def prepare_data(self) -> None:
        """Lightning hook: simulate, unless it was done before. Seconds a patient."""
        if self.folder.exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self.folder.parent))  # renamed when complete: a kill leaves no half set
        try:
            rows = []
            for number in range(self.n_patients):
                for exam in self.simulator.patient(self.data_seed, number):
                    write_exam(draft, exam)
                    rows.append({**exam.metadata, **_identity(exam)})
            with (draft / "exams.tsv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, _COLUMNS, delimiter="\t", extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
            draft.rename(self.folder)
        except OSError:
            if not self.folder.exists():  # another process may have been faster
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def find(self) -> list[ExamFiles]:
        """The files that :meth:`prepare_data` wrote."""
        self.prepare_data()
        return find_exams(self.folder, "bids")[1]


def write_exam(root: Path, exam: Exam) -> None:
    """Write an exam in BIDS form: images, labels, and the second observer's labels."""
    patient, stem = f"sub-{exam.patient.replace('-', '')}", exam.session
    for kind, image in exam.images.items():
        name = f"{patient}_{stem}"
        write_volume(root / patient / stem / "anat" / f"{name}_{kind}.nii.gz", image.data, image.affine)
        for store, observer in ((exam.masks, "manual_segmentation_masks"), (exam.second, "second_observer_masks")):
            folder = root / "derivatives" / f"{observer}_of_{kind}" / patient / stem / "anat"
            label = store[kind]
            write_volume(folder / f"{name}_space-individual_desc-tumor_mask.nii.gz", label.data, label.affine)


def _identity(exam: Exam) -> dict[str, Any]:
    patient = f"sub-{exam.patient.replace('-', '')}"
    return {"patient": patient, "session": exam.session, "site": exam.site, "months": exam.months}
