"""Assimilation: all parameters of a neuron from its voltage, by a recursion that lets go of the recording step by step.

Each pass minimises, by Levenberg-Marquardt with exact forward sensitivities,

    J(θ) = mean (V_k(θ) - V_obs,k)² + prior · mean z²,    C dV/dt = I/S - Σ I_j + u C (V_obs - V)

over all windows, conditions and starts at once; ``u`` falls from pass to pass to 0 (:mod:`.recursion`), ``z`` are the
box coordinates of the parameters. Unlike in Wells et al. 2025 the states are no unknowns of their own: they follow from
θ and, in the lead before each window, from the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..biophysics.conductance import Neuron
from ..biophysics.simulate import Followed, follow, resting_voltage
from ..contracts import ClampBatch, ClampRecording, EstimatedNeuron, Predictions
from ..errors import ConfigError
from ..metrics.clamp_scores import SMALLEST_SHARE, coincidence, current_errors, drug_scores, spike_times
from .base import BaseTask
from .laplace import correlation_time, directions
from .levenberg import LevenbergMarquardt, Normal
from .recursion import Nudging, Pinning

Array = NDArray[np.float64]
#: Two sweeps repeat a protocol if their injected currents differ by less (root mean square), as a share of their size.
SAME_CURRENT = 0.02


class Assimilation(BaseTask):
    """Fit a :class:`~..models.conductance.ConductanceModel` to recordings of one neuron.

    An epoch is a pass of the recursion. The start with the lowest cost predicts: freely beyond the fitted window, and,
    drawn weakly to the recording, its ionic currents. The posterior is Laplace's from the same normal equations; the
    noise is that of the residual, and the number of samples is divided by the residual's correlation time.

    Args:
        model: The neuron, its starts and conditions.
        recursion: See :mod:`.recursion`.
        iterations: At most so many steps a pass.
        prior: Weight of the parameters' distance from the middle of their box, mV².
        readout_gain: Coupling to the recording when currents are read out, 1/ms.
        lead_gain: Least coupling to the recording in the lead before a window, 1/ms. A finite one averages the noise of
            the readings from which a free run starts; ``inf`` starts it at the last reading.
        at_rest: Whether the neuron rested under the first current where the lead of a fitted window begins. It then
            starts at the rest that the parameters imply, not at the readings, and is as free in its lead as after it.
        refine: Passes with ``u`` = 0 extrapolate the voltage from ``refine`` and twice ``refine`` integration steps for
            each of the model's, with the sensitivities of the former; 0: they take the model's steps.
        tied_tolerance: The optimiser's tolerance in passes with ``u`` > 0, which need no exact minimum.
        **arguments: See :class:`BaseTask`.
    """

    needs = ("conditions", "recordings under current clamp")
    comparable_losses = False  # each pass minimises another cost
    logged_metrics: ClassVar[frozenset[str]] = frozenset({"train/loss", "val/loss", "val/rms_mv", "test/loss"})
    best: Tensor
    costs: Tensor
    covariance: Tensor

    def __init__(
        self,
        model: nn.Module,
        recursion: Nudging | Pinning | None = None,
        iterations: int = 100,
        prior: float = 1e-5,
        readout_gain: float = 1.0,
        lead_gain: float = 1.0,
        at_rest: bool = False,
        refine: int = 0,
        tied_tolerance: float | None = None,
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        if not isinstance(model, EstimatedNeuron):
            raise ConfigError(f"task: {type(model).__name__} is no conductance-based neuron; choose model=hippocampal")
        if iterations < 1 or prior < 0 or lead_gain <= 0 or refine < 0:
            raise ConfigError(
                f"task.iterations={iterations}, task.prior={prior:g}, task.lead_gain={lead_gain:g}, "
                f"task.refine={refine}: at least 1, not below 0, above 0, not below 0"
            )
        self.automatic_optimization = False
        self.recursion = recursion or Nudging()
        self.iterations, self.prior = iterations, prior
        self.readout_gain, self.lead_gain = readout_gain, lead_gain
        self.at_rest, self.refine, self.tied_tolerance = at_rest, refine, tied_tolerance
        self.neuron: Neuron = model.neuron
        self.estimated = cast(EstimatedNeuron, model)
        n = sum(p[0].numel() for p in model.parameters())
        self.register_buffer("best", torch.tensor(0))
        self.register_buffer("costs", torch.full((model.n_starts,), torch.inf, dtype=torch.float64))
        self.register_buffer("covariance", torch.zeros(n, n, dtype=torch.float64))
        free = {name: column for column, name in enumerate(self.neuron.free)}
        self._free = np.array([free.get(name, -1) for name in self.neuron.names])
        held = [p for p in self.neuron.conductances if self._free[p] < 0]  # known, but a drug may still block them
        self._columns = self._free.copy()
        self._columns[held] = len(free) + np.arange(len(held))
        self._g = self._columns[list(self.neuron.conductances)]

    def configure_optimizers(self) -> Any:
        """The optimiser, with the bounds of the unknowns."""
        if self._optimizer is None:
            raise ConfigError("optimizer: an assimilation needs one; optimizer=levenberg_marquardt")
        bounds = self.estimated.bounds
        groups = [{"params": [p], **bounds[name]} for name, p in self.model.named_parameters()]
        return self._optimizer(groups)

    @property
    def _optimiser(self) -> LevenbergMarquardt:
        optimizer = cast(Any, self.optimizers()).optimizer
        if not isinstance(optimizer, LevenbergMarquardt):
            raise ConfigError(f"optimizer: {type(optimizer).__name__} cannot assimilate; optimizer=levenberg_marquardt")
        return optimizer

    def training_step(self, batch: ClampBatch, batch_idx: int) -> Tensor:
        """All iterations of a pass over all windows; every start tries again, from where it is."""
        optimiser, wrapped = self._optimiser, cast(Any, self.optimizers())
        gain = self.recursion.gain(self.current_epoch, int(batch.voltage.shape[1] - batch.lead[0]))
        optimiser.restart(self.tied_tolerance if gain.any() else None)
        taken = 0
        while optimiser.active.any() and taken < self.iterations:
            wrapped.step(closure=lambda: self._normal(batch, gain, optimiser.active))
            taken += 1
        assert optimiser.normal is not None
        self.costs.copy_(optimiser.normal.cost)
        self.best.fill_(int(torch.nan_to_num(self.costs, nan=torch.inf).argmin()))
        self._update_posterior(batch, gain, optimiser)
        loss = self.costs[self.best]
        shown = {"train/loss": float(loss), "train/iterations": float(taken), "train/gain": float(np.median(gain))}
        for name, value in shown.items():
            if np.isfinite(value):
                self.log(name, value, batch_size=len(batch.window), on_epoch=True, on_step=False)
        return loss

    @torch.no_grad()
    def _normal(self, batch: ClampBatch, gain: Array, active: Tensor) -> Normal:
        n, size = len(active), len(self.covariance)
        cost = torch.full((n,), torch.nan, dtype=torch.float64)
        gradient, curvature = torch.zeros(n, size).double(), torch.zeros(n, size, size).double()
        for start in torch.nonzero(active)[:, 0].tolist():
            value, slope, matrix = self._one_normal(batch, gain, start)
            cost[start], gradient[start], curvature[start] = value, torch.from_numpy(slope), torch.from_numpy(matrix)
        return Normal(cost, gradient, curvature)

    def _one_normal(self, batch: ClampBatch, gain: Array, start: int) -> tuple[float, Array, Array]:
        """Cost, half its gradient and half its Gauss-Newton curvature for one start."""
        size, n_free, n_g = len(self.covariance), len(self.neuron.free), len(self.neuron.currents)
        slope, matrix, total, samples = np.zeros(size), np.zeros((size, size)), 0.0, 0
        for row, condition in enumerate(batch.condition.tolist()):
            theta = self.estimated.theta(start, condition)
            run = self._follow(batch, row, theta, gain, self._columns, fitted=True)
            lead = int(batch.lead[row])
            error = run.voltage[lead:] - batch.voltage[row, lead:].numpy()
            if not (np.isfinite(error).all() and np.isfinite(run.jacobian[lead:]).all()):
                return np.inf, slope, matrix
            parts = [run.jacobian[lead:, :n_free] * self.estimated.slope_of(theta)]
            where = [slice(0, n_free)]
            if condition:
                parts.append(run.jacobian[lead:, self._g] * theta[list(self.neuron.conductances)])
                first = n_free + (condition - 1) * n_g
                where.append(slice(first, first + n_g))
            for a, here in zip(parts, where, strict=True):
                slope[here] += a.T @ error
                for b, there in zip(parts, where, strict=True):
                    matrix[here, there] += a.T @ b
            total += float(error @ error)
            samples += len(error)
        box = self.estimated.box[start].detach().numpy()
        slope, matrix = slope / samples, matrix / samples
        slope[:n_free] += self.prior * box / n_free
        matrix[np.arange(n_free), np.arange(n_free)] += self.prior / n_free
        return total / samples + self.prior * float(np.mean(box**2)), slope, matrix

    def _follow(
        self, batch: ClampBatch, row: int, theta: Array, gain: Array | float, columns: NDArray[np.int64] | None = None,
        states: bool = False, fitted: bool = False,
    ) -> Followed:  # fmt: skip
        """Run along a window; in its lead V is drawn to the recording no less than by ``lead_gain``.

        A ``fitted`` window follows ``at_rest`` and ``refine``.
        """
        voltage, current, lead = batch.voltage[row].numpy(), batch.current[row].numpy(), int(batch.lead[row])
        rested = fitted and self.at_rest
        whole = np.full(len(voltage), max(0.0 if rested else self.lead_gain, float(np.asarray(gain).flat[0])))
        whole[lead + 1 :] = gain if np.isscalar(gain) else np.asarray(gain)[1 : len(voltage) - lead]
        start = float(voltage[: max(1, min(lead, round(1 / self.estimated.dt_ms)))].mean())
        how: dict[str, Any] = {"columns": columns, "states": states, "substeps": self.estimated.substeps}
        if rested:
            start, how["start_slope"] = resting_voltage(self.neuron, theta, float(current[0]), start)
        if fitted and self.refine and not np.any(gain):
            how |= {"extrapolate": True, "substeps": self.refine * self.estimated.substeps}
        return follow(self.neuron, theta, current, self.estimated.dt_ms, start, voltage, whole, **how)

    def _update_posterior(self, batch: ClampBatch, gain: Array, optimiser: LevenbergMarquardt) -> None:
        """Laplace covariance of the best start's unknowns; 0 for those that a bound holds."""
        assert optimiser.normal is not None
        best, samples, factor = int(self.best), 0, 0.0
        for row, condition in enumerate(batch.condition.tolist()):
            run = self._follow(batch, row, self.estimated.theta(best, condition), gain, fitted=True)
            lead = int(batch.lead[row])
            factor += correlation_time(run.voltage[lead:] - batch.voltage[row, lead:].numpy())
            samples += len(run.voltage) - lead
        curvature, gradient = optimiser.normal.curvature[best], optimiser.normal.gradient[best]
        values = torch.cat([p[best].detach().flatten() for p in self.model.parameters()])
        free = ~optimiser.at_bound(values, gradient)
        effective = samples / (factor / len(batch.condition)) / float(optimiser.normal.cost[best])
        self.covariance.zero_()
        if torch.isfinite(curvature).all() and free.any():
            part = torch.linalg.pinv(effective * curvature[free][:, free], hermitian=True)
            self.covariance[free.nonzero(), free.nonzero()[:, 0]] = part

    def step(self, batch: ClampBatch, stage: str) -> Tensor:
        """Mean squared error of the free run of the best start beyond the fitted window."""
        loss = torch.tensor(float(np.mean([self._forecast_error(batch, row) for row in range(len(batch.window))])))
        self.log(f"{stage}/loss", loss, batch_size=len(batch.window))
        if stage == "val":
            self.log("val/rms_mv", loss.sqrt(), batch_size=len(batch.window))
        return loss

    def _forecast_error(self, batch: ClampBatch, row: int) -> float:
        lead = int(batch.lead[row])
        theta = self.estimated.theta(int(self.best), int(batch.condition[row]))
        run = self._follow(batch, row, theta, 0.0)
        return float(np.mean((run.voltage[lead:] - batch.voltage[row, lead:].numpy()) ** 2))

    def predict_rows(self, batch: ClampBatch) -> dict[str, Tensor]:
        """Forecasts, charges and waveforms of currents, and what each condition left of each conductance."""
        rows: dict[str, list[Any]] = {}
        best, n_free, n_g = int(self.best), len(self.neuron.free), len(self.neuron.currents)
        data = cast(Any, self.trainer).datamodule
        for row, condition in enumerate(batch.condition.tolist()):
            lead, theta = int(batch.lead[row]), self.estimated.theta(best, condition)
            free = self._follow(batch, row, theta, 0.0, states=True)
            drawn = self._follow(batch, row, theta, self.readout_gain, states=True)
            both = [
                self.neuron.currents_of(torch.from_numpy(theta), torch.from_numpy(run.states[lead:])).numpy()
                for run in (drawn, free)
            ]
            recording = data.recordings[int(batch.sweep[row])]
            truth = self._by_current(batch.currents[row, lead:].numpy(), recording.current_names)
            change, sd = self.estimated.log_ratio(best, condition), np.zeros(n_g)
            if condition:
                first = n_free + (condition - 1) * n_g
                sd = np.sqrt(np.clip(np.diag(self.covariance.numpy())[first : first + n_g], 0, None))
            found = {
                "voltage": batch.voltage[row, lead:].numpy(),
                "injected": batch.current[row, lead:].numpy().astype(np.float32),
                "forecast": free.voltage[lead:],
                "currents": both[0].astype(np.float32),
                "true_currents": truth.astype(np.float32),
                "charge": np.abs(both[0]).sum(0),
                "charge_forecast": np.abs(both[1]).sum(0),
                "true_charge": np.abs(truth).sum(0),
                "square_error": ((both[0] - truth) ** 2).sum(0),
                "true_square": (truth**2).sum(0),
                "change": change,
                "change_sd": sd,
                "true_change": self._true_change(recording),
            }
            for name, value in found.items():
                rows.setdefault(name, []).append(np.asarray(value))
        n = len(batch.window)
        shared = {"window": batch.window, "condition": batch.condition, "sweep": batch.sweep}
        shared["onset"] = torch.from_numpy(data.windows[batch.window.numpy(), 1])
        shared["dt_ms"] = torch.full((n,), float(self.estimated.dt_ms))
        shared["costs"] = self.costs.expand(n, -1)
        along, loosest = directions(self.covariance[:n_free, :n_free])
        shared["direction_sd"], shared["loosest_direction"] = along.expand(n, -1), loosest.expand(n, -1)
        return {**shared, **{name: torch.from_numpy(np.stack(values)) for name, values in rows.items()}}

    def _true_change(self, recording: ClampRecording) -> Array:
        """Log ratio of the true conductances to those of the first condition; NaN where unknown."""
        ratios = recording.truth.get("ratios", np.ones(0))
        return self._by_current(np.log(np.maximum(ratios, 1e-9)), recording.current_names)

    def _by_current(self, known: Array, names: Sequence[str]) -> Array:
        """What is known of the currents ``names``, ``(…, name)``, for those of the model; NaN for others."""
        found = np.full((*known.shape[:-1], len(self.neuron.currents)), np.nan)
        for column, current in enumerate(self.neuron.currents):
            if current.name in names[: known.shape[-1]]:
                found[..., column] = known[..., names.index(current.name)]
        return found

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """Spikes and RMS of the forecast, errors of currents, the drug test, and how the starts agree."""
        dt_ms = predictions["dt_ms"]
        pairs = [
            (spike_times(a, dt), spike_times(b, dt))
            for a, b, dt in zip(predictions["voltage"], predictions["forecast"], dt_ms, strict=True)
        ]
        costs = predictions["costs"][0]
        found = {
            "spikes": float(sum(len(a) for a, _ in pairs)),
            "spike_ratio": sum(len(b) for _, b in pairs) / max(1, sum(len(a) for a, _ in pairs)),
            "forecast_rms_mv": float(np.sqrt(np.mean((predictions["forecast"] - predictions["voltage"]) ** 2))),
            "fit_mse_mv2": float(np.nanmin(costs)),
            "starts_at_the_lowest": float(np.mean(costs <= 1.05 * np.nanmin(costs))),
        }
        sd = predictions["direction_sd"][0]
        if (known := sd[sd > 1e-8 * sd.max()]).size:
            found["posterior_sd_largest"] = float(known.max())
            found["posterior_decades"] = float(2 * np.log10(known.max() / known.min()))
        for tolerance in (1.0, 2.0, 4.0):
            found[f"coincidence_{tolerance:g}ms"] = coincidence(pairs, tolerance)
        repeats = _pairs_of_repeats([a for a, _ in pairs], predictions)
        if repeats:  # how well one repeat predicts another: what no model of the neuron can be asked to exceed
            found["reliability_4ms"] = coincidence(repeats, 4.0)
            found["share_of_reliability_4ms"] = found["coincidence_4ms"] / max(found["reliability_4ms"], 1e-9)
        known = np.isfinite(predictions["true_charge"]).all(0)  # not so where the model has a current of its own
        if known.any():
            names = ("charge", "true_charge", "square_error", "true_square")
            errors = current_errors(*(predictions[name][:, known] for name in names))
            forecast = current_errors(*(predictions[name][:, known] for name in ("charge_forecast", *names[1:])))
            found |= errors
            found |= {f"forecast_{name}": v for name, v in forecast.items() if name.startswith("charge")}
        _, first = np.unique(predictions["condition"], return_index=True)
        drugs = first[predictions["condition"][first] > 0]
        if len(drugs) and known.any():
            control = predictions["true_charge"][predictions["condition"] == 0][:, known].sum(0)
            judged = control >= SMALLEST_SHARE * control.sum()
            change, sd, truth = (predictions[name][drugs][:, known] for name in ("change", "change_sd", "true_change"))
            found |= drug_scores(change, sd, truth, judged)
        return found

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Run the estimated neuron along the sweeps of a file; see :func:`~.assimilation_prediction.predicted_sweeps`.

        Args:
            datamodule: Reads ``source`` and writes what was predicted.
            source: Sweeps in a format that the datamodule reads.
            target: Folder for the result.
        """
        from .assimilation_prediction import predicted_sweeps

        sweeps = predicted_sweeps(self, datamodule.read(source), source, datamodule.lead_ms)
        names = [current.name for current in self.neuron.currents]
        return [datamodule.write_predicted(target / f"{source.stem}_predicted.nwb", sweeps, names)]

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Forecast, currents and, with drugs, what they left of each conductance."""
        from .assimilation_figures import draw_all, draw_directions

        if not self.predictions:
            return []
        names = [current.name for current in self.neuron.currents]
        drawn = draw_all(folder, self.predictions, names, list(datamodule.conditions))
        if self.predictions["direction_sd"].any():
            drawn.append(draw_directions(folder / "directions.png", self.predictions, self.neuron.free))
        return drawn

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """Forecast, currents and, with drugs, what they block; to zoom into."""
        from .assimilation_plots import currents_plot, directions_plot, drug_plots, forecast_plot

        if not self.predictions:
            return {}
        names = [current.name for current in self.neuron.currents]
        conditions = list(datamodule.conditions)
        forecast, currents = forecast_plot(self.predictions, conditions), currents_plot(self.predictions, names)
        drugs = drug_plots(self.predictions, names, conditions)
        known = self.predictions["direction_sd"].any()
        loose = {"directions": directions_plot(self.predictions, self.neuron.free)} if known else {}
        return {"forecast": forecast, "currents": currents, **drugs, **loose}


def _pairs_of_repeats(trains: list[Array], rows: Predictions) -> list[tuple[Array, Array]]:
    """Spike trains of one condition under the same stretch of the same injected current."""
    found = []
    for i, j in combinations(range(len(trains)), 2):
        a, b = rows["injected"][i], rows["injected"][j]
        together = all(rows[name][i] == rows[name][j] for name in ("condition", "onset"))
        if together and np.linalg.norm(a - b) <= SAME_CURRENT * max(np.linalg.norm(a), np.linalg.norm(b)):
            found.append((trains[i], trains[j]))
    return found
