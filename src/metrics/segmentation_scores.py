"""Scores of tumour masks: overlap, surfaces, volumes and lesions, one exam at a time and over a cohort.

HD95 is the larger of both directed 95th percentiles (MONAI's convention; pooling both directions before the percentile
gives smaller values). A missed tumour counts: Dice and surface Dice 0, HD95 and ASSD the diagonal of the image, and one
in the number of misses. Exams without tumour have no Dice; they count as false volumes or not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from .growth import GROWTH, Measured, growth_probability, score_growth
from .koos_grading import GRADES, score_grades

Mask = NDArray[np.bool_]
#: Names of what :func:`score_pair` returns, in order.
SCORES = (
    "truth_ml",
    "predicted_ml",
    "dsc",
    "assd_mm",
    "hd95_mm",
    "surface_dice",
    "lesions",
    "lesions_found",
    "false_lesions",
)
#: Upper ends of the size bins, ml, and their names.
BINS = ((0.5, "small"), (2.0, "medium"), (np.inf, "large"))
#: Volumes, ml, and 95 % limits of agreement of human observers there (100 patients, 5 observers).
HUMAN_ML, HUMAN_LIMIT = (0.193, 3.10), (0.268, 0.073)
#: Scores of a second reader that say what a network can reach.
_CEILING = (
    *("dsc_mean", "dsc_mean_small", "dsc_mean_medium", "dsc_mean_large", "assd_mm_median", "hd95_mm_median"),
    *("surface_dice_median", "rve_abs_median", "within_human_limits", "exams"),
)
#: Scores of one modality alone.
_ALONE = (
    *("dsc_median", "dsc_q1", "dsc_q3", "dsc_mean", "dsc_mean_small", "dsc_mean_medium", "dsc_mean_large"),
    *("hd95_mm_median", "rve_abs_median", "miss_rate", "miss_rate_small", "false_volume_rate", "within_human_limits"),
    *("interval_coverage", "interval_width_median", "exams", "exams_empty"),
)
#: Distance at which surfaces count as the same.
TOLERANCE_MM = 1.0


def score_pair(truth: Mask, predicted: Mask, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """All scores of one exam.

    Args:
        truth: ``(x, y, z)``.
        predicted: The same grid.
        spacing_mm: Voxel spacing.

    Returns:
        Values by the names of :data:`SCORES`; NaN where a score is not defined.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    size, found = int(truth.sum()), int(predicted.sum())
    lesions, count = label(truth)
    blobs, blob_count = label(predicted)
    hit = np.unique(lesions[predicted])
    touched = np.unique(blobs[truth])
    scores = dict.fromkeys(SCORES, float("nan"))
    scores |= {
        "truth_ml": size * voxel_ml,
        "predicted_ml": found * voxel_ml,
        "lesions": float(count),
        "lesions_found": float((hit > 0).sum()),
        "false_lesions": float(blob_count - (touched > 0).sum()),
    }
    if size and found:
        scores["dsc"] = 2.0 * int((truth & predicted).sum()) / (size + found)
        scores |= _surfaces(truth, predicted, spacing_mm)
    elif size:
        diagonal = float(np.linalg.norm(np.array(truth.shape) * spacing_mm))
        scores |= {"dsc": 0.0, "surface_dice": 0.0, "hd95_mm": diagonal, "assd_mm": diagonal}
    return scores


