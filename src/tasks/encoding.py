"""Responses of regions to a stimulus, predicted for people who are not in the training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from ..contracts import DataSpec, Predictions, ResponseBatch
from ..metrics.response_scores import score_responses, time_correlation
from .base import BaseTask
from .connectivity_figures import STYLE


class Encoding(BaseTask):
    """Mean squared error of the standardised response; scored by correlation over time.

    Args:
        model: Maps the stimulus ``(batch, time, feature)`` to responses ``(batch, time, roi)``.
        optimizer: See :class:`BaseTask`.
        scheduler: See :class:`BaseTask`.
        objective: See :class:`BaseTask`.
    """

    needs = ("responses", "responses to a stimulus")

    def step(self, batch: ResponseBatch, stage: str) -> Tensor:
        """Mean squared error of a batch."""
        loss = nn.functional.mse_loss(self.model(batch.stimulus), batch.response)
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def fit_data(self, batch: ResponseBatch) -> tuple[Tensor, Tensor]:
        """Stimuli and responses for a model that is fitted in closed form."""
        return batch.stimulus, batch.response

    def predict_rows(self, batch: ResponseBatch) -> dict[str, Tensor]:
        """One row a person: predicted and measured responses."""
        return {"window": batch.window, "predicted": self.model(batch.stimulus), "response": batch.response}

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """See :func:`~neurotwin.metrics.response_scores.score_responses`."""
        return score_responses(predictions)

    @classmethod
    def losses(cls, predictions: Predictions) -> dict[str, NDArray[np.float64]]:
        """One minus the mean correlation of every person's regions."""
        return {"1 - r": 1 - time_correlation(predictions["predicted"], predictions["response"]).mean(1)}

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Correlation of every region, people as dots, and the mean connectivity of the tested people."""
        folder.mkdir(parents=True, exist_ok=True)
        rows, names = self.predictions, datamodule.region_names
        r = time_correlation(rows["predicted"], rows["response"])
        matrix = np.mean([np.corrcoef(series.T) for series in rows["response"]], axis=0)
        with rc_context(STYLE):
            figure = Figure(figsize=(6.4, 2.8), layout="constrained")
            left, right = figure.subplots(1, 2)
            for k, values in enumerate(r.T):
                left.plot(np.full(len(values), k), values, ".", color="C0", alpha=0.4)
                left.plot([k - 0.25, k + 0.25], [values.mean()] * 2, color="0.2")
            left.axhline(0, color="0.6", linewidth=0.6)
            left.set_xticks(range(len(names)), names)
            left.set(ylabel="correlation over time", title="predicted and measured response")
            shown = right.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
            right.set_xticks(range(len(names)), names, rotation=45)
            right.set_yticks(range(len(names)), names)
            right.set_title("correlation between regions, mean")
            figure.colorbar(shown, ax=right, shrink=0.8)
            figure.savefig(folder / "responses.png")
        return [folder / "responses.png"]

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Stimulus in, response out."""
        return {"stimulus": torch.randn(2, spec.n_times or 1, spec.n_channels or 1)}, "response"
