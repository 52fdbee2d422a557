"""The Optuna study of a sweep: proposes points, collects reports, survives a kill at any moment."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from ..errors import ConfigError, NeurotwinError
from .plan import Plan

optuna.logging.set_verbosity(optuna.logging.WARNING)
log = logging.getLogger("neurotwin")
#: How long another program may hold an SQLite file locked, s.
_LOCKED_S = 60
_DIRECTION = {"min": optuna.study.StudyDirection.MINIMIZE, "max": optuna.study.StudyDirection.MAXIMIZE}
_PRUNERS = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


class Study:
    """What the driver and the jobs of a sweep ask of Optuna.

    Args:
        folder: The sweep's folder.
        plan: Its plan.
        create: Make the study if it is not there; the first driver does, before any other process looks.
    """

    def __init__(self, folder: Path, plan: Plan, create: bool = False):
        self.folder, self.plan = folder, plan
        storage = open_storage(folder, plan.storage)
        pruner = _build("pruner", _PRUNERS[plan.pruner], dict(plan.pruner_options))
        if create:
            directions = [_DIRECTION[mode] for _, mode in plan.objectives]
            self._study = optuna.create_study(
                storage=storage, study_name=plan.name, directions=directions, pruner=pruner, load_if_exists=True
            )
        else:
            self._study = optuna.load_study(
                study_name=plan.name, storage=storage, pruner=pruner, sampler=optuna.samplers.RandomSampler()
            )

    @property
    def optuna(self) -> optuna.Study:
        """The study itself, for Optuna's plots."""
        return self._study

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, retried ones included."""
        return self._study.get_trials(deepcopy=False)

    def running(self) -> list[FrozenTrial]:
        """Trials that were begun and not ended."""
        found = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial if len(trial.params) == len(self.plan.axes) else self._complete(trial) for trial in found]

    def ask(self) -> FrozenTrial | None:
        """Begin the next trial; None when all were begun. One process at a time, or two could begin the same point."""
        with exclusive(self.folder / ".ask.lock"):
            number = _ordinal(self.trials)
            if number >= self.plan.trials:
                return None
            if self.plan.sampler == "grid":
                return self._add(self.plan.grid[number], {})
            self._study.sampler = _sampler(self.plan, number)
            trial = self._study.ask()
            return self._draw(trial._trial_id)

    def again(self, trial: FrozenTrial) -> FrozenTrial:
        """Begin a failed trial's point once more."""
        with exclusive(self.folder / ".ask.lock"):
            return self._add(dict(trial.params), {"retry": trial.number})

    def note_jobs(self, trial: FrozenTrial, hashes: Sequence[str]) -> None:
        """Remember which runs make up a trial."""
        if "jobs" not in trial.user_attrs and not trial.state.is_finished():
            self._study._storage.set_trial_user_attr(trial._trial_id, "jobs", list(hashes))

    def report(self, trial_id: int, step: int, value: float) -> bool:
        """Note the first objective at a step; returns whether the pruner would give the trial up."""
        trial = optuna.Trial(self._study, trial_id)
        trial.report(value, step)
        return trial.should_prune()

    def tell(self, trial: FrozenTrial, state: str, values: Sequence[float] = ()) -> None:
        """End a trial, once: ``finished``, ``pruned`` or ``failed``."""
        states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        if state == "finished" and not all(map(math.isfinite, values)):
            state = "failed"
        complete = list(values) if state == "finished" else None
        with exclusive(self.folder / ".ask.lock"):
            self._study.tell(trial.number, values=complete, state=states[state], skip_if_finished=True)

    def _complete(self, trial: FrozenTrial) -> FrozenTrial:
        """Draw the values that a trial lacks because its process was killed right after it began it."""
        with exclusive(self.folder / ".ask.lock"):
            self._study.sampler = _sampler(self.plan, _ordinal(self.trials[: trial.number]))
            return self._draw(trial._trial_id)

    def _draw(self, trial_id: int) -> FrozenTrial:
        trial = optuna.Trial(self._study, trial_id)
        for axis in self.plan.axes:
            axis.suggest(trial)
        return self._study._storage.get_trial(trial_id)

    def _add(self, point: dict[str, Any], attributes: dict[str, Any]) -> FrozenTrial:
        distributions = {axis.key: axis.distribution() for axis in self.plan.axes}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=point, distributions=distributions, user_attrs=attributes
            )
        )
        return self.trials[-1]


def open_storage(folder: Path, url: str | None) -> optuna.storages.BaseStorage:
    """The journal file in the sweep's folder, or what an Optuna URL names.

    Raises:
        NeurotwinError: If the database cannot be reached.
    """
    if url is None:
        path = str(folder / "journal.log")
        return JournalStorage(JournalFileBackend(path, lock_obj=_KernelLock(path)))
    try:
        if url.startswith("sqlite"):
            patient = {"connect_args": {"timeout": _LOCKED_S}}
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=patient))
        return optuna.storages.get_storage(url)
    except ImportError as error:
        raise ConfigError(f"storage {_without_password(url)}: {error}") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NeurotwinError(f"storage {_without_password(url)} cannot be opened: {reason}") from None


def storage_lost(error: BaseException) -> bool:
    """Whether an error says that the sweep's database went away, or stayed locked, while it was worked with."""
    from sqlalchemy.exc import SQLAlchemyError

    emptied = isinstance(error, KeyError) and "Record does not exist" in str(error)  # SQLite makes a lost file anew
    return emptied or isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError)


class _KernelLock(JournalFileOpenLock):
    """A lock that the kernel takes back from a killed process, where Optuna's own would stand for 30 s.

    A process that is killed while it writes leaves half a line, on which all later readers would fail; whoever takes
    the lock next cuts it off.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self._path = path
        self._held = contextlib.ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(exclusive(Path(self._path + ".lock")))
        with open(self._path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size and (file.seek(size - 1), file.read(1))[1] != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._held.close()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for a lock file and hold it; the kernel frees it when the process ends, however it ends."""
    import fcntl

    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ordinal(trials: Sequence[FrozenTrial]) -> int:
    """Which of the plan's trials comes next; tries of a failed one do not count."""
    return sum("retry" not in trial.user_attrs for trial in trials)


def _sampler(plan: Plan, number: int) -> optuna.samplers.BaseSampler:
    """Made anew and seeded for every trial, so that a search does not depend on where it was interrupted."""
    kinds = {
        "random": optuna.samplers.RandomSampler,
        "tpe": optuna.samplers.TPESampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "nsga2": optuna.samplers.NSGAIISampler,
    }
    seed = (plan.seed * 1_000_003 + number) % 2**32
    return _build("sampler", kinds[plan.sampler], {"seed": seed, **plan.sampler_options})


def _build(kind: str, target: Any, options: dict[str, Any]) -> Any:
    try:
        return target(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{kind}_options: {target.__name__}: {error}") from None


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url
