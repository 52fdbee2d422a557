"""What the runs of a sweep, and those that were there before it, already say."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ..code_version import code_hash
from ..config import Composed
from ..run_folder import Run, runs
from .job import OPEN, Job
from .plan import Plan


class FinishedRuns:
    """Finished runs of an experiment that stand for a job, whoever ran them.

    Args:
        plan: Where they lie and of what.
        any_code: Also those of other code than today's.
    """

    def __init__(self, plan: Plan, any_code: bool):
        self._any_code = any_code
        self._runs: dict[str, list[Run]] = defaultdict(list)
        for run in runs(plan.runs_dir, plan.experiment):
            if run.record["status"] == "finished":
                self._runs[str(run.record.get("config_hash"))].append(run)

    def of(self, job: Composed) -> Path | None:
        """The folder of the newest that is usable."""
        candidates = self._runs.get(job.hash, [])
        if candidates and not self._any_code:
            code = code_hash(job.config)
            candidates = [run for run in candidates if run.record.get("code") == code]
        return candidates[-1].path if candidates else None


class Spending:
    """CPU-hours of a sweep's runs, whoever ran them; those that ended are read once."""

    def __init__(self, folder: Path):
        self._folder = folder / "jobs"
        self._ended: dict[str, float] = {}

    def hours(self) -> float:
        """So far, to the last heartbeat of the runs that go on."""
        going = 0.0
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            job = Job(folder)
            if job.hash in self._ended or (run := job.run) is None:
                continue
            seconds = float((run.record.get("cost") or {}).get("cpu_s", 0.0))
            if job.state == OPEN:
                going += seconds
            else:
                self._ended[job.hash] = seconds
        return (sum(self._ended.values()) + going) / 3600
