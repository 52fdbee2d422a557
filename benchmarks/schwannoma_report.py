"""What the clinical report can be worth at best: its numbers from perfect contours and from a second reader's.

On the simulated exams of kujawa2024/simulated, no network involved: how far two readers agree, by size; the Koos grade
from geometry, its regression fitted on other patients, beside one that knows the volume alone; the share outside the
canal against the simulator's; the probability of growth from a second reader's volumes with human limits as interval.

    python benchmarks/schwannoma_report.py [OVERRIDE ...]    # also writes the table of the paper's README
    python benchmarks/schwannoma_report.py --table-only
"""

import argparse
import json
from pathlib import Path

import numpy as np
from neurotwin.config import compose
from neurotwin.datamodules.group_folds import group_fold
from neurotwin.gates import build_part
from neurotwin.metrics.koos_grading import fit_grades, grade_probabilities, score_grades
from neurotwin.metrics.schwannoma_measures import grading_features, mid_plane_mm
from neurotwin.metrics.segmentation_scores import human_limit, score_exams, score_pair
from neurotwin.provenance import git_state
from neurotwin.tables import update_readme
from neurotwin.tasks.segmentation_figures import ras

RESULT = Path(__file__).parent / "results" / "schwannoma_report.json"
README = Path(__file__).parents[1] / "experiments" / "kujawa2024" / "README.md"
MARKERS = ("<!-- ceiling: written by `benchmarks/schwannoma_report.py` -->", "<!-- end of ceiling -->")
EXPERIMENT = "kujawa2024/simulated"
FOLDS = 5
SIZES = ("small", "medium", "large")


def measure(data, row):
    """Numbers of one exam: second reader against first, geometry of the label, what the simulator knows."""
    exam = data.exam(row)
    kind, image, _ = data.reference_grid(exam)
    truth, second = exam.masks[kind].data > 0, exam.second[kind].data > 0
    found = score_pair(truth, second, image.spacing_mm)
    grey, spacing = ras(image.data, image.affine)
    label = ras(truth.astype(np.uint8), image.affine)[0] > 0
    features = grading_features(label, spacing, mid_plane_mm(grey.astype(np.float32), spacing, label))
    volume, outside = (float(exam.metadata[name]) for name in ("volume_ml", "extrameatal_ml"))
    limit = float(human_limit(np.array([max(found["predicted_ml"], 1e-6)]))[0]) / np.sqrt(2)  # of one reader
    wide = np.exp(limit * 1.645 / 1.96)
    found |= {
        "low_ml": found["predicted_ml"] / wide,
        "high_ml": found["predicted_ml"] * wide,
        "coverage": 0.9,
        "window": row,
        "koos": float(exam.metadata["koos"]),
        "patient": data.patient_number(row),
        "operated": float(exam.metadata["operated"] == "True" or exam.metadata["operated"] is True),
        "exact_ml": volume,
        "share_error": np.nan if features is None else abs(features[-1] - outside / volume),
    }
    return found, features


def grades(features, koos, patients):
    """Scores of the grades of patients that the regression has not seen."""
    chances = np.full((len(koos), 4), np.nan)
    for fold in range(FOLDS):
        rows = group_fold([str(patient) for patient in patients], FOLDS, fold, val_fraction=0.0)
        known = [i for i in rows["train"] if features[i] is not None]
        table = fit_grades([features[i] for i in known], [int(koos[i]) for i in known])
        for i in rows["test"]:
            chances[i] = grade_probabilities(table, features[i])
    return score_grades(chances, koos)


def table(record):
    """The record as Markdown."""
    readers, growth = record["two_readers"], record["growth_by_a_fifth"]
    known, alone = record["koos_from_geometry"], record["koos_from_volume_alone"]
    lines = [
        ("Dice of a second reader, all tumours", f"{readers['dsc_mean']:.3f}"),
        *((f"Dice of a second reader, {size}", f"{readers[f'dsc_mean_{size}']:.3f}") for size in SIZES),
        ("volumes of a second reader inside human limits", f"{readers['within_human_limits']:.2f}"),
        ("Koos grade from the geometry of perfect contours, share right", f"{known['koos_accuracy']:.2f}"),
        ("the same from the volume alone", f"{alone['koos_accuracy']:.2f}"),
        ("Brier score of the grade's probabilities, from geometry and from volume alone",
         f"{known['koos_brier']:.2f}, {alone['koos_brier']:.2f}"),
        ("median error of the share outside the canal", f"{record['share_outside_the_canal_error_median']:.3f}"),
        (f"growth by a fifth from a second reader's volumes, AUC and Brier score, {growth['growth_pairs']:.0f} pairs",
         f"{growth['growth_auroc']:.2f}, {growth['growth_brier']:.2f}"),
    ]  # fmt: skip
    head = f"| {readers['exams']:.0f} simulated exams, no network | |\n| --- | --- |\n"
    return head + "".join(f"| {name} | {value} |\n" for name, value in lines)


def compute(overrides):
    """All numbers."""
    data = build_part(compose(EXPERIMENT, overrides), "datamodule")
    data.prepare_data()
    pairs = [measure(data, row) for row in range(len(data.exams))]
    rows = {name: np.array([found[name] for found, _ in pairs], dtype=float) for name in pairs[0][0]}
    features = [geometry for _, geometry in pairs]
    alone = [None if one is None else np.array([one[0], 0.0, 0.0, 0.0]) for one in features]
    readers = score_exams(rows)
    wanted = (
        "dsc_mean",
        "dsc_mean_small",
        "dsc_mean_medium",
        "dsc_mean_large",
        "rve_abs_median",
        "within_human_limits",
    )
    wanted += ("hd95_mm_median", "assd_mm_median", "exams", "exams_small", "exams_empty")
    return {
        "setting": {"experiment": EXPERIMENT, "overrides": overrides, "grid_of": data.modalities[0]}
        | {"commit": (git_state() or {}).get("commit", "unknown")[:10]},
        "two_readers": {name: readers[name] for name in wanted},
        "koos_from_geometry": grades(features, rows["koos"], rows["patient"]),
        "koos_from_volume_alone": grades(alone, rows["koos"], rows["patient"]),
        "share_outside_the_canal_error_median": float(np.nanmedian(rows["share_error"])),
        "growth_by_a_fifth": {name: value for name, value in readers.items() if name.startswith("growth_")},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help=f"of {EXPERIMENT}")
    parser.add_argument("--table-only", action="store_true", help="write the README's table from the committed numbers")
    options = parser.parse_args()
    if not options.table_only:
        RESULT.write_text(json.dumps(compute(options.overrides), indent=2) + "\n")
    update_readme(README, table(json.loads(RESULT.read_text())), MARKERS)


if __name__ == "__main__":
    main()
