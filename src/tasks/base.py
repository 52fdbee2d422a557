"""The base of every task: one ``step`` for all stages, optimiser from config, predictions that folds can pool."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn

from ..contracts import DataSpec, FittedModel, Predictions
from ..errors import ConfigError
from ..signatures import merged_signature


class BaseTask(LightningModule):
    """Loss, metrics and training algorithm around a plain ``nn.Module``.

    A subclass writes :meth:`step` (loss of a batch, logging included) and, where tests mean more than averages of
    batches, :meth:`predict_rows` and :meth:`score`.

    Args:
        model: The network or dynamical system.
        optimizer: Partial that takes the parameters; ``None`` for models that are fitted in closed form.
        scheduler: Partial that takes the optimiser. A scheduler with a ``total_steps`` argument left open gets the
            number of optimiser steps of the whole fit and is stepped every batch, others every epoch.
        objective: Metric that a scheduler may watch.
    """

    __signature__: ClassVar[inspect.Signature]

    #: Names that :meth:`step` logs, checked against ``objective.metric`` before the first epoch.
    logged_metrics: ClassVar[frozenset[str]] = frozenset({"train/loss", "val/loss", "test/loss"})
    #: Attribute that the datamodule must have, and what it stands for in words: other data are refused.
    needs: ClassVar[tuple[str, str] | None] = None
    #: Whether the training loss means the same in every epoch. In a curriculum it does not, and may rise without fault.
    comparable_losses: bool = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        objective: str | None = "val/loss",
    ):
        super().__init__()
        self.model = model
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._objective = objective
        self._rows: list[dict[str, Tensor]] = []
        self._collected: list[tuple[Tensor, Tensor]] = []
        self.automatic_optimization = not isinstance(model, FittedModel)
        self.predictions: dict[str, np.ndarray] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show a subclass's own arguments and the inherited ones in one signature, for the checks of a config."""
        super().__init_subclass__(**kwargs)
        cls.__signature__ = merged_signature(cls)

    @classmethod
    def check_data(cls, datamodule: Any) -> None:
        """Refuse data of another kind.

        Raises:
            ConfigError: If the datamodule lacks what :attr:`needs` names.
        """
        if cls.needs is not None and not hasattr(datamodule, cls.needs[0]):
            raise ConfigError(f"{cls.__name__} needs {cls.needs[1]}, which {type(datamodule).__name__} has not")

    def setup(self, stage: str) -> None:
        """Lightning hook: refuse data of another kind."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None:
            self.check_data(datamodule)

    def step(self, batch: Any, stage: str) -> Tensor:
        """Loss of one batch; logs with ``batch_size=``. ``stage`` is ``train``, ``val`` or ``test``."""
        raise NotImplementedError

    def predict_rows(self, batch: Any) -> dict[str, Tensor]:
        """One row a test item: tensors of equal first dimension, ``window`` (unique item id) among them."""
        return {}

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """Test metrics from the rows of one fold, or of all folds concatenated. Pure NumPy, no state."""
        return {}

    @classmethod
    def losses(cls, predictions: Predictions) -> Mapping[str, np.ndarray]:
        """Losses of every test item, ``(item,)``, by name, for paired comparisons between rows of a paper."""
        return {}

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Draw the figures of a tested run from ``self.predictions`` into ``folder``; returns their paths."""
        return []

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Named inputs of the model, batch first, two items each, and a name for its output, for `neurotwin export`.

        Args:
            spec: Of the training data.
        """
        raise ConfigError(f"{type(self).__name__}: models of this task are not exported")

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """Interactive figures of a tested run by name, made with :mod:`~neurotwin.plotting` from ``self.predictions``.

        One that bears the name of a PNG of :meth:`figures` is shown in its place.
        """
        return {}

    def fit_data(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a batch for a :class:`FittedModel`."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Lightning hook. A model that is fitted in closed form only collects here."""
        if isinstance(self.model, FittedModel):
            self._collected.append(self.fit_data(batch))
            return None
        return self.step(batch, "train")

    def on_validation_start(self) -> None:
        """Fit a closed-form model once all training batches have been seen, before it is validated."""
        self._fit_collected()

    def on_train_epoch_end(self) -> None:
        """The same where there is no validation; one epoch is all that such a model needs."""
        self._fit_collected()
        if isinstance(self.model, FittedModel):
            self.trainer.should_stop = True

    def _fit_collected(self) -> None:
        if isinstance(self.model, FittedModel) and self._collected:
            inputs, targets = (torch.cat(part) for part in zip(*self._collected, strict=True))
            self._collected = []
            self.model.fit(inputs, targets)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Lightning hook."""
        self.step(batch, "val")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning hook: what the task chose on validation data goes with the weights that it was chosen for.

        A callback that averages weights puts its copy of the task here and hands the task its own weights back before
        ``on_validation_epoch_end``, so that its copy of what is chosen there (a threshold, a cut) is an epoch old.
        """
        own = {name: value for name, value in self.named_buffers() if not name.startswith("model.")}
        known = checkpoint["state_dict"]
        known.update({name: value.detach().clone() for name, value in own.items() if name in known})

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Lightning hook: the loss, and the rows kept for :meth:`score`."""
        self.step(batch, "test")
        rows = self.predict_rows(batch)
        if rows:
            self._rows.append({name: value.detach().cpu() for name, value in rows.items()})

    def on_test_epoch_start(self) -> None:
        """Lightning hook."""
        self._rows = []

    def on_test_epoch_end(self) -> None:
        """Pool the rows of all batches and ranks; every item counts once."""
        if not self._rows:
            return
        self.predictions = gather(self._rows)
        self._rows = []

    def configure_optimizers(self) -> Any:
        """Build the optimiser and the scheduler from their partials."""
        if self._optimizer is None:
            return None
        optimizer = self._optimizer([p for p in self.parameters() if p.requires_grad])
        if self._scheduler is None:
            return optimizer
        arguments = inspect.signature(self._scheduler).parameters
        given = getattr(self._scheduler, "keywords", {})
        if "total_steps" in arguments and given.get("total_steps") is None:
            scheduler = self._scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
            interval = "step"
        else:
            scheduler, interval = self._scheduler(optimizer), "epoch"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": self._objective or "train/loss"},
        }


def gather(rows: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The rows of all batches and, in a distributed run, of all ranks; every item counts once."""
    parts: list[dict[str, np.ndarray]] = [{name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        local, parts = parts[0], [{}] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, local)
    return pool(parts)


def pool(parts: list[Mapping[str, np.ndarray]] | list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate prediction rows, sort by ``window`` and drop items that a distributed sampler gave twice."""
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "window" not in rows:
        return rows
    _, first = np.unique(rows["window"], return_index=True)
    return {name: value[first] for name, value in rows.items()}
