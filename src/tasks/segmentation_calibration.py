"""What validation exams decide: how probabilities become a mask, and how sure its volume is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics.volume_interval import conformal_offset, widened
from .segmentation_inference import CUTS, Cut, try_cuts

#: Thresholds whose volumes are the ends of the interval before it is calibrated.
_ROUGH = (0.7, 0.3)


def _rough(cut: Cut) -> list[Cut]:
    """Cuts for the lower and the upper end: of the components of the mask, not of what a lower threshold lets in."""
    return [replace(cut, threshold=threshold, peak=max(cut.peak, cut.threshold)) for threshold in _ROUGH]


#: All cuts that are tried; the first ones may be chosen.
_TRIED = list(dict.fromkeys([*CUTS, *(end for cut in CUTS for end in _rough(cut))]))


class Tried(NamedTuple):
    """A validation exam.

    Attributes:
        dices: Of each cut.
        volumes_ml: Of each cut's mask.
        truth_ml: Volume of the label.
    """

    dices: NDArray[np.float64]
    volumes_ml: NDArray[np.float64]
    truth_ml: float


@dataclass(frozen=True)
class Calibration:
    """Chosen on validation exams and stored in the checkpoint as numbers.

    Attributes:
        cut: Probability to mask.
        offset_mm: By which the ends of the volume's interval move; see
            :func:`~neurotwin.metrics.volume_interval.conformal_offset`. NaN before the first validation.
        exams: Exams with tumour that it comes from.
    """

    cut: Cut = CUTS[0]
    offset_mm: float = float("nan")
    exams: float = 0.0

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Calibration:
        """From :meth:`numbers`."""
        threshold, largest, least, peak, offset, exams = numbers
        return cls(Cut(threshold, bool(largest), least, peak), offset, exams)

    def numbers(self) -> list[float]:
        """Threshold, largest component only, least volume, least peak; offset, exams."""
        return [*map(float, astuple(self.cut)), self.offset_mm, self.exams]

    def holds(self, coverage: float) -> bool:
        """Whether there were enough exams for the interval to keep its coverage (nine for 0.9)."""
        return math.isfinite(self.offset_mm) and math.ceil((self.exams + 1) * coverage) <= self.exams

    def interval(self, probability: NDArray[np.floating], voxel_ml: float) -> tuple[float, float]:
        """Ends of the volume's interval, ml; NaN before the first validation.

        Args:
            probability: ``(x, y, z)``.
            voxel_ml: Volume of a voxel.
        """
        rough = (np.array([float(cut(probability, voxel_ml).sum()) * voxel_ml]) for cut in _rough(self.cut))
        low, high = widened(next(rough), next(rough), self.offset_mm)
        return float(low[0]), float(high[0])


def look(probability: NDArray[np.floating], truth: NDArray[np.bool_], voxel_ml: float) -> Tried:
    """What each cut would make of a validation exam.

    Args:
        probability: ``(x, y, z)``.
        truth: Its label.
        voxel_ml: Volume of a voxel.
    """
    return Tried(*try_cuts(_TRIED, probability, truth, voxel_ml), float(truth.sum()) * voxel_ml)


def calibrate(exams: Sequence[Tried], coverage: float, choose_cut: bool = True) -> tuple[Calibration, float]:
    """The cut of highest mean Dice, the interval's offset for it, and that Dice.

    The interval is that of a tumour's volume, given that there is one: in an exam without, any false volume is
    infinitely larger than the truth.

    Args:
        exams: Validation exams.
        coverage: Of the interval.
        choose_cut: Else the plain one.
    """
    means = np.mean([exam.dices for exam in exams], axis=0)[: len(CUTS)]
    best = int(means.argmax()) if choose_cut else 0
    places = [_TRIED.index(cut) for cut in _rough(CUTS[best])]
    ill = [exam for exam in exams if exam.truth_ml > 0]
    low, high = np.array([exam.volumes_ml[places] for exam in ill]).reshape(-1, 2).T
    offset = conformal_offset(low, high, np.array([exam.truth_ml for exam in ill]), coverage)
    return Calibration(CUTS[best], offset, float(len(ill))), float(means[best])
