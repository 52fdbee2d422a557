"""Datasets of prepared exams: random patches for training, whole volumes for validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..contracts import MRIBatch
from .formats.cache import StoredSignal


@dataclass
class Prepared:
    """One exam in the cache, with what a batch says about it.

    Attributes:
        image: ``(modality, x, y, z)``, float16.
        mask: ``(x, y, z)``, uint8.
        present: Which modalities are there.
        spacing_mm: Of the grid.
        koos: Grade, 0 if unknown or without tumour.
        row: In the table of exams.
        tumour: Voxels of the label, at most 5,000 of them, ``(voxel, 3)``.
    """

    image: StoredSignal
    mask: StoredSignal
    present: tuple[bool, ...]
    spacing_mm: tuple[float, float, float]
    koos: int
    row: int
    tumour: NDArray[np.int32]


class PatchDataset(Dataset[MRIBatch]):
    """Random patches of random exams; every exam is drawn equally often in expectation.

    A share of the patches holds a random tumour voxel at a random place in the inner half of the patch (nnU-Net puts
    it in the middle, which teaches a network that tumours are central). Random numbers come from torch's generator,
    whose state travels in the checkpoint.

    Args:
        cases: Training exams.
        patch_size: Voxels.
        length: Patches an epoch.
        foreground: Share of patches with tumour, of exams that have any.
        modality_dropout: Probability that one of two present modalities is hidden.
    """

    def __init__(
        self,
        cases: Sequence[Prepared],
        patch_size: tuple[int, int, int],
        length: int,
        foreground: float,
        modality_dropout: float,
    ):
        self.cases, self.patch_size, self.length = list(cases), patch_size, length
        self.foreground, self.modality_dropout = foreground, modality_dropout

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> MRIBatch:
        case = self.cases[_integer(len(self.cases))]
        start = self._corner(case)
        image, mask = cut(case.image, start, self.patch_size), cut(case.mask, start, self.patch_size)
        present = torch.tensor(case.present)
        if present.sum() > 1 and torch.rand(1).item() < self.modality_dropout:
            hidden = _integer(len(present))
            present[hidden] = False
            image[hidden] = 0
        return _item(case, torch.from_numpy(image.astype(np.float32)), torch.from_numpy(mask.astype(np.int64)), present)

    def _corner(self, case: Prepared) -> list[int]:
        """First voxel of the patch; negative where the patch is larger than the volume."""
        shape = case.mask.shape
        if len(case.tumour) and torch.rand(1).item() < self.foreground:
            voxel = case.tumour[_integer(len(case.tumour))]
            wanted = [int(v) - n // 4 - _integer(max(1, n // 2)) for v, n in zip(voxel, self.patch_size, strict=True)]
        else:
            wanted = [_integer(max(1, s - n + 1)) for s, n in zip(shape, self.patch_size, strict=True)]
        return [
            min(max(w, 0), s - n) if s >= n else (s - n) // 2
            for w, s, n in zip(wanted, shape, self.patch_size, strict=True)
        ]


class VolumeDataset(Dataset[MRIBatch]):
    """Whole exams.

    Args:
        cases: The exams.
    """

    def __init__(self, cases: Sequence[Prepared]):
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> MRIBatch:
        case = self.cases[index]
        image = torch.from_numpy(np.asarray(case.image, dtype=np.float32))
        mask = torch.from_numpy(np.asarray(case.mask, dtype=np.int64))
        return _item(case, image, mask, torch.tensor(case.present))


def cut(volume: StoredSignal, start: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
    """A box of the last three axes; zeros beyond the edges."""
    shape = volume.shape[-3:]
    inner = tuple(slice(max(0, f), min(n, f + k)) for f, k, n in zip(start, size, shape, strict=True))
    lead = (slice(None),) * (volume.ndim - 3)
    part = volume[(*lead, *inner)]
    padding = [(s.start - f, f + k - s.stop) for f, k, s in zip(start, size, inner, strict=True)]
    return np.pad(part, [(0, 0)] * (volume.ndim - 3) + padding)


def _integer(high: int) -> int:
    return int(torch.randint(high, (1,)).item())


def _item(case: Prepared, image: torch.Tensor, mask: torch.Tensor, present: torch.Tensor) -> MRIBatch:
    spacing = torch.tensor(case.spacing_mm, dtype=torch.float32)
    return MRIBatch(image, present, mask, spacing, torch.tensor(case.koos), torch.tensor(case.row))
