"""People with a resting scan and task activation of every region: activation to be predicted from connectivity."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..contracts import ActivationBatch, DataSpec
from ..errors import ConfigError, DataError, MissingDataError, did_you_mean
from .base import digest
from .connectivity_estimate import bad_regions, estimate, require_estimator, require_volumes
from .fmri import LAYOUT, read_scans
from .formats.activation import ACTIVATION_LAYOUT, read_activations
from .formats.timeseries import TimeSeries, read_timeseries
from .group_folds import GroupedDataModule

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


class ActivationDataModule(GroupedDataModule):
    """Resting connectivity and task activation of the people who have both.

    Args:
        root: Folder of scans, or one packed NPZ, as for :class:`~.fmri.FMRIDataModule`.
        activations: NPZ or table of activations, see :func:`~.formats.activation.read_activations`.
        contrast: A condition of that file, or the difference of two, ``A - B`` with spaces around the minus.
        condition: Condition of the scans.
        estimator: Of the connectivity: ``pearson``, ``fisher``, ``ledoit-wolf`` or ``partial``.
        min_volumes: Least volumes of a scan.
        val_fraction: Share of the people outside the test fold that validates; 0 for none.
        batch_size: People a batch.
        **splitting: Arguments of :class:`~.group_folds.GroupedDataModule`; as many folds as people leaves one out at
            a time.
    """

    def __init__(
        self,
        root: str | Path,
        activations: str | Path,
        contrast: str,
        condition: str = "rest",
        estimator: str = "pearson",
        min_volumes: int = 30,
        val_fraction: float = 0.0,
        batch_size: int = 16,
        **splitting: Any,
    ):
        super().__init__(root=root, val_fraction=val_fraction, batch_size=batch_size, **splitting)
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

    def groups(self) -> list[str]:
        """Every person by herself."""
        return list(self.people)

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
        return digest(*self.arrays, list(self.people), self.estimator, *self.split_rows())
