"""Task activation of every region, predicted from resting connectivity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from ..contracts import ActivationBatch, DataSpec, Predictions
from ..metrics.activation_scores import row_correlation, score_activation
from .base import BaseTask
from .connectivity_figures import STYLE


class Activation(BaseTask):
    """Mean squared error of the predicted activation over all regions (after Tavor et al. 2016).

    Args:
        model: Maps connectivity ``(batch, roi, roi)`` to activation ``(batch, roi)``.
        own_activity: Give the model messages instead, connectivity times the activation of the region that sends, so
            that it sees the person's activation in all regions but the one predicted (Cole et al. 2016).
        **arguments: See :class:`BaseTask`.
    """

    needs = ("activations", "activation of regions")

    def __init__(
        self,
        model: nn.Module,
        own_activity: bool = False,
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        self.own_activity = own_activity

    def inputs(self, batch: ActivationBatch) -> Tensor:
        """What the model sees, ``(batch, roi, roi)``."""
        return batch.connectivity * batch.activation.unsqueeze(-1) if self.own_activity else batch.connectivity

    def step(self, batch: ActivationBatch, stage: str) -> Tensor:
        """Mean squared error of a batch."""
        loss = nn.functional.mse_loss(self.model(self.inputs(batch)), batch.activation)
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def fit_data(self, batch: ActivationBatch) -> tuple[Tensor, Tensor]:
        """Inputs and activations for a model that is fitted in closed form."""
        return self.inputs(batch), batch.activation

    def predict_rows(self, batch: ActivationBatch) -> dict[str, Tensor]:
        """One row a person: predicted, measured and mean activation of every region."""
        known = {"activation": batch.activation, "mean_activation": batch.mean_activation}
        return {"window": batch.window, "predicted": self.model(self.inputs(batch)), **known}

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """See :func:`~neurotwin.metrics.activation_scores.score_activation`."""
        return score_activation(predictions)

    @classmethod
    def losses(cls, predictions: Predictions) -> dict[str, NDArray[np.float64]]:
        """Mean squared error of every person."""
        error = np.asarray(predictions["predicted"], dtype=np.float64) - predictions["activation"]
        return {"mse": np.square(error).mean(1)}

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Mean pattern of the tested people, predicted and measured, and how well each person's deviation is met."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.predictions
        predicted, measured, mean = (rows[name] for name in ("predicted", "activation", "mean_activation"))
        with rc_context(STYLE):
            figure = Figure(figsize=(6.2, 2.8), layout="constrained")
            pattern, single = figure.subplots(1, 2)
            pattern.scatter(predicted.mean(0), measured.mean(0), s=5, alpha=0.5, linewidths=0)
            limits = [float(min(predicted.mean(0).min(), measured.mean(0).min())), float(measured.mean(0).max())]
            pattern.plot(limits, limits, color="0.5", linewidth=0.8)
            pattern.set(xlabel="predicted", ylabel="measured", title="activation of each region, mean over people")
            r = np.sort(row_correlation(np.asarray(predicted - mean, float), np.asarray(measured - mean, float)))
            single.bar(np.arange(1, len(r) + 1), r, color="C0")
            single.axhline(0, color="0.3", linewidth=0.6)
            single.set(xlabel="person, sorted", ylabel="correlation over regions", title="deviation from the mean")
            figure.savefig(folder / "activation.png")
        return [folder / "activation.png"]

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Connectivity in, activation out."""
        matrix = torch.randn(2, spec.n_nodes or 1, spec.n_nodes or 1)
        return {"connectivity": (matrix + matrix.mT) / 2}, "activation"
