"""Where jobs run: processes forked from a warm server on this machine, or jobs of a cluster through submitit."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConfigError

if TYPE_CHECKING:
    from .job import Task

BACKENDS = ("process", "local", "slurm")


class Handle(Protocol):
    """A started job."""

    task: Task

    def ended(self) -> str | None:
        """None while it lasts; then "" or how its process died."""

    def stop(self) -> None:
        """Ask it to save its state and end."""


class Backend(Protocol):
    """Starts jobs."""

    def start(self, tasks: Sequence[Task]) -> Sequence[Handle]:
        """Start them all."""

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Return when one of them may have ended."""


class Processes:
    """One process a job, forked from a server that has imported everything (see :func:`warm`)."""

    def __init__(self) -> None:
        warm()
        self._context = multiprocessing.get_context("forkserver")
        self._slots: dict[int, Process] = {}

    def start(self, tasks: Sequence[Task]) -> list[Process]:
        """Fork a process for each."""
        return [self._start(task) for task in tasks]

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Return as soon as one process ends."""
        connection.wait([handle.process.sentinel for handle in handles if isinstance(handle, Process)], timeout_s)

    def _start(self, task: Task) -> Process:
        self._slots = {slot: handle for slot, handle in self._slots.items() if handle.ended() is None}
        slot = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        process = self._context.Process(target=_child, args=(task, slot), daemon=False)
        process.start()
        handle = Process(task, process)
        self._slots[slot] = handle
        return handle


class Process:
    """A job in a process of this machine."""

    def __init__(self, task: Task, process: Any):
        self.task, self.process = task, process

    def ended(self) -> str | None:
        """None while it lasts; then "" or the signal that killed it."""
        code = self.process.exitcode
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else ""

    def stop(self) -> None:
        """SIGTERM: the run stops after its batch and is resumed from its last epoch."""
        self.process.terminate()


def warm() -> None:
    """Start the server that jobs are forked from; it imports torch and the trainer loop in the background."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the server and its children; several jobs share the cores
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # counting GPUs must not initialise CUDA there
    multiprocessing.get_context("forkserver").set_forkserver_preload(["neurotwin.sweeps.server"])
    forkserver.ensure_running()


def _child(task: Task, slot: int) -> None:
    """Body of a forked process: output to the job's file, a GPU of its own, an end with its parent."""
    with (task.job.folder / "output.log").open("ab", buffering=0) as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())
    gpus = visible_gpus()
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from .worker import work

    with contextlib.suppress(KeyboardInterrupt):
        work(task)


def _end_with_parent() -> None:
    """A killed driver leaves no process behind: its jobs save their state and end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        os._exit(1)


def visible_gpus() -> list[str]:
    """GPUs that jobs may share out, without asking CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


class Cluster:
    """Jobs through submitit: arrays, time limits, requeueing.

    Args:
        folder: For submitit's own files.
        kind: ``slurm``, or ``local`` for the same machinery on this machine.
        jobs: How many of an array may run at once.
        options: ``AutoExecutor.update_parameters``: ``timeout_min``, ``cpus_per_task``, ``gpus_per_node``, ``nodes``,
            ``tasks_per_node``, ``slurm_partition`` …
    """

    def __init__(self, folder: Path, kind: str, jobs: int, options: Mapping[str, Any]):
        import submitit

        logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns where SLURM keeps no accounts; squeue knows
        try:
            self._executor = submitit.AutoExecutor(folder / "%j", cluster=kind)
            parallel = {"slurm_array_parallelism": jobs} if kind == "slurm" else {}
            self._executor.update_parameters(name="neurotwin", **{"timeout_min": 24 * 60, **parallel, **options})
        except (RuntimeError, TypeError, NameError, ValueError) as error:
            raise ConfigError(f"--backend {kind}: {error}") from None
        self._kind = kind

    def start(self, tasks: Sequence[Task]) -> list[Submitted]:
        """Submit them, as one array on SLURM."""
        from .cluster_job import ClusterJob

        with self._executor.batch():
            jobs = [self._executor.submit(ClusterJob(), t) for t in tasks]
        return [Submitted(task, job, self._kind) for task, job in zip(tasks, jobs, strict=True)]

    def wait(self, handles: Sequence[Handle], timeout_s: float) -> None:
        """Look again after a while."""
        time.sleep(min(timeout_s, 1.0))


class Submitted:
    """A job that submitit watches."""

    def __init__(self, task: Task, job: Any, kind: str):
        self.task, self.job, self._kind = task, job, kind
        self._looked = time.monotonic()

    def ended(self) -> str | None:
        """None while it waits or lasts; then "" or what became of it."""
        if self.job.done():
            return "" if self.job.exception() is None or self._kind == "local" else f"SLURM: {self.job.state}"
        if self._kind == "slurm" and time.monotonic() - self._looked > 10:
            self._looked = time.monotonic()
            if not _queued(self.job.job_id) and not self.job.done(force_check=True):
                return f"SLURM no longer knows job {self.job.job_id}"
        return None

    def stop(self) -> None:
        """Take it off the queue."""
        self.job.cancel(check=False)


def executor_options(words: Sequence[str]) -> dict[str, int | str]:
    """``KEY=VALUE`` words as the executor's arguments.

    Raises:
        ConfigError: If one has no ``=``.
    """
    found: dict[str, int | str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--slurm {word}: write key=value, such as timeout_min=60")
        found[key] = int(value) if value.isdecimal() else value
    return found


def _queued(job_id: str) -> bool:
    """Whether SLURM has the job waiting or running; asks squeue, because accounting (sacct) may be off."""
    done = subprocess.run(["squeue", "-h", "-j", job_id, "-o", "%T"], capture_output=True, encoding="utf-8")
    return done.returncode == 0 and bool(done.stdout.strip())


def make_backend(kind: str, folder: Path, jobs: int, options: Mapping[str, Any]) -> Processes | Cluster:
    """The backend of a name.

    Raises:
        ConfigError: If it is unknown or not there.
    """
    if kind == "process":
        return Processes()
    return Cluster(folder / "submitit", kind, jobs, options)