def _surfaces(truth: Mask, predicted: Mask, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    # Distances need no more than the box around both masks.
    inside = np.argwhere(truth | predicted)
    box = tuple(slice(max(0, a - 2), b + 3) for a, b in zip(inside.min(0), inside.max(0), strict=True))
    found, true = (torch.from_numpy(np.ascontiguousarray(m[box]))[None, None].float() for m in (predicted, truth))
    common: dict[str, Any] = {"include_background": True, "spacing": list(spacing_mm)}
    return {
        "assd_mm": float(compute_average_surface_distance(found, true, symmetric=True, **common)),
        "hd95_mm": float(compute_hausdorff_distance(found, true, percentile=95, **common)),
        "surface_dice": float(compute_surface_dice(found, true, class_thresholds=[TOLERANCE_MM], **common)),
    }


def human_limit(volume_ml: NDArray[np.floating]) -> NDArray[np.float64]:
    """Relative difference that two readers stay within in 95 % of cases, by volume."""
    return np.interp(np.log(np.maximum(volume_ml, 1e-6)), np.log(HUMAN_ML), HUMAN_LIMIT)


def score_exams(rows: Mapping[str, NDArray[np.floating]]) -> dict[str, float]:
    """Scores of a cohort.

    Args:
        rows: The columns :data:`SCORES`, one row an exam; ``koos``; ``low_ml`` and ``high_ml`` where there are
            intervals.

    Returns:
        Median, lower and upper quartile and mean of Dice; medians of the distances; signed and absolute relative volume
        error; misses and false volumes as shares; detection of lesions; share of volumes inside human limits; coverage
        and width of the intervals; Dice, misses and number of exams by size, Dice by Koos grade. NaN where no exam is
        of that kind. Where there are columns of a second reader (``reader_`` before the names), the same of that
        reader against the first: what a network can reach at most.
    """
    truth, predicted = rows["truth_ml"], rows["predicted_ml"]
    ill = truth > 0
    dsc = rows["dsc"][ill]
    error = (predicted[ill] - truth[ill]) / truth[ill]
    scores = {
        "dsc_median": _at(dsc, 50),
        "dsc_q1": _at(dsc, 25),
        "dsc_q3": _at(dsc, 75),
        "dsc_mean": _mean(dsc),
        "assd_mm_median": _at(rows["assd_mm"][ill], 50),
        "hd95_mm_median": _at(rows["hd95_mm"][ill], 50),
        "surface_dice_median": _at(rows["surface_dice"][ill], 50),
        "rve_mean": _mean(error),
        "rve_abs_median": _at(np.abs(error), 50),
        "miss_rate": _mean((rows["lesions_found"][ill] == 0).astype(float)),
        "misses": float((rows["lesions_found"][ill] == 0).sum()),
        "false_volume_rate": _mean((predicted[~ill] > 0).astype(float)),
        "exams_empty": float((~ill).sum()),
        "lesion_sensitivity": _ratio(rows["lesions_found"].sum(), rows["lesions"].sum()),
        "false_lesions_per_exam": _mean(rows["false_lesions"]),
        "within_human_limits": _mean((np.abs(error) <= human_limit(truth[ill])).astype(float)),
        "exams": float(len(truth)),
    }
    low = 0.0
    for high, name in BINS:
        inside = (truth > low) & (truth <= high)
        scores[f"dsc_mean_{name}"] = _mean(rows["dsc"][inside])
        scores[f"miss_rate_{name}"] = _mean((rows["lesions_found"][inside] == 0).astype(float))
        scores[f"exams_{name}"] = float(inside.sum())
        low = high
    for grade in (1, 2, 3, 4):
        scores[f"dsc_mean_koos{grade}"] = _mean(rows["dsc"][ill & (rows["koos"] == grade)])
    if "low_ml" in rows:
        low_ml, high_ml = rows["low_ml"], rows["high_ml"]
        scores["interval_coverage"] = _mean(((low_ml <= truth) & (truth <= high_ml))[ill].astype(float))
        scores["interval_width_median"] = _at((high_ml - low_ml)[ill] / truth[ill], 50)
    if "koos_p1" in rows:
        scores |= score_grades(np.stack([rows[f"koos_p{grade}"] for grade in GRADES], 1), rows["koos"])
        scores["extrameatal_share_error_median"] = _at(
            _known(rows["extrameatal_share"] - rows["extrameatal_share_truth"]), 50
        )
        scores["axial_diameter_error_mm_median"] = _at(np.abs(rows["axial_mm"] - rows["axial_truth_mm"])[ill], 50)
    if "patient" in rows and "low_ml" in rows:
        scores |= score_growth(*growth_pairs(rows))
    for prefix in [name.removesuffix("_dsc") for name in rows if name.endswith("_dsc")]:
        scores |= _part(rows, prefix)
    return scores


def _part(rows: Mapping[str, NDArray[np.floating]], prefix: str) -> dict[str, float]:
    """Scores of the columns with that prefix, on the exams that have them."""
    there = np.isfinite(rows[f"{prefix}_predicted_ml"])
    names = [name for name in (*SCORES, "low_ml", "high_ml") if f"{prefix}_{name}" in rows]
    part = {name: rows[f"{prefix}_{name}"][there] for name in names}
    found = score_exams({**part, "koos": rows["koos"][there]})
    return {f"{prefix}_{name}": found[name] for name in (_CEILING if prefix == "reader" else _ALONE)}


def growth_pairs(rows: Mapping[str, NDArray[np.floating]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Consecutive exams of a patient with no operation between them: probability of growth by a fifth, and the truth.

    Args:
        rows: As for :func:`score_exams`, with ``patient``, ``operated``, ``exact_ml``, intervals and
            ``coverage``.
    """
    order = np.argsort(rows["window"])
    chances, grew = [], []
    for a, b in itertools.pairwise(order):
        same = rows["patient"][a] == rows["patient"][b] and rows["operated"][a] == rows["operated"][b]
        if not same or min(rows["exact_ml"][a], rows["exact_ml"][b]) <= 0:
            continue
        first, second = (
            Measured(*(float(rows[name][i]) for name in ("predicted_ml", "low_ml", "high_ml", "coverage")))
            for i in (a, b)
        )
        chances.append(growth_probability(first, second, GROWTH))
        grew.append(rows["exact_ml"][b] > GROWTH * rows["exact_ml"][a])
    return np.array(chances), np.array(grew, dtype=bool)


def _known(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.abs(values[np.isfinite(values)])


def _at(values: NDArray[np.floating], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
