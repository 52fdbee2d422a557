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
from ..plotting import browsed
from .base import BaseTask
from .growth_report import write_growth
from .mri_augmentation import Augmentation
from .segmentation_calibration import Calibration, Tried, calibrate, look
from .segmentation_figures import Panel, exam_figure, exam_plot
from .segmentation_inference import volume_logits
from .segmentation_loss import deep_dice_ce, dice_ce
from .segmentation_report import write_report
from .segmentation_rows import alone, alone_row, clinical, exam_row, shown

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
        mirror: Mirror patches in training, and average mirrored copies in test (twice the cost for each axis).
        mirror_train_only: Mirror in training only.
        mirror_axes: Along which: 0 left and right, 1 front and back, 2 up and down.
        choose_cut: Choose threshold and components on validation; else 0.5 and all components.
        coverage: Of the interval of the volume, given that there is a tumour.
        test_inputs: Modalities of which each is also validated and tested alone, with a cut and an interval of its own;
            metrics bear its name (``T2w_dsc_mean``). A network of two modalities that was trained with dropout of
            modalities gives all input settings of a paper at once.
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
        mirror_axes: Sequence[int] = (0,),
        choose_cut: bool = True,
        coverage: float = 0.9,
        test_inputs: Sequence[str] = (),
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        if not 0 < coverage < 1:
            raise ConfigError(f"task.coverage={coverage}: must lie between 0 and 1")
        if not hasattr(model, "patch_size"):
            raise ConfigError(
                f"Segmentation needs a network that knows its patch_size; {type(model).__name__} has none"
            )
        if not set(mirror_axes) <= {0, 1, 2}:
            raise ConfigError(f"task.mirror_axes={list(mirror_axes)}: choose from 0, 1, 2")
        axes = tuple(mirror_axes) if mirror else ()
        self.augmentation = Augmentation(model.patch_size, axes) if augment else None  # type: ignore[arg-type]
        self.test_mirror = () if mirror_train_only else axes
        self.choose_cut, self.coverage = choose_cut, coverage
        self.test_inputs = tuple(test_inputs)
        # A row for exams as they are, one for each modality alone.
        rows = [Calibration().numbers()] * (1 + len(self.test_inputs))
        self.register_buffer("calibration", torch.tensor(rows, dtype=torch.float64))
        # Intercept and weights of each Koos grade, NaN until exams with known grades were seen.
        self.register_buffer("grading", torch.full((len(GRADES), 1 + len(FEATURES)), float("nan"), dtype=torch.float64))
        self._seen: list[list[Tried]] = []
        self._probability: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)

    def calibrated(self, there: Sequence[str] = ()) -> Calibration:
        """What validation chose for an exam with these modalities."""
        row = 1 + self.test_inputs.index(there[0]) if len(there) == 1 and there[0] in self.test_inputs else 0
        return Calibration.of(self.calibration[row].tolist())

    def setup(self, stage: str) -> None:
        """Lightning hook: refuse other data, and inputs that they have not."""
        super().setup(stage)
        known = getattr(getattr(self.trainer, "datamodule", None), "modalities", self.test_inputs)
        if self.test_inputs and (len(known) < 2 or not set(self.test_inputs) <= set(known)):
            raise ConfigError(
                f"task.test_inputs={list(self.test_inputs)}: names modalities of a network with two or more; "
                f"datamodule.modalities={list(known)}"
            )

    def step(self, batch: MRIBatch, stage: str) -> Tensor:
        """Loss of a batch of patches, or of a whole exam, whose probabilities are kept for its scores."""
        if stage == "train":
            image, mask = batch.image, batch.mask
            if self.augmentation is not None:
                image, mask = self.augmentation(image, mask, batch.present)
            loss = deep_dice_ce(self.model(image), mask)
        else:
            logits = volume_logits(self.model, batch.image, self.test_mirror if stage == "test" else ())
            loss = dice_ce(logits, batch.mask)
            self._probability = logits.float().softmax(1)[0, 1:].sum(0).cpu().numpy()
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Lightning hook."""
        self._seen = [[] for _ in range(len(self.calibration))]

    def validation_step(self, batch: MRIBatch, batch_idx: int) -> None:
        """Lightning hook: what each cut would make of the exam, and of each modality alone."""
        self.step(batch, "val")
        voxel_ml = float(batch.spacing_mm[0].prod()) / 1000
        truth = batch.mask[0].cpu().numpy() > 0
        self._seen[0].append(look(self._probability, truth, voxel_ml))
        modalities = self.trainer.datamodule.modalities if self.test_inputs else ()  # type: ignore[attr-defined]
        for seen, name in zip(self._seen[1:], self.test_inputs, strict=True):
            channel = modalities.index(name)
            if batch.present[0, channel]:
                image = torch.zeros_like(batch.image)
                image[:, channel] = batch.image[:, channel]
                seen.append(look(self._tumour(image), truth, voxel_ml))

    def on_validation_epoch_end(self) -> None:
        """Choose the cut and calibrate the interval."""
        if not self._seen or self.trainer.sanity_checking:
            return
        for row, seen in zip(self.calibration, self._seen, strict=True):
            if seen:
                chosen, dice = calibrate(seen, self.coverage, self.choose_cut)
                row.copy_(torch.tensor(chosen.numbers(), dtype=torch.float64))
                if seen is self._seen[0]:
                    self.log("val/dice", dice, sync_dist=True)
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
        """One row an exam, scored on the grid of its reference image; alone, each modality is its own reference."""
        grading = self.grading.cpu().numpy()
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        exam = datamodule.exam(int(batch.window[0]))
        calibration = self.calibrated([kind for kind in datamodule.modalities if kind in exam.images])
        found = exam_row(datamodule, batch, self._probability, calibration, grading)
        for name in self.test_inputs:
            single = alone(exam, name)
            probability = self.segment(datamodule, single) if single.images else None
            found |= alone_row(datamodule, single, name, probability, self.calibrated([name]))
        found["coverage"] = self.coverage
        columns = {name: torch.tensor([value], dtype=torch.float64) for name, value in found.items()}
        return {"window": batch.window.cpu(), "koos": batch.koos.cpu(), **columns}

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
            native = datamodule.to_native(self.segment(datamodule, exam), affine, image)
            mask = self.calibrated(list(exam.images)).cut(native, image.voxel_ml)
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
        courses: dict[str, list[tuple[str, Measured, bool]]] = defaultdict(list)
        for exam in exams:
            kind, image, affine = datamodule.reference_grid(exam)
            case, probability = self._segment(datamodule, exam)
            native = datamodule.to_native(probability, affine, image)
            there = {kind: kind in exam.images for kind in datamodule.modalities}
            calibration = self.calibrated([known for known, is_there in there.items() if is_there])
            mask = calibration.cut(native, image.voxel_ml)
            sure = calibration.holds(self.coverage)
            interval = calibration.interval(native, image.voxel_ml) if sure else None
            spacing = datamodule.plan.spacing_mm
            planned = calibration.cut(probability, math.prod(spacing) / 1000)
            judged = clinical(case.image, np.array(case.present), planned, spacing, self.grading.cpu().numpy())
            paths.append(datamodule.write_mask(target / f"{exam.session}_mask.nii.gz", mask, image))
            paths += write_report(exam.session, kind, image, mask, interval, self.coverage, there, judged, target)
            if exam.months is not None:
                volume = int(mask.sum()) * image.voxel_ml
                low, high = interval or (volume, volume)
                measured = Measured(volume, low, high, self.coverage, exam.months)
                courses[exam.patient].append((exam.session, measured, sure))
        for patient, course in courses.items():
            if len(course) > 1:
                sessions, measures, sure_of = zip(*course, strict=True)
                paths += write_growth(patient, sessions, measures, all(sure_of), target)
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
        image = torch.from_numpy(case.image[None]).to(self.device)
        return case, self._tumour(image, self.test_mirror)

    def _tumour(self, image: Tensor, mirror: Sequence[int] = ()) -> NDArray[np.float32]:
        """Probability of tumour in a whole exam, ``(x, y, z)``."""
        logits = volume_logits(self.model, image, mirror)
        probability: NDArray[np.float32] = logits.float().softmax(1)[0, 1:].sum(0).cpu().numpy()
        return probability
