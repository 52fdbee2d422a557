"""The exams of a patient together: volumes over time and the probability that the tumour truly grew."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..metrics.growth import GROWTH, Measured, growth_probability
from .segmentation_figures import PREDICTED
from .segmentation_report import NOTICE, Picture, address, page


def write_growth(
    patient: str, names: Sequence[str], exams: Sequence[Measured], calibrated: bool, target: Path
) -> list[Path]:
    """Write ``PATIENT_growth.json`` and ``PATIENT_growth.html``.

    Args:
        patient: Name for the files.
        names: Of the exams.
        exams: With their months since the first, in any order.
        calibrated: Whether the intervals keep their coverage; without, no probability is given.
        target: Folder; made if it is not there.
    """
    target.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(exams)), key=lambda i: (exams[i].months or 0.0, names[i]))
    names, exams = [names[i] for i in order], [exams[i] for i in order]
    pairs = list(itertools.pairwise(range(len(exams))))
    if len(exams) > 2:
        pairs.append((0, len(exams) - 1))
    flags = _flags(exams, calibrated)
    changes = [_change(names, exams, a, b, calibrated) for a, b in pairs]
    facts = {
        "patient": patient,
        "notice": NOTICE,
        "exams": [
            {
                "exam": name,
                "months": exam.months,
                "volume_ml": exam.volume_ml,
                "volume_interval_ml": [exam.low_ml, exam.high_ml] if calibrated else None,
            }
            for name, exam in zip(names, exams, strict=True)
        ],
        "coverage": exams[0].coverage,
        "changes": changes,
        "flags": flags,
    }
    table, text = (target / f"{patient}_growth.{end}" for end in ("json", "html"))
    table.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    rows = [row for change in changes for row in _rows(change)]
    pictures: list[Picture] = [
        (
            address(_curve(exams, calibrated)),
            "Volume of the tumour at each exam",
            f"Volume of each mask; bars: {100 * exams[0].coverage:g} % interval. Dashed: a fifth more than at first.",
        )
    ]
    text.write_text(page(f"{patient}: growth", rows, flags, pictures), encoding="utf-8")
    return [table, text]


def _change(names: Sequence[str], exams: Sequence[Measured], a: int, b: int, calibrated: bool) -> dict[str, Any]:
    first, second = exams[a], exams[b]
    chances = [growth_probability(first, second, factor) if calibrated else None for factor in (1.0, GROWTH)]
    return {
        "from": names[a],
        "to": names[b],
        "months": (second.months or 0.0) - (first.months or 0.0),
        "change_percent": 100 * (second.volume_ml / first.volume_ml - 1) if first.volume_ml else None,
        "growth_probability": chances[0],
        "growth_by_a_fifth_probability": chances[1],
    }


def _rows(change: dict[str, Any]) -> list[tuple[str, str]]:
    percent, any_growth = change["change_percent"], change["growth_probability"]
    size = "no volume before" if percent is None else f"{percent:+.0f} % of the volume"
    chances = "probabilities not known"
    if any_growth is not None:
        fifth = change["growth_by_a_fifth_probability"]
        chances = f"probability of growth {any_growth:.2f}, by more than a fifth {fifth:.2f}"
    return [(f"{change['from']} to {change['to']}", f"{size} in {change['months']:.0f} months; {chances}")]


def _flags(exams: Sequence[Measured], calibrated: bool) -> list[str]:
    flags = []
    if not calibrated:
        flags.append("intervals not calibrated: the run had too few validation exams; no probability of growth")
    if any(exam.volume_ml == 0 for exam in exams):
        flags.append("no tumour was found in at least one exam: after surgery, or missed")
    flags.append(
        "errors of two exams are taken as independent; the same scanner and sequence at both make them less so"
    )
    return flags


def _curve(exams: Sequence[Measured], calibrated: bool) -> Figure:
    months = [exam.months or 0.0 for exam in exams]
    volumes = np.array([exam.volume_ml for exam in exams])
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    if calibrated:
        ends = np.array([[exam.low_ml, exam.high_ml] for exam in exams]).T
        axes.vlines(months, *ends, color="#8a8f98", linewidth=2)
    axes.plot(months, volumes, "o-", color=PREDICTED, markersize=7)
    axes.axhline(GROWTH * volumes[0], color="#8a8f98", linestyle="--", linewidth=1)
    axes.set_xlabel("months since the first exam")
    axes.set_ylabel("volume, ml")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
