"""Linearisation of a recurrent mechanistic model: frequency-dependent conductances, bifurcations, contraction.

Around a voltage clamp at ``v`` every bank settles at ``x = DC gain * (v - r)``, and a current ``f(v, x)`` answers a
small voltage with ``Y(v, ω) = ∂_v f + ∂_x f · (e^{jω dt} I - A)^{-1} B``; ``G = Re Y`` is its conductance at that
frequency (Burghi et al. 2025; ``localAdmittances`` and ``findBifurcation`` of their code). ω → 0 gives the slope of the
steady-state current, ω → ∞ the instantaneous conductance; ``G < 0`` is positive feedback on that time scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch.nn import functional as F

from ..contracts import Bifurcation, SynapseConstants

if TYPE_CHECKING:
    from .filters import FilterBank
    from .rmm import RMM
    from .rmm_currents import Current, MechanisticSynapse

Array = NDArray[np.float64]


def frequency_response(bank: FilterBank, frequencies: Array) -> NDArray[np.complex128]:
    """``(e^{jω dt} I - A)^{-1} B`` of a bank in closed form, ``(frequency, filter)``; ``frequencies`` in rad/ms."""
    leak = torch.sigmoid(bank.logit.detach().double()).numpy()
    pole = 1 - leak
    # z - p without the cancellation of z and p, both near 1, at low frequencies.
    turned = np.expm1(1j * np.asarray(frequencies, float) * bank.dt_ms)[:, None]
    below = turned + leak
    if bank.kind == "diagonal":
        return leak / below
    passed = ((1 - pole * (1 + turned)) / below).cumprod(axis=1)
    before = np.concatenate([np.ones_like(passed[:, :1]), passed[:, :-1]], axis=1)
    return np.sqrt(leak * (2 - leak)) / below * before


def admittance(
    model: RMM, current: Current, voltages: Array, frequencies: Array, postsynaptic_mv: float | None = None
) -> NDArray[np.complex128]:
    """``Y(v, ω)`` of one current, ``(voltage, frequency)``, µS.

    Args:
        model: The circuit that the current belongs to.
        current: An intrinsic current, or a synapse: then the answer to the presynaptic voltage.
        voltages: At which the driver is clamped, mV.
        frequencies: ``ω``, rad/ms.
        postsynaptic_mv: Voltage of a synapse's target; default: its mean in training.
    """
    own = current.driver == current.target
    v = torch.as_tensor(np.asarray(voltages, np.float32))
    centred = v - model.reference_mv[current.driver]
    states = current.bank.steady(centred).detach().requires_grad_()
    held = model.reference_mv[current.target] if postsynaptic_mv is None else torch.tensor(postsynaptic_mv)
    target = (v if own else torch.full_like(v, float(held))).clone().requires_grad_()
    by_v, by_x = torch.autograd.grad(current(target, states).sum(), (target, states), allow_unused=True)
    response = frequency_response(current.bank, frequencies)
    found = (by_x * current.bank.slope(centred)).double().numpy() @ response.T
    return found + by_v.double().numpy()[:, None] if own and by_v is not None else found


def membrane_admittance(model: RMM, neuron: int, voltages: Array, frequencies: Array) -> NDArray[np.complex128]:
    """``Y(v, ω)`` of a neuron's leak and intrinsic current, its capacitance and synapses left out, µS."""
    leak = float(F.softplus(model.leak[neuron]).detach())
    (own,) = (c for c in model.terms if c.driver == c.target == neuron)
    return leak + admittance(model, own, voltages, frequencies)


def synapse_constants(model: RMM, synapse: MechanisticSynapse) -> SynapseConstants:
    """What a synapse with a driving force amounts to over the partner's training voltages.

    Its steady conductance at the most depolarised of them is ``g``; ``half`` is where it first reaches half of that,
    ``slope`` comes from the tangent there (``g / 4 slope``), and ``tau`` is the delay of the answer to slow changes
    around it. A synapse that hardly opens gives NaN.
    """
    low, high = model.range_mv[:, synapse.driver].tolist()
    voltages = np.linspace(low, high, 1001)
    v = torch.as_tensor(voltages.astype(np.float32))
    states = synapse.bank.steady(v - model.reference_mv[synapse.driver])
    driving = 100.0  # mV above the reversal; it cancels
    held = float(synapse.reversal_mv or 0.0) + driving
    with torch.no_grad():
        opened = synapse(torch.full_like(v, held), states).double().numpy() / driving
    g = float(opened[-1])
    if g <= 0 or opened[0] > g / 2:
        return SynapseConstants(g, *3 * [float("nan")])
    half = float(np.interp(g / 2, opened, voltages))
    slow = np.array([1e-5])
    answer = admittance(model, synapse, np.array([half]), slow, held)[0, 0] / driving
    return SynapseConstants(g, half, g / (4 * answer.real), float(-answer.imag / answer.real / slow[0]))


def holding_current(model: RMM, neuron: int, voltages: Array) -> Array:
    """Injected current that holds a neuron without synapses at each voltage, nA."""
    (own,) = (c for c in model.terms if c.driver == c.target == neuron)
    v = torch.as_tensor(np.asarray(voltages, np.float32))
    with torch.no_grad():
        states = own.bank.steady(v - model.reference_mv[neuron])
        total = own(v, states) + F.softplus(model.leak[neuron]) * v + model.leak_bias[neuron]
    return total.double().numpy()


