"""People who heard the same story: BOLD of regions in step with features of the stimulus."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..contracts import DataSpec, ResponseBatch
from ..errors import DataError, MissingDataError
from .base import digest
from .group_folds import GroupedDataModule

log = logging.getLogger("neurotwin")
Array = NDArray[np.float64]
REGIONS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")  # columns of the published time courses
FEATURES = ("rate", "sndpwr")
LAYOUT = (
    "RADIUSmm/NAME-timecourses.txt (volume, region), NAME-rate.txt and NAME-sndpwr.txt (volume) of each listener; or "
    "one NPZ with responses (person, volume, region), stimulus (person, volume, feature) and subjects"
)
CITATION = "Brennan et al. 2016, Brain and Language 157-158, 81-94"
SOURCE = "the authors' shared time courses (CC BY 4.0)"


class ResponseDataset(Dataset[ResponseBatch]):
    """Rows of a part; an item is a person."""

    def __init__(self, stimulus: Tensor, response: Tensor, rows: NDArray[np.int64]):
        self.stimulus, self.response, self.rows = stimulus, response, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> ResponseBatch:
        """Person ``item`` of the part."""
        row = int(self.rows[item])
        return ResponseBatch(self.stimulus[row], self.response[row], torch.tensor(row))


class ListeningDataModule(GroupedDataModule):
    """Time courses of six language regions during chapter 1 of Alice (Brennan et al. 2016), or a packed NPZ.

    A listener with a constant or missing series is left out and named in the log.

    Args:
        root: Folder of the published files, or an NPZ of one's own.
        radius_mm: Of the regions, 6 or 10, in the published files.
        val_fraction: Share of the listeners outside the test fold that validates; 0 for none.
        batch_size: Listeners a batch.
        **splitting: Arguments of :class:`~.group_folds.GroupedDataModule`; as many folds as listeners leaves one out
            at a time.
    """

    def __init__(
        self,
        root: str | Path,
        radius_mm: int = 10,
        val_fraction: float = 0.0,
        batch_size: int = 32,
        **splitting: Any,
    ):
        super().__init__(root=root, val_fraction=val_fraction, batch_size=batch_size, **splitting)
        self.radius_mm = radius_mm

    @cached_property
    def people(self) -> dict[str, tuple[Array, Array]]:
        """Stimulus ``(volume, feature)`` and response ``(volume, roi)`` of every usable listener, z-scored."""
        if self.root is None:
            raise MissingDataError("(no root)", CITATION, SOURCE, LAYOUT)
        return _listeners(self.root, self.radius_mm)

    @property
    def region_names(self) -> tuple[str, ...]:
        """One name a region."""
        count = self.spec.n_nodes or 0
        return REGIONS if count == len(REGIONS) else tuple(f"roi-{k}" for k in range(1, count + 1))

    @property
    def spec(self) -> DataSpec:
        """Features in, regions out, volume by volume."""
        stimulus, response = next(iter(self.people.values()))
        return DataSpec(n_channels=stimulus.shape[1], n_nodes=response.shape[1], n_times=len(response))

    def groups(self) -> list[str]:
        """Every person by herself."""
        return list(self.people)

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: read and split."""
        if self.datasets:
            return
        stimulus, response = (torch.from_numpy(array).float() for array in self.responses)
        self.datasets = {part: ResponseDataset(stimulus, response, rows) for part, rows in self.split().items()}

    def fingerprint(self) -> str:
        """Hash of the series and the split."""
        return digest(*self.responses, list(self.people), *self.split_rows())

    @cached_property
    def responses(self) -> tuple[Array, Array]:
        """Stimuli ``(person, volume, feature)`` and responses ``(person, volume, roi)``."""
        stimuli, responses = zip(*self.people.values(), strict=True)
        return np.stack(stimuli), np.stack(responses)


def _listeners(root: Path, radius_mm: int) -> dict[str, tuple[Array, Array]]:
    if not root.exists():
        raise MissingDataError(root, CITATION, SOURCE, LAYOUT)
    found = _read_packed(root) if root.is_file() else _read_folder(root, radius_mm)
    people = {}
    for name, (stimulus, response) in sorted(found.items()):
        if not (_usable(stimulus) and _usable(response)):
            log.warning("%s: %s has a constant or missing series and is left out", root, name)
            continue
        people[name] = _standardise(stimulus), _standardise(response)
    shapes = {(stimulus.shape, response.shape) for stimulus, response in people.values()}
    if len(shapes) != 1:
        raise DataError(
            f"{root}: {len(people)} usable listeners with {len(shapes)} different shapes of stimulus and response; "
            f"all must have heard the same for as long; expected {LAYOUT}"
        )
    return people


def _read_folder(root: Path, radius_mm: int) -> dict[str, tuple[Array, Array]]:
    found = {}
    for path in sorted((root / f"{radius_mm}mm").glob("*-timecourses.txt")):
        name = path.name.split("-")[0]
        try:
            features = [np.loadtxt(root / f"{name}-{feature}.txt") for feature in FEATURES]
            found[name] = np.column_stack(features), np.loadtxt(path, ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not readable with its stimulus ({error}); expected {LAYOUT}") from error
    if not found:
        raise MissingDataError(root / f"{radius_mm}mm", CITATION, SOURCE, LAYOUT)
    return found


def _read_packed(path: Path) -> dict[str, tuple[Array, Array]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            responses, stimulus = (arrays[name].astype(np.float64) for name in ("responses", "stimulus"))
            subjects = [str(name) for name in arrays["subjects"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not readable ({error}); expected {LAYOUT}") from error
    if responses.ndim != 3 or stimulus.ndim != 3 or not len(responses) == len(stimulus) == len(subjects):
        raise DataError(f"{path}: responses {responses.shape} and stimulus {stimulus.shape} do not fit {LAYOUT}")
    if responses.shape[1] != stimulus.shape[1]:
        raise DataError(f"{path}: {responses.shape[1]} volumes of responses, {stimulus.shape[1]} of the stimulus")
    return {name: (stimulus[k], responses[k]) for k, name in enumerate(subjects)}


def _usable(series: Array) -> bool:
    return bool(np.isfinite(series).all() and (np.ptp(series, axis=0) > 0).all())


def _standardise(series: Array) -> Array:
    return (series - series.mean(0)) / series.std(0)
