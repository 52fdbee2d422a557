"""The 2.5-D U-Net with spatial attention that VS_Seg trains (Wang et al. 2019; Shapey et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import Tensor, nn

#: Stages whose kernels and strides leave the slice axis alone.
_FLAT_STAGES = 2


class VSUNet(nn.Module):
    """Residual units, flat kernels at the two finest levels, an attention map at every decoder level.

    Each level computes ``a = sigmoid(conv(relu(conv(x))))`` and hands on ``x + a x``. In training the maps are given
    as logits too, so that the loss supervises them with the mask at their resolution.

    Args:
        n_channels: Input modalities.
        n_outputs: Classes.
        patch_size: Training patch; 32 must divide its in-plane sides and 8 its height.
        channels: Features of each level.
        dropout: In every residual unit.
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        patch_size: Sequence[int],
        channels: Sequence[int] = (16, 32, 48, 64, 80, 96),
        dropout: float = 0.1,
    ):
        super().__init__()
        self.patch_size = (int(patch_size[0]), int(patch_size[1]), int(patch_size[2]))
        levels = len(channels)
        kernels = [(3, 3, 1) if i < _FLAT_STAGES else (3, 3, 3) for i in range(levels)]
        strides = [(2, 2, 1) if i < _FLAT_STAGES else (2, 2, 2) for i in range(levels - 1)]
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        for i, width in enumerate(channels):
            entering = n_channels if i == 0 else width
            self.encoders.append(ResidualUnit(3, entering, width, 1, kernels[i], 2, norm="BATCH", dropout=dropout))
        self.downs.extend(
            Convolution(3, channels[i], channels[i + 1], strides[i], kernels[i], norm="BATCH")
            for i in range(levels - 1)
        )
        self.ups = nn.ModuleList(
            Convolution(3, channels[i + 1], channels[i], strides[i], kernels[i], norm="BATCH", is_transposed=True)
            for i in range(levels - 1)
        )
        self.decoders = nn.ModuleList(
            ResidualUnit(3, 2 * channels[i], channels[i], 1, kernels[i], 1, norm="BATCH", dropout=dropout)
            for i in range(levels - 1)
        )
        self.attention = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(width, width // 2, kernels[i], padding=_half(kernels[i])),
                nn.ReLU(),
                nn.Conv3d(width // 2, 1, kernels[i], padding=_half(kernels[i])),
            )
            for i, width in enumerate(channels)
        )
        self.output = nn.Conv3d(channels[0], n_outputs, kernels[0], padding=_half(kernels[0]))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits, ``(batch, modality, x, y, z)`` to ``(batch, class, x, y, z)``; in training the attention maps too."""
        skips, x = [], image
        for i, encoder in enumerate(self.encoders):
            x = encoder(x)
            if i < len(self.downs):
                skips.append(x)
                x = self.downs[i](x)
        maps = []
        for i in range(len(self.encoders) - 1, -1, -1):
            if i < len(self.ups):
                x = self.decoders[i](torch.cat([skips[i], self.ups[i](x)], dim=1))
            score = self.attention[i](x)
            x = x + torch.sigmoid(score) * x
            # Two classes: softmax of (0, s) is the sigmoid of s; of more, every foreground class is attended to.
            maps.append(
                torch.cat([torch.zeros_like(score), score.expand(-1, self.output.out_channels - 1, -1, -1, -1)], 1)
            )
        logits: Tensor = self.output(x)
        return (logits, *reversed(maps)) if self.training else logits


def _half(kernel: tuple[int, int, int]) -> tuple[int, int, int]:
    a, b, c = (k // 2 for k in kernel)
    return a, b, c
