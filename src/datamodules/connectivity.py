"""People scanned in two states: from region time series to batches of connectivity matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..contracts import ConnectivityBatch, DataSpec
from ..contracts.graphs import choose_edges, to_pyg
from ..errors import ConfigError, DataError, did_you_mean
from .base import digest
from .connectivity_estimate import bad_regions, estimate, require_estimator, require_volumes
from .formats.timeseries import TimeSeries, read_timeseries
from .group_folds import GroupedDataModule

if TYPE_CHECKING:
    from torch_geometric.data import Batch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One person in two states.

    Attributes:
        name: Unique.
        baseline: Scan in the baseline state.
        target: Scan in the state to predict.
        group: People who share a fold (family, site); the name where there are none.
        true_target: Correlation of an endless recording in the target state, ``(roi, roi)``; simulated people only.
    """

    name: str
    baseline: TimeSeries
    target: TimeSeries
    group: str = ""
    true_target: Array | None = None


class ConnectivityDataset(Dataset[ConnectivityBatch]):
    """Rows of precomputed matrices; an item is a person."""

    def __init__(
        self, matrices: dict[str, Tensor], common: dict[str, Tensor], rows: NDArray[np.int64], first_window: int = 0
    ):
        self.matrices, self.common, self.rows, self.first_window = matrices, common, rows, first_window

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> ConnectivityBatch:
        """Person ``item`` of the part."""
        row = int(self.rows[item])
        one = {name: matrix[row] for name, matrix in self.matrices.items()}
        return ConnectivityBatch(window=torch.tensor(row + self.first_window), **self.common, **one)


