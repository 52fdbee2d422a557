"""The one trainer loop: build, fit, test, record. Whatever the twin, it goes through :func:`train`."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from . import callbacks as own
from . import loggers, ranks
from .code_version import code_hash
from .config import Composed, compose, expand, instantiate, recorded
from .contracts import DataSpec
from .errors import ConfigError, NeurotwinError
from .files import replaced, unwritable, write_json, write_text
from .gates import Pieces, build, check_targets
from .numerical_health import NumericalHealth
from .plotting import save as save_plots
from .provenance import new_record, now, process_identity
from .run_folder import LockedError, Run, claim, load_run, locked, remove_drafts
from .run_log import Meter, log_file, quiet

log = logging.getLogger("neurotwin")


def train(experiment: str, overrides: Mapping[str, Any] | Iterable[str] = (), *, debug: bool = False) -> Run:
    """Train and test an experiment.

    Args:
        experiment: ``paper/row`` as ``neurotwin list`` prints it.
        overrides: ``["optimizer.lr=1e-3"]`` in Hydra's grammar, or ``{"optimizer.lr": 1e-3}``.
        debug: Two batches of everything, one epoch.

    Returns:
        The run: ``run.metrics``, ``run.figures``, ``run.path``, ``run.model``.

    Raises:
        ConfigError: Before the first epoch, if one of the gates is not passed.
        DataError: If data are missing or unreadable.
    """
    composed = compose(experiment, overrides)
    if debug:
        composed = compose(experiment, [*composed.overrides, "debug=fast"])
    return launch(composed)


def train_many(experiment: str, overrides: Iterable[str]) -> list[Run | None]:
    """Multirun: every combination of swept values, one after the other. All jobs pass gates 1 and 2 before any starts.

    A job that fails is recorded as failed, does not stop the others and is None in the result.
    """
    jobs = [compose(experiment, job) for job in expand(list(overrides))]
    for job in jobs:
        check_targets(job)
        if job.config["trainer"].get("devices", 1) not in (1, "1", "auto"):
            raise ConfigError("-m runs its jobs in one process: launch distributed jobs one by one")
    done: list[Run | None] = []
    for number, job in enumerate(jobs, 1):
        log.info("job %d of %d: %s", number, len(jobs), " ".join(job.overrides))
        try:
            done.append(launch(job))
        except Exception as error:
            log.error("job %d of %d failed: %s: %s", number, len(jobs), type(error).__name__, error)
            done.append(None)
    return done


def resume(run: Run | str | Path, callbacks: Sequence[Callback] = ()) -> Run:
    """Go on with an interrupted or failed run from its last completed epoch; the result is that of an unbroken run.

    Args:
        run: A run or its folder.
        callbacks: As for :func:`launch`.

    Raises:
        NeurotwinError: If the run still runs, or its data have changed since.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if run.status == "finished":
        return run
    if run.status == "running" and not ranks.follower():
        raise NeurotwinError(f"{run.path.name} is still running (process {run.record['process']['pid']})")
    return launch(recorded_config(run), run, callbacks)


def evaluate(run: Run | str | Path, split: str = "test") -> dict[str, float]:
    """Score a trained run's checkpoint on a split; written to ``evaluation_<split>.json``.

    Args:
        run: A run or its folder.
        split: ``train``, ``val`` or ``test``.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split={split!r}: choose from train, val, test")
    composed = recorded_config(run)
    pieces = prepare(composed)
    _load_weights(pieces, run.checkpoint())
    pieces.datamodule.setup("test")
    loader = getattr(pieces.datamodule, f"{split}_dataloader")()
    if loader is None or (isinstance(loader, list) and not loader):
        raise ConfigError(f"{run.path.name} has no {split} split")
    if run.status != "finished":
        log.warning("%s is %s: this is its last completed epoch", run.path.name, run.status)
    pieces.datamodule.test_dataloader = lambda: loader  # tasks look at the datamodule too
    with quiet():
        trainer = make_trainer(composed, run.path, [], logger=False)
        metrics = _test(trainer, pieces)
    write_json(run.path / f"evaluation_{split}.json", metrics)
    return metrics


def load_task(run: Run) -> Any:
    """The trained task of a run, in evaluation mode, with its (not set up) datamodule as ``task.datamodule``.

    Needs the checkpoint only, not the training data.
    """
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in run.record["spec"].items()}
    spec = DataSpec(**known)
    composed = recorded_config(run)
    check_targets(composed)
    with quiet():
        pieces = build(composed, spec=spec)
    _load_weights(pieces, run.checkpoint())
    pieces.task.datamodule = pieces.datamodule
    return pieces.task.eval()


def draw_plots(run: Run) -> None:
    """Draw a tested run's interactive figures from its kept predictions into its ``figures/``; needs the data."""
    predictions = run.predictions
    with quiet():
        task = load_task(run)
        task.datamodule.setup("test")
    task.predictions = predictions
    save_plots(task.plots(task.datamodule), run.path / "figures")


