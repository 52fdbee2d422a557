"""nnU-Net's augmentation list through MONAI, with random numbers that a resumed run draws again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    RandAdjustContrast,
    RandAffine,
    RandFlip,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandScaleIntensity,
    RandScaleIntensityFixedMean,
    RandSimulateLowResolution,
)
from torch import Tensor


class Augmentation:
    """Rotation, scaling, noise, blur, brightness, contrast, low resolution, gamma, mirrors, with nnU-Net's values.

    MONAI's transforms hold generators of their own; each sample reseeds them from torch's, whose state travels in the
    checkpoint. Intensities change modality by modality. A missing modality stays zero.

    Args:
        patch_size: A patch whose longest side is over three times its shortest rotates in plane only, by any angle.
        mirror: Axes of which a patch is flipped along each with a chance of one half.
    """

    def __init__(self, patch_size: Sequence[int], mirror: Sequence[int] = (0, 1, 2)):
        flat = max(patch_size) > 3 * min(patch_size)
        limit = np.deg2rad(30)
        turns = (0.0, 0.0, np.pi) if flat else (limit, limit, limit)
        scale = (-0.3, 0.4)  # MONAI adds one: 0.7 to 1.4
        common: dict[str, Any] = {"padding_mode": "zeros", "mode": "bilinear"}
        self.spatial = [
            RandAffine(prob=0.2, rotate_range=turns, **common),
            RandAffine(prob=0.2, scale_range=(scale, scale, (0.0, 0.0) if flat else scale), **common),
        ]
        self.flips = [RandFlip(prob=0.5, spatial_axis=axis) for axis in mirror]
        self.intensity: list[Any] = [
            RandGaussianNoise(prob=0.1, std=0.32),  # variance up to 0.1
            RandGaussianSmooth(*((0.5, 1.0),) * 3, prob=0.1),  # 0.2, half of the channels
            RandScaleIntensity(factors=(-0.25, 0.25), prob=0.15),
            RandScaleIntensityFixedMean(factors=(-0.25, 0.25), prob=0.15, preserve_range=True),
            RandSimulateLowResolution(prob=0.125, zoom_range=(0.5, 1.0)),  # 0.25, half of the channels
            RandAdjustContrast(prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            RandAdjustContrast(prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        ]

    def __call__(self, image: Tensor, mask: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            image: ``(batch, modality, x, y, z)``.
            mask: ``(batch, x, y, z)``.
            present: ``(batch, modality)``.
        """
        pairs = [self._one(*sample) for sample in zip(image, mask, present, strict=True)]
        images, masks = zip(*pairs, strict=True)
        return torch.stack(images), torch.stack(masks)

    def _one(self, image: Tensor, mask: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        # One stack for both, so that one interpolation serves them; half a label is none.
        stack = torch.cat([image, mask[None].to(image.dtype)])
        steps: tuple[Any, ...] = (*self.spatial, *self.flips)
        for transform in steps:
            _reseed(transform)
            stack = _plain(transform(stack))
        channels = []
        for channel, there in zip(stack[:-1], present, strict=True):
            value = channel[None]
            if there:
                for transform in self.intensity:
                    _reseed(transform)
                    value = _plain(transform(value))
            channels.append(value[0] if there else torch.zeros_like(channel))
        return torch.stack(channels), (stack[-1] > 0.5).long()


def _reseed(transform: Any) -> None:
    transform.set_random_state(seed=int(torch.randint(2**31 - 1, (1,)).item()))


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if hasattr(value, "as_tensor") else value
