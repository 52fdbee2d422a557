"""The audit's checks that need no signal comparison: the split, shared recordings and people, the normaliser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from ..contracts import DataSpec, Recording

Status = Literal["pass", "warn", "leak", "skip"]


class Auditable(Protocol):
    """What a datamodule offers to be audited; every ``EEGDataModule`` does.

    Attributes:
        recordings: What the windows were cut from.
        windows: One row a window: ``recording``, ``subject`` and ``group`` (int codes; -1 for unknown),
            ``start_sample`` and ``target``.
        folds: Number of folds.

    A method ``with_recordings(recordings)`` that gives a copy of the datamodule over other recordings of the same
    shape, with nothing remembered from the old ones, is optional; without it the normaliser cannot be checked.
    """

    folds: int

    @property
    def recordings(self) -> Sequence[Recording]:
        """Recordings in the order of the codes in ``windows.recording``."""
        ...

    @property
    def windows(self) -> pd.DataFrame:
        """The window table, the same in every fold."""
        ...

    @property
    def spec(self) -> DataSpec:
        """Of which ``n_times`` is the window length, samples."""
        ...

    def split(self, fold: int) -> dict[str, np.ndarray]:
        """Rows of ``train``, ``val`` and ``test``."""
        ...

    def signal(self, rows: np.ndarray, fold: int) -> np.ndarray:
        """The windows as the model of that fold sees them, ``(row, channel, time)``."""
        ...


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: Short name.
        status: ``pass``, ``warn`` (look at it), ``leak`` (fails the audit) or ``skip`` (could not be done).
        value: The number that decides, where there is one.
        finding: What was found, in words and numbers.
        remedy: What to do; empty when there is nothing to do.
    """

    name: str
    status: Status
    value: float | None
    finding: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)