def launch(composed: Composed, run: Run | None = None, callbacks: Sequence[Callback] = ()) -> Run:
    """Run a checked configuration in a new folder, or go on in the folder of ``run``.

    Args:
        composed: What to run.
        run: The run to go on with.
        callbacks: Besides those of the configuration; they must not change the result, or must end the run by an
            exception whose ``run_status`` is then the run's status.
    """
    ranks.join(composed.config["trainer"])
    meter = Meter((run.record.get("cost") or {}) if run else {})
    pieces = prepare(composed)
    leader = not ranks.follower()
    folder = ranks.told(lambda: os.environ.get(ranks.RUN_DIR) or str(_opened(composed, pieces, run).path))
    run = run if run is not None and str(run.path) == folder else load_run(folder)
    os.environ[ranks.RUN_DIR] = folder
    lock = locked(run.path) if leader else nullcontext()
    try:
        with lock, log_file(run.path / "train.log"), quiet():
            if leader:
                remove_drafts(run.path)
                run.update(status="running", process=process_identity(), resumed=_resumed(run), error=None)
            callbacks = [own.Heartbeat(lambda: run.update(cost=meter.read())), *callbacks]
            with loggers.opened(composed.config["logger"].values() if leader else (), run.path) as opened:
                metrics = _fit_and_test(composed, pieces, run, leader, callbacks, opened)
            if leader:  # still under the lock: who takes it next must find the run finished
                write_json(run.path / "metrics.json", metrics)
                run.__dict__.pop("metrics", None)
                run.update(status="finished", ended=now(), cost=meter.read())
    except LockedError:
        raise
    except BaseException as error:
        if leader:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit | SIGTERMException)
            with suppress(OSError):  # a full disk takes no record; the dead process then tells the status
                run.update(
                    status="interrupted" if interrupted else getattr(error, "run_status", "failed"),
                    error=f"{type(error).__name__}: {error}".strip(": "),
                    ended=now(),
                    cost=meter.read(),
                )
                write_text(run.path / "error.txt", traceback.format_exc())
        if isinstance(error, SIGTERMException):
            raise SystemExit(143) from None
        if isinstance(error, SystemExit):  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        if unwritable(error):
            raise NeurotwinError(
                f"{run.path}: cannot be written ({error}); then `neurotwin resume {run.path.name}` goes on"
            ) from error
        raise
    finally:
        if leader:
            os.environ.pop(ranks.RUN_DIR, None)
    return run


def _opened(composed: Composed, pieces: Pieces, run: Run | None) -> Run:
    """The run's folder: a new one, with its record, or that of ``run`` if it can be gone on with."""
    config, fingerprint = composed.config, pieces.datamodule.fingerprint()
    if run is None:
        run = Run(claim(config["runs_dir"], composed.experiment, config["seed"]))
        write_text(run.path / "config.yaml", composed.to_yaml())
        write_text(run.path / "overrides.txt", "\n".join(composed.overrides) + "\n")
        record = new_record(composed.experiment, config["seed"], composed.hash, composed.overrides)
        if config["trainer"].get("accelerator") != "cpu" and torch.cuda.is_available():
            record["device"] = torch.cuda.get_device_name()
        spec = asdict(pieces.datamodule.spec)  # written in one go: a kill in between would leave half a record
        run.update(**record, data=fingerprint, spec=spec, parameters=_size(pieces.model), code=code_hash(config))
    elif run.record.get("data") != fingerprint:
        raise NeurotwinError(
            f"{run.path.name}: the data changed since the run began (fingerprint {run.record.get('data')} then, "
            f"{fingerprint} now); restore them, or train anew"
        )
    return run


