"""What a tested exam leaves behind: one row of numbers, of which cohorts are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contracts import Exam, MRIBatch
from ..metrics.koos_grading import grade_probabilities
from ..metrics.schwannoma_measures import axial_diameter_mm, grading_features, largest_component, mid_plane_mm, parts
from ..metrics.segmentation_scores import SCORES, score_pair
from .segmentation_calibration import Calibration

Array = NDArray[np.floating]
Triple = tuple[float, float, float]
#: Columns of a mask's scores.
_MASK = (*SCORES, "low_ml", "high_ml")


def exam_row(
    datamodule: Any, batch: MRIBatch, probability: NDArray[np.float32], calibration: Calibration, grading: Array
) -> dict[str, float]:
    """Scores, interval and clinical numbers of one exam, by column.

    Masks are compared on the grid of the image that the label was drawn on. What clinics report is measured on the
    planned grid, of the network's mask and of the label alike.

    Args:
        datamodule: Holds the exam.
        batch: The exam.
        probability: Of tumour on the planned grid, ``(x, y, z)``.
        calibration: Of exams with these modalities.
        grading: From :func:`~neurotwin.metrics.koos_grading.fit_grades`.
    """
    row = int(batch.window[0])
    exam = datamodule.exam(row)
    kind, image, _ = datamodule.reference_grid(exam)
    found, truth = _scored(datamodule, exam, probability, calibration)
    if datamodule.two_readers:
        again = dict.fromkeys(SCORES, float("nan"))
        if kind in exam.masks and kind in exam.second:
            again = score_pair(truth, exam.second[kind].data > 0, image.spacing_mm)
        found |= {f"reader_{name}": value for name, value in again.items()}
    reported = _reported(datamodule, batch, probability, calibration, grading)
    return found | reported | _course(datamodule, exam, row, found)


def alone(exam: Exam, kind: str) -> Exam:
    """The exam with one of its modalities only, or with none if it lacks that one."""
    images, masks = ({k: v for k, v in store.items() if k == kind} for store in (exam.images, exam.masks))
    return replace(exam, images=images, masks=masks or exam.masks, second={})


def alone_row(
    datamodule: Any, exam: Exam, kind: str, probability: NDArray[np.float32] | None, calibration: Calibration
) -> dict[str, float]:
    """Scores and interval of an exam by one modality, by column with its name in front; NaN where it was not taken.

    Args:
        datamodule: Holds the exam.
        exam: From :func:`alone`.
        kind: The modality.
        probability: Of tumour on the grid that is planned for the exam.
        calibration: Of exams with this modality alone.
    """
    found = dict.fromkeys(_MASK, float("nan"))
    if probability is not None:
        found, _ = _scored(datamodule, exam, probability, calibration)
    return {f"{kind}_{name}": value for name, value in found.items()}


def _scored(
    datamodule: Any, exam: Exam, probability: NDArray[np.float32], calibration: Calibration
) -> tuple[dict[str, float], NDArray[np.bool_]]:
    """Scores and interval on the grid of the exam's reference image, and the label there."""
    kind, image, affine = datamodule.reference_grid(exam)
    native = datamodule.to_native(probability, affine, image)
    truth = exam.masks[kind].data > 0 if kind in exam.masks else datamodule.moved_mask(exam, image)
    found = score_pair(truth, calibration.cut(native, image.voxel_ml), image.spacing_mm)
    found["low_ml"], found["high_ml"] = calibration.interval(native, image.voxel_ml)
    return found, truth


def clinical(
    image: Array, present: NDArray[np.bool_], mask: NDArray[np.bool_], spacing_mm: Triple, grading: Array
) -> dict[str, Any]:
    """What clinics report of a mask on the planned grid.

    Args:
        image: ``(modality, x, y, z)``.
        present: Which modalities are there.
        mask: Tumour, ``(x, y, z)``.
        spacing_mm: Voxel spacing.
        grading: From :func:`~neurotwin.metrics.koos_grading.fit_grades`.

    Returns:
        What :func:`~neurotwin.metrics.schwannoma_measures.parts` gives; ``extrameatal_share``; ``from_middle_mm``, of
        the tumour's centre from the mid-plane, right is positive; ``koos_probability``, of the grades 1 to 4, NaN where
        they are not known.
    """
    middle = mid_plane_mm(shown(image, present), spacing_mm, mask)
    features = grading_features(mask, spacing_mm, middle)
    centre = float(np.argwhere(mask)[:, 0].mean()) * spacing_mm[0] - middle if mask.any() else None
    return {
        **parts(mask, spacing_mm, middle),
        "extrameatal_share": None if features is None else float(features[-1]),
        "from_middle_mm": centre,
        "koos_probability": grade_probabilities(grading, features).tolist(),
    }


def _reported(
    datamodule: Any, batch: MRIBatch, probability: NDArray[np.float32], calibration: Calibration, grading: Array
) -> dict[str, float]:
    spacing = datamodule.plan.spacing_mm
    mask = calibration.cut(probability, float(np.prod(spacing)) / 1000)
    label = largest_component(batch.mask[0].cpu().numpy() > 0)
    found = clinical(batch.image[0].cpu().numpy(), batch.present[0].cpu().numpy(), mask, spacing, grading)
    return {
        **{f"koos_p{grade}": p for grade, p in enumerate(found["koos_probability"], 1)},
        "extrameatal_share": _number(found["extrameatal_share"]),
        "axial_mm": found["axial_diameter_mm"] or 0.0,
        "axial_truth_mm": axial_diameter_mm(label, spacing)[0],
    }


def _course(datamodule: Any, exam: Any, row: int, found: dict[str, float]) -> dict[str, float]:
    """Whose exam it is, when, and what a simulator knows of the tumour itself."""
    known = {name: _number(exam.metadata.get(name)) for name in ("volume_ml", "extrameatal_ml")}
    exact, outside = known["volume_ml"], known["extrameatal_ml"]
    return {
        "patient": float(datamodule.patient_number(row)),
        "months": float("nan") if exam.months is None else exam.months,
        "operated": float(str(exam.metadata.get("operated")) == "True"),
        "exact_ml": found["truth_ml"] if np.isnan(exact) else exact,
        "extrameatal_share_truth": outside / exact if exact > 0 else float("nan"),
    }


def shown(image: Array, present: NDArray[np.bool_]) -> Array:
    """The first modality that is there, ``(x, y, z)``."""
    return np.asarray(image[int(np.argmax(present))])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
