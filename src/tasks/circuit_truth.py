"""A trained circuit model against what is known of a simulated circuit: conductances, synapses, interventions."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..contracts import Bifurcation, CircuitTruth, DynamicsModel, ReadableModel
from ..metrics.bursts import rhythm_errors
from ..metrics.circuit_scores import spike_train, state_space_divergence

#: Share of the run after an intervention that is left to settle.
SETTLING = 0.2
#: Grid on which conductances are compared: ``ω``, rad/ms (0.8 Hz to 800 Hz, below the recordings' low-pass), and
#: voltages between these quantiles of the recorded ones.
FREQUENCIES = np.geomspace(5e-3, 5.0, 31)
N_VOLTAGES, VISITED = 21, (0.05, 0.95)
#: ``γ`` at which Lyapunov exponents are taken, and the length of the recording that they are taken along.
FORCINGS, LYAPUNOV_STEPS = (0.0, 0.02, 0.05, 0.1, 0.2), 30_000


class ConductanceMap(NamedTuple):
    """``G(v, ω)`` of one neuron, as learned and in truth.

    Attributes:
        voltages: mV.
        learned: ``(voltage, frequency)``, µS.
        true: The same.
    """

    voltages: np.ndarray
    learned: np.ndarray
    true: np.ndarray


class Stability(NamedTuple):
    """What a trained model does at rest and along a recording.

    Attributes:
        voltages: At which isolated neurons are held, ``(neuron, voltage)``, mV.
        learned: Currents that hold them, the same shape, nA.
        true: The same of the circuit.
        bifurcations: Of each learned neuron.
        lyapunov: Largest exponent at each of :data:`FORCINGS`, per second.
    """

    voltages: np.ndarray
    learned: np.ndarray
    true: np.ndarray
    bifurcations: list[list[Bifurcation]]
    lyapunov: np.ndarray


class AfterChange(NamedTuple):
    """Runs after an intervention, the settling time included.

    Attributes:
        name: Of the intervention.
        true: ``(time, node)``, mV.
        predicted: The same.
    """

    name: str
    true: np.ndarray
    predicted: np.ndarray


def conductance_maps(model: ReadableModel, truth: CircuitTruth, recorded: np.ndarray) -> list[ConductanceMap]:
    """Of every neuron, over the voltages of a recording ``(time, node)``, mV."""
    maps = []
    for n in range(recorded.shape[1]):
        low, high = np.quantile(recorded[:, n], VISITED).tolist()
        voltages = np.linspace(low, high, N_VOLTAGES)
        learned, true = (part.conductance(n, voltages, FREQUENCIES) for part in (model, truth))
        maps.append(ConductanceMap(voltages, learned, true))
    return maps


def stability(
    model: ReadableModel, truth: CircuitTruth, recorded: np.ndarray, injected: np.ndarray, hidden: Tensor
) -> Stability:
    """Steady currents, bifurcations and Lyapunov exponents of a trained model.

    Args:
        model: The model.
        truth: Of the circuit.
        recorded: From the moment of ``hidden`` on, ``(time, node)``, mV.
        injected: Likewise, nA.
        hidden: At the start, ``(hidden,)``.
    """
    edges = [np.quantile(recorded[:, n], VISITED) for n in range(recorded.shape[1])]
    voltages = np.array([np.linspace(low, high, N_VOLTAGES) for low, high in edges])
    learned, true = (np.array([part.holding_current(n, v) for n, v in enumerate(voltages)]) for part in (model, truth))
    steps = min(LYAPUNOV_STEPS, len(recorded) - 1)
    along = recorded[: steps + 1], hidden, injected[:steps]
    exponents = np.array([model.lyapunov_exponent(*along, forcing) for forcing in FORCINGS])
    return Stability(voltages, learned, true, [model.bifurcations(n, v) for n, v in enumerate(voltages)], exponents)


def stability_scores(found: Stability) -> dict[str, float]:
    """Error of the holding current over the truth's deviation, mean over neurons; Lyapunov exponent of the free run."""
    error = np.sqrt(((found.learned - found.true) ** 2).mean(axis=1)) / found.true.std(axis=1)
    return {"holding_current_error": float(error.mean()), "lyapunov_per_s": float(found.lyapunov[0])}


