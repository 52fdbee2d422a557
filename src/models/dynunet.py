"""The plain 3-D U-Net of nnU-Net, built from spacing and patch by its rules on MONAI's ``DynUNet``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import DynUNet as MonaiDynUNet
from torch import Tensor, nn

#: Smallest edge of the lowest feature map.
_LEAST_EDGE = 4


class DynUNet(nn.Module):
    """Two convolutions, instance norm and leaky ReLU a stage; strided down, transposed up (Isensee et al. 2021).

    Args:
        n_channels: Input modalities.
        n_outputs: Classes.
        spacing_mm: Voxel spacing; axes that are coarse by more than a factor of two are pooled later.
        patch_size: Training patch, which says how often each axis can be halved.
        base_filters: Features of the first stage; doubled each stage.
        max_filters: At most.
        deep_supervision: Give the logits of the lower decoder stages too, in training.

    Example:
        >>> net = DynUNet(1, 2, (1.0, 1.0, 3.0), (32, 32, 8), base_filters=4).eval()
        >>> net(torch.zeros(1, 1, 32, 32, 8)).shape
        torch.Size([1, 2, 32, 32, 8])
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        spacing_mm: Sequence[float],
        patch_size: Sequence[int],
        base_filters: int = 32,
        max_filters: int = 320,
        deep_supervision: bool = True,
    ):
        super().__init__()
        strides, kernels = topology(spacing_mm, patch_size)
        self.patch_size = (int(patch_size[0]), int(patch_size[1]), int(patch_size[2]))
        # nnU-Net gives the lowest output the weight 0; it is not made at all here.
        self.heads = max(0, len(strides) - 3) if deep_supervision else 0
        self.network = MonaiDynUNet(
            spatial_dims=3,
            in_channels=n_channels,
            out_channels=n_outputs,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(base_filters * 2**i, max_filters) for i in range(len(strides))],
            deep_supervision=self.heads > 0,
            deep_supr_num=max(1, self.heads),
            trans_bias=True,
        )

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits, ``(batch, modality, x, y, z)`` to ``(batch, class, x, y, z)``; in training all resolutions.

        MONAI would enlarge the lower outputs to full size; here the loss shrinks the target, as in nnU-Net.
        """
        features = self.network.skip_layers(image)
        logits: Tensor = self.network.output_block(features)
        if not (self.training and self.heads):
            return logits
        lower = tuple(self.network.heads)
        # Graph tensors must not outlive the step; in place, because the skip layers hold this very list.
        self.network.heads[:] = [torch.zeros(1)] * len(lower)
        return (logits, *lower)


def topology(
    spacing_mm: Sequence[float], patch_size: Sequence[int]
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Strides and kernels of every stage.

    An axis is halved while its feature map keeps at least four voxels and no other axis is finer by more than a factor
    of two; its kernel is 1 until its spacing has been caught up with.

    Example:
        >>> topology((0.5, 0.5, 3.0), (64, 64, 16))[0]
        [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]
    """
    spacing, size = [float(s) for s in spacing_mm], [int(n) for n in patch_size]
    strides, kernels = [(1, 1, 1)], [_kernel(spacing)]
    while len(strides) < 7:
        finest = min(s for s, n in zip(spacing, size, strict=True) if n >= 2 * _LEAST_EDGE or s == min(spacing))
        stride = [
            2 if n % 2 == 0 and n >= 2 * _LEAST_EDGE and s <= 2 * finest else 1
            for s, n in zip(spacing, size, strict=True)
        ]
        if stride == [1, 1, 1]:
            break
        spacing = [s * k for s, k in zip(spacing, stride, strict=True)]
        size = [n // k for n, k in zip(size, stride, strict=True)]
        strides.append((stride[0], stride[1], stride[2]))
        kernels.append(_kernel(spacing))
    return strides, kernels


def _kernel(spacing: Sequence[float]) -> tuple[int, int, int]:
    a, b, c = (1 if s > 2 * min(spacing) else 3 for s in spacing)
    return a, b, c