class ConnectivityDataModule(GroupedDataModule):
    """Base: a subclass's ``load`` gives people, this makes matrices, checks, folds and batches.

    The target is always the Pearson correlation, whatever the input's estimator: shrinking the target alone would
    change the mean squared error by a fifth and make models incomparable.

    Args:
        root: Folder of the data; ``None`` for simulated sets.
        estimator: Of the input: ``pearson``, ``fisher``, ``ledoit-wolf``, ``partial`` or ``tangent`` (the group mean
            comes from the training people).
        bad_regions: ``raise`` where a region is constant or not finite in somebody, or ``drop`` it from everybody.
        min_volumes: Least volumes of a scan.
        batch_size: People a batch.
        **splitting: Arguments of :class:`~.group_folds.GroupedDataModule`; as many folds as people leaves one out at
            a time.
    """

    #: Names of the regions of the language network, for a score of its own.
    language: tuple[str, ...] = ()

    def __init__(
        self,
        root: Any = None,
        estimator: str = "pearson",
        bad_regions: str = "raise",
        min_volumes: int = 30,
        batch_size: int = 16,
        **splitting: Any,
    ):
        super().__init__(root=root, batch_size=batch_size, **splitting)
        require_estimator(estimator)
        if bad_regions not in ("raise", "drop"):
            raise ConfigError(
                f"datamodule.bad_regions={bad_regions!r} is unknown: {did_you_mean(bad_regions, ('raise', 'drop'))}"
            )
        self.estimator = estimator
        self.bad_regions = bad_regions
        self.min_volumes = min_volumes
        self.mean_baseline: Tensor | None = None

    def load(self) -> list[Person]:
        """Read everybody, in an order that is the same on every machine."""
        raise NotImplementedError(f"{type(self).__name__}.load")

    def read_scan(self, path: Path) -> TimeSeries:
        """A scan of a user's own file."""
        return read_timeseries(path)

    def read(self, path: Path, n_nodes: int | None) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """A baseline scan from a file, checked: region names, the model's input and the correlation ``(roi, roi)``.

        Args:
            path: A file that :meth:`read_scan` reads.
            n_nodes: Regions of the model; ``None`` for one that takes any number.

        Raises:
            DataError: Other regions than the model's, unusable ones, or too few volumes.
            ConfigError: ``estimator: tangent``, which needs the training people.
        """
        scan = self.read_scan(path)
        if n_nodes is not None and len(scan.names) != n_nodes:
            raise DataError(
                f"{path}: has {len(scan.names)} regions, the model was trained on {n_nodes}; use the same atlas"
            )
        require_volumes(scan, self.min_volumes)
        for k, why in bad_regions(scan).items():
            raise DataError(f"{path}: region {scan.names[k]} {why}")
        if self.estimator == "tangent":
            raise ConfigError("datamodule.estimator=tangent is relative to the training people: not for single files")
        inputs, start = (estimate([scan.values], kind)[0] for kind in (self.estimator, "pearson"))
        return scan.names, torch.from_numpy(inputs).float(), torch.from_numpy(start).float()

    @cached_property
    def people(self) -> list[Person]:
        """Everybody, checked: regions alike, scans long enough, unusable regions refused or dropped."""
        people = self.load()
        if not people:
            raise DataError(f"{self.root}: nobody has both scans")
        names = people[0].baseline.names
        faults: dict[int, str] = {}
        for person in people:
            for scan in (person.baseline, person.target):
                if scan.names != names:
                    raise DataError(
                        f"{scan.origin}: {len(scan.names)} regions ({', '.join(scan.names[:3])} …) but "
                        f"{people[0].baseline.origin} has {len(names)} ({', '.join(names[:3])} …); use one atlas"
                    )
                require_volumes(scan, self.min_volumes)
                faults |= {k: f"{scan.origin}: region {names[k]} {why}" for k, why in bad_regions(scan).items()}
        if faults and self.bad_regions == "raise":
            first = next(iter(faults.values()))
            more = f" ({len(faults)} regions in all)" if len(faults) > 1 else ""
            raise DataError(f"{first}{more}; datamodule.bad_regions=drop leaves such regions out for everybody")
        kept = [k for k in range(len(names)) if k not in faults]
        if len(kept) < 3:
            raise DataError(f"{self.root}: only {len(kept)} of {len(names)} regions are usable in everybody")
        return [_select(person, kept) for person in people] if faults else people

    @property
    def tested(self) -> ConnectivityDataModule:
        """Whose regions the test set has, for figures: another atlas than in training is possible."""
        return self

    @property
    def region_names(self) -> tuple[str, ...]:
        """One name a region."""
        return self.people[0].baseline.names

    @property
    def region_networks(self) -> tuple[str, ...]:
        """Network of each region, for the order of figures; ``""`` where it is not known."""
        return ("",) * len(self.region_names)

    @property
    def region_positions_mm(self) -> Array | None:
        """Where the regions lie, ``(roi, 3)``, right, anterior, superior; None where it is not known."""
        return None

    @property
    def changed_pairs(self) -> NDArray[np.bool_]:
        """Pairs whose coupling truly changes, ``(roi, roi)``: the truth for explanations; none where not known."""
        return np.zeros((len(self.region_names),) * 2, dtype=bool)

    @property
    def language_mask(self) -> NDArray[np.bool_]:
        """Which regions belong to the language network, ``(roi,)``."""
        return np.isin(self.region_names, self.language)

    @property
    def spec(self) -> DataSpec:
        """What the matrices are."""
        return DataSpec(n_nodes=len(self.region_names))

    @cached_property
    def correlations(self) -> tuple[Array, Array]:
        """Measured correlation at baseline and in the target state, ``(person, roi, roi)``."""
        return (
            estimate([person.baseline.values for person in self.people], "pearson"),
            estimate([person.target.values for person in self.people], "pearson"),
        )

    def groups(self) -> list[str]:
        """The group of each person, or the person by herself."""
        return [person.group or person.name for person in self.people]

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: estimate and split."""
        if self.datasets:
            return
        parts = self.split()
        start, target = self.correlations
        series = [person.baseline.values for person in self.people]
        inputs = start if self.estimator == "pearson" else estimate(series, self.estimator, parts["train"].tolist())
        truth = [np.full_like(start[0], np.nan) if p.true_target is None else p.true_target for p in self.people]
        matrices = {"baseline": inputs, "change": target - start, "true_change": np.stack(truth) - start}
        tensors = {name: torch.from_numpy(matrix).float() for name, matrix in (matrices | {"start": start}).items()}
        self.mean_baseline = tensors["baseline"][parts["train"]].mean(0)
        common = {
            "mean_change": tensors["change"][parts["train"]].mean(0),
            "mean_baseline": self.mean_baseline,
            "language": torch.from_numpy(np.outer(self.language_mask, self.language_mask)),
            "changed": torch.from_numpy(self.changed_pairs),
        }
        self.datasets = {part: ConnectivityDataset(tensors, common, rows) for part, rows in parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Lightning hook: what explaining a single file needs of the training people."""
        return {} if self.mean_baseline is None else {"mean_baseline": self.mean_baseline}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning hook."""
        self.mean_baseline = state_dict.get("mean_baseline")

    def graphs(
        self, part: str, density: float = 1.0, threshold: float | None = None, neighbours: int | None = None
    ) -> Iterator[Batch]:
        """A part as PyG batches, in order, for networks of PyG's own layers; see :func:`~..contracts.graphs.to_pyg`.

        Args:
            part: ``train``, ``val`` or ``test``.
            density: Which pairs are edges, see :func:`~..contracts.graphs.choose_edges`.
            threshold: See there.
            neighbours: See there.
        """
        for batch in self._loader(part):
            yield to_pyg(batch, choose_edges(batch.baseline, density, threshold, neighbours))

    def fingerprint(self) -> str:
        """Hash of the correlations, the estimator and the split."""
        people = [(person.name, person.group) for person in self.people]
        return digest(*self.correlations, self.region_names, people, self.estimator, *self.split_rows())


def _select(person: Person, kept: Sequence[int]) -> Person:
    index = np.asarray(kept)

    def cut(scan: TimeSeries) -> TimeSeries:
        return replace(scan, values=scan.values[:, index], names=tuple(scan.names[k] for k in kept))

    truth = None if person.true_target is None else person.true_target[np.ix_(index, index)]
    return replace(person, baseline=cut(person.baseline), target=cut(person.target), true_target=truth)
