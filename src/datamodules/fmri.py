"""Region time series of your own: one file a scan, or one packed NPZ, in two states of each person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, MissingDataError
from .connectivity import Array, ConnectivityDataModule, Person
from .formats.timeseries import READERS, TimeSeries, read_timeseries
from .formats.volumes import VOLUMES, is_volume, read_volumes, region_positions

LAYOUT = (
    "SUBJECT_CONDITION.EXT or BIDS names (sub-01_task-rest_….ptseries.nii) with EXT one of "
    + ", ".join(READERS)
    + f"; with datamodule.atlas also volumes ({', '.join(VOLUMES)})"
    + "; or one NPZ with an array (subject, roi, volume) a condition, and subjects"
)


class FMRIDataModule(ConnectivityDataModule):
    """Scans from files.

    Args:
        root: Folder of scans, searched below, or one packed NPZ.
        contrast: ``TARGET-BASELINE``, names of conditions: ``story-rest``, ``story-math``. Equal names (``rest-rest``)
            cut one scan in halves: the first predicts the second, which has no task effect and shows what noise costs.
        volumes: Volumes used of each scan, or of each half, counted from its start; ``null``: all.
        participants: Table (``.tsv`` or ``.csv``) with a column ``participant_id``; needed by ``group_by``.
        group_by: Column of that table whose people share a fold, such as ``family_id`` or ``site``.
        language: Names of regions of the language network, which get a score of their own.
        atlas: NIfTI of labels or maps in the space of the volumes, for scans that are volumes.
        positions: Table (``.tsv`` or ``.csv``) with ``name`` (as in the scans), ``x``, ``y`` and ``z``, mm, of every
            region, for figures of the brain; without, those of ``atlas``, if there is one.
        **matrices: See :class:`ConnectivityDataModule`.
    """

    def __init__(
        self,
        root: str | Path,
        contrast: str = "story-rest",
        volumes: int | None = None,
        participants: str | Path | None = None,
        group_by: str | None = None,
        language: Sequence[str] = (),
        atlas: str | Path | None = None,
        positions: str | Path | None = None,
        **matrices: Any,
    ):
        super().__init__(root, **matrices)
        parts = contrast.split("-")
        if len(parts) != 2 or not all(parts):
            raise ConfigError(f"datamodule.contrast={contrast!r}: write TARGET-BASELINE, such as story-rest, rest-rest")
        if group_by and participants is None:
            raise ConfigError(f"datamodule.group_by={group_by!r} needs datamodule.participants, the table that has it")
        self.target_condition, self.baseline_condition = parts
        self.volumes = volumes
        self.participants = None if participants is None else Path(participants).expanduser()
        self.group_by = group_by
        self.language = tuple(language)
        self.atlas = None if atlas is None else Path(atlas).expanduser()
        self.positions = None if positions is None else Path(positions).expanduser()

    def load(self) -> list[Person]:
        """People who have both scans, by name."""
        root = self.root
        if root is None or not root.exists():
            raise MissingDataError(
                root or "(no root)",
                citation="parcellated scans of your own, such as HCP LANGUAGE and REST1",
                source="Human Connectome Project, https://db.humanconnectome.org (after registration)",
                layout=LAYOUT,
            )
        wanted = {self.target_condition, self.baseline_condition}
        scans = read_scans(root, wanted, self.read_scan, volumes=self.atlas is not None)
        groups = self._groups()
        people = []
        for name in sorted(scans):
            if {self.target_condition, self.baseline_condition} <= set(scans[name]):
                baseline, target = self._cut(scans[name])
                if groups and name not in groups:
                    raise DataError(f"{self.participants}: has no line for {name}, which has scans; add it")
                people.append(Person(name, baseline, target, groups.get(name, "")))
        if not people:
            found = sorted({condition for person in scans.values() for condition in person})
            raise DataError(
                f"{root}: nobody has scans of both {self.target_condition!r} and {self.baseline_condition!r}; "
                f"found {len(scans)} people with {', '.join(found) or 'no known condition'}; expected {LAYOUT}"
            )
        return people

    def read_scan(self, path: Path) -> TimeSeries:
        """See the base; volumes through the atlas."""
        if not is_volume(path):
            return read_timeseries(path)
        if self.atlas is None:
            raise ConfigError(f"{path}: volumes need datamodule.atlas, a NIfTI of labels or maps in the same space")
        return read_volumes(path, self.atlas)

    @cached_property
    def region_positions_mm(self) -> Array | None:
        """See the base."""
        if self.positions is not None:
            known = self._table_positions(self.positions)
        elif self.atlas is not None:
            known = region_positions(self.atlas)
        else:
            return None
        absent = [name for name in self.region_names if name not in known]
        if absent:
            raise DataError(f"{self.positions or self.atlas}: has no position of region {absent[0]!r}")
        return np.array([known[name] for name in self.region_names])

    def _table_positions(self, path: Path) -> dict[str, tuple[float, ...]]:
        table = _read_table(path, ("name", "x", "y", "z"))
        try:
            return {
                name: tuple(map(float, xyz)) for name, *xyz in table[["name", "x", "y", "z"]].itertuples(index=False)
            }
        except ValueError as error:
            raise DataError(f"{path}: x, y and z must be numbers, mm ({error})") from error

    def _cut(self, scans: dict[str, TimeSeries]) -> tuple[TimeSeries, TimeSeries]:
        baseline, target = scans[self.baseline_condition], scans[self.target_condition]
        if self.target_condition != self.baseline_condition:
            return _part(baseline, 0, self.volumes), _part(target, 0, self.volumes)
        half = len(baseline.values) // 2
        early, late = _part(baseline, 0, half), _part(baseline, half, half)
        return _part(early, 0, self.volumes), _part(late, 0, self.volumes)

    def _groups(self) -> dict[str, str]:
        if self.group_by is None or self.participants is None:
            return {}
        table = _read_table(self.participants, ("participant_id", self.group_by))
        return dict(zip(table["participant_id"], table[self.group_by].fillna(table["participant_id"]), strict=True))


def read_scans(
    root: Path, wanted: Collection[str], read: Callable[[Path], TimeSeries], volumes: bool = False
) -> dict[str, dict[str, TimeSeries]]:
    """Scans of every person by condition; several runs of a condition are joined.

    Args:
        root: Folder of scans, searched below, or one packed NPZ, see ``LAYOUT``.
        wanted: Conditions to read from a folder.
        read: Reads one file.
        volumes: Read volumes too.
    """
    if root.is_file():
        return _read_packed(root)
    runs: dict[tuple[str, str], list[TimeSeries]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.is_file() and ((volumes and is_volume(path)) or path.name.lower().endswith(tuple(READERS))):
            tokens = path.name.split(".")[0].split("_")
            conditions = [token.removeprefix("task-") for token in tokens[1:]]
            for condition in set(wanted).intersection(conditions):
                runs[tokens[0], condition].append(read(path))
    scans: dict[str, dict[str, TimeSeries]] = defaultdict(dict)
    for (name, condition), parts in runs.items():
        scans[name][condition] = _join(parts)
    return scans


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A ``.tsv`` or ``.csv`` as text.

    Raises:
        DataError: A column is missing.
    """
    if not path.exists():
        raise MissingDataError(path, "your own", "table (.tsv or .csv)", ", ".join(columns))
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str)
    for column in columns:
        if column not in table:
            raise DataError(f"{path}: has no column {column!r}, but {', '.join(table.columns)}")
    return table


