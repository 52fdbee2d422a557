"""Segmentation of tumours in MRI volumes: patches in training, whole exams in validation and test."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..contracts import DataSpec, MRIBatch, Predictions
from ..errors import ConfigError, DataError
from ..metrics.growth import Measured
from ..metrics.koos_grading import GRADES, fit_grades
from ..metrics.schwannoma_measures import FEATURES, grading_features, mid_plane_mm
from ..metrics.segmentation_scores import score_exams
from ..metrics.volume_interval import conformal_offset, widened
from ..plotting import browsed
from .base import BaseTask
from .growth_report import write_growth
from .mri_augmentation import Augmentation
from .segmentation_figures import Panel, exam_figure, exam_plot
from .segmentation_inference import CUTS, Cut, volume_logits
from .segmentation_loss import deep_dice_ce, dice_ce
from .segmentation_report import write_report
from .segmentation_rows import clinical, exam_row, shown

#: Probabilities whose volumes are the ends of the interval before it is calibrated.
_ROUGH = (0.7, 0.3)
#: Tested exams in the report's case browser, evenly spaced by Dice.
_CASES = 7


class Segmentation(BaseTask):
    """Dice and cross-entropy with deep supervision on augmented patches; scores of whole exams in their own grid.

    At the end of every validation pass the cut (threshold, components) with the best mean Dice is chosen and the
    interval of the volume is calibrated, both on the validation exams, and stored in the checkpoint, as is the
    regression of the Koos grade on the labels of the training and validation exams. The test uses them as they are.

    Args:
        model: Maps ``(batch, modality, x, y, z)`` to logits ``(batch, class, x, y, z)``; in training a tuple with lower
            resolutions. A :class:`~neurotwin.contracts.VolumeModel` segments whole volumes itself.
        augment: nnU-Net's augmentation of the training patches.
        mirror: Mirror patches in training, and average mirrored copies in test (eight times the cost).
        mirror_train_only: Mirror in training only.
        choose_cut: Choose threshold and components on validation; else 0.5 and all components.
        coverage: Of the interval of the volume, given that there is a tumour.
        **arguments: See :class:`BaseTask`.
    """

    calibration: Tensor
    grading: Tensor
    augmentation: Augmentation | None
    needs = ("reference_grid", "MRI volumes")
    logged_metrics: ClassVar[frozenset[str]] = frozenset({"train/loss", "val/loss", "val/dice", "test/loss"})

    def __init__(
        self,
        model: nn.Module,
        augment: bool = True,
        mirror: bool = True,
        mirror_train_only: bool = True,
        choose_cut: bool = True,
        coverage: float = 0.9,
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        if not 0 < coverage < 1:
            raise ConfigError(f"task.coverage={coverage}: must lie between 0 and 1")
        if not hasattr(model, "patch_size"):
            raise ConfigError(
                f"Segmentation needs a network that knows its patch_size; {type(model).__name__} has none"
            )
        self.augmentation = Augmentation(model.patch_size, mirror) if augment else None  # type: ignore[arg-type]
        self.test_mirror = mirror and not mirror_train_only
        self.choose_cut, self.coverage = choose_cut, coverage
        # Threshold, largest component only, least volume in ml, offset of the interval, exams that it comes from.
        self.register_buffer("calibration", torch.tensor([0.5, 0.0, 0.0, float("nan"), 0.0], dtype=torch.float64))
        # Intercept and weights of each Koos grade, NaN until exams with known grades were seen.
        self.register_buffer("grading", torch.full((len(GRADES), 1 + len(FEATURES)), float("nan"), dtype=torch.float64))
        self._seen: list[dict[str, Any]] = []
        self._probability: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)

    @property
    def cut(self) -> Cut:
        """How probabilities become a mask."""
        threshold, largest, least, *_ = self.calibration.tolist()
        return Cut(threshold, bool(largest), least)

    @property
    def calibrated(self) -> bool:
        """Whether validation had enough exams for the interval to keep its coverage (nine for 0.9)."""
        offset, count = self.calibration[3:].tolist()
        return math.isfinite(offset) and math.ceil((count + 1) * self.coverage) <= count

    def step(self, batch: MRIBatch, stage: str) -> Tensor:
        """Loss of a batch of patches, or of a whole exam, whose probabilities are kept for its scores."""
        if stage == "train":
            image, mask = batch.image, batch.mask
            if self.augmentation is not None:
                image, mask = self.augmentation(image, mask, batch.present)
            loss = deep_dice_ce(self.model(image), mask)
        else:
            logits = volume_logits(self.model, batch.image, self.test_mirror and stage == "test")
            loss = dice_ce(logits, batch.mask)
            self._probability = logits.float().softmax(1)[0, 1:].sum(0).cpu().numpy()
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Lightning hook."""
        self._seen = []

    def validation_step(self, batch: MRIBatch, batch_idx: int) -> None:
        """Lightning hook: what each cut would make of the exam."""
        self.step(batch, "val")
        voxel_ml = float(batch.spacing_mm[0].prod()) / 1000
        truth = batch.mask[0].cpu().numpy() > 0
        dices = [_dice(truth, cut(self._probability, voxel_ml)) for cut in (CUTS if self.choose_cut else CUTS[:1])]
        rough = [float((self._probability > p).sum()) * voxel_ml for p in _ROUGH]
        self._seen.append({"dice": dices, "rough": rough, "truth": float(truth.sum()) * voxel_ml})

    def on_validation_epoch_end(self) -> None:
        """Choose the cut and calibrate the interval."""
        if not self._seen or self.trainer.sanity_checking:
            return
        means = np.mean([exam["dice"] for exam in self._seen], axis=0)
        best = CUTS[int(means.argmax())]
        # The interval is that of a tumour's volume, given that there is one: in an exam without, any false volume is
        # infinitely larger than the truth.
        ill = [exam for exam in self._seen if exam["truth"] > 0]
        low, high = np.array([exam["rough"] for exam in ill]).reshape(-1, 2).T
        offset = conformal_offset(low, high, np.array([exam["truth"] for exam in ill]), self.coverage)
        values = [best.threshold, float(best.largest), best.least_ml, offset, float(len(ill))]
        self.calibration.copy_(torch.tensor(values, dtype=torch.float64))
        self.log("val/dice", float(means.max()), sync_dist=True)
        self._seen = []
        if self.grading.isnan().all():
            self._fit_grading()

    def _fit_grading(self) -> None:
        """Learn the Koos grade from the labels of the training and validation exams whose grade is known."""
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        features, grades = [], []
        for image, mask, present, koos in datamodule.graded():
            middle = mid_plane_mm(shown(image, present), datamodule.plan.spacing_mm, mask > 0)
            found = grading_features(mask > 0, datamodule.plan.spacing_mm, middle)
            if found is not None:
                features.append(found)
                grades.append(koos)
        self.grading.copy_(torch.from_numpy(fit_grades(features, grades)))

    def predict_rows(self, batch: MRIBatch) -> dict[str, Tensor]:
        """One row an exam, scored on the grid of its reference image."""
        grading = self.grading.cpu().numpy()
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        found = exam_row(datamodule, batch, self._probability, self.cut, self.interval, grading)
        found["coverage"] = self.coverage
        columns = {name: torch.tensor([value], dtype=torch.float64) for name, value in found.items()}
        return {"window": batch.window.cpu(), "koos": batch.koos.cpu(), **columns}

    def interval(self, probability: NDArray[np.float32], voxel_ml: float) -> tuple[float, float]:
        """Calibrated interval of the volume, ml; NaN before the first validation."""
        low, high = (np.array([float((probability > p).sum()) * voxel_ml]) for p in _ROUGH)
        low, high = widened(low, high, float(self.calibration[3]))
        return float(low[0]), float(high[0])

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """See :func:`~neurotwin.metrics.segmentation_scores.score_exams`."""
        return score_exams(predictions)

    @classmethod
    def losses(cls, predictions: Predictions) -> dict[str, NDArray[np.float64]]:
        """What Dice lacks to 1, and whether the tumour was missed; exams without tumour have neither and count as 0."""
        ill = predictions["truth_ml"] > 0
        return {
            "1 - Dice": np.where(ill, 1 - np.nan_to_num(predictions["dsc"]), 0.0),
            "missed": (ill & (predictions["lesions_found"] == 0)).astype(float),
        }

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Patches of normalised images on the planned grid in, logits out; the user slides them over a volume."""
        return {"image": torch.randn(2, spec.n_channels or 1, *(spec.patch_size or (32, 32, 32)))}, "logits"

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """The tested exams of lowest, median and highest Dice: image, truth and prediction."""
        panels = self._panels(datamodule, (0.0, 0.5, 1.0))
        return [exam_figure(panels, folder / "exams.png")] if panels else []

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """Tested exams from the lowest to the highest Dice in three planes; ``exams`` is the median one."""
        panels = self._panels(datamodule, np.linspace(0, 1, _CASES).tolist()) if self.predictions else []
        names = ["exams" if place == len(panels) // 2 else f"exams_{place + 1}" for place in range(len(panels))]
        return browsed(dict(zip(names, map(exam_plot, panels), strict=True)), "Exam")

    def _panels(self, datamodule: Any, quantiles: Sequence[float]) -> list[Panel]:
        """Title, image, label and predicted mask of the tested exams at these quantiles of Dice."""
        dsc = self.predictions["dsc"]
        known = np.flatnonzero(np.isfinite(dsc))
        if not len(known):
            return []
        order = known[np.argsort(dsc[known])]
        places = [min(int(quantile * len(order)), len(order) - 1) for quantile in quantiles]
        panels = []
        for index in dict.fromkeys(int(order[place]) for place in places):
            row = int(self.predictions["window"][index])
            exam = datamodule.exam(row)
            kind, image, affine = datamodule.reference_grid(exam)
            mask = self.cut(datamodule.to_native(self.segment(datamodule, exam), affine, image), image.voxel_ml)
            panels.append((f"{exam.name} {kind}, Dice {dsc[index]:.2f}", image, exam.masks.get(kind), mask))
        return panels

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Write the mask of each exam as ``NAME_mask.nii.gz`` and its :func:`~.segmentation_report.write_report`.

        Exams of which a table gives the months are also taken together, patient by patient
        (:func:`~.growth_report.write_growth`).

        Args:
            datamodule: Reads ``source`` and brings it to the grid that the network was trained on.
            source: A volume, a folder with one of each modality, or a folder of such folders.
            target: Folder for the results.
        """
        exams = datamodule.read(source)
        names = [exam.session for exam in exams]
        if len(set(names)) < len(names):
            raise DataError(
                f"{source}: exams share a name up to the first dot ({', '.join(names)}); rename the folders"
            )
        paths = []
        courses: dict[str, list[tuple[str, Measured]]] = defaultdict(list)
        for exam in exams:
            kind, image, affine = datamodule.reference_grid(exam)
            case, probability = self._segment(datamodule, exam)
            native = datamodule.to_native(probability, affine, image)
            mask = self.cut(native, image.voxel_ml)
            interval = self.interval(native, image.voxel_ml) if self.calibrated else None
            there = {kind: kind in exam.images for kind in datamodule.modalities}
            spacing = datamodule.plan.spacing_mm
            planned = self.cut(probability, math.prod(spacing) / 1000)
            judged = clinical(case.image, np.array(case.present), planned, spacing, self.grading.cpu().numpy())
            paths.append(datamodule.write_mask(target / f"{exam.session}_mask.nii.gz", mask, image))
            paths += write_report(exam.session, kind, image, mask, interval, self.coverage, there, judged, target)
            if exam.months is not None:
                volume = int(mask.sum()) * image.voxel_ml
                low, high = interval or (volume, volume)
                measured = Measured(volume, low, high, self.coverage, exam.months)
                courses[exam.patient].append((exam.session, measured))
        for patient, course in courses.items():
            if len(course) > 1:
                sessions, measures = zip(*course, strict=True)
                paths += write_growth(patient, sessions, measures, self.calibrated, target)
        return paths

    def segment(self, datamodule: Any, exam: Any) -> NDArray[np.float32]:
        """Probability of tumour on the planned grid of an exam."""
        probability: NDArray[np.float32] = self._segment(datamodule, exam)[1]
        return probability

    @torch.inference_mode()
    def _segment(self, datamodule: Any, exam: Any) -> tuple[Any, NDArray[np.float32]]:
        """An exam on the planned grid and the probability of tumour there."""
        self.eval()
        case = datamodule.prepare_exam(exam)
        logits = volume_logits(self.model, torch.from_numpy(case.image[None]).to(self.device), self.test_mirror)
        probability: NDArray[np.float32] = logits.float().softmax(1)[0, 1:].sum(0).cpu().numpy()
        return case, probability


def _dice(truth: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    """Dice; two empty masks agree."""
    total = int(truth.sum()) + int(mask.sum())
    return 2.0 * int((truth & mask).sum()) / total if total else 1.0
