"""Amortised inference: a network that answers a recording with a distribution over the cell's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..contracts import DataSpec, PosteriorModel, Predictions, TraceBatch
from ..errors import ConfigError
from ..metrics.posterior_scores import posterior_scores, ranks, relative_errors, tarp_ranks
from .base import BaseTask

#: Letters that a name of a parameter may have in the rows.
_LETTERS = 24


class PosteriorEstimation(BaseTask):
    """Neural posterior estimation: the mean negative log-density of the true parameters, in the prior's unit.

    Args:
        model: A :class:`~..contracts.PosteriorModel`.
        n_samples: Of each tested posterior, for intervals and ranks.
        **arguments: See :class:`BaseTask`.
    """

    needs = ("parameter_names", "cells with known parameters")

    def __init__(self, model: nn.Module, n_samples: int = 127, **arguments: Any):
        super().__init__(model, **arguments)
        if not isinstance(model, PosteriorModel):
            raise ConfigError(f"task: {type(model).__name__} gives no posterior; choose model=flow_posterior")
        if n_samples < 19:
            raise ConfigError(f"task.n_samples={n_samples}: 90 % intervals need at least 19")
        self.n_samples = n_samples

    def step(self, batch: TraceBatch, stage: str) -> Tensor:
        """Mean negative log-density of a batch."""
        loss = self._nll(batch).mean()
        settings: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": stage != "train"}
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window), **settings)
        return loss

    def _nll(self, batch: TraceBatch) -> Tensor:
        found: Tensor = -cast(PosteriorModel, self.model).posterior(batch.trace).log_prob(batch.parameters)
        return found

    def fit_data(self, batch: TraceBatch) -> tuple[Tensor, Tensor]:
        """Traces and parameters for a model that is fitted in closed form."""
        return batch.trace, batch.parameters

    def predict_rows(self, batch: TraceBatch) -> dict[str, Tensor]:
        """Medians, 90 % intervals and ranks of the truth among samples, in the prior's unit and in the parameters'."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(batch.window[0]))
            samples = cast(PosteriorModel, self.model).posterior(batch.trace).sample((self.n_samples,))
            reference = torch.randn_like(batch.parameters).double().cpu().numpy()
        drawn, truth = samples.double().cpu().numpy(), batch.parameters.double().cpu().numpy()
        # the definition of a quantile by which a calibrated interval covers 90 % whatever the number of samples
        low, median, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0, method="weibull")
        prior = cast(Any, self.trainer).datamodule.prior
        letters = [np.frombuffer(name.encode().ljust(_LETTERS)[:_LETTERS], np.uint8) for name in prior.names]
        found = {
            "low": low,
            "median": median,
            "high": high,
            "truth": truth,
            "rank": ranks(drawn, truth),
            "tarp": tarp_ranks(drawn, truth, reference),
            "value": prior.values(median),
            "value_low": prior.values(low),
            "value_high": prior.values(high),
            "true_value": prior.values(truth),
            "n_samples": np.full(len(truth), self.n_samples),
            "names": np.tile(np.stack(letters), (len(truth), 1, 1)),
        }
        rows = {name: torch.from_numpy(value) for name, value in found.items()}
        return {"window": batch.window, "nll": self._nll(batch), **rows}

    @torch.no_grad()
    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Posterior samples of the cell of each sweep of a file, as NPZ: ``theta``, ``(sample, sweep, parameter)``.

        Args:
            datamodule: Reads ``source`` and writes the samples.
            source: Sweeps under the current that the network was trained for.
            target: Folder for the result.
        """
        traces = datamodule.read(source).to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            samples = cast(PosteriorModel, self.model).posterior(traces).sample((self.n_samples,))
        return [datamodule.write_posterior(target / f"{source.stem}_posterior.npz", samples.double().cpu().numpy())]

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """Errors of conductances and calibration, see :mod:`~..metrics.posterior_scores`."""
        errors = relative_errors(predictions["value"], predictions["true_value"], parameter_names(predictions))
        n_samples = int(predictions["n_samples"][0])
        which = ("low", "high", "truth", "nll")
        parts = [np.asarray(predictions[name], np.float64) for name in which]
        return {**errors, **posterior_scores(predictions["rank"], predictions["tarp"], n_samples, *parts)}

    @classmethod
    def losses(cls, predictions: Predictions) -> dict[str, NDArray[np.float64]]:
        """Negative log-density of every cell's parameters."""
        return {"nll": predictions["nll"].astype(np.float64)}

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Posteriors against the truth, ranks, and expected coverage."""
        from .posterior_figures import draw_all

        return draw_all(folder, self.predictions, parameter_names(self.predictions)) if self.predictions else []

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """A trace in, the centre of the posterior out."""
        return {"trace": torch.full((2, 1, spec.n_times or 1), -65.0)}, "parameters"


def parameter_names(predictions: Predictions) -> list[str]:
    """Names of the parameters, which the rows hold as letters."""
    return [bytes(row).decode().strip() for row in predictions["names"][0].astype(np.uint8)]
