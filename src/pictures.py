"""The task's figures of the validation part while it trains: into the run folder, to TensorBoard and W&B."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from .tasks.base import BaseTask, pool

log = logging.getLogger("neurotwin")


class Pictures(Callback):
    """Draw what the task draws after the test, of the validation items, every few epochs.

    Random numbers are left as they were, so the trained weights are those of a run without pictures. A figure that
    cannot be drawn is a warning, never the end of a run.

    Args:
        every_n_epochs: Among the epochs that validate, those whose number (from 1) this divides.
    """

    def __init__(self, every_n_epochs: int = 5):
        self.every_n_epochs = max(1, every_n_epochs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning hook."""
        epoch = trainer.current_epoch + 1
        due = not trainer.sanity_checking and epoch % self.every_n_epochs == 0
        if not due or not trainer.is_global_zero or not isinstance(pl_module, BaseTask):
            return
        folder = Path(trainer.default_root_dir) / "figures" / f"epoch-{epoch:04d}"
        before = pl_module.predictions
        try:
            with isolate_rng(), torch.no_grad():
                pl_module.predictions = self._predict(trainer, pl_module)
                folder.mkdir(parents=True, exist_ok=True)
                paths = pl_module.figures(folder, trainer.datamodule)  # type: ignore[attr-defined]
            for path in paths:
                self._send(trainer, path)
        except Exception as error:
            log.warning("no pictures of epoch %d: %s: %s", epoch, type(error).__name__, error)
        finally:
            pl_module.predictions = before

    def _predict(self, trainer: Trainer, task: BaseTask) -> dict[str, np.ndarray]:
        """Rows of all validation items, as a test would keep them."""
        loaders: Any = trainer.val_dataloaders
        parts = []
        for batch in loaders[0] if isinstance(loaders, list) else loaders:
            rows = task.predict_rows(trainer.strategy.batch_to_device(batch, dataloader_idx=0))
            parts.append({name: value.detach().cpu().numpy() for name, value in rows.items()})
        return pool(parts)

    def _send(self, trainer: Trainer, path: Path) -> None:
        name = f"pictures/{path.stem}"
        logger: Any
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):  # W&B
                logger.log_image(name, [str(path)], step=trainer.global_step)
            elif hasattr(logger.experiment, "add_image"):  # TensorBoard
                logger.experiment.add_image(name, _read(path), trainer.global_step, dataformats="HWC")


def _read(path: Path) -> Any:
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).astype(np.uint8)
