"""The run's own callbacks: its state for exact resuming, its checkpoints, its heartbeat, its progress bar."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from .files import replaced, write_text

HEARTBEAT_S = 60.0


class RunState(Callback):
    """What a resumed run needs beyond Lightning's checkpoint to end as if it had never been stopped.

    Lightning's checkpoints hold no random-number state, no history and not whether the fit had ended by itself, and
    they are written before a plateau scheduler steps. All of it is kept here; :class:`LastCheckpoint` records an epoch
    and writes the checkpoint after every other callback has had its say.

    Args:
        path: ``metrics.csv``: one row an epoch, no clock in it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.should_stop = False
        self._validated = False
        self._random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors only: checkpoints load with ``weights_only=True``."""
        return {"rows": self.rows, "should_stop": self.should_stop, "random": random_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self.should_stop = bool(state_dict["should_stop"])
        self._random = state_dict["random"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop again at once if the checkpoint was written by an epoch that ended the fit."""
        trainer.should_stop = self.should_stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the random-number state back, then draw the loader's order from it as an unbroken run would.

        Building the loaders and some schedulers draws numbers, so an earlier hook would be too early; the iterator that
        Lightning has made by now drew from the wrong state and is made again.
        """
        if self._random is None:
            return
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.monitor in self.rows[-1]:
                config.scheduler.step(self.rows[-1][config.monitor])  # type: ignore[arg-type]
        set_random_state(self._random)
        self._random = None
        iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation scores of its own."""
        self._validated = not trainer.sanity_checking

    def record(self, trainer: Trainer) -> None:
        """Append the epoch's row."""
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if groups:  # none for a model fitted in closed form
            row["lr"] = groups[0]["lr"]
        scores = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row.update({n: v for n, v in scores.items() if self._validated or not n.startswith("val/")})
        self._validated = False
        self.rows.append(row)
        self.should_stop = bool(trainer.should_stop)
        if trainer.is_global_zero:
            columns = list(dict.fromkeys(name for row in self.rows for name in row))
            text = io.StringIO()
            writer = csv.DictWriter(text, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(self.path, text.getvalue())


class Heartbeat(Callback):
    """Note now and then in ``run.json`` what the run has cost so far; another machine sees that it is alive.

    Args:
        beat: Called at most once a minute and at the end of every epoch.
    """

    def __init__(self, beat: Callable[[], None]):
        self._beat = beat
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Training."""
        self._maybe(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Validation."""
        self._maybe(trainer)
        _obey(trainer)

    def on_test_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Test."""
        self._maybe(trainer)
        _obey(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What it has cost is then known to the epoch."""
        if trainer.is_global_zero:
            self._beat()

    def _maybe(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and time.monotonic() - self._last > HEARTBEAT_S:
            self._last = time.monotonic()
            self._beat()


def _obey(trainer: Trainer) -> None:
    """End at a SIGTERM: Lightning looks for it after training batches only."""
    if trainer.received_sigterm and trainer.world_size == 1:  # ranks would have to agree
        raise SIGTERMException


class _Checkpoint(ModelCheckpoint):
    """A checkpoint that may move with its run folder: the best score is kept when the folder's path has changed."""

    def state_dict(self) -> dict[str, Any]:
        """File names only: a checkpoint that is shared does not say where it was written."""
        state: dict[str, Any] = {
            name: Path(value).name if name == "dirpath" or (name.endswith("_path") and value) else value
            for name, value in super().state_dict().items()
        }
        return {**state, "best_k_models": {Path(path).name: score for path, score in state["best_k_models"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the paths of the checkpoint for those of today's folder."""
        folder = Path(str(self.dirpath))
        moved = {
            name: str(folder / Path(value).name) if isinstance(value, str) and value else value
            for name, value in state_dict.items()
            if name.endswith("_path")
        }
        best = {str(folder / Path(path).name): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})


class LastCheckpoint(_Checkpoint):
    """``last.ckpt`` after every epoch.

    Args:
        folder: Where to write it.
        state: Records the epoch first, so that the checkpoint holds it.
    """

    def __init__(self, folder: Path, state: RunState):
        super().__init__(
            dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False, save_top_k=1
        )
        self._state = state

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning hook."""
        self._state.record(trainer)
        super().on_train_epoch_end(trainer, pl_module)


def best_checkpoint(folder: Path, metric: str, mode: str) -> ModelCheckpoint:
    """``best.ckpt``: the epoch with the best objective."""
    return _Checkpoint(
        dirpath=folder,
        filename="best",
        monitor=metric,
        mode=mode,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


class AtomicCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its target and rename it: a kill in between leaves the old one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save, flush to disk, rename."""
        with replaced(Path(path)) as file:
            torch.save(checkpoint, file)


class ProgressBar(RichProgressBar):
    """Epoch, ETA and objective on a terminal.

    Args:
        metric: The objective, if there is one.
    """

    def __init__(self, metric: str | None):
        super().__init__(leave=False)
        self._metric = metric

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Lightning's, and the objective as it last was."""
        shown: dict[str, Any] = dict(super().get_metrics(trainer, pl_module))
        shown.pop("v_num", None)
        if self._metric in trainer.callback_metrics:
            shown[str(self._metric)] = float(trainer.callback_metrics[str(self._metric)])
        return shown


def random_state() -> dict[str, Any]:
    """The state of all generators, in plain containers and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`random_state` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
