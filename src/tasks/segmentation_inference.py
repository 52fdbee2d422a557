"""From a network to the mask of a whole volume: sliding window, mirrored copies, components."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from ..contracts import VolumeModel


@dataclass(frozen=True)
class Cut:
    """How probabilities become a mask; chosen on validation exams only.

    Attributes:
        threshold: Least probability.
        largest: Keep the largest component only.
        least_ml: Drop components that are smaller, ml.
    """

    threshold: float = 0.5
    largest: bool = False
    least_ml: float = 0.0

    def __call__(self, probability: NDArray[np.floating], voxel_ml: float) -> NDArray[np.bool_]:
        """The mask of a probability map."""
        mask = np.asarray(probability > self.threshold)
        if not mask.any() or not (self.largest or self.least_ml):
            return mask
        components, count = label(mask)
        sizes = np.bincount(components.ravel(), minlength=count + 1)
        sizes[0] = 0
        keep = sizes * voxel_ml >= self.least_ml
        if self.largest:
            keep &= np.arange(count + 1) == sizes.argmax()
        keep[0] = False
        return np.asarray(keep[components])


#: What validation chooses from, the plainest first: it wins a tie.
CUTS = [
    Cut(threshold, largest, least)
    for largest, least, threshold in itertools.product((False, True), (0.0, 0.02, 0.05), (0.5, 0.4, 0.6, 0.3))
]


def volume_logits(model: Any, image: Tensor, mirror: bool = False, overlap: float = 0.5) -> Tensor:
    """Logits of whole volumes.

    A :class:`~neurotwin.contracts.VolumeModel` finds its own way. Others are slid over the volume in windows of their
    patch size, weighted by a Gaussian of an eighth of the window, as nnU-Net does.

    Args:
        model: In evaluation mode.
        image: ``(batch, modality, x, y, z)``.
        mirror: Average over the eight mirrored copies.
        overlap: Of neighbouring windows.
    """
    flips: list[tuple[int, ...]] = (
        [()] if not mirror else [axes for n in range(4) for axes in itertools.combinations((2, 3, 4), n)]
    )
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