@dataclass(frozen=True)
class Part:
    """One audited fold.

    Attributes:
        fold: Its number.
        train: Rows that the weights and the normaliser are fitted on.
        fit: Rows of training and validation together: nothing of the test part may be among them.
        test: Tested rows.
    """

    fold: int
    train: np.ndarray
    fit: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Scope:
    """The datamodule under audit with its tables in arrays and the folds to look at.

    Attributes:
        datamodule: Under audit.
        columns: Columns of its window table, each ``(window,)``.
        window: Window length, samples.
        parts: Audited folds.
    """

    datamodule: Auditable
    columns: dict[str, np.ndarray]
    window: int
    parts: list[Part]

    def codes(self, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Known codes of a column among the fitted and among the tested rows of each fold."""
        values = self.columns[column]
        for part in self.parts:
            fit, test = np.unique(values[part.fit]), np.unique(values[part.test])
            yield fit[fit >= 0], test[test >= 0]


def structural_checks(scope: Scope, subjects_must_differ: bool, seed: int) -> list[Check]:
    """Every check of this file."""
    return [
        check_split(scope),
        check_windows(scope),
        check_shared(scope, "recording", "leak"),
        check_shared(scope, "group", "leak"),
        check_shared(scope, "subject", "leak" if subjects_must_differ else "warn"),
        check_normaliser(scope, seed),
    ]


def check_split(scope: Scope) -> Check:
    """Parts are disjoint and not empty, no row is tested twice, and asking again gives the same rows."""
    faults = []
    tested = np.zeros(len(scope.columns["recording"]), dtype=np.int64)
    for part in scope.parts:
        tested[part.test] += 1
        if not len(part.train) or not len(part.test):
            faults.append(f"fold {part.fold} has an empty part")
        twice = len(part.fit) - len(np.unique(part.fit)) + len(np.intersect1d(part.fit, part.test))
        if twice:
            faults.append(f"fold {part.fold} uses {twice} windows in two parts")
        if not _same_split(scope.datamodule, part):
            faults.append(f"fold {part.fold} differs when it is asked for again")
    if (tested > 1).any():
        faults.append(f"{int((tested > 1).sum())} windows are tested in several folds")
    if faults:
        return Check("split", "leak", len(faults), "; ".join(faults), "Draw the folds once, from a seed of their own.")
    size = f"{int((tested > 0).sum())} of {len(tested)} windows tested once"
    return Check("split", "pass", 0, f"disjoint and repeatable, {size} in {len(scope.parts)} fold(s)")


def _same_split(datamodule: Auditable, part: Part) -> bool:
    # A split that draws from the global generator is repeatable only while nobody else draws.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(part.fold + 1)  # noqa: NPY002
    try:
        again = (_refitted(datamodule, list(datamodule.recordings)) or datamodule).split(part.fold)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.array_equal(again["train"], part.train) and np.array_equal(again["test"], part.test)


def check_windows(scope: Scope) -> Check:
    """Tested windows that share samples of one recording with a fitted window."""
    recording, start = scope.columns["recording"], scope.columns["start_sample"]
    overlapping = tested = 0
    for part in scope.parts:
        # One sorted axis for all recordings: far enough apart that windows of two recordings cannot touch.
        span = int(start.max(initial=0)) + 2 * scope.window
        position = recording * span + start
        fit = np.sort(position[part.fit])
        low = np.searchsorted(fit, position[part.test] - scope.window, side="right")
        high = np.searchsorted(fit, position[part.test] + scope.window, side="left")
        overlapping += int((high > low).sum())
        tested += len(part.test)
    share = overlapping / max(tested, 1)
    if not overlapping:
        return Check("overlapping windows", "pass", 0.0, "no tested window shares samples with a training window")
    return Check(
        "overlapping windows",
        "leak",
        share,
        f"{share:.1%} of the tested windows share samples with a training window",
        "Split first, cut windows afterwards: split by recording or group.",
    )


_SHARED_REMEDY = {
    "recording": "Split by recording at least: neighbouring windows of one recording are no independent test.",
    "group": "Split by group: what was recorded together must be held out together.",
    "subject": "Split by subject, or call the result patient-specific.",
}


def check_shared(scope: Scope, column: str, fault: Status) -> Check:
    """Recordings, groups or subjects that have windows both in the fitted and in the tested part."""
    name = f"shared {column}s"
    values = scope.columns[column]
    if (values < 0).all():
        return Check(name, "skip", None, f"the data name no {column}: nothing can be said, so promise no new {column}s")
    pairs = pd.DataFrame({"recording": scope.columns["recording"], "code": values}).drop_duplicates()
    if column == "group" and pairs["code"].is_unique:
        return Check(name, "skip", None, "no groups are declared: every recording is its own")
    if column == "group" and np.array_equal(values, scope.columns["subject"]):
        return Check(name, "skip", None, "the groups are the subjects")
    shared = [len(np.intersect1d(fit, test)) for fit, test in scope.codes(column)]
    tested = sum(len(test) for _, test in scope.codes(column))
    unknown = f" ({(values < 0).mean():.0%} of the windows name none)" if (values < 0).any() else ""
    if not sum(shared):
        return Check(name, "pass", 0.0, f"none of {tested} tested {column}s is trained on{unknown}")
    return Check(
        name,
        fault,
        sum(shared) / tested,
        f"{sum(shared)} of {tested} tested {column}s (counted in each fold) are trained on as well{unknown}",
        _SHARED_REMEDY[column],
    )


def check_normaliser(scope: Scope, seed: int, n_rows: int = 32) -> Check:
    """Training windows must stay as they are when the tested samples change.

    The samples that only tested windows cover are multiplied by ten and shifted, in a copy; whatever is fitted on them
    (mean, scale, filter over a whole recording) then moves the training windows too.
    """
    name, generator = "normaliser", np.random.default_rng(seed)
    worst, moved = 0.0, []
    for part in scope.parts:
        twin = _refitted(scope.datamodule, _disturbed(scope, part))
        if twin is None:
            missing = f"{type(scope.datamodule).__name__} has no with_recordings(recordings)"
            return Check(name, "skip", None, f"{missing}, which the check needs to change the tested samples in a copy")
        rows = np.sort(generator.permutation(part.train)[:n_rows])
        before, after = scope.datamodule.signal(rows, part.fold), twin.signal(rows, part.fold)
        change = float(np.abs(after - before).max() / max(float(np.abs(before).max()), 1e-12))
        worst = max(worst, change)
        if change > 1e-6:
            moved.append(part.fold)
    if not moved:
        return Check(name, "pass", worst, "training windows stay the same when the tested samples are changed")
    return Check(
        name,
        "leak",
        worst,
        f"training windows move by up to {worst:.0%} of their range when tested samples are scaled by 10 "
        f"(fold {', '.join(map(str, moved))})",
        "Fit means, scales and filters on the training windows of the fold only.",
    )


def _disturbed(scope: Scope, part: Part) -> list[Recording]:
    recording, start = scope.columns["recording"], scope.columns["start_sample"]
    recordings = list(scope.datamodule.recordings)
    for code in np.unique(recording[part.test]):
        signal = np.array(recordings[code].signal, copy=True)
        changed = np.zeros(signal.shape[-1], dtype=bool)
        # Training windows come last: samples that both cover are left alone.
        for rows, value in ((part.test, True), (part.train, False)):
            for first in start[rows[recording[rows] == code]]:
                changed[first : first + scope.window] = value
        signal[:, changed] = signal[:, changed] * 10 + 1
        recordings[code] = replace(recordings[code], signal=signal)
    return recordings


def _refitted(datamodule: Auditable, recordings: list[Recording]) -> Auditable | None:
    build: Callable[[list[Recording]], Auditable] | None = getattr(datamodule, "with_recordings", None)
    return None if build is None else build(recordings)
