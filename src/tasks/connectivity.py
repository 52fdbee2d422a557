"""Change of functional connectivity between two states, for every pair of regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..contracts import ConnectivityBatch, DataSpec, Predictions, StartedModel
from ..metrics.connectivity_scores import score_connectivity
from .base import BaseTask
from .connectivity_brain import brain_figure
from .connectivity_explain import attributions
from .connectivity_figures import change_figure, explanation_figure
from .connectivity_plots import change_plot
from .connectivity_prediction import write_change


class Connectivity(BaseTask):
    """Mean squared error of the predicted change over all pairs of regions.

    The paper compares networks by this error (Acker et al. 2024). :meth:`score` also measures them against the mean
    change, which needs no network, and against the truth where the data are simulated.

    Args:
        model: Maps baseline connectivity ``(batch, roi, roi)`` to its change ``(batch, roi, roi)``.
        explain: Find which pairs of the baseline drive every tested prediction; costs about nine tests.
        **arguments: See :class:`BaseTask`.
    """

    needs = ("correlations", "matrices of two states")

    def __init__(
        self,
        model: nn.Module,
        explain: bool = False,
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        self.explain = explain

    def on_fit_start(self) -> None:
        """Lightning hook: the closed-form part of a model that has one, from the training people."""
        if isinstance(self.model, StartedModel):
            loader = DataLoader(self.trainer.datamodule.datasets["train"], batch_size=64)  # type: ignore[attr-defined]
            inputs, targets = zip(*map(self.fit_data, loader), strict=True)
            self.model.start_from(torch.cat(inputs).to(self.device), torch.cat(targets).to(self.device))

    def step(self, batch: ConnectivityBatch, stage: str) -> Tensor:
        """Mean squared error of a batch."""
        loss = nn.functional.mse_loss(pairs(self.model(batch.baseline)), pairs(batch.change))
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def fit_data(self, batch: ConnectivityBatch) -> tuple[Tensor, Tensor]:
        """Baselines and changes for a model that is fitted in closed form."""
        return batch.baseline, batch.change

    def predict_rows(self, batch: ConnectivityBatch) -> dict[str, Tensor]:
        """One row a person: predicted, measured, true and mean change of every pair, and what drives them."""
        names = ("change", "true_change", "mean_change", "start", "language", *(["changed"] if self.explain else []))
        rows = {name: pairs(getattr(batch, name)) for name in names}
        if self.explain:
            rows["attribution"] = attributions(self.model, batch.baseline, batch.mean_baseline[0])
        return {"window": batch.window, "predicted": pairs(self.model(batch.baseline)), **rows}

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """See :func:`~neurotwin.metrics.connectivity_scores.score_connectivity`."""
        return score_connectivity(predictions)

    @classmethod
    def losses(cls, predictions: Predictions) -> dict[str, NDArray[np.float64]]:
        """Mean squared error of every person, against the measured and, where it is known, the true change."""
        names = {"mse": "change", "true_mse": "true_change"}
        predicted = np.asarray(predictions["predicted"], dtype=np.float64)
        losses = {name: np.square(predicted - predictions[key]).mean(1) for name, key in names.items()}
        return {name: loss for name, loss in losses.items() if np.isfinite(loss).all()}

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Predict the change for a scan at baseline; see :func:`~.connectivity_prediction.write_change`.

        Args:
            datamodule: Reads and checks ``source`` and estimates its connectivity as that of the training data.
            source: Region time series in a format that the datamodule reads.
            target: Folder for the results.
        """
        names, inputs, start = datamodule.read(source, getattr(self.model, "n_nodes", None))
        people = inputs.unsqueeze(0).to(self.device)
        with torch.no_grad():
            change = self.model(people)[0].cpu()
        reference = datamodule.mean_baseline
        drive = None
        if reference is not None and reference.shape == inputs.shape:  # else a run from before, or another atlas
            drive = attributions(self.model, people, reference.to(self.device))[0].cpu().numpy()
        return write_change(source, names, start.numpy(), change.numpy(), drive, target)

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Change of the tested people by network and on a glass brain, and what drives the predictions."""
        folder.mkdir(parents=True, exist_ok=True)
        rows, networks = self.predictions, datamodule.tested.region_networks
        drawn = [change_figure(rows, networks, folder / "change.png")]
        if "attribution" in rows:
            drawn.append(explanation_figure(rows, networks, folder / "explanation.png"))
        positions = datamodule.tested.region_positions_mm
        if positions is not None:
            drawn.append(brain_figure(rows, positions, networks, folder / "brain.png"))
        return drawn

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Baseline connectivity in, its change out."""
        matrix = torch.randn(2, spec.n_nodes or 1, spec.n_nodes or 1)
        return {"baseline": (matrix + matrix.mT) / 2}, "change"

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """The same matrices, to zoom into."""
        if not self.predictions:
            return {}
        tested = datamodule.tested
        return {"change": change_plot(self.predictions, tested.region_names, tested.region_networks)}


def pairs(matrix: Tensor) -> Tensor:
    """Values above the diagonal, row by row: ``(…, roi, roi)`` to ``(…, pair)``."""
    first, second = torch.triu_indices(matrix.shape[-1], matrix.shape[-1], 1, device=matrix.device)
    return matrix[..., first, second]
