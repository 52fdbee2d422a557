"""Our fast design: a coarse locator finds two regions, a U-Net with a strided stem segments them at full resolution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from monai.networks.blocks.dynunet_block import UnetResBlock, UnetUpBlock
from torch import Tensor, nn
from torch.nn import functional

_NORM = ("INSTANCE", {"affine": True})
_ACT = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})
#: Voxels of this size or more are not halved by the stem, mm.
_COARSE_MM = 1.8
#: Background logit where no region was looked at.
_OUTSIDE = 6.0


class StridedUNet(nn.Module):
    """A residual U-Net that halves the grid in its first convolution and comes back to it in a thin last layer.

    At 96 x 96 x 64 voxels a full-resolution first stage is most of a U-Net's cost; the thin layer sees the image
    itself, so that edges do not suffer.

    Args:
        n_channels: Input modalities.
        n_outputs: Classes.
        widths: Features of each level, the first at the stem's resolution.
        stem: Stride of the stem along each axis.
    """

    def __init__(self, n_channels: int, n_outputs: int, widths: Sequence[int], stem: Sequence[int]):
        super().__init__()
        kernel = [2 * s - 1 if s > 1 else 3 for s in stem]
        edge = [k // 2 for k in kernel]
        self.stem = nn.Conv3d(n_channels, widths[0], _triple(kernel), _triple(stem), _triple(edge))
        self.first = UnetResBlock(3, widths[0], widths[0], 3, 1, _NORM, _ACT)
        self.downs = nn.ModuleList(UnetResBlock(3, a, b, 3, 2, _NORM, _ACT) for a, b in itertools.pairwise(widths))
        self.ups = nn.ModuleList(UnetUpBlock(3, b, a, 3, 2, 2, _NORM, _ACT) for a, b in itertools.pairwise(widths))
        self.lower = nn.Conv3d(widths[0], n_outputs, 1)
        self.reduce = nn.Conv3d(widths[0], 8, 1)
        self.detail = nn.Conv3d(n_channels, 4, 3, padding=1)
        self.mix = nn.Sequential(nn.Conv3d(12, 8, 3, padding=1), nn.LeakyReLU(0.01), nn.Conv3d(8, n_outputs, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at full resolution and at the stem's. Any size: edges are padded to what can be halved."""
        size = image.shape[2:]
        steps = [s * 2 ** len(self.downs) for s in self.stem.stride]
        room = [-n % s for n, s in zip(size, steps, strict=True)]
        image = functional.pad(image, [0, room[2], 0, room[1], 0, room[0]])
        x = self.first(self.stem(image))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = up(x, skip)
        full = functional.interpolate(self.reduce(x), size=image.shape[2:], mode="trilinear", align_corners=False)
        logits = self.mix(torch.cat([full, self.detail(image)], dim=1))
        half = [-(-n // s) for n, s in zip(size, self.stem.stride, strict=True)]
        lower = self.lower(x)[:, :, : half[0], : half[1], : half[2]]
        return logits[:, :, : size[0], : size[1], : size[2]], lower


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


class FastVS(nn.Module):
    """Locator at 2 mm over the whole volume, then the most suspicious regions at full resolution.

    Both networks train together on the same patches. On a whole volume (:meth:`segment`) the locator costs a few per
    cent of a sliding window, and only a few windows are looked at closely: both canals, and one for what is bright and
    no tumour, which a young locator prefers to a small one.

    Args:
        n_channels: Input modalities.
        n_outputs: Classes.
        spacing_mm: Voxel spacing.
        patch_size: Size of a region and of a training patch, voxels.
        width: Features of the fine network's first level.
        locator_mm: Grid of the locator.
        locator_width: Features of its first level.
        regions: Regions looked at.
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        spacing_mm: Sequence[float],
        patch_size: Sequence[int],
        width: int = 24,
        locator_mm: float = 2.0,
        locator_width: int = 12,
        regions: int = 3,
    ):
        super().__init__()
        self.patch_size = (int(patch_size[0]), int(patch_size[1]), int(patch_size[2]))
        self.regions = regions
        # An axis that is coarse already is not halved by the stem.
        stem = [2 if s < _COARSE_MM else 1 for s in spacing_mm]
        self.fine = StridedUNet(n_channels, n_outputs, [width, 2 * width, 4 * width, 6 * width], stem)
        self.locator = StridedUNet(
            n_channels, n_outputs, [locator_width, 2 * locator_width, 4 * locator_width], (2, 2, 2)
        )
        self.coarse_step = tuple(max(1.0, locator_mm / s) for s in spacing_mm)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of patches, ``(batch, modality, x, y, z)`` to ``(batch, class, x, y, z)``; in training all outputs."""
        full, lower = self.fine(image)
        if not self.training:
            return full
        coarse, coarser = self.locator(self._coarse(image))
        return full, lower, coarse, coarser

    def segment(self, image: Tensor) -> Tensor:
        """Logits of whole volumes: background outside the regions."""
        size = image.shape[2:]
        room = [max(0, p - n) for p, n in zip(self.patch_size, size, strict=True)]
        padded = functional.pad(image, [0, room[2], 0, room[1], 0, room[0]])
        return torch.cat([self._segment_one(volume[None]) for volume in padded])[:, :, : size[0], : size[1], : size[2]]

    def _segment_one(self, image: Tensor) -> Tensor:
        corners = self._find_regions(image)
        p = self.patch_size
        patches = torch.cat([image[:, :, i : i + p[0], j : j + p[1], k : k + p[2]] for i, j, k in corners])
        logits = self.fine(patches)[0]
        total = image.new_zeros((1, logits.shape[1], *image.shape[2:]))
        count = torch.zeros_like(total[:, :1])
        for (i, j, k), region in zip(corners, logits, strict=True):
            box = (slice(None), slice(None), slice(i, i + p[0]), slice(j, j + p[1]), slice(k, k + p[2]))
            total[box] += region
            count[box] += 1
        mean = total / count.clamp(min=1)
        mean[:, :1] += _OUTSIDE * (count == 0)
        return mean

    def _find_regions(self, image: Tensor) -> list[tuple[int, int, int]]:
        """First voxel of each region, around the peaks of the locator."""
        coarse = self._coarse(image)
        window = [max(8, round(p / s)) for p, s in zip(self.patch_size, self.coarse_step, strict=True)]
        logits: Any = sliding_window_inference(
            coarse, window, 4, lambda x: self.locator(x)[0], overlap=0.25, mode="gaussian"
        )
        score = (torch.logsumexp(logits[:, 1:], 1) - logits[:, 0])[0]
        smooth = functional.avg_pool3d(score[None, None].sigmoid(), 3, 1, 1)[0, 0] + 1e-6 * score
        corners = []
        for _ in range(self.regions):
            peak = [int(v) for v in torch.unravel_index(smooth.argmax(), smooth.shape)]
            low = [max(0, v - w // 3) for v, w in zip(peak, window, strict=True)]
            around = tuple(slice(a, v + w // 3 + 1) for a, v, w in zip(low, peak, window, strict=True))
            weight = smooth[around].clamp(min=0)
            grid = torch.meshgrid(*(torch.arange(n, device=image.device) for n in weight.shape), indexing="ij")
            mass = weight.sum().clamp(min=1e-9)
            centre = [float((weight * g).sum() / mass) + a for g, a in zip(grid, low, strict=True)]
            if float(mass) < 1e-6:
                centre = [float(v) for v in peak]
            first = [
                min(max(0, round((c + 0.5) * s - p / 2)), n - p)
                for c, s, p, n in zip(centre, self.coarse_step, self.patch_size, image.shape[2:], strict=True)
            ]
            corners.append((first[0], first[1], first[2]))
            # The next region must show something new: nothing within half a region of this one.
            hidden = tuple(
                slice(max(0, round(c - w / 2)), round(c + w / 2) + 1) for c, w in zip(centre, window, strict=True)
            )
            smooth = smooth.clone()
            smooth[hidden] = -1e9
        return corners

    def _coarse(self, image: Tensor) -> Tensor:
        size = [max(8, round(n / s)) for n, s in zip(image.shape[2:], self.coarse_step, strict=True)]
        return functional.interpolate(image, size=size, mode="area")
