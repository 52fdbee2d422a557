"""What the process of one job does: hold it, start or resume its run, report its epochs, leave its state on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from .. import engine, ranks
from ..config import Composed
from ..errors import NeurotwinError, Pruned
from ..run_folder import LockedError, Run, locked
from .job import FINISHED, PRUNED, Job, Task
from .plan import load_plan

log = logging.getLogger("neurotwin")


def work(task: Task) -> None:
    """Run a job to its end. Whatever happens is on disk afterwards; a job that another process holds is left to it."""
    job = task.job
    try:
        with nullcontext() if ranks.follower() else locked(job.folder):
            if job.state in (FINISHED, PRUNED):
                return
            _work(task, job)
    except LockedError:
        log.info("%s: another process works on it", job.hash)


def _work(task: Task, job: Job) -> None:
    composed = job.load(task.experiment)
    callbacks: list[Callback] = [_Link(job)]
    follower = ranks.follower()
    if task.trial_id is not None and (plan := load_plan(task.folder)).pruner != "none":
        from .study import Study

        report = partial(Study(task.folder, plan).report, task.trial_id)
        epochs = composed.config["trainer"]["max_epochs"]
        callbacks.append(_Report(report, plan.objectives[0][0], task.member * epochs))
    previous = job.run
    if previous is not None and previous.record.get("status") == "running" and not follower:
        previous.update(status="interrupted")  # we hold the job, so whoever ran it is gone
    try:
        start(composed, previous, callbacks)
    except Pruned:
        pass
    except Exception as error:
        run = job.run
        recorded = run is not None and run.record.get("status") == "failed"
        if not recorded and not follower:  # it failed before it had a run folder
            job.fail(f"{type(error).__name__}: {error}" if not isinstance(error, NeurotwinError) else str(error))
        raise


def start(composed: Composed, previous: Run | None, callbacks: Sequence[Callback] = ()) -> Run:
    """Go on with a run that did not end; begin a new one where there is none, or where it cannot be gone on with."""
    # What a follower reads may be older than what its leader has just written.
    open_ = ("interrupted", "failed", "pruned", *(("running",) if ranks.follower() else ()))
    if previous is not None and previous.status in open_:
        try:
            return engine.resume(previous, callbacks)
        except Pruned:
            raise
        except NeurotwinError as error:
            if previous.record.get("status") == "failed":  # it was resumed and failed by itself
                raise
            log.warning("%s is not resumed but trained anew: %s", previous.path.name, error)
    return engine.launch(composed, callbacks=callbacks)


class _Link(Callback):
    """Write down which run folder works on the job."""

    def __init__(self, job: Job):
        self._job = job

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before the first step of a fit."""
        if stage == "fit" and trainer.is_global_zero:
            self._job.link(Path(trainer.default_root_dir))


class _Report(Callback):
    """Report the objective after every epoch and end the run if the pruner gives the trial up."""

    def __init__(self, report: Callable[[int, float], bool], metric: str, first: int):
        self._report, self._metric = report, metric
        self._first = first  # step of epoch 0: the runs of a trial come one after another, and so do their steps

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the epoch's validation."""
        every = trainer.check_val_every_n_epoch or 1
        fresh = self._metric.startswith("train/") or (trainer.current_epoch + 1) % every == 0
        give_up = False
        if fresh and trainer.is_global_zero and self._metric in trainer.callback_metrics:
            value = float(trainer.callback_metrics[self._metric])
            give_up = self._report(self._first + trainer.current_epoch, value)
        if trainer.strategy.broadcast(give_up):
            raise Pruned(f"pruned after epoch {trainer.current_epoch}")