def conductance_scores(maps: list[ConductanceMap]) -> dict[str, float]:
    """``conductance_error``: norm of the error over the norm of the truth, mean over neurons; and the correlation."""
    errors = [np.linalg.norm(m.learned - m.true) / np.linalg.norm(m.true) for m in maps]
    with np.errstate(invalid="ignore"):  # not defined for a model whose conductance is the same everywhere
        correlations = [np.corrcoef(m.learned.ravel(), m.true.ravel())[0, 1] for m in maps]
    return {"conductance_error": float(np.mean(errors)), "conductance_correlation": float(np.mean(correlations))}


def synapse_scores(model: ReadableModel, truth: CircuitTruth) -> dict[str, float]:
    """Errors of the synapses' constants, mean over synapses: ``half`` in mV, the others relative to the truth."""
    learned, collected = model.synapses(), []
    for wire, true in truth.synapses().items():
        if wire in learned:
            one = learned[wire]
            relative = [abs(getattr(one, k) / getattr(true, k) - 1) for k in ("conductance_us", "slope_mv", "tau_ms")]
            collected.append([*relative, abs(one.half_mv - true.half_mv)])
    names = ("synapse_g_error", "synapse_slope_error", "synapse_tau_error", "synapse_half_error_mv")
    return dict(zip(names, np.mean(collected, axis=0).tolist(), strict=True)) if collected else {}


@torch.no_grad()
def after_changes(
    model: DynamicsModel, truth: CircuitTruth, trial: int, first: int, steps: int, voltage: Tensor, hidden: Tensor
) -> list[AfterChange]:
    """Free runs of a model from one state under each intervention.

    A model without synapses of its own (:class:`~..contracts.ReadableModel`) has nothing to scale: it runs unchanged.

    Args:
        model: Trained without any intervention.
        truth: What the circuit does.
        trial: Of the recording.
        first: Sample at which something is changed.
        steps: Length of the runs.
        voltage: Recorded at that sample, ``(node,)``, mV.
        hidden: Likewise, ``(hidden,)``.
    """
    found = []
    for change in truth.interventions(trial, first, steps):
        scaled: Any = nullcontext()
        if isinstance(model, ReadableModel):
            scaled = model.synapses_scaled(change.synapse_scale)
        current = torch.from_numpy(change.current.astype(np.float32))
        with scaled:
            run, _ = model.rollout(voltage[None], hidden[None], current[None])
        found.append(AfterChange(change.name, change.voltage, run[0].numpy()))
    return found


def change_scores(runs: list[AfterChange], sampling_rate_hz: float) -> dict[str, float]:
    """Of each intervention, once settled: error of the spike rate (Hz), of the period, and divergence in state space.

    The first and last are also averaged over interventions (``counterfactual_…``). A period is only compared where both
    have one.
    """
    scores: dict[str, float] = {}
    means: dict[str, list[float]] = {"rate_error_hz": [], "divergence": []}
    for name, true, predicted in runs:
        kept = slice(round(SETTLING * len(true)), None)
        a, b = predicted[kept], true[kept]
        bounded = a if np.isfinite(a).all() and np.abs(a).max() < 1e4 else np.zeros_like(a)
        rates = [spike_train(x, sampling_rate_hz).sum(axis=0) * sampling_rate_hz / len(x) for x in (bounded, b)]
        means["rate_error_hz"].append(float(np.abs(rates[0] - rates[1]).mean()))
        means["divergence"].append(state_space_divergence(a, b))
        scores |= {f"{kind}_{name}": values[-1] for kind, values in means.items()}
        scores[f"period_error_{name}"] = rhythm_errors(a, b, sampling_rate_hz)["period_error"]
    scores |= {f"counterfactual_{kind}": float(np.mean(values)) for kind, values in means.items() if values}
    return {name: value for name, value in scores.items() if np.isfinite(value)}
