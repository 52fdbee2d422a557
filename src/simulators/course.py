"""How a schwannoma changes over the years, and when a surgeon steps in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .schwannoma_shape import RANGE_ML


@dataclass(frozen=True)
class Course:
    """The exams of one patient.

    Attributes:
        months: When, since the first.
        volumes_ml: True volume at each, had nobody operated, ml.
        operated_before: Index of the first exam after surgery; None without surgery.
        residual: How far medial of the porus a residual reaches along the canal, mm; very negative: nothing is left.
    """

    months: tuple[float, ...]
    volumes_ml: tuple[float, ...]
    operated_before: int | None
    residual: float


def draw_course(rng: np.random.Generator, volume_ml: float, max_exams: int, operated: float) -> Course:
    """Up to ``max_exams`` exams about 14 months apart.

    Four in ten tumours grow, by 2 ± 0.8 mm of diameter a year, about half stay as they are, the others shrink: near
    the third that grow within three and the half within five years (Paldor 2016).

    Args:
        rng: Random numbers.
        volume_ml: At the first exam.
        max_exams: At most.
        operated: Probability that a patient with two exams or more has surgery between two of them.
    """
    count = int(rng.integers(1, max_exams + 1))
    gaps = rng.lognormal(np.log(14), 0.35, count - 1)
    months = np.concatenate([[0.0], np.cumsum(gaps)])
    kind = rng.random()
    rate = rng.normal(2.0, 0.8) if kind < 0.4 else rng.normal(0, 0.15) if kind < 0.87 else rng.normal(-1.0, 0.4)
    diameter = 2 * (3000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    size = np.maximum(diameter + rate * months / 12, 0.5 * diameter)
    volumes = np.clip(volume_ml * (size / diameter) ** 3, RANGE_ML[0], 1.5 * RANGE_ML[1])
    before = int(rng.integers(1, count)) if count > 1 and rng.random() < operated else None
    # A third of the operations leave nothing to see, the others a plug in the canal or a strip at its mouth.
    residual = -60.0 if rng.random() < 0.35 else float(rng.uniform(-8.0, 4.0))
    return Course(tuple(np.round(months, 1).tolist()), tuple(volumes.tolist()), before, residual)
