"""From a network to the mask of a whole volume: sliding window, mirrored copies, components."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy.ndimage import label, maximum
from torch import Tensor

from ..contracts import VolumeModel


@dataclass(frozen=True)
class Cut:
    """How probabilities become a mask; chosen on validation exams only.

    Attributes:
        threshold: Least probability.
        largest: Keep the largest component only.
        least_ml: Drop components that are smaller, ml.
        peak: Drop components in which no probability is higher.
    """

    threshold: float = 0.5
    largest: bool = False
    least_ml: float = 0.0
    peak: float = 0.0

    def __call__(self, probability: NDArray[np.floating], voxel_ml: float) -> NDArray[np.bool_]:
        """The mask of a probability map."""
        mask = np.asarray(probability > self.threshold)
        if not mask.any() or not (self.largest or self.least_ml or self.peak):
            return mask
        components, sizes, peaks = _components(probability, mask)
        return np.asarray(np.append(False, self.kept(sizes * voxel_ml, peaks))[components])

    def kept(self, sizes_ml: NDArray[np.floating], peaks: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which components stay, ``(component,)``.

        Args:
            sizes_ml: Of every component, ml.
            peaks: Highest probability in it.
        """
        keep = (sizes_ml >= self.least_ml) & (peaks > self.peak)
        if self.largest and len(sizes_ml):
            keep &= np.arange(len(sizes_ml)) == sizes_ml.argmax()
        return np.asarray(keep)


#: What validation chooses from, the plainest first: it wins a tie.
CUTS = [
    Cut(threshold, largest, least, peak)
    for largest, peak, least, threshold in itertools.product(
        (False, True), (0.0, 0.8, 0.95), (0.0, 0.02, 0.05), (0.5, 0.4, 0.6, 0.3, 0.7)
    )
]


def try_cuts(
    cuts: Sequence[Cut], probability: NDArray[np.floating], truth: NDArray[np.bool_], voxel_ml: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Dice and volume in ml of the mask that each cut makes; two empty masks agree.

    Args:
        cuts: What to try; components are found once for each threshold.
        probability: ``(x, y, z)``.
        truth: The same grid.
        voxel_ml: Volume of a voxel.
    """
    found = {}
    for threshold in {cut.threshold for cut in cuts}:
        components, sizes, peaks = _components(probability, probability > threshold)
        hits = np.bincount(components[truth], minlength=len(sizes) + 1)[1:]
        found[threshold] = sizes, peaks, hits
    dices, volumes = np.zeros(len(cuts)), np.zeros(len(cuts))
    for number, cut in enumerate(cuts):
        sizes, peaks, hits = found[cut.threshold]
        keep = cut.kept(sizes * voxel_ml, peaks)
        size, total = int(sizes[keep].sum()), int(sizes[keep].sum() + truth.sum())
        dices[number] = 2.0 * int(hits[keep].sum()) / total if total else 1.0
        volumes[number] = size * voxel_ml
    return dices, volumes


def _components(
    probability: NDArray[np.floating], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.floating]]:
    """Number of each voxel's component, 0 outside; size in voxels and highest probability of each component."""
    components, count = label(mask)
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    return components, sizes, np.atleast_1d(maximum(probability, components, np.arange(1, count + 1)))


def volume_logits(model: Any, image: Tensor, mirror: Sequence[int] = (), overlap: float = 0.5) -> Tensor:
    """Logits of whole volumes.

    A :class:`~neurotwin.contracts.VolumeModel` finds its own way. Others are slid over the volume in windows of their
    patch size, weighted by a Gaussian of an eighth of the window, as nnU-Net does.

    Args:
        model: In evaluation mode.
        image: ``(batch, modality, x, y, z)``.
        mirror: Axes; the average is over the copies mirrored along any of them (eight for three).
        overlap: Of neighbouring windows.
    """
    spatial = [2 + axis for axis in mirror]
    flips = [axes for n in range(len(spatial) + 1) for axes in itertools.combinations(spatial, n)]
    total = torch.zeros(())
    for axes in flips:
        turned = image.flip(axes) if axes else image
        if isinstance(model, VolumeModel):
            logits: Any = model.segment(turned)
        else:
            logits = sliding_window_inference(
                turned, model.patch_size, 1, model, overlap=overlap, mode="gaussian", sigma_scale=0.125
            )
        total = total + (logits.flip(axes) if axes else logits)
    return total / len(flips)
