"""MRI examinations with tumour labels: six layouts, unpaired modalities, grouped folds, planned grid, disk cache."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ..contracts import DataSpec, Exam, Volume
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .base import digest
from .formats.mri_layouts import ExamFiles, bids_subject, bids_subjects, find_exams, modality_of
from .formats.volume_files import is_volume, read_volume, resample, write_volume
from .group_folds import GroupedDataModule
from .mri_cases import (
    MODALITIES,
    Case,
    cached_case,
    content,
    preprocess,
    ras_geometry,
    read_exam,
    reference,
    target_grid,
    to_native,
)
from .mri_patches import PatchDataset, Prepared, VolumeDataset
from .mri_plan import Plan, make_plan

log = logging.getLogger("neurotwin")


class MRIDataModule(GroupedDataModule):
    """Segmentation of a tumour in ceT1w and T2w volumes of any spacing and orientation.

    Exams with one of the modalities are as welcome as those with both; the missing one is zero. All exams of a patient
    share a fold. Exams without a label are left out with a warning, exams with an empty label stay: they test false
    positives.

    Args:
        root: Folder of the data set.
        layout: See :func:`~.formats.mri_layouts.find_exams`.
        modalities: Input channels, in order; exams that have none of them are left out.
        labels: Values of the label files that count as tumour; None: everything above 0.
        group_by: ``patient``, or ``site`` for folds that hold whole sites out.
        spacing_mm: Target spacing (right, anterior, superior); None: planned from the training exams.
        patch_size: Voxels of a training patch; None: planned.
        patch_voxels: Size that the plan aims at.
        normalise: ``foreground`` or ``image``; see :func:`~.mri_cases.preprocess`.
        patches_per_epoch: Training patches an epoch (nnU-Net: 250 iterations of 2).
        foreground: Share of patches that hold tumour.
        modality_dropout: Probability that one of two modalities is hidden in a training patch.
        val_fraction: Share of the training groups that validates.
        batch_size: Patches a batch; validation and test take whole volumes, one at a time.
        **splitting: ``folds``, ``fold``, ``split_seed``, ``num_workers`` of :class:`BaseDataModule`.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        layout: str = "auto",
        modalities: Sequence[str] = MODALITIES,
        labels: Sequence[int] | None = None,
        group_by: str = "patient",
        spacing_mm: Sequence[float] | None = None,
        patch_size: Sequence[int] | None = None,
        patch_voxels: int = 600_000,
        normalise: str = "foreground",
        patches_per_epoch: int = 500,
        foreground: float = 0.5,
        modality_dropout: float = 0.3,
        val_fraction: float = 0.2,
        batch_size: int = 2,
        **splitting: Any,
    ):
        super().__init__(root=root, val_fraction=val_fraction, batch_size=batch_size, **splitting)
        for name in modalities:
            if name not in MODALITIES:
                raise ConfigError(f"datamodule.modalities={list(modalities)}: {did_you_mean(name, MODALITIES)}")
        if not modalities or len(set(modalities)) < len(modalities):
            raise ConfigError(f"datamodule.modalities={list(modalities)}: name each modality once")
        for name, value, choices in (
            ("group_by", group_by, ("patient", "site")),
            ("normalise", normalise, ("foreground", "image")),
        ):
            if value not in choices:
                raise ConfigError(f"datamodule.{name}={value!r}: {did_you_mean(value, choices)}")
        for name, triple in (("spacing_mm", spacing_mm), ("patch_size", patch_size)):
            if triple is not None and (len(triple) != 3 or min(triple) <= 0):
                raise ConfigError(f"datamodule.{name}={list(triple)}: three positive numbers are needed")
        if patches_per_epoch < 1:
            raise ConfigError(f"datamodule.patches_per_epoch={patches_per_epoch}: must be at least 1")
        for name, share in (("foreground", foreground), ("modality_dropout", modality_dropout)):
            if not 0 <= share <= 1:
                raise ConfigError(f"datamodule.{name}={share}: is a share, from 0 to 1")
        self.layout, self.modalities = layout, tuple(modalities)
        self.labels = None if labels is None else tuple(labels)
        self.group_by, self.normalise = group_by, normalise
        self._spacing_mm, self._patch_size, self.patch_voxels = spacing_mm, patch_size, patch_voxels
        self.patches_per_epoch, self.foreground, self.modality_dropout = patches_per_epoch, foreground, modality_dropout
        self._restored: Plan | None = None

    def find(self) -> list[ExamFiles]:
        """The data set's exams, in an order that is the same on every machine."""
        assert self.root is not None or type(self) is not MRIDataModule
        if self.root is None or not self.root.exists():
            raise MissingDataError(
                self.root or "datamodule.root=null",
                "Shapey 2021; Kujawa 2024",
                "TCIA: Vestibular-Schwannoma-SEG (10.7937/TCIA.9YTJ-5Q73), -MC-RC (10.7937/HRZH-2N82)",
                "BIDS, nnU-Net raw, VS_Seg, crossMoDA, pyradise or TCIA's own tree",
            )
        name, exams = find_exams(self.root, self.layout)
        log.info("%s: %d exams in the layout %s", self.root, len(exams), name)
        return exams

    @cached_property
    def exams(self) -> list[ExamFiles]:
        """Labelled exams with a wanted modality: the rows that ``window`` counts."""
        every = self.find()
        wanted = [exam for exam in every if set(exam.images) & set(self.modalities)]
        labelled = [exam for exam in wanted if exam.masks]
        if not wanted:
            raise DataError(f"{self.root}: no exam has {' or '.join(self.modalities)}")
        if not labelled:
            raise DataError(f"{self.root}: {len(wanted)} exams, none with a label; labels are needed for training")
        if len(labelled) < len(every):
            log.warning("%d of %d exams have no label or no wanted modality", len(every) - len(labelled), len(every))
        return labelled

    @cached_property
    def geometry(self) -> list[tuple[tuple[float, float, float], tuple[int, int, int]]]:
        """Spacing and shape of every exam's reference image, RAS axes: the fingerprint that the plan is made from."""
        result = []
        for files in self.exams:
            volume = read_volume(files.images[self._reference(files)])
            affine, shape = ras_geometry(volume)
            x, y, z = (float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))
            result.append(((x, y, z), shape))
        return result

    def _reference(self, files: ExamFiles) -> str:
        there = [kind for kind in self.modalities if kind in files.images]
        return next((kind for kind in there if kind in files.masks), there[0])

    @property
    def plan(self) -> Plan:
        """Spacing and patch: of the checkpoint if there is one, as given, or planned from the training exams."""
        if self._restored is None:
            if self._spacing_mm is not None and self._patch_size is not None:
                self._restored = make_plan([], [], self._spacing_mm, self._patch_size)
            else:
                chosen = [self.geometry[row] for row in self.split()["train"]]
                spacings, shapes = zip(*chosen, strict=True)
                self._restored = make_plan(spacings, shapes, self._spacing_mm, self._patch_size, self.patch_voxels)
            log.info("%s", self._restored)
        return self._restored

    @property
    def spec(self) -> DataSpec:
        """Channels, classes, grid."""
        return DataSpec(
            n_channels=len(self.modalities),
            n_outputs=2,
            spacing_mm=self.plan.spacing_mm,
            patch_size=self.plan.patch_size,
            channel_names=self.modalities,
            class_names=("background", "tumour"),
        )

    def groups(self) -> list[str]:
        """The patient of each exam, or the site, which keeps all exams of its patients."""
        if self.group_by == "patient":
            return [exam.patient for exam in self.exams]
        site: dict[str, str] = {}
        for exam in self.exams:
            if not exam.site:
                raise DataError(f"{exam.patient}_{exam.session}: has no site; exams.tsv needs a column site")
            site.setdefault(exam.patient, exam.site)  # a patient who moves stays with the first
        return [site[exam.patient] for exam in self.exams]

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: find, plan, prepare what is not in the cache yet."""
        if self.datasets:
            return
        rows, plan = self.split(), self.plan
        cases = {part: [self._prepared(int(row)) for row in rows[part]] for part in rows}
        if not any(len(case.tumour) for case in cases["train"]):
            raise DataError(f"{self.root}: no label of the {len(cases['train'])} training exams has any tumour in it")
        self.datasets = {
            "train": PatchDataset(
                cases["train"], plan.patch_size, self.patches_per_epoch, self.foreground, self.modality_dropout
            ),
            "val": VolumeDataset(cases["val"]),
            "test": VolumeDataset(cases["test"]),
        }

    def _prepared(self, row: int) -> Prepared:
        files = self.exams[row]
        image, mask = cached_case(files, self.plan, self.modalities, self.normalise, self.labels)
        tumour = np.argwhere(np.asarray(mask)).astype(np.int32)
        tumour = tumour[:: max(1, len(tumour) // 5000)]
        koos = files.metadata.get("koos") or 0
        present = tuple(kind in files.images for kind in self.modalities)
        return Prepared(image, mask, present, self.plan.spacing_mm, int(float(koos)), row, tumour)

    def fingerprint(self) -> str:
        """Hash of what is in the files, the plan and the split."""
        files = [
            (e.patient, e.session, *((k, content(p)) for store in (e.images, e.masks) for k, p in store.items()))
            for e in self.exams
        ]
        parts = self.split()
        return digest(files, self.plan, self.modalities, self.normalise, *(parts[name] for name in sorted(parts)))

    def val_dataloader(self) -> Any:
        """Lightning hook; whole volumes differ in shape, so one at a time."""
        if not len(self.datasets["val"]):  # type: ignore[arg-type]
            return []
        return DataLoader(self.datasets["val"], batch_size=1, num_workers=self.num_workers)

    def test_dataloader(self) -> DataLoader[Any]:
        """Lightning hook."""
        return DataLoader(self.datasets["test"], batch_size=1, num_workers=self.num_workers)

    def state_dict(self) -> dict[str, Any]:
        """Lightning hook: the plan travels in the checkpoint, so that prediction needs no training data."""
        return {name: list(value) for name, value in asdict(self.plan).items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning hook."""
        self._restored = make_plan([], [], state_dict["spacing_mm"], state_dict["patch_size"])

    def exam(self, row: int) -> Exam:
        """An exam in its own grid, read from its files."""
        return read_exam(self.exams[row], self.labels)

    def reference_grid(self, exam: Exam) -> tuple[str, Volume, np.ndarray]:
        """The modality that an exam is judged on, its image, and the affine of the planned grid over it."""
        kind = reference(exam, self.modalities)
        return kind, exam.images[kind], target_grid(exam.images[kind], self.plan.spacing_mm)[0]

    def to_native(self, probability: np.ndarray, affine: np.ndarray, image: Volume) -> np.ndarray:
        """See :func:`~.mri_cases.to_native`."""
        return to_native(probability, affine, image)

    def moved_mask(self, exam: Exam, image: Volume) -> np.ndarray:
        """The label of another modality on the grid of an image."""
        label = next(iter(exam.masks.values()))
        return resample(label, image.affine, image.data.shape, order=0) > 0

    def graded(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        """Image, label, present modalities and Koos grade of the training and validation exams whose grade is known."""
        for part in ("train", "val"):
            for case in self.datasets[part].cases:  # type: ignore[attr-defined]
                if case.koos:
                    yield (
                        np.asarray(case.image, dtype=np.float32),
                        np.asarray(case.mask),
                        np.array(case.present),
                        case.koos,
                    )

    def patient_number(self, row: int) -> int:
        """Place of an exam's patient among all patients in order of their names."""
        return sorted({exam.patient for exam in self.exams}).index(self.exams[row].patient)

    @property
    def two_readers(self) -> bool:
        """Whether any exam was contoured a second time."""
        return any(exam.second for exam in self.exams)

    def prepare_exam(self, exam: Exam) -> Case:
        """An exam on the planned grid."""
        return preprocess(exam, self.plan, self.modalities, self.normalise)

    def read(self, path: Path) -> list[Exam]:
        """A user's own exam or exams: a volume file, a DICOM series, a folder of them, or a folder of such folders.

        Names say the modality (``t1`` or ``t2`` in them); a single file of a model with one modality need not. A table
        ``exams.tsv`` beside the folders may give ``months`` since the first exam, and ``patient``, of each ``session``
        (folder name). A subject's folder in a BIDS data set is read as such.
        """
        exams = []
        for files in self._own(path):
            exam = read_exam(files)
            reference(exam, self.modalities)
            exams.append(exam)
        return exams

    def inputs(self, path: Path) -> list[Path]:
        """The subjects of a BIDS data set that have anatomical images; anything else is one input."""
        return bids_subjects(path) or [path]

    def sources(self, path: Path) -> dict[str, list[Path]]:
        """The images that each exam of :meth:`read` is made of, by its session."""
        wanted = self.modalities
        return {f.session: [p for kind, p in f.images.items() if kind in wanted] for f in self._own(path)}

    def _own(self, path: Path) -> list[ExamFiles]:
        if path.name.startswith("sub-") and (exams := bids_subject(path)):
            return exams
        tree = path.is_dir() and not is_volume(path)
        inner = sorted(p for p in path.iterdir() if not p.name.startswith(".")) if tree else []
        if is_volume(path) or any(is_volume(p) for p in inner):
            return [self._own_exam(path, [path] if is_volume(path) else [p for p in inner if is_volume(p)])]
        found = [self._own_exam(p, [q for q in sorted(p.iterdir()) if is_volume(q)]) for p in inner if p.is_dir()]
        if not found:
            raise DataError(f"{path}: holds no volume (NIfTI, NRRD or a folder of DICOM slices)")
        table = path / "exams.tsv"
        if table.exists():
            with table.open(encoding="utf-8") as file:
                known = {row.get("session"): row for row in csv.DictReader(file, delimiter="\t")}
            for exam in found:
                given = known.get(exam.session, {})
                try:
                    exam.metadata["months"] = float(given["months"]) if given.get("months") else None
                except ValueError:
                    raise DataError(f"{table}: {exam.session}: months={given['months']!r} is no number") from None
                exam.patient = given.get("patient") or exam.patient
        return found

    def write_mask(self, path: Path, mask: np.ndarray, image: Volume) -> Path:
        """Write a mask as NIfTI on the grid of its image."""
        return write_volume(path, mask.astype(np.uint8), image.affine)

    def _own_exam(self, path: Path, volumes: list[Path]) -> ExamFiles:
        images: dict[str, Path] = {}
        for file in volumes:
            kind = modality_of(file.name)
            if kind is None and len(volumes) == len(self.modalities) == 1:
                kind = self.modalities[0]
            if kind is None and "mask" not in file.name and "seg" not in file.name:
                raise DataError(f"{file}: is it ceT1w or T2w? its name must hold T1 or T2")
            if kind is not None and "mask" not in file.name and "seg" not in file.name:
                if kind in images:
                    raise DataError(f"{file}: a second {kind} beside {images[kind].name}; one of each in an exam")
                images[kind] = file
        return ExamFiles("patient", path.name.split(".")[0], images)
