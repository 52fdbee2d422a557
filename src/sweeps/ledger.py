"""What the runs of a sweep, and those that were there before it, already say."""

from __future__ import annotations

from pathlib import Path

from ..code_version import code_hash
from ..run_folder import runs
from .job import OPEN, Job
from .plan import Plan


def finished_runs(plan: Plan, any_code: bool) -> dict[str, Path]:
    """Finished runs of the experiment by configuration hash, of today's code unless ``any_code``."""
    return {
        str(run.record.get("config_hash")): run.path
        for run in runs(plan.runs_dir, plan.experiment)
        if run.record["status"] == "finished" and (any_code or run.record.get("code") == code_hash(run.config))
    }


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
