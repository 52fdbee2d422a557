"""What SLURM runs: one job of a sweep, which goes on from its checkpoint when it is requeued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Task


class ClusterJob:
    """Callable that submitit pickles; submitit calls :meth:`checkpoint` at a time limit or before a pre-emption."""

    def __call__(self, task: Task) -> None:
        """Run the job, or go on with it."""
        from .worker import work

        work(task)

    def checkpoint(self, task: Task) -> Any:
        """The same again: the run folder holds all state, to the last completed epoch."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, task)
