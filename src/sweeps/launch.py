"""``neurotwin sweep``: make a plan, pass the gates, drive it; or go on with a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import override_list
from ..errors import ConfigError, NeurotwinError, did_you_mean
from ..files import write_text
from .backends import BACKENDS, warm
from .driver import Driver, Options, new_folder
from .plan import Plan, load_plan, make_plan
from .results import SweepResult
from .study import storage_lost

log = logging.getLogger("neurotwin")


def sweep(
    experiment: str | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    *,
    plan: str | None = None,
    resume: Path | str | None = None,
    trials: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    objectives: str | Sequence[str] | None = None,
    storage: str | None = None,
    seed: int | None = None,
    **how: Any,
) -> SweepResult:
    """Run a grid or a search over a configuration, or go on with one.

    Args:
        experiment: ``paper/row``.
        overrides: Hydra overrides; ``key=a,b``, ``key=log(1e-4,1e-2)`` are swept, ``seeds=0..4`` and ``folds=all`` make
            up one trial.
        plan: YAML file, or its name as ``neurotwin list sweep`` prints it.
        resume: Folder of a sweep to go on with, or to help with while another driver works on it.
        trials: How many; of a grid, all. With ``resume``, the new number.
        sampler: ``grid``, ``random``, ``tpe``, ``cmaes`` or ``nsga2``.
        pruner: ``none``, ``median``, ``asha`` or ``hyperband``.
        objectives: ``val/loss`` or ``val/auroc:max,cpu_s:min``; the experiment's own by default.
        storage: Optuna storage URL; a journal file in the sweep's folder by default.
        seed: Of the sampler.
        **how: Fields of :class:`~.driver.Options`: ``jobs``, ``backend``, ``fail_fast``, ``retry_failed``,
            ``budget_h``, ``any_code``.

    Returns:
        Table, best trial, plots and folder.

    Raises:
        ConfigError: Before any run, if a job does not pass the gates.
    """
    options = Options(**how)
    if options.backend not in BACKENDS:
        raise ConfigError(f"backend {options.backend!r}: {did_you_mean(options.backend, BACKENDS)}")
    if options.jobs < 1:
        raise ConfigError(f"jobs={options.jobs}: must be at least 1")
    if options.backend == "process":
        warm()  # imports while the gates are passed
    if resume is not None:
        folder = Path(resume).expanduser().resolve()
        known = load_plan(folder)
        if experiment or override_list(overrides) or any((plan, sampler, pruner, objectives, storage, seed)):
            raise ConfigError("a sweep goes on as it was planned: --resume takes --trials and how to run, nothing else")
        if trials is not None and trials != known.trials:
            _more(known, trials).save(folder)
    else:
        given = {"trials": trials, "sampler": sampler, "pruner": pruner, "objectives": objectives}
        made = make_plan(experiment, override_list(overrides), plan, **given, storage=storage, seed=seed)
        count = check_jobs(made, one_process=options.backend != "slurm")
        folder = new_folder(made.runs_dir, made.experiment)
        made = replace(made, name=folder.name)
        made.save(folder)
        log.info("%d jobs passed the gates; %d trials in %s", count, made.trials, folder)
    driver = Driver(folder, options)
    try:
        try:
            driver.run()
        finally:
            result = SweepResult(folder)
            result.write()
    except Exception as error:
        if not storage_lost(error):
            raise
        reason = str(error).splitlines()[0]
        raise NeurotwinError(
            f"{folder.name}: the sweep's database is locked or gone ({reason}); its runs are kept. When it is back, "
            f"`neurotwin sweep --resume {folder}` goes on"
        ) from error
    if driver.stopped:
        log.warning("stopped: %s; `neurotwin sweep --resume %s` goes on", driver.stopped, folder)
    return result


def export_wandb(
    path: Path, experiment: str | None, overrides: Iterable[str], plan: str | None = None, **given: Any
) -> Path:
    """Write the same sweep as a file for ``wandb sweep``, gates passed.

    Raises:
        ConfigError: If a job does not pass them, or W&B has nothing like it.
    """
    from .wandb_file import wandb_file

    made = make_plan(experiment, list(overrides), plan, **given)
    check_jobs(made)
    write_text(path, wandb_file(made))
    return path


def check_jobs(plan: Plan, one_process: bool = False) -> int:
    """Gates 1 and 2 for every job of a grid, for every choice and end of a search; returns how many.

    Args:
        plan: The sweep.
        one_process: Whether a job is one process; several devices are then refused.

    Raises:
        ConfigError: With the faults of all jobs, each once.
    """
    from ..gates import check_targets

    faults: dict[str, None] = {}
    count = 0
    for job in plan.samples():
        count += 1
        try:
            check_targets(job)
            if one_process and job.config["trainer"].get("devices", 1) not in (1, "1", "auto"):
                raise ConfigError(
                    f"trainer.devices={job.config['trainer']['devices']}: here a job is one process; several are for "
                    "--backend slurm --slurm tasks_per_node=N, or for neurotwin train"
                )
        except NeurotwinError as error:
            faults.update(dict.fromkeys(str(error).splitlines()))
    if faults:
        raise ConfigError("\n".join(faults))
    return count


def _more(plan: Plan, trials: int) -> Plan:
    limit = len(plan.grid) if plan.sampler == "grid" else trials
    if not 1 <= trials <= limit:
        raise ConfigError(f"--trials {trials}: this grid has {limit} points")
    return replace(plan, trials=trials)
