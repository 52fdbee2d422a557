"""Run a list of configurations, several at a time, without a search: what `neurotwin reproduce` does."""

from __future__ import annotations

import gc
import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Composed
from ..run_folder import Run
from .backends import Handle, make_backend
from .job import FAILED, FINISHED, OPEN, Job, Task

log = logging.getLogger("neurotwin")
#: How often a job whose process was killed is begun again before it counts as failed.
DEATHS = 3


def run_all(
    folder: Path,
    todo: Sequence[Composed],
    known: Mapping[str, Run],
    jobs: int = 1,
    backend: str = "process",
    options: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Composed, Run | str]]:
    """Yield each configuration with its finished run, or with why it failed, as they end.

    A job that another process works on is waited for, not run twice.

    Args:
        folder: Holds the ledger, ``jobs/<configuration hash>``.
        todo: Configurations, each once.
        known: Runs that were begun and may be gone on with, by configuration hash.
        jobs: Runs at a time; one runs in this process, so that imports are paid once.
        backend: As for sweeps.
        options: Of submitit's executor.
    """
    waiting = deque((one, _open(folder, one, known.get(one.hash))) for one in todo)
    if jobs <= 1 and backend == "process":
        yield from _here(waiting)
        return
    started = make_backend(backend, folder, jobs, options or {})
    deaths: Counter[str] = Counter()
    handles: dict[str, tuple[Composed, Handle]] = {}
    try:
        while waiting or handles:
            batch = [waiting.popleft() for _ in range(min(len(waiting), jobs - len(handles)))]
            fresh: Sequence[Handle] = started.start([Task(folder, one.hash, one.experiment) for one, _ in batch])
            handles |= {one.hash: (one, handle) for (one, _), handle in zip(batch, fresh, strict=True)}
            started.wait([handle for _, handle in handles.values()], 1.0)
            for key, (one, handle) in list(handles.items()):
                if (death := handle.ended()) is None:
                    continue
                del handles[key]
                job = handle.task.job
                if job.state == OPEN:
                    deaths[key] += 0 if job.busy else 1  # busy: another process works on it
                    if deaths[key] < DEATHS:
                        waiting.append((one, job))
                        continue
                    job.fail(f"its process ended {DEATHS} times before the run did ({death or 'see output.log'})")
                yield one, _outcome(job)
    finally:
        for _, handle in handles.values():
            handle.stop()


def _open(folder: Path, one: Composed, previous: Run | None) -> Job:
    """The job of a configuration that has no usable run, ready to begin or to go on."""
    job = Job(folder / "jobs" / one.hash)
    job.save(one)
    job.reopen()
    linked = job.run
    if previous is not None and (linked is None or linked.path != previous.path):
        job.link(previous.path)
    elif previous is None:
        job.forget()
    return job


def _here(waiting: deque[tuple[Composed, Job]]) -> Iterator[tuple[Composed, Run | str]]:
    from .worker import work

    for one, job in waiting:
        try:
            work(Task(job.folder.parents[1], job.hash, one.experiment))
        except Exception as error:
            log.debug("%s failed: %r", job.hash, error)  # the job remembers why
        gc.collect()  # trainer, task and data refer to each other
        yield one, _outcome(job)


def _outcome(job: Job) -> Run | str:
    run = job.run
    if job.state == FINISHED and run is not None:
        return run
    return job.error if job.state == FAILED else "another process works on it"