def jacobian(model: RMM, neuron: int, voltage: float) -> Array:
    """Of one step of a neuron without synapses at its rest at ``voltage``, ``(1 + filters, 1 + filters)``."""
    (own,) = (c for c in model.terms if c.driver == c.target == neuron)
    v = torch.tensor([voltage], dtype=torch.float32, requires_grad=True)
    states = own.bank.steady(v.detach() - model.reference_mv[neuron]).detach().requires_grad_()
    by_v, by_x = (g.double().numpy() for g in torch.autograd.grad(own(v, states).sum(), (v, states)))
    pull = model.dt_ms * float(F.softplus(model.inverse_capacitance[neuron]).detach())
    change, into = (part.detach().double().numpy() for part in own.bank.matrices())
    n = len(into)
    matrix = np.zeros((n + 1, n + 1))
    matrix[0, 0] = 1 - pull * (float(by_v[0]) + float(F.softplus(model.leak[neuron]).detach()))
    matrix[0, 1:], matrix[1:, 0], matrix[1:, 1:] = -pull * by_x[0], into, np.eye(n) + change
    return matrix


def bifurcations(model: RMM, neuron: int, voltages: Array) -> list[Bifurcation]:
    """Saddle-nodes and Hopf bifurcations of a neuron without synapses under constant current.

    Args:
        model: The circuit.
        neuron: Which neuron.
        voltages: Ascending, mV; two crossings between neighbours are not seen.
    """
    found = []

    def leading(v: float, real: bool) -> float:
        values = np.linalg.eigvals(jacobian(model, neuron, v))
        kept = values[np.isreal(values)].real if real else np.abs(values[~np.isreal(values)])
        return float(kept.max() - 1) if kept.size else -1.0

    for real, kind in ((True, "saddle-node"), (False, "Hopf")):
        signs = [leading(float(v), real) for v in voltages]
        for k in np.flatnonzero(np.sign(signs[:-1]) != np.sign(signs[1:])):
            low, high = float(voltages[k]), float(voltages[k + 1])
            at = float(brentq(leading, low, high, args=(real,), xtol=1e-4))
            values = np.linalg.eigvals(jacobian(model, neuron, at))
            values = values[np.isreal(values) == real]
            nearest = values[np.argmin(np.abs(np.abs(values) - 1))]
            if abs(abs(nearest) - 1) > 1e-4:  # real eigenvalues became a pair: no crossing of the circle
                continue
            hertz = abs(np.angle(nearest)) / (2e-3 * np.pi * model.dt_ms)
            holding = float(holding_current(model, neuron, np.array([at]))[0])
            found.append(Bifurcation(kind, at, 0.0 if real else float(hertz), holding))
    return sorted(found, key=lambda b: b.voltage_mv)


class Contraction(NamedTuple):
    """How the internal dynamics forget, with voltages as input.

    Attributes:
        spectral_radius: Of all banks; below 1 they contract, at the same rate whatever the voltages are.
        slowest_ms: Time constant of the slowest filter.
        forget_s: Until 1 % of an initial state is left.
    """

    spectral_radius: float
    slowest_ms: float
    forget_s: float


def contraction(model: RMM) -> Contraction:
    """Certificate that the internal dynamics contract: they are linear, so their poles decide."""
    slowest = max(float(c.bank.time_constants_ms.detach().max()) for c in model.terms)
    return Contraction(float(np.exp(-model.dt_ms / slowest)), slowest, slowest * np.log(100) / 1e3)


def lyapunov_exponent(
    model: RMM, voltage: Array, hidden: torch.Tensor, injected: Array, forcing: float = 0.0, every: int = 100
) -> float:
    """Largest Lyapunov exponent along a run, per second, by following a small deviation (Benettin et al. 1980).

    Args:
        model: The circuit.
        voltage: Recorded, ``(time + 1, node)``, mV: the start, and the teacher where ``forcing`` is above 0.
        hidden: At the start, ``(hidden,)``.
        injected: ``(time, node)``, nA.
        forcing: ``γ``: the exponent of the forced system says whether training through it is well-posed.
        every: Steps between rescalings of the deviation.
    """
    scale = torch.cat([torch.ones(model.n_nodes), model.hidden_scale])
    teacher = torch.as_tensor(np.asarray(voltage[:-1], np.float32))
    current = torch.as_tensor(np.asarray(injected, np.float32))
    size, total, steps = 1e-2, 0.0, 0
    start = torch.cat([torch.as_tensor(np.asarray(voltage[0], np.float32)), hidden])
    # Directions that the flow does not stretch die out; the voltages are deviated because they are what is forced.
    deviation = torch.zeros_like(scale)
    deviation[: model.n_nodes] = size / np.sqrt(model.n_nodes)
    with torch.no_grad():
        for first in range(0, len(current) - every + 1, every):
            part = slice(first, first + every)
            pair = torch.stack([start, start + deviation * scale])
            v, x = pair.tensor_split([model.n_nodes], dim=1)
            twice = (2, every, model.n_nodes)
            run, x = model.rollout(v, x, current[part].expand(twice), teacher[part].expand(twice), forcing)
            end = torch.cat([run[:, -1], x], dim=1)
            apart = (end[1] - end[0]) / scale
            norm = float(apart.norm())
            if not np.isfinite(norm) or norm == 0:
                return float("nan")
            if first >= len(current) // 10:  # the deviation first has to turn into the leading direction
                total, steps = total + np.log(norm / size), steps + every
            start, deviation = end[0], apart * (size / norm)
    return 1e3 * total / (steps * model.dt_ms)
