"""Circuit models: trained by a forcing strategy, judged by their free run and by the currents that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import CircuitBatch, CircuitRecording, CircuitTruth, DynamicsModel, Predictions, ReadableModel
from ..errors import ConfigError
from ..metrics.bursts import rhythm_errors, spike_coincidence, valid_time
from ..metrics.circuit_scores import angular_separation, current_scores, spectral_distance, state_space_divergence
from .base import BaseTask
from .circuit_truth import (
    AfterChange,
    ConductanceMap,
    Stability,
    after_changes,
    change_scores,
    conductance_maps,
    conductance_scores,
    stability,
    stability_scores,
    synapse_scores,
)
from .forcing import GeneralisedTeacherForcing, MultipleShooting, Shots, ShotStates, TeacherForcing

#: Steps between two samples of a current that is read out along a run.
READOUT_STEPS = 50
#: How long and how deep a partner has to rest to count as silent: seconds, and share of the recording.
SILENT_S, SILENT_SHARE = 0.3, 0.1
#: Parts of a free run, s, that are also scored alone: bursting circuits forget where they came from, so that even the
#: circuit itself does not repeat a long run under input that is a little wrong.
HORIZONS_S = (5, 10)


class Circuit(BaseTask):
    """Fit a :class:`~..contracts.DynamicsModel` to recorded voltages and injected currents.

    Training minimises the loss of ``strategy`` over shots. Validation and test segments are run freely from their first
    sample, with the recorded injected currents, and scored against the recording; validation selects, test reports.

    Args:
        model: The circuit.
        strategy: How it is trained, see :mod:`.forcing`.
        teacher_epochs: Epochs of teacher forcing before the strategy takes over. Shooting from an untrained model,
            as the paper does (0), takes many times longer.
        weight_penalty: On the squares of weights and conductances; the paper's is 5e-8.
        silence_weight: On the mean square of a neuron's synaptic current (nA²) at samples at which all its partners
            have been silent, see :func:`silent`. 0, the paper's, leaves the offset of a lumped synapse undetermined.
        counterfactual_s: Length of the test runs after an intervention, s, where the circuit is a simulation; 0: none.
        max_inputs: Training samples from which the model learns the range of its inputs.
        **arguments: See :class:`BaseTask`.
    """

    needs = ("stretches", "voltages of a circuit")
    logged_metrics: ClassVar[frozenset[str]] = frozenset(
        {f"{stage}/{name}" for stage in ("val", "test") for name in ("loss", "angular_separation", "cosine")}
        | {"train/loss", "train/forcing"}
    )
    fitted: Tensor

    def __init__(
        self,
        model: nn.Module,
        strategy: TeacherForcing | MultipleShooting | GeneralisedTeacherForcing | None = None,
        teacher_epochs: int = 0,
        weight_penalty: float = 5e-8,
        silence_weight: float = 0.0,
        counterfactual_s: float = 25.0,
        max_inputs: int = 100_000,
        **arguments: Any,
    ):
        super().__init__(model, **arguments)
        if not isinstance(model, DynamicsModel):
            raise ConfigError(f"task: {type(model).__name__} is no circuit model (DynamicsModel); choose model=rmm")
        self.strategy = strategy or TeacherForcing()
        self.teacher_epochs, self.weight_penalty, self.max_inputs = teacher_epochs, weight_penalty, max_inputs
        self.silence_weight, self.counterfactual_s = silence_weight, counterfactual_s
        self.comparable_losses = not teacher_epochs and not self.strategy.changes_loss
        if silence_weight and self._synaptic(*self._zeros()).isnan().any():
            raise ConfigError(
                f"task.silence_weight={silence_weight:g}: {type(model).__name__} has no synapses to silence"
            )
        self.register_buffer("fitted", torch.tensor(False))
        self.states: ShotStates | None = None
        self.conductances: list[ConductanceMap] = []
        self.stability: Stability | None = None
        self.changes: list[AfterChange] = []
        self._position = self._following = torch.empty(0, dtype=torch.int64)

    @property
    def dynamics(self) -> DynamicsModel:
        """The model by its protocol."""
        return cast(DynamicsModel, self.model)

    def on_fit_start(self) -> None:
        """Drive the model's hidden states by the recordings and learn its ranges of inputs."""
        self._prepare()

    def on_test_start(self) -> None:
        """The same where a trained model is only tested."""
        self._prepare()

    @torch.no_grad()
    def _prepare(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = data.split(data.fold)
        trial, first, _ = data.stretches.T
        if not bool(self.fitted):
            train = rows["train"]
            means = [
                data.recordings[k].voltage[first[train[trial[train] == k]]].mean(0) for k in np.unique(trial[train])
            ]
            self.dynamics.refer(torch.tensor(np.mean(means, axis=0), dtype=torch.float32))
        needed = np.concatenate(list(rows.values()))
        hidden = torch.empty(len(data.stretches), sum(self.dynamics.hidden_sizes))
        for k in np.unique(trial[needed]):
            here = needed[trial[needed] == k]
            hidden[here] = self.dynamics.warm_up(data.recordings[k].voltage, first[here])
        self._table = hidden
        self._silent = torch.zeros(len(data.stretches), data.recordings[0].n_nodes)
        for k in np.unique(trial[needed]) if self.silence_weight else ():
            here = needed[trial[needed] == k]
            recording = data.recordings[k]
            self._silent[here] = torch.from_numpy(silent(recording.voltage, recording.sampling_rate_hz, first[here]))
        if not bool(self.fitted):
            some = train[:: max(1, len(train) // self.max_inputs)]
            voltage = np.concatenate([data.recordings[trial[r]].voltage[first[r]][None] for r in some])
            self.dynamics.fit_inputs(torch.from_numpy(voltage.astype(np.float32)), hidden[some])
            self.fitted.fill_(True)
            self._drive_anew()  # by inputs in their units
        self._link(data, rows["train"])

    def _link(self, data: Any, train: np.ndarray) -> None:
        """Positions of the training shots, and the shot that follows each."""
        trial, first, steps = data.stretches.T
        self._position = torch.full((len(trial),), -1)
        self._position[train] = torch.arange(len(train))
        begins = {(int(trial[r]), int(first[r])): i for i, r in enumerate(train)}
        ends = [(int(trial[r]), int(first[r] + steps[r])) for r in train]
        self._following = torch.tensor([begins.get(end, -1) for end in ends])
        if self.strategy.trains_states and self.states is None:
            voltage = torch.from_numpy(
                np.stack([data.recordings[trial[r]].voltage[first[r]] for r in train]).astype(np.float32)
            )
            self.states = ShotStates(voltage, self._table[train], self.dynamics.hidden_scale, self.strategy.lagrangian)

    @torch.no_grad()
    def _drive_anew(self) -> None:
        """Let the recordings drive hidden states again, where training has changed how they do."""
        if not self.dynamics.trains_hidden:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        split = data.split(data.fold)
        rows = np.concatenate([split["train"], split["val"]])
        trial, first, _ = data.stretches[rows].T
        for k in np.unique(trial):
            here = trial == k
            self._table[rows[here]] = self.dynamics.warm_up(data.recordings[k].voltage, first[here])

    def on_validation_start(self) -> None:
        """Start free runs from states that belong to the model as it is now."""
        super().on_validation_start()
        self._drive_anew()

    def on_train_epoch_start(self) -> None:
        """Tell the strategy how far training is; forget the optimiser's moments where teacher forcing ends."""
        done = self.current_epoch - self.teacher_epochs
        if done == 0 and self.teacher_epochs:
            # Shooting has gradients a hundred times larger: with the moments of teacher forcing its first steps leap.
            optimizer = self.optimizers().optimizer  # type: ignore[union-attr]
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group.pop("step", None)  # SOAP builds its preconditioners at the first step only, which it counts here
        if self.current_epoch:
            self._drive_anew()
        if done >= 0:
            self.strategy.start_epoch(done, (self.trainer.max_epochs or 1) - self.teacher_epochs)

    @property
    def _active(self) -> TeacherForcing | MultipleShooting | GeneralisedTeacherForcing:
        return TeacherForcing() if self.current_epoch < self.teacher_epochs else self.strategy

    def _shots(self, batch: CircuitBatch) -> Shots:
        rows = self._position[batch.window]
        states = self.states if self._active.trains_states else None
        return Shots(self._table[batch.window], rows, self._following[rows], states)

    def step(self, batch: CircuitBatch, stage: str) -> Tensor:
        """Loss of the strategy in training; in evaluation that of teacher forcing, and the scores of the free run."""
        n = len(batch.window)
        if stage == "train":
            loss = self._active.loss(self.dynamics, batch, self._shots(batch))
            loss = loss + self.weight_penalty * self.dynamics.penalty()
            if self.silence_weight:
                leaking = self._synaptic(batch.voltage[:, 0], self._table[batch.window]) * self._silent[batch.window]
                loss = loss + self.silence_weight * leaking.square().mean()
            self.log("train/loss", loss, batch_size=n, on_epoch=True, on_step=False)
            self.log("train/forcing", self._active.forcing, batch_size=n, on_epoch=True, on_step=False)
            return loss
        with torch.no_grad():
            shots = Shots(self._table[batch.window], batch.window, batch.window)
            loss = TeacherForcing().loss(self.dynamics, batch, shots)
            self.log(f"{stage}/loss", loss, batch_size=n)
            if stage == "val":
                run, _ = self.dynamics.rollout(batch.voltage[:, 0], shots.hidden, batch.current)
                for name, value in self._scores(run, batch).items():
                    self.log(f"{stage}/{name}", value, batch_size=n)
        return loss

    def _scores(self, run: Tensor, batch: CircuitBatch) -> dict[str, float]:
        rate = 1e3 / self.dynamics.dt_ms
        found = [angular_separation(a, b, rate) for a, b in zip(run.numpy(), batch.voltage[:, 1:].numpy(), strict=True)]
        return {name: float(np.mean([scores[name] for scores in found])) for name in ("angular_separation", "cosine")}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the shots' initial states and the forcing."""
        active = self._active
        if self.states is not None and active.trains_states:
            self.states.update(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        active.after_batch(self.dynamics, batch, self._shots(batch))

    def predict_rows(self, batch: CircuitBatch) -> dict[str, Tensor]:
        """Free runs, and synaptic currents read out along them and along the recorded voltages."""
        with torch.no_grad():
            start, hidden = batch.voltage[:, 0], self._table[batch.window]
            run, free = self._read_out(start, hidden, batch, 0.0)
            _, forced = self._read_out(start, hidden, batch, 1.0)
        kept = slice(0, free.shape[1] * READOUT_STEPS, READOUT_STEPS)
        return {
            "window": batch.window,
            "dt_ms": torch.full((len(batch.window),), self.dynamics.dt_ms),
            "voltage": batch.voltage[:, 1 : run.shape[1] + 1],
            "free_run": run,
            "synaptic": batch.synaptic[:, kept],
            "synaptic_free": free,
            "synaptic_forced": forced,
        }

    def on_test_epoch_end(self) -> None:
        """Hold the model to what is known of a simulated circuit."""
        super().on_test_epoch_end()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        truth: CircuitTruth | None = getattr(data, "truth", None)
        if truth is None:
            return
        row = int(data.split(data.fold)["test"][0])
        trial, first, _ = data.stretches[row].tolist()
        recording: CircuitRecording = data.recordings[trial]
        rate = recording.sampling_rate_hz
        scores: dict[str, float] = {}
        if isinstance(self.model, ReadableModel):
            with torch.inference_mode(False), torch.enable_grad():  # linearising takes derivatives
                self.conductances = conductance_maps(self.model, truth, recording.voltage[first:])
                scores |= conductance_scores(self.conductances) | synapse_scores(self.model, truth)
                self.stability = stability(
                    self.model, truth, recording.voltage[first:], recording.current[first:], self._table[row]
                )
                scores |= stability_scores(self.stability)
        steps = min(round(self.counterfactual_s * rate), len(recording.voltage) - first)
        if steps:
            start = torch.from_numpy(recording.voltage[first].astype(np.float32))
            self.changes = after_changes(self.dynamics, truth, trial, first, steps, start, self._table[row])
            scores |= change_scores(self.changes, rate)
        for name, value in scores.items():
            if np.isfinite(value):
                self.log(f"test/{name}", value)

    def _zeros(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, self.dynamics.n_nodes), torch.zeros(1, sum(self.dynamics.hidden_sizes))

    def _synaptic(self, voltage: Tensor, hidden: Tensor) -> Tensor:
        """Synaptic current of each neuron, nA; NaN from a model that knows none."""
        return self.dynamics.current(voltage, hidden).get("synaptic", torch.full_like(voltage, torch.nan))

    def _read_out(self, voltage: Tensor, hidden: Tensor, batch: CircuitBatch, forcing: float) -> tuple[Tensor, Tensor]:
        """A run, and the synaptic current at every :data:`READOUT_STEPS`-th step of it."""
        runs, currents = [], []
        for first in range(0, batch.current.shape[1] - READOUT_STEPS + 1, READOUT_STEPS):
            here = slice(first, first + READOUT_STEPS)
            at = batch.voltage[:, first] if forcing else voltage
            currents.append(self._synaptic(at, hidden))
            run, hidden = self.dynamics.rollout(at, hidden, batch.current[:, here], batch.voltage[:, here], forcing)
            voltage = run[:, -1]
            runs.append(run)
        return torch.cat(runs, dim=1), torch.stack(currents, dim=1)

    @torch.no_grad()
    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Run the circuit freely under the injected currents of each trial of a file, from its first warm sample on.

        Args:
            datamodule: Reads ``source`` and writes what was predicted: voltages, and the synaptic currents along them.
            source: Trials in a format that the datamodule reads.
            target: Folder for the result.
        """
        paths = []
        for trial in datamodule.read(source):
            first = min(round(datamodule.drop_s * trial.sampling_rate_hz), len(trial.voltage) // 2)
            hidden = self.dynamics.warm_up(trial.voltage, np.array([first]))
            voltage, current = (torch.from_numpy(v[None, first:]).float() for v in (trial.voltage, trial.current))
            nothing = torch.full_like(current, torch.nan)
            batch = CircuitBatch(voltage, current, nothing, torch.zeros(1, dtype=torch.int64))
            run, synaptic = self._read_out(voltage[:, 0], hidden, batch, 0.0)
            injected = current[0, : run.shape[1]].numpy()
            made = replace(trial, voltage=run[0].numpy(), current=injected, synaptic=synaptic[0].numpy(), hidden={})
            path, start_s = target / f"{trial.name}_predicted.nwb", first / trial.sampling_rate_hz
            paths.append(datamodule.write_predicted(path, made, READOUT_STEPS, start_s))
        return paths

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """Averages over segments: spikes, rhythm, spectra, state space of free runs; errors of synaptic currents."""
        collected: dict[str, list[float]] = {}
        for k in range(len(predictions["window"])):
            run, voltage = predictions["free_run"][k], predictions["voltage"][k]
            rate = 1e3 / float(predictions["dt_ms"][k])
            scores = angular_separation(run, voltage, rate)
            for horizon in HORIZONS_S:
                if len(run) > horizon * rate:
                    part = slice(0, round(horizon * rate))
                    found = angular_separation(run[part], voltage[part], rate)
                    scores[f"angular_separation_{horizon}s"] = found["angular_separation"]
            scores["valid_time_s"] = valid_time(run, voltage, rate)
            scores["spike_coincidence"] = spike_coincidence(run, voltage, rate)
            scores["spectral_distance"] = spectral_distance(run, voltage)
            scores["state_space_divergence"] = state_space_divergence(run, voltage)
            scores["rmse_mv"] = float(np.sqrt(np.mean((run - voltage) ** 2)))
            scores |= rhythm_errors(run, voltage, rate)
            true = predictions["synaptic"][k]
            if np.isfinite(true).all():
                for how in ("free", "forced"):
                    found = current_scores(predictions[f"synaptic_{how}"][k], true)
                    scores |= {f"synaptic_{name}_{how}": value for name, value in found.items()}
            for name, value in scores.items():
                collected.setdefault(name, []).append(value)
        # A segment without two bursts has no rhythm, a run that diverged no current: they are left out of those means.
        return {name: float(np.mean(kept)) for name, values in collected.items() if (kept := finite(values)).size}

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """The first test segment; of a simulation also conductances, stability and interventions."""
        from .circuit_figures import draw_changes, draw_conductances, draw_free_run, draw_stability

        drawn = [draw_free_run(folder / "voltage.png", self.predictions)] if self.predictions else []
        if self.conductances:
            drawn.append(draw_conductances(folder / "conductance.png", self.conductances))
        if self.stability is not None:
            drawn.append(draw_stability(folder / "stability.png", self.stability))
        if self.changes:
            drawn.append(draw_changes(folder / "interventions.png", self.changes, self.dynamics.dt_ms))
        return drawn

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """The same, to zoom into."""
        from .circuit_plots import free_run_plot

        return {"voltage": free_run_plot(self.predictions)} if self.predictions else {}


def silent(voltage: np.ndarray, sampling_rate_hz: float, at: np.ndarray) -> np.ndarray:
    """1 for neurons all of whose partners have been silent, ``(len(at), node)``, else 0.

    A neuron has been silent if its voltage, averaged over the last :data:`SILENT_S`, is in the lowest
    :data:`SILENT_SHARE` of such averages in the recording.

    Args:
        voltage: ``(time, node)``, mV.
        sampling_rate_hz: Samples per second.
        at: Samples.
    """
    window = max(1, round(SILENT_S * sampling_rate_hz))
    total = np.concatenate([np.zeros_like(voltage[:1]), voltage.cumsum(axis=0)])
    recent = (total[window:] - total[:-window]) / window
    low = recent <= np.quantile(recent, SILENT_SHARE, axis=0)
    past = np.concatenate([np.zeros((window, voltage.shape[1]), bool), low])[at]  # of the samples before each
    loud = (~past).sum(axis=1, keepdims=True) - ~past  # partners that have not been silent
    return (loud == 0).astype(np.float32) * (voltage.shape[1] > 1)


def finite(values: list[float]) -> np.ndarray:
    """Those that are finite."""
    array = np.asarray(values, float)
    return array[np.isfinite(array)]
