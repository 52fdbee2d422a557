"""Dice and cross-entropy at every resolution that a network gives."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional

_LOSS = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5)


def dice_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice of the foreground plus cross-entropy, 1:1 (nnU-Net).

    Args:
        logits: ``(batch, class, x, y, z)``.
        target: Class, ``(batch, x, y, z)``.
    """
    loss: Tensor = _LOSS(logits.float(), target[:, None])
    return loss


def deep_dice_ce(outputs: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
    """The loss of all resolutions with weights 1, 1/2, 1/4 … that add up to one.

    The target is shrunk to each output: a voxel is foreground when its block holds any, so that small tumours do not
    vanish from the coarse ones.

    Args:
        outputs: Logits at full resolution, then lower ones.
        target: Class at full resolution, ``(batch, x, y, z)``.
    """
    if isinstance(outputs, Tensor):
        return dice_ce(outputs, target)
    weights = torch.tensor([0.5**i for i in range(len(outputs))])
    weights = weights / weights.sum()
    total = torch.zeros((), device=target.device)
    for weight, logits in zip(weights.tolist(), outputs, strict=True):
        small = target
        if logits.shape[2:] != target.shape[1:]:
            small = functional.adaptive_max_pool3d(target[:, None].float(), list(logits.shape[2:]))[:, 0].long()
        total = total + weight * dice_ce(logits, small)
    return total
