"""The ledger: one folder a configuration hash, its configuration, its run, its error. The disk is the only truth."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Composed, recorded
from ..errors import NeurotwinError
from ..files import write_text
from ..run_folder import LockedError, Run, load_run, locked

#: What a job can be. ``open`` is neither begun nor ended, or begun and interrupted.
OPEN, FINISHED, PRUNED, FAILED = "open", "finished", "pruned", "failed"


class Job:
    """One run of a sweep.

    Args:
        folder: ``<sweep>/jobs/<configuration hash>``.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def hash(self) -> str:
        """Configuration hash."""
        return self.folder.name

    @property
    def run(self) -> Run | None:
        """The run folder that works on this job, if one was begun and is still there."""
        try:
            path = (self.folder / (self.folder / "run.txt").read_text(encoding="utf-8").strip()).resolve()
            return load_run(path) if (path / "run.json").exists() else None
        except (OSError, NeurotwinError):
            return None

    @property
    def state(self) -> str:
        """One of ``open``, ``finished``, ``pruned``, ``failed``."""
        if (self.folder / "error.txt").exists():
            return FAILED
        run = self.run
        status = run.record.get("status") if run else None
        return status if status in (FINISHED, PRUNED, FAILED) else OPEN

    @property
    def error(self) -> str:
        """Why it failed, in one line."""
        path = self.folder / "error.txt"
        if path.exists():
            return path.read_text(encoding="utf-8").strip().replace("\n", "; ")
        run = self.run
        return str(run.record.get("error") or "") if run else ""

    def save(self, composed: Composed) -> None:
        """Write the configuration that the job starts from, once."""
        if not (self.folder / "config.yaml").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "overrides.txt", "\n".join(composed.overrides) + "\n")
            write_text(self.folder / "config.yaml", composed.to_yaml())

    def load(self, experiment: str) -> Composed:
        """The saved configuration."""
        overrides = (self.folder / "overrides.txt").read_text(encoding="utf-8").splitlines()
        return recorded(experiment, self.folder / "config.yaml", overrides)

    def link(self, run: Path) -> None:
        """Remember the run folder; relative, so that both may move together."""
        write_text(self.folder / "run.txt", os.path.relpath(run, self.folder.resolve()) + "\n")

    def fail(self, message: str) -> None:
        """Remember an error that no run folder holds."""
        write_text(self.folder / "error.txt", message + "\n")

    def reopen(self) -> None:
        """Forget a failure, so that the job is tried again."""
        (self.folder / "error.txt").unlink(missing_ok=True)
        run = self.run
        if run is not None and run.record.get("status") == FAILED:
            run.update(status="interrupted")

    def forget(self) -> None:
        """Begin with a new run folder, not with one of other code or data."""
        (self.folder / "run.txt").unlink(missing_ok=True)

    @property
    def busy(self) -> bool:
        """Whether a process holds the job now, on whatever machine shares the folder."""
        if not self.folder.exists():
            return False
        try:
            with locked(self.folder):
                return False
        except LockedError:
            return True


@dataclass(frozen=True)
class Task:
    """A job of a trial, as it is handed to a process.

    Attributes:
        folder: The sweep's folder.
        hash: The job's configuration hash.
        experiment: ``paper/row``.
        trial_id: Optuna's identifier of its trial; None for a run that belongs to no study.
        member: Which run of the trial it is, from 0.
    """

    folder: Path
    hash: str
    experiment: str
    trial_id: int | None = None
    member: int = 0

    @property
    def job(self) -> Job:
        """The job's entry in the ledger."""
        return Job(self.folder / "jobs" / self.hash)


def objective_value(run: Run, name: str, own: Mapping[str, Any]) -> float:
    """What a finished run scored, never on test data.

    Args:
        run: The run.
        name: The configured objective (its best epoch), another column of ``metrics.csv`` (at that epoch),
            ``parameters``, or a cost of ``run.json`` such as ``cpu_s``.
        own: The configuration's ``objective``: metric and mode.

    Raises:
        NeurotwinError: If the run has no such number.
    """
    if name == own["metric"] and run.record.get("objective"):
        return float(run.record["objective"]["value"])
    if name == "parameters":
        return float(run.record["parameters"])
    if name in (cost := run.record.get("cost") or {}):
        return float(cost[name])
    rows = run.history
    scored = [row for row in rows if own["metric"] in row and math.isfinite(row[own["metric"]])]
    if run.config["checkpoint"] == "best" and scored:
        row = (min if own["mode"] == "min" else max)(scored, key=lambda row: row[own["metric"]])
    else:
        row = rows[-1] if rows else {}
    if name not in row:
        raise NeurotwinError(f"{run.path.name} has no {name!r}; choose from {', '.join(sorted(row)) or 'nothing'}")
    return row[name]