def _fit_and_test(
    composed: Composed,
    pieces: Pieces,
    run: Run,
    leader: bool,
    callbacks: Sequence[Callback],
    opened: Sequence[Logger],
) -> dict[str, float]:
    config, folder = composed.config, run.path
    checkpoints = folder / "checkpoints"
    metric = config["objective"]["metric"]
    if config["compile"]:
        pieces.model.compile()  # in place: the state dict keeps its names
    state = own.RunState(folder / "metrics.csv")
    configured = [instantiate(node) for node in config["callbacks"].values()]
    health = next((c for c in configured if isinstance(c, NumericalHealth)), None) or NumericalHealth()
    if leader:
        health.tell = lambda text: run.update(warnings=[*run.record.get("warnings", []), text])
    used: list[Any] = [state, health, *callbacks, *(c for c in configured if c is not health)]
    best = own.best_checkpoint(checkpoints, metric, config["objective"]["mode"]) if metric else None
    used += [best] if best else []
    used += [own.LastCheckpoint(checkpoints, state)]
    if sys.stdout.isatty():
        used.append(own.ProgressBar(metric))
    trainer = make_trainer(composed, folder, used, logger=list(opened) or False)
    last = checkpoints / "last.ckpt"
    if last.exists():
        read_checkpoint(last)  # a damaged one is better named here than in the middle of Lightning
    trainer.fit(pieces.task, datamodule=pieces.datamodule, ckpt_path=last if last.exists() else None, weights_only=True)
    if not last.exists():  # a model fitted in closed form takes no optimiser step, for which Lightning saves nothing
        trainer.save_checkpoint(last, weights_only=False)
    if leader and best is not None and best.best_model_score is not None:
        run.update(objective={"metric": metric, "value": float(best.best_model_score)})
    _load_weights(pieces, run.checkpoint(config["checkpoint"]))
    metrics = _test(trainer, pieces)
    if leader:
        with replaced(folder / "predictions" / "test.npz") as file:
            np.savez_compressed(file, **pieces.task.predictions)
        if config["figures"]:
            pieces.task.figures(folder / "figures", pieces.datamodule)
            save_plots(pieces.task.plots(pieces.datamodule), folder / "figures")
    return metrics


def _test(trainer: Trainer, pieces: Pieces) -> dict[str, float]:
    """The averages that the task logs, then the scores of its pooled predictions, in this order."""
    logged = trainer.test(pieces.task, datamodule=pieces.datamodule, verbose=False, weights_only=True)
    if trainer.received_sigterm:  # in the last batch, after which Lightning does not look
        raise SIGTERMException
    scores = pieces.task.score(pieces.task.predictions) if pieces.task.predictions else {}
    averages = {name: float(value) for name, value in (logged[0] if logged else {}).items()}
    return {**averages, **{f"test/{name}": float(value) for name, value in scores.items()}}


def make_trainer(composed: Composed, folder: Path, used: list[Any], logger: Any) -> Trainer:
    """Lightning's trainer with a configuration's settings.

    Args:
        composed: The configuration.
        folder: The run folder.
        used: Callbacks; without any nothing is kept.
        logger: Loggers, or False.
    """
    settings = dict(composed.config["trainer"])
    settings.setdefault("enable_progress_bar", sys.stdout.isatty() and bool(used))
    settings.setdefault("enable_model_summary", False)
    return instantiate(
        settings,
        callbacks=used,
        logger=logger,
        plugins=[own.AtomicCheckpoints()],
        default_root_dir=str(folder),
        enable_checkpointing=bool(used),
    )


def recorded_config(run: Run) -> Composed:
    """The configuration that a run was started with."""
    return recorded(run.experiment, run.path / "config.yaml", run.record.get("overrides", ()))


def _load_weights(pieces: Pieces, path: Path) -> None:
    state = read_checkpoint(path)
    try:
        pieces.task.load_state_dict(state["state_dict"])
    except Exception as error:
        raise NeurotwinError(f"{path}: not a checkpoint of this run ({type(error).__name__}: {error})") from error
    if data_state := state.get(type(pieces.datamodule).__qualname__):
        pieces.datamodule.load_state_dict(data_state)


def prepare(composed: Composed) -> Pieces:
    """Threads, seeds and the pieces, the same for training and for evaluation."""
    check_targets(composed)
    config = composed.config
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    with quiet():
        pieces = build(composed, seed=lambda: seed_everything(config["seed"], workers=True, verbose=False))
        seed_everything(config["seed"], workers=True, verbose=False)
    return pieces


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, tensors and plain values only.

    Raises:
        NeurotwinError: If it is damaged, or holds anything else.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise NeurotwinError(f"{path}: damaged, or no checkpoint ({type(error).__name__}); train anew") from error


def _resumed(run: Run) -> int:
    """How many times the run was started again."""
    count = run.record.get("resumed")
    return 0 if count is None else count + 1


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
