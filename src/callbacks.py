"""The run's own callbacks: its record, its metrics file, and the state that makes resuming exact."""

from __future__ import annotations

import csv
import io
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBar

from .errors import NeurotwinError
from .run_folder import write_text

HEARTBEAT_S = 60.0


class ExactResume(Callback):
    """Random-number state in the checkpoint, so that a resumed run draws what the uninterrupted one would have drawn.

    Lightning's checkpoints hold none. The state is taken when the checkpoint is written, at the end of an epoch, and
    put back before the first loader is built.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors only: checkpoints load with ``weights_only=True``."""
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
        state: dict[str, Any] = {
            "python": random.getstate(),
            "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep for :meth:`on_fit_start`."""
        self._state = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the state back."""
        if self._state is None:
            return
        version, internal, gauss = self._state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, position, has_gauss, cached = self._state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(self._state["torch"])
        if torch.cuda.is_available() and "cuda" in self._state:
            torch.cuda.set_rng_state_all(self._state["cuda"])
        self._state = None


class MetricsFile(Callback):
    """``metrics.csv``: one row an epoch, no clock in it, rows in the checkpoint so that resuming repeats none.

    Args:
        path: The file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows up to the checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append the epoch's row; runs before the checkpoint callbacks, so the checkpoint holds it."""
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if groups:  # none for a model fitted in closed form
            row["lr"] = groups[0]["lr"]
        row.update({name: float(value) for name, value in sorted(trainer.callback_metrics.items())})
        self.rows.append(row)
        if trainer.is_global_zero:
            columns = list(dict.fromkeys(name for row in self.rows for name in row))
            text = io.StringIO()
            writer = csv.DictWriter(text, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(self.path, text.getvalue())


class StopOnNonFinite(Callback):
    """End the run with a clear error when the loss is NaN or infinite: later epochs cannot repair it."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of the step."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor) and not math.isfinite(float(loss)):
            raise NeurotwinError(
                f"the loss is {float(loss)} in epoch {trainer.current_epoch}, batch {batch_idx}: "
                "lower optimizer.lr, set trainer.gradient_clip_val=1, or check the data for NaN"
            )


class Heartbeat(Callback):
    """Touch ``run.json`` now and then, so that another machine sees that the run is alive."""

    def __init__(self, path: Path):
        self.path = path
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """At most one touch a minute."""
        if trainer.is_global_zero and time.monotonic() - self._last > HEARTBEAT_S:
            self._last = time.monotonic()
            self.path.touch()


class Stopped(Callback):
    """Whether the fit ended by itself (early stopping), so that resuming in the test phase does not train on."""

    def __init__(self) -> None:
        self.should_stop = False

    def state_dict(self) -> dict[str, Any]:
        """A single flag."""
        return {"should_stop": self.should_stop}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the flag."""
        self.should_stop = bool(state_dict["should_stop"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop again at once if the checkpoint was written by an epoch that ended the fit."""
        trainer.should_stop = self.should_stop


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` after every epoch, written after every other callback has had its say in that epoch."""

    def __init__(self, folder: Path, stopped: Stopped):
        super().__init__(
            dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False, save_top_k=1
        )
        self._stopped = stopped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning hook."""
        self._stopped.should_stop = bool(trainer.should_stop)
        super().on_train_epoch_end(trainer, pl_module)


def best_checkpoint(folder: Path, metric: str, mode: str) -> ModelCheckpoint:
    """``best.ckpt``: the epoch with the best objective."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor=metric,
        mode=mode,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def progress_bar() -> RichProgressBar:
    """Epoch, ETA and objective on a terminal."""
    return RichProgressBar(leave=False)
