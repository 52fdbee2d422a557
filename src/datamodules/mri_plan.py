"""From a data set's geometry to target spacing and patch, by the rules of nnU-Net (Isensee et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]

#: An axis is anisotropic when its spacing is more than this times the next coarser one's.
_ANISOTROPY = 3.0


@dataclass(frozen=True)
class Plan:
    """What preprocessing and networks need to know.

    Attributes:
        spacing_mm: Of the grid that all volumes are brought to, (right, anterior, superior).
        patch_size: Voxels of a training patch, divisible by what the network halves.
    """

    spacing_mm: Triple
    patch_size: tuple[int, int, int]

    def __str__(self) -> str:
        spacing = " x ".join(f"{s:.3g}" for s in self.spacing_mm)
        extent = " x ".join(f"{s * n:.0f}" for s, n in zip(self.spacing_mm, self.patch_size, strict=True))
        return f"plan: {spacing} mm, patch {' x '.join(map(str, self.patch_size))} voxels ({extent} mm)"


def make_plan(
    spacings_mm: Sequence[Triple],
    shapes: Sequence[tuple[int, int, int]],
    spacing_mm: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    patch_voxels: int = 600_000,
) -> Plan:
    """Plan from the fingerprint of the training exams; what is given is kept.

    The spacing is the median of each axis; an axis three times coarser than the others, with three times fewer voxels,
    takes its 10th percentile instead. The patch has the proportions of the median volume in millimetres, shrunk to
    ``patch_voxels`` (nnU-Net shrinks to a memory target), and is a multiple of 16, or of 8 along a short axis.

    Args:
        spacings_mm: Of every training exam, RAS axes.
        shapes: Of every training exam, RAS axes.
        spacing_mm: Override.
        patch_size: Override.
        patch_voxels: Voxels of a patch, about; 600,000 is 96 x 96 x 64.
    """
    spacing_table, shape_table = np.asarray(spacings_mm, dtype=float), np.asarray(shapes, dtype=float)
    if spacing_mm is None:
        target = np.median(spacing_table, axis=0)
        worst = int(np.argmax(target))
        others = [axis for axis in range(3) if axis != worst]
        voxels = np.median(shape_table, axis=0)
        if target[worst] > _ANISOTROPY * target[others].max() and voxels[worst] * _ANISOTROPY < voxels[others].min():
            target[worst] = max(np.percentile(spacing_table[:, worst], 10), target[others].max() + 1e-5)
    else:
        target = np.asarray(spacing_mm, dtype=float)
    if patch_size is None:
        median = np.median(shape_table * spacing_table / target, axis=0)
        # As nnU-Net starts from equal millimetres on all axes and cuts to the volume's size.
        size = np.minimum((patch_voxels * np.prod(target)) ** (1 / 3) / target, median)
        for _ in range(4):  # what a short axis leaves over goes to the others
            free = size < median - 1e-6
            if not free.any():
                break
            size[free] = np.minimum(size[free] * (patch_voxels / size.prod()) ** (1 / free.sum()), median[free])
        step = np.where(size < 64, 8, 16)
        size = np.maximum(np.floor(size / step + 0.25), 1) * step
        chosen = [int(n) for n in size]
    else:
        chosen = [int(n) for n in patch_size]
    a, b, c = (round(float(s), 4) for s in target)
    return Plan((a, b, c), (chosen[0], chosen[1], chosen[2]))
