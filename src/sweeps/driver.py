"""The driver: gates first, then one process a job until every trial has ended. May be killed and started at will."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NeurotwinError
from ..run_folder import Run
from .backends import Cluster, Handle, Processes, make_backend
from .job import FAILED, FINISHED, OPEN, PRUNED, Job, Task, objective_value
from .ledger import FinishedRuns, Spending
from .plan import Plan, load_plan
from .pool import DEATHS
from .study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger("neurotwin")
_POLL_S = 1.0


@dataclass
class Options:
    """How a driver works; not part of what the sweep computes.

    Attributes:
        jobs: Runs at a time.
        backend: One of :data:`~.backends.BACKENDS`.
        fail_fast: Stop at the first failed run.
        retry_failed: Begin failed trials once more.
        budget_h: CPU-hours after which no further run starts.
        any_code: Reuse finished runs of other code.
        slurm: Options of submitit's executor, over those of the plan.
    """

    jobs: int = 1
    backend: str = "process"
    fail_fast: bool = False
    retry_failed: bool = False
    budget_h: float | None = None
    any_code: bool = False
    slurm: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Driver:
    """Works on a sweep's folder; several may at the same time, on one machine or on many that share the folder.

    Args:
        folder: The sweep's folder.
        options: How.
    """

    folder: Path
    options: Options
    plan: Plan = field(init=False)
    handles: list[Handle] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    stopped: str = ""

    def __post_init__(self) -> None:
        self.plan = load_plan(self.folder)
        self.study = Study(self.folder, self.plan, create=True)
        self._spending = Spending(self.folder)
        self._jobs: dict[int, list[Job]] = {}
        self._exhausted = False
        self._ended = 0

    def run(self) -> None:
        """Work until every trial has ended, the budget is spent or a run fails under ``fail_fast``."""
        backend = self._backend()
        self._known = FinishedRuns(self.plan, self.options.any_code)
        if self.options.retry_failed:
            self._retry()
        try:
            while True:
                self._collect()
                room = self.options.jobs - len(self.handles)
                tasks = self._next(room) if room > 0 and not self.stopped else []
                if tasks:
                    self.handles += backend.start(tasks)
                if not self.handles and (self.stopped or (self._exhausted and not self.study.running())):
                    break
                if self.stopped and self.options.fail_fast:
                    self._stop()
                if self.handles:
                    backend.wait(self.handles, _POLL_S)
                elif not tasks:
                    time.sleep(_POLL_S)  # other drivers hold what is left
        except BaseException:
            self._stop()
            raise

    def _backend(self) -> Processes | Cluster:
        return make_backend(
            self.options.backend, self.folder, self.options.jobs, {**self.plan.slurm, **self.options.slurm}
        )

    def _next(self, room: int) -> list[Task]:
        """Up to ``room`` jobs that nobody works on: of begun trials first, then of new ones."""
        if self.options.budget_h is not None and self._spending.hours() >= self.options.budget_h:
            self.stopped = f"the budget of {self.options.budget_h:g} CPU-hours is spent"
            return []
        found: list[Task] = []
        for trial in self._trials():
            for task in self._free(trial):
                found.append(task)
                if len(found) == room:
                    return found
        return found

    def _trials(self) -> Iterator[FrozenTrial]:
        yield from self.study.running()
        while not self._exhausted:
            trial = self.study.ask()
            if trial is None:
                self._exhausted = True
                return
            yield trial

    def _free(self, trial: FrozenTrial) -> Iterator[Task]:
        mine = {handle.task.hash for handle in self.handles}
        for member, job in enumerate(self._members(trial)):
            taken = job.hash in mine or (job.state == OPEN and job.busy)
            if taken and self.plan.pruner != "none":
                return  # its runs come one after another, or their reports would not be comparable
            if not taken and job.state == OPEN:
                mine.add(job.hash)
                yield Task(self.folder, job.hash, self.plan.experiment, trial._trial_id, member)
                if self.plan.pruner != "none":
                    return
        self._settle(trial)

    def _members(self, trial: FrozenTrial) -> list[Job]:
        """The jobs of a trial, their configurations written, finished runs from elsewhere linked."""
        if trial.number not in self._jobs:
            jobs = []
            try:
                composed = self.plan.compose(trial.params)
            except NeurotwinError as error:  # a point of a search that does not compose
                log.error("trial %d: %s", trial.number, error)
                self.study.tell(trial, FAILED)
                return []
            for one in composed:
                job = Job(self.folder / "jobs" / one.hash)
                job.save(one)
                if job.run is None and (known := self._known.of(one)) is not None:
                    job.link(known)
                jobs.append(job)
            self._jobs[trial.number] = jobs
            self.study.note_jobs(trial, [job.hash for job in jobs])
        return self._jobs[trial.number]

    def _collect(self) -> None:
        """Take note of the jobs that ended."""
        over = [(handle, death) for handle in self.handles if (death := handle.ended()) is not None]
        self.handles = [handle for handle in self.handles if handle not in [ended for ended, _ in over]]
        for handle, death in over:
            job = handle.task.job
            if job.state == OPEN and not self.stopped:
                self.deaths[job.hash] += 1
                if self.deaths[job.hash] >= DEATHS:
                    job.fail(f"its process ended {DEATHS} times before the run did ({death or 'see output.log'})")
            if job.state == FAILED:
                log.error("%s failed: %s", job.hash, job.error)
                if self.options.fail_fast:
                    self.stopped = f"{job.hash} failed"
        for trial in self.study.running() if over else ():
            self._settle(trial)

    def _settle(self, trial: FrozenTrial) -> None:
        """End the trial in the study if its jobs have ended."""
        jobs = self._members(trial)
        states = [job.state for job in jobs]
        if PRUNED in states:
            self._tell(trial, PRUNED)
        elif jobs and OPEN not in states:
            values: list[float] = []
            state = FAILED if FAILED in states else FINISHED
            if state == FINISHED:
                values = trial_values(self.plan, [run for job in jobs if (run := job.run)])
            self._tell(trial, state, values)

    def _tell(self, trial: FrozenTrial, state: str, values: Sequence[float] = ()) -> None:
        self.study.tell(trial, state, values)
        self._ended += 1
        named = zip(self.plan.objectives, values, strict=False)
        scores = " ".join(f"{name}={value:.4g}" for (name, _), value in named)
        point = " ".join(f"{key}={value}" for key, value in trial.params.items())
        log.info("[%d/%d] %s %s %s", trial.number + 1, self.plan.trials, state, scores, point)

    def _retry(self) -> None:
        latest = {trial.user_attrs.get("retry", trial.number): trial for trial in self.study.trials}
        for trial in latest.values():
            if trial.state.name == "FAIL":
                for job in self._members(trial):
                    job.reopen()
                self.study.again(trial)

    def _stop(self) -> None:
        """Ask all own jobs to save their state and wait for them."""
        for handle in self.handles:
            handle.stop()
        deadline = time.monotonic() + 60
        while self.handles and time.monotonic() < deadline:
            self.handles = [handle for handle in self.handles if handle.ended() is None]
            time.sleep(0.1)


def trial_values(plan: Plan, runs: Sequence[Run]) -> list[float]:
    """The objectives of a trial: means over its runs."""
    columns = [[objective_value(run, name, run.config["objective"]) for run in runs] for name, _ in plan.objectives]
    return [sum(column) / len(column) for column in columns]


def new_folder(runs_dir: str | Path, experiment: str) -> Path:
    """Make a sweep's folder: ``<runs>/sweeps/<paper>-<row>_<date>_<time>_<4 hex>``."""
    name = f"{experiment.replace('/', '-')}_{datetime.now():%Y-%m-%d_%H%M%S}_{secrets.token_hex(2)}"
    folder = Path(runs_dir).expanduser().resolve() / "sweeps" / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise NeurotwinError(f"{folder}: cannot be made ({error.strerror}); pass runs_dir=FOLDER") from None
    return folder