def _read_packed(path: Path) -> dict[str, dict[str, TimeSeries]]:
    """One NPZ: an array ``(subject, roi, volume)`` a condition, ``subjects`` and optionally ``names``."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as NPZ ({error}); expected {LAYOUT}") from error
    packed = {name: array for name, array in found.items() if array.ndim == 3}
    if "subjects" not in found or any(len(array) != len(found["subjects"]) for array in packed.values()):
        raise DataError(f"{path}: needs `subjects`, one name a row of every array; expected {LAYOUT}")
    people: dict[str, dict[str, TimeSeries]] = {}
    for row, name in enumerate(map(str, found["subjects"])):
        people[name] = {}
        for condition, array in packed.items():
            names = found.get("names", [f"roi-{k:03d}" for k in range(1, array.shape[1] + 1)])
            values = array[row].T.astype(np.float64)
            people[name][condition] = TimeSeries(values, tuple(map(str, names)), None, f"{path}[{name}]")
    return people


def _join(runs: list[TimeSeries]) -> TimeSeries:
    """Runs of one condition end to end, each z-scored, because means and scales differ between runs."""
    if len(runs) == 1:
        return runs[0]
    for run in runs[1:]:
        if run.names != runs[0].names:
            raise DataError(f"{run.origin}: other regions than {runs[0].origin}; use one atlas for all runs")
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.concatenate([(run.values - run.values.mean(0)) / run.values.std(0) for run in runs])
    return replace(runs[0], values=values)


def _part(scan: TimeSeries, first: int, length: int | None) -> TimeSeries:
    if length is None:
        return scan
    if len(scan.values) < first + length:
        raise DataError(
            f"{scan.origin}: {len(scan.values)} volumes, but datamodule.volumes asks for {first + length}; lower it"
        )
    return replace(scan, values=scan.values[first : first + length])
