"""People with a resting scan and task activation of every region: activation to be predicted from connectivity."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..contracts import ActivationBatch, DataSpec
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .base import BaseDataModule, digest
from .connectivity_estimate import bad_regions, estimate, require_estimator, require_volumes
from .fmri import LAYOUT, read_scans
from .formats.activation import ACTIVATION_LAYOUT, read_activations
from .formats.timeseries import TimeSeries, read_timeseries
from .group_folds import Rows, group_fold

Array = NDArray[np.float64]


class ActivationDataset(Dataset[ActivationBatch]):
    """Rows of a part; an item is a person."""

    def __init__(self, connectivity: Tensor, activation: Tensor, mean: Tensor, rows: NDArray[np.int64]):
        self.connectivity, self.activation, self.mean, self.rows = connectivity, activation, mean, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> ActivationBatch:
        """Person ``item`` of the part."""
        row = int(self.rows[item])
        return ActivationBatch(self.connectivity[row], self.activation[row], self.mean, torch.tensor(row))


class ActivationDataModule(BaseDataModule):
    """Resting connectivity and task activation of the people who have both.

    Args:
        root: Folder of scans, or one packed NPZ, as for :class:`~.fmri.FMRIDataModule`.
        activations: NPZ or table of activations, see :func:`~.formats.activation.read_activations`.
        contrast: A condition of that file, or the difference of two, ``A - B`` with spaces around the minus.
        condition: Condition of the scans.
        estimator: Of the connectivity: ``pearson``, ``fisher``, ``ledoit-wolf`` or ``partial``.
        min_volumes: Least volumes of a scan.
        folds: Number of folds; as many as people leaves one out at a time.
        fold: The test fold.
        split_seed: Seed of the folds.
        val_fraction: Share of the other people that validates; 0 for none.
        batch_size: People a batch.
        num_workers: Loader processes.
    """

    def __init__(
        self,
        root: str | Path,
        activations: str | Path,
        contrast: str,
        condition: str = "rest",
        estimator: str = "pearson",
        min_volumes: int = 30,
        folds: int = 5,
        fold: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.0,
        batch_size: int = 16,
        num_workers: int = 0,
    ):
        super().__init__(root, batch_size, num_workers, fold, folds, split_seed)
        require_estimator(estimator)
        if estimator == "tangent":
            raise ConfigError("datamodule.estimator=tangent: is not offered here; choose another")
        terms = contrast.split(" - ")
        if len(terms) > 2 or not all(term.strip() for term in terms):
            raise ConfigError(f"datamodule.contrast={contrast!r}: write a condition, or two as 'A - B'")
        self.activations = Path(activations).expanduser()
        self.terms = tuple(term.strip() for term in terms)
        self.condition = condition
        self.estimator = estimator
        self.min_volumes = min_volumes
        self.val_fraction = val_fraction

    @cached_property
    def people(self) -> dict[str, tuple[TimeSeries, Array]]:
        """Scan and activation ``(roi,)`` of everybody who has both, by name."""
        root = self.root
        if root is None or not root.exists():
            raise MissingDataError(root or "(no root)", "resting scans of your own", "your own", LAYOUT)
        found = read_activations(self.activations)
        for term in self.terms:
            if term not in found:
                raise ConfigError(
                    f"datamodule.contrast: {self.activations} has no condition {term!r}; {did_you_mean(term, found)}"
                )
        scans = read_scans(root, {self.condition}, read_timeseries)
        first, *others = (found[term] for term in self.terms)
        people: dict[str, tuple[TimeSeries, Array]] = {}
        for name in sorted(scans):
            if self.condition not in scans[name] or not all(name in part for part in (first, *others)):
                continue
            scan = scans[name][self.condition]
            values = first[name] - sum(part[name] for part in others)
            self._check(name, scan, values)
            people[name] = scan, values
        if not people:
            raise DataError(
                f"{root}: nobody has a {self.condition!r} scan here and {' and '.join(self.terms)} in "
                f"{self.activations}; names must agree; expected {ACTIVATION_LAYOUT}"
            )
        return people

    def _check(self, name: str, scan: TimeSeries, values: Array) -> None:
        if len(values) != len(scan.names):
            raise DataError(
                f"{self.activations}: {len(values)} regions of {name}, but {len(scan.names)} in {scan.origin}; "
                "use one atlas"
            )
        if not np.isfinite(values).all():
            raise DataError(f"{self.activations}: {name} has values that are not finite; leave the person out")
        require_volumes(scan, self.min_volumes)
        for k, why in bad_regions(scan).items():
            raise DataError(f"{scan.origin}: region {scan.names[k]} {why}; leave the region or the person out")

    @property
    def spec(self) -> DataSpec:
        """One number a region from a matrix of regions."""
        regions = len(next(iter(self.people.values()))[1])
        return DataSpec(n_nodes=regions, n_outputs=regions)

    @cached_property
    def arrays(self) -> tuple[Array, Array]:
        """Connectivity ``(person, roi, roi)`` and activation ``(person, roi)``."""
        scans, values = zip(*self.people.values(), strict=True)
        return estimate([scan.values for scan in scans], self.estimator), np.stack(values)

    def split(self, fold: int | None = None) -> Rows:
        """Rows of ``train``, ``val`` and ``test``, disjoint, repeatable by ``split_seed``."""
        fold = self.fold if fold is None else fold
        return group_fold(list(self.people), self.folds, fold, self.split_seed, self.val_fraction)

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: estimate and split."""
        if self.datasets:
            return
        connectivity, activation = (torch.from_numpy(array).float() for array in self.arrays)
        parts = self.split()
        mean = activation[parts["train"]].mean(0)
        self.datasets = {part: ActivationDataset(connectivity, activation, mean, rows) for part, rows in parts.items()}

    def fingerprint(self) -> str:
        """Hash of the matrices, the activations and the split."""
        rows = (self.split()[name] for name in ("train", "val", "test"))
        return digest(*self.arrays, list(self.people), self.estimator, *rows)
