"""What SLURM runs: one job of a sweep, which goes on from its checkpoint when it is requeued."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class ClusterJob:
    """Callable that submitit pickles; submitit calls :meth:`checkpoint` at a time limit or before a pre-emption."""

    def __call__(self, folder: str, key: str, trial_id: int, member: int) -> None:
        """Run the job, or go on with it."""
        from .job import Task
        from .worker import work

        work(Task(Path(folder), key, trial_id, member))

    def checkpoint(self, *arguments: Any) -> Any:
        """The same again: the run folder holds all state, to the last completed epoch."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)
