"""The recurrent mechanistic model (RMM) of a circuit of neurons (Burghi et al. 2025, RecMechModels.jl, branch HCO)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Bifurcation, SynapseConstants
from ..errors import ConfigError, did_you_mean
from .filters import INTRINSIC_MS, SYNAPTIC_MS, FilterBank, SigmoidBank
from .rmm_currents import Current, Dense, HammersteinSynapse, MechanisticSynapse, inverse_softplus
from .rmm_linear import bifurcations, holding_current, lyapunov_exponent, membrane_admittance, synapse_constants
from .rmm_newton import newton_rollout
from .rmm_rollout import compiled_rollout, plain_rollout

SYNAPSES = ("lumped", "mechanistic", "hammerstein")
#: Thresholds and slopes (mV) and time constants (ms) of a Hammerstein synapse's sigmoids: 84 combinations.
HAMMERSTEIN = (range(-60, -29, 5), (1.5, 3.0, 6.0), (20.0, 50.0, 100.0, 200.0))
#: Where synaptic conductances start with ``start: small``, µS.
SMALL_US = 0.02
BACKENDS = ("auto", "plain", "compiled")


class Rollout(NamedTuple):
    """A run of a model.

    Attributes:
        voltage: After each step, before the next correction by a teacher, ``(batch, time, node)``, mV.
        hidden: Hidden states after the last step, ``(batch, hidden)``.
    """

    voltage: Tensor
    hidden: Tensor


class RMM(nn.Module):
    """Voltages driven by leak, injected current and networks that see the voltages through fixed filters.

    For neuron ``n`` with step ``dt``, and partners ``m`` that synapse onto it (equation of state of the paper's code)::

        v_n(t+1) = v_n + dt c_n (I_n - g_n v_n - b_n - f_n(v_n, x_n) - Σ_m h_nm(v_n, y_nm))
        x_n(t+1) = A_int x_n + B_int (v_n - r_n),     y_nm(t+1) = A_syn y_nm + B_syn (v_m - r_m)

    ``r`` (0 in the paper) only shifts the filter states, to keep them small in float32: the mean training voltage.
    Two neurons have 4,066 parameters with lumped synapses, 4,128 with mechanistic ones, and 114 states. A Hammerstein
    synapse replaces the linear filters ``y`` by :class:`~.filters.SigmoidBank` (ours): 3,256 parameters, 234 states.

    Args:
        n_nodes: Neurons.
        sampling_rate_hz: Of the data; the time step is its inverse.
        synapse: ``lumped`` (a network of voltage and states), ``mechanistic`` (conductance times driving force, filter
            first, then nonlinearity) or ``hammerstein`` (the same, nonlinearity first, linear in its weights).
        wiring: ``[pre, post]`` pairs; ``None``: each neuron onto every other.
        intrinsic_ms: Time constants of the filters of a neuron's own voltage, ms.
        synaptic_ms: Time constants of the filters of a partner's voltage, ms.
        hidden: Hidden units of the intrinsic current.
        synaptic_hidden: Hidden units of a synapse; ``None``: the paper's, (10, 10, 10) lumped, (20,) mechanistic.
        reversal_mv: Of a mechanistic or Hammerstein synapse, mV; fixed.
        normalisation: ``minmax`` (the paper's) or ``whiten``, which trains about 35 times faster.
        whitening_floor: Added to the variance of each principal component (z-scored inputs). What foretells a spike is
            in components of little variance: with 1e-4, training on noisy recordings stalls.
        start: ``paper``, or ``small``: leak 0.02, inverse capacitance 1 and small weights, so that an untrained model
            is a slow leaky membrane; conductances of synapses 0.02 µS instead of 1.
        trainable_filters: Whether the filters' poles are learned.
        backend: Of :meth:`rollout`: ``plain`` torch, ``compiled``, or ``auto``: the compiled one on a CPU.
    """

    reference_mv: Tensor
    range_mv: Tensor

    def __init__(
        self,
        n_nodes: int,
        sampling_rate_hz: float,
        synapse: str = "lumped",
        wiring: Sequence[Sequence[int]] | None = None,
        intrinsic_ms: Sequence[float] = INTRINSIC_MS,
        synaptic_ms: Sequence[float] = SYNAPTIC_MS,
        hidden: Sequence[int] = (20, 20, 20),
        synaptic_hidden: Sequence[int] | None = None,
        reversal_mv: float = -80.0,
        normalisation: str = "minmax",
        whitening_floor: float = 1e-6,
        start: str = "paper",
        trainable_filters: bool = False,
        backend: str = "auto",
    ):
        super().__init__()
        for name, value, choices in (
            ("synapse", synapse, SYNAPSES),
            ("normalisation", normalisation, ("minmax", "whiten")),
            ("start", start, ("paper", "small")),
            ("backend", backend, BACKENDS),
        ):
            if value not in choices:
                raise ConfigError(f"model.{name}={value!r}: {did_you_mean(str(value), choices)}")
        self.n_nodes, self.dt_ms, self.backend = n_nodes, 1e3 / sampling_rate_hz, backend
        self.normalisation, self.whitening_floor = normalisation, whitening_floor
        scale = 1.0 if start == "paper" else 0.2
        leak, inverse_c = torch.empty(n_nodes).uniform_(0.25, 0.75), torch.rand(n_nodes).clamp_min(1e-2)
        if start == "small":
            leak, inverse_c = torch.full_like(leak, 0.02), torch.ones_like(inverse_c)
        self.inverse_capacitance = nn.Parameter(inverse_softplus(inverse_c))
        self.leak = nn.Parameter(inverse_softplus(leak))
        self.leak_bias = nn.Parameter(torch.zeros(n_nodes))
        self.register_buffer("reference_mv", torch.zeros(n_nodes))
        self.register_buffer("range_mv", torch.zeros(2, n_nodes))

        def network(n_in: int, units: Sequence[int]) -> list[Dense]:
            sizes = [n_in, *units]
            layers = [Dense(a, b, "tanh", scale=scale) for a, b in pairwise(sizes)]
            return [*layers, Dense(sizes[-1], 1, "identity", bias=False, scale=scale)]

        def bank(times: Sequence[float], kind: str = "orthonormal") -> FilterBank:
            return FilterBank(times, self.dt_ms, kind, trainable_filters)

        currents: list[Current] = []
        for n in range(n_nodes):
            currents.append(Current(n, n, bank(intrinsic_ms), network(len(intrinsic_ms) + 1, hidden), True))
        for pre, post in self._wires(wiring):
            n_in = len(synaptic_ms)
            if synapse == "lumped":
                units = (10, 10, 10) if synaptic_hidden is None else synaptic_hidden
                currents.append(Current(pre, post, bank(synaptic_ms), network(n_in + 1, units), True))
                continue
            us = 1.0 if start == "paper" else SMALL_US
            if synapse == "hammerstein":
                sigmoids = SigmoidBank(*HAMMERSTEIN, self.dt_ms)
                readout = [Dense(len(sigmoids), 1, "identity", bias=False, positive=True)]
                currents.append(HammersteinSynapse(pre, post, sigmoids, readout, reversal_mv, us))
                continue
            sizes = [n_in, *((20,) if synaptic_hidden is None else synaptic_hidden)]
            dense = [Dense(a, b, "sigmoid", positive=True) for a, b in pairwise(sizes)]
            dense.append(Dense(sizes[-1], 1, "identity", bias=False, positive=True))
            currents.append(MechanisticSynapse(pre, post, bank(synaptic_ms, "diagonal"), dense, reversal_mv, us))
        self.currents = nn.ModuleList(currents)

    def _wires(self, wiring: Sequence[Sequence[int]] | None) -> list[tuple[int, int]]:
        nodes = range(self.n_nodes)
        if wiring is None:
            return [(pre, post) for post in nodes for pre in nodes if pre != post]
        wires = [(int(pre), int(post)) for pre, post in wiring]
        for pre, post in wires:
            if pre not in nodes or post not in nodes:
                raise ConfigError(f"model.wiring: [{pre}, {post}] names a neuron outside 0 to {self.n_nodes - 1}")
        return wires

    @property
    def terms(self) -> list[Current]:
        """The currents: one intrinsic a neuron, then one a synapse."""
        return [current for current in self.currents if isinstance(current, Current)]

    @property
    def hidden_sizes(self) -> list[int]:
        """Filters of each current, in the order in which ``hidden`` holds their states."""
        return [len(current.bank) for current in self.terms]

    @property
    def hidden_scale(self) -> Tensor:
        """Gain of each hidden state for a constant voltage, ``(hidden,)``: its natural unit, per mV."""
        return torch.cat([current.bank.dc_gain for current in self.terms]).detach()

    def warm_up(self, voltage: NDArray[np.floating], at: NDArray[np.integer]) -> Tensor:
        """Hidden states driven by a recording, with the transient washed out, ``(len(at), hidden)``.

        Args:
            voltage: ``(time, node)``, mV.
            at: Samples at which they are wanted.
        """
        reference = self.reference_mv.numpy()
        done: dict[tuple, NDArray] = {}
        for current in self.terms:
            key = self._bank_key(current)
            if key not in done:
                done[key] = current.bank.filter(voltage[:, current.driver] - reference[current.driver], at)
        states = np.concatenate([done[self._bank_key(current)] for current in self.terms], axis=1)
        return torch.from_numpy(states).to(self.leak.dtype)

    @staticmethod
    def _bank_key(current: Current) -> tuple:
        return (current.driver, type(current.bank), current.bank.kind, *current.bank.logit.tolist())

    @torch.no_grad()
    def refer(self, voltage_mv: Tensor) -> None:
        """Measure voltages from ``voltage_mv``, ``(node,)``, in the filters; call before :meth:`warm_up`."""
        self.reference_mv.copy_(voltage_mv)
        for current in self.terms:
            if isinstance(current, MechanisticSynapse):
                current.refer(float(voltage_mv[current.driver]))

    def fit_inputs(self, voltage: Tensor, hidden: Tensor) -> None:
        """Set the normalisation of every network from training samples.

        Args:
            voltage: ``(sample, node)``, mV.
            hidden: ``(sample, hidden)``, from :meth:`warm_up`.
        """
        self.range_mv.copy_(torch.stack([voltage.min(dim=0).values, voltage.max(dim=0).values]))
        for current, states in zip(self.terms, hidden.split(self.hidden_sizes, dim=1), strict=True):
            if not isinstance(current, MechanisticSynapse):
                inputs = torch.cat([voltage[:, current.target, None], states], dim=1)
                current.fit_inputs(inputs, self.normalisation, self.whitening_floor)

    def current(self, voltage: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """Currents out of each neuron, ``(batch, node)`` each, nA: ``leak``, ``intrinsic`` and ``synaptic``.

        Args:
            voltage: ``(batch, node)``, mV.
            hidden: ``(batch, hidden)``.
        """
        parts = {"leak": F.softplus(self.leak) * voltage + self.leak_bias}
        columns: dict[str, list[list[Tensor]]] = {
            k: [[] for _ in range(self.n_nodes)] for k in ("intrinsic", "synaptic")
        }
        for module, states in zip(self.terms, hidden.split(self.hidden_sizes, dim=1), strict=True):
            kind = "intrinsic" if module.driver == module.target else "synaptic"
            columns[kind][module.target].append(module(voltage[:, module.target], states))
        zero = torch.zeros_like(voltage[:, 0])
        for kind, nodes in columns.items():
            parts[kind] = torch.stack([sum(found, zero) for found in nodes], dim=1)
        return parts

    def derivative(self, voltage: Tensor, hidden: Tensor, injected: Tensor) -> Tensor:
        """``dv/dt``, ``(batch, node)``, mV/ms."""
        outward = torch.stack(list(self.current(voltage, hidden).values())).sum(dim=0)
        return F.softplus(self.inverse_capacitance) * (injected - outward)

    def rollout(
        self,
        voltage: Tensor,
        hidden: Tensor,
        injected: Tensor,
        teacher: Tensor | None = None,
        forcing: float = 0.0,
        backend: str | None = None,
    ) -> Rollout:
        """Run from given states. Each step first pulls the voltages towards a teacher's: generalised teacher forcing.

        Args:
            voltage: At the start, ``(batch, node)``, mV.
            hidden: At the start, ``(batch, hidden)``.
            injected: Current during each step, ``(batch, time, node)``, nA.
            teacher: Recorded voltage at the start of each step, ``(batch, time, node)``, mV.
            forcing: ``γ``: 0 runs freely, 1 replaces the voltages by the teacher's at every step.
            backend: Instead of the model's.
        """
        backend = backend or self.backend
        if forcing and teacher is None:
            raise ConfigError(f"forcing={forcing:g} needs recorded voltages to force with")
        if backend == "compiled" and voltage.device.type != "cpu":
            raise ConfigError(f"model.backend=compiled runs on a CPU only, the data are on {voltage.device}")
        fast = backend == "compiled" or (backend == "auto" and voltage.device.type == "cpu")
        return Rollout(
            *(compiled_rollout if fast else plain_rollout)(self, voltage, hidden, injected, teacher, forcing)
        )

    def parallel_rollout(
        self, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None = None, forcing: float = 0.0
    ) -> Rollout:
        """As :meth:`rollout`, all times at once by Newton's method, see :func:`~.rmm_newton.newton_rollout`."""
        return Rollout(*newton_rollout(self, voltage, hidden, injected, teacher, forcing))

    @contextmanager
    def synapses_scaled(self, factor: float) -> Iterator[None]:
        """While open, all synaptic currents are ``factor`` times what was learned: 0 uncouples the circuit."""
        synapses = [current for current in self.terms if current.driver != current.target]
        for current in synapses:
            current.factor = factor
        try:
            yield
        finally:
            for current in synapses:
                current.factor = 1.0

    @property
    def trains_hidden(self) -> bool:
        """Whether the filters change in training."""
        return any(current.bank.logit.requires_grad for current in self.terms)

    def synapses(self) -> dict[tuple[int, int], SynapseConstants]:
        """Constants of synapses with a driving force, read off their steady state, by ``(pre, post)``."""
        synapses = [c for c in self.terms if isinstance(c, MechanisticSynapse)]
        return {(c.driver, c.target): synapse_constants(self, c) for c in synapses}

    def conductance(self, neuron: int, voltages: NDArray, frequencies: NDArray) -> NDArray[np.float64]:
        """``G(v, ω)`` of a neuron's leak and intrinsic current, ``(voltage, frequency)``, µS.

        Args:
            neuron: Which.
            voltages: At which it is clamped, mV.
            frequencies: ``ω``, rad/ms.
        """
        return membrane_admittance(self, neuron, voltages, frequencies).real

    def holding_current(self, neuron: int, voltages: NDArray) -> NDArray[np.float64]:
        """Injected current that holds a neuron without synapses at each voltage, nA."""
        return holding_current(self, neuron, voltages)

    def bifurcations(self, neuron: int, voltages: NDArray) -> list[Bifurcation]:
        """Of a neuron without synapses, see :func:`~.rmm_linear.bifurcations`."""
        return bifurcations(self, neuron, voltages)

    def lyapunov_exponent(self, voltage: NDArray, hidden: Tensor, injected: NDArray, forcing: float) -> float:
        """Per second, see :func:`~.rmm_linear.lyapunov_exponent`."""
        return lyapunov_exponent(self, voltage, hidden, injected, forcing)

    def penalty(self) -> Tensor:
        """What weight decay acts on: squares of all weights, leaks and conductances; no biases."""
        parts = [current.penalty() for current in self.terms] + [F.softplus(self.leak).square().sum()]
        parts += [F.softplus(c.conductance).square() for c in self.terms if isinstance(c, MechanisticSynapse)]
        return torch.stack(parts).sum()
