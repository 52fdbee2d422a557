"""Single-compartment neurons declared as lists of currents, in the tanh form of the Nogaret group's models.

    C dV/dt = I_inj / S - Σ I_j + u (V_obs - V),    dx/dt = (x_inf(V) - x) / tau_x(V)
    x_inf = (1 + tanh((V - V_x) / dV_x)) / 2,       tau_x = (t0_x + eps_x (1 - tanh²((V - V_x) / w_x))) / speed_x
    I_j = g_j Π x^p (V - E_j),  or, of calcium,     I_Ca = p_Ca Π x^p GHK(V, [Ca])
    d[Ca]/dt = -phi I_Ca - ([Ca] - [Ca]_0) / tau_Ca

Taylor, Winnall & Nogaret 2020 (PLoS Comput Biol, code pyDSI) is the source of the gates' form; the calcium dependence
of SK (Hill, power 2) and the calcium shift of BK's activation, ``V_x - k ln([Ca] / 0.5 µM)``, are our choice.
Units: mV, ms, mS/cm², µF/cm², µA/cm², µM. Outward currents are positive.

This module is the readable reference in torch; :mod:`.conductance_kernel` is the compiled one that does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ConfigError, did_you_mean

#: RT/2F at 22 °C (mV), [Ca] outside (µM), and [Ca] at which a shifted gate has its nominal half-activation (µM).
GHK_MV, CALCIUM_OUTSIDE_UM, CALCIUM_SHIFT_UM = 12.7, 2000.0, 0.5
#: [Ca] inside (µM) where a model has a calcium current but no pool; the floor of a pool.
CALCIUM_FIXED_UM, CALCIUM_FLOOR_UM = 0.05, 1e-3
GATE_PARAMETERS = ("half", "width", "tau_width", "tau_min", "tau_range")
POOL = ("calcium_gain", "calcium_tau", "calcium_rest")


@dataclass(frozen=True)
class Current:
    """One ionic current.

    Attributes:
        name: ``NaT``; its conductance is the parameter ``g_NaT``.
        gates: Gate to power, at most two.
        reversal: ``Na`` for the parameter ``E_Na``; ``ghk`` for a calcium current.
        calcium: ``hill``: multiplied by ``[Ca]² / ([Ca]² + k²)`` with the parameter ``<name>_calcium``.
    """

    name: str
    gates: Mapping[str, int]
    reversal: str
    calcium: str | None = None


@dataclass(frozen=True)
class Neuron:
    """A neuron: its currents, and the names, units, values and bounds of its parameters.

    A parameter vector holds, in this order: ``capacitance``, ``area``, conductances, reversal potentials, five numbers
    a gate (:data:`GATE_PARAMETERS`), constants of calcium. States: V, gates, [Ca] where there is a pool.

    Args:
        currents: In the order of their conductances.
        values: Value of every parameter; ``capacitance`` and ``area`` default to 1.
        speeds: Gate to the factor that divides its time constant (default 1).
        shifted: Gates whose half-activation falls with calcium, by the parameter ``<gate>_shift``.
        fixed: Parameters that are known and never estimated.
        bounds: Parameter to ``(lower, upper)``; by default as in :meth:`default_bounds`.
    """

    currents: tuple[Current, ...]
    values: Mapping[str, float]
    speeds: Mapping[str, float] = field(default_factory=dict)
    shifted: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ("capacitance",)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = {"capacitance": 1.0, "area": 1.0, **self.values}
        missing = [name for name in self.names if name not in values]
        unknown = [name for name in (*values, *self.fixed, *self.bounds) if name not in self.names]
        if missing:
            raise ConfigError(f"model.values has no {missing[0]!r}, which the currents need")
        if unknown:
            raise ConfigError(f"model: no parameter is called {unknown[0]!r}; {did_you_mean(unknown[0], self.names)}")
        for name in (*self.speeds, *self.shifted):
            if name not in self.gates:
                raise ConfigError(f"model: no gate is called {name!r}; {did_you_mean(name, self.gates)}")
        if self.shifted and not self.has_pool:
            raise ConfigError(f"model.shifted={list(self.shifted)}: needs calcium_gain, calcium_tau and calcium_rest")
        for current in self.currents:
            if len(current.gates) > 2:
                raise ConfigError(f"model: current {current.name} has {len(current.gates)} gates; at most two")
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            if not low <= values[name] <= high:
                raise ConfigError(f"model.bounds: {name}={values[name]:g} is outside its bounds {low:g} to {high:g}")

    @cached_property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates, in the order of the currents."""
        return tuple(dict.fromkeys(gate for current in self.currents for gate in current.gates))

    @cached_property
    def reversals(self) -> tuple[str, ...]:
        """Names of the reversal potentials that are parameters."""
        return tuple(dict.fromkeys(c.reversal for c in self.currents if c.reversal != "ghk"))

    @cached_property
    def has_pool(self) -> bool:
        """Whether calcium is a state."""
        return "calcium_tau" in self.values

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        gates = [f"{gate}_{what}" for gate in self.gates for what in GATE_PARAMETERS]
        calcium = [f"{gate}_shift" for gate in self.shifted]
        calcium += [f"{current.name}_calcium" for current in self.currents if current.calcium]
        calcium += POOL if self.has_pool else ()
        g = [f"g_{current.name}" for current in self.currents]
        return ("capacitance", "area", *g, *(f"E_{r}" for r in self.reversals), *gates, *calcium)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name to position in the parameter vector."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that are estimated."""
        return tuple(name for name in self.names if name not in self.fixed)

    @cached_property
    def conductances(self) -> tuple[int, ...]:
        """Positions of the conductances."""
        return tuple(range(2, 2 + len(self.currents)))

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return ("V", *self.gates, *(("calcium",) if self.has_pool else ()))

    @cached_property
    def theta(self) -> NDArray[np.float64]:
        """The values, ``(parameter,)``."""
        values = {"capacitance": 1.0, "area": 1.0, **self.values}
        return np.array([values[name] for name in self.names])

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a parameter."""
        return tuple(_UNITS[kind(name)] for name in self.names)

    @cached_property
    def lower(self) -> NDArray[np.float64]:
        """Lower bounds."""
        return self._box[0]

    @cached_property
    def upper(self) -> NDArray[np.float64]:
        """Upper bounds."""
        return self._box[1]

    @cached_property
    def _box(self) -> NDArray[np.float64]:
        values = {"capacitance": 1.0, "area": 1.0, **self.values}
        return np.array([self.bounds.get(name, default_bounds(name, values[name])) for name in self.names]).T

    def steady(self, theta: Tensor, voltage: Tensor) -> Tensor:
        """State after an infinite time at a voltage.

        Args:
            theta: ``(batch, parameter)``.
            voltage: ``(batch,)``, mV.

        Returns:
            ``(batch, state)``. Calcium is that of its own current at the resting concentration.
        """
        calcium = self._value(theta, "calcium_rest") if self.has_pool else None
        for _ in range(2 if self.has_pool else 1):
            gates, _ = self.gate_kinetics(theta, voltage, calcium)
            state = torch.cat([voltage[:, None], gates], dim=-1)
            if calcium is None:
                return state
            state = torch.cat([state, calcium[:, None]], dim=-1)
            inward = self._calcium_current(theta, state)
            rest, gain, tau = (self._value(theta, n) for n in ("calcium_rest", "calcium_gain", "calcium_tau"))
            calcium = (rest - gain * tau * inward).clamp(min=CALCIUM_FLOOR_UM)
        return torch.cat([state[:, :-1], calcium[:, None]], dim=-1) if calcium is not None else state

    def rhs(self, theta: Tensor, state: Tensor, injected: Tensor) -> Tensor:
        """Time derivative of the state.

        Args:
            theta: ``(batch, parameter)``.
            state: ``(batch, state)``.
            injected: ``(batch,)``, µA/cm² (divided by ``area``).

        Returns:
            ``(batch, state)``, per ms.
        """
        calcium = state[:, -1] if self.has_pool else None
        currents = self.currents_of(theta, state)
        total = injected / self._value(theta, "area") - currents.sum(-1)
        steady, tau = self.gate_kinetics(theta, state[:, 0], calcium)
        parts = [
            (total / self._value(theta, "capacitance"))[:, None],
            (steady - state[:, 1 : 1 + len(self.gates)]) / tau,
        ]
        if calcium is not None:
            rest, gain, decay = (self._value(theta, n) for n in ("calcium_rest", "calcium_gain", "calcium_tau"))
            parts.append((-gain * self._calcium_current(theta, state) - (calcium - rest) / decay)[:, None])
        return torch.cat(parts, dim=-1)

    def currents_of(self, theta: Tensor, state: Tensor) -> Tensor:
        """Every ionic current, outward positive.

        Args:
            theta: ``(..., parameter)``.
            state: ``(..., state)``.

        Returns:
            ``(..., current)``, µA/cm².
        """
        voltage = state[..., 0]
        calcium = state[..., -1] if self.has_pool else torch.full_like(voltage, CALCIUM_FIXED_UM)
        conductance = self.open_conductances(theta, state[..., 1 : 1 + len(self.gates)], calcium)
        drives = [
            ghk(voltage, calcium) if c.reversal == "ghk" else voltage - self._value(theta, f"E_{c.reversal}")
            for c in self.currents
        ]
        return conductance * torch.stack(drives, dim=-1)

    def open_conductances(self, theta: Tensor, gates: Tensor, calcium: Tensor) -> Tensor:
        """Conductance times open fraction of every current, ``(..., current)``, mS/cm²."""
        found = []
        for number, current in enumerate(self.currents):
            value = theta[..., 2 + number]
            for gate, power in current.gates.items():
                value = value * gates[..., self.gates.index(gate)] ** power
            if current.calcium:
                value = value * calcium**2 / (calcium**2 + self._value(theta, f"{current.name}_calcium") ** 2)
            found.append(value)
        return torch.stack(torch.broadcast_tensors(*found), dim=-1)

    def gate_kinetics(self, theta: Tensor, voltage: Tensor, calcium: Tensor | None) -> tuple[Tensor, Tensor]:
        """Steady states and time constants (ms) of all gates, ``(..., gate)`` each."""
        if not self.gates:
            return voltage[..., None][..., :0], voltage[..., None][..., :0]
        pairs = [self._gate(theta, gate, voltage, calcium) for gate in self.gates]
        return torch.stack([p[0] for p in pairs], dim=-1), torch.stack([p[1] for p in pairs], dim=-1)

    def _calcium_current(self, theta: Tensor, state: Tensor) -> Tensor:
        which = [number for number, current in enumerate(self.currents) if current.reversal == "ghk"]
        return self.currents_of(theta, state)[..., which].sum(-1)

    def _value(self, theta: Tensor, name: str) -> Tensor:
        return theta[..., self.index[name]]

    def _gate(self, theta: Tensor, gate: str, voltage: Tensor, calcium: Tensor | None) -> tuple[Tensor, Tensor]:
        half, width, tau_width, tau_min, tau_range = (self._value(theta, f"{gate}_{w}") for w in GATE_PARAMETERS)
        if gate in self.shifted and calcium is not None:
            half = half - self._value(theta, f"{gate}_shift") * torch.log(calcium / CALCIUM_SHIFT_UM)
        steady = 0.5 * (1 + torch.tanh((voltage - half) / width))
        bell = 1 - torch.tanh((voltage - half) / tau_width) ** 2
        return steady, (tau_min + tau_range * bell) / self.speeds.get(gate, 1.0)


def ghk(voltage: Tensor, calcium: Tensor) -> Tensor:
    """Constant-field driving force of calcium: ``0.01 y ([Ca]_i - [Ca]_o e^-y) / (1 - e^-y)`` with ``y = V / 12.7 mV``.

    Written with the even function ``c = (y/2) coth(y/2)``, which has no hole at 0 mV: ``0.01 ([Ca]_i (c + y/2) -
    [Ca]_o (c - y/2))``.
    """
    half = voltage / (2 * GHK_MV)
    near = half.abs() < 1e-3
    safe = torch.where(near, torch.ones_like(half), half)
    c = torch.where(near, 1 + half**2 / 3, safe / torch.tanh(safe))
    return 0.01 * (calcium * (c + half) - CALCIUM_OUTSIDE_UM * (c - half))


def kind(name: str) -> str:
    """What a parameter is: conductance, reversal, half, width, time, shift, concentration, gain, area, capacitance."""
    if name in ("area", "capacitance"):
        return name
    if name.startswith("g_"):
        return "conductance"
    if name.startswith("E_"):
        return "reversal"
    special = {"calcium_tau": "time", "calcium_gain": "gain", "calcium_rest": "concentration"}
    if name in special or name.endswith("_calcium"):
        return special.get(name, "concentration")
    suffix = name.split("_", 1)[1]
    return {"tau_min": "time", "tau_range": "time", "tau_width": "width"}.get(suffix, suffix)


_UNITS = {
    **{"conductance": "mS/cm²", "reversal": "mV", "half": "mV", "width": "mV", "shift": "mV", "time": "ms"},
    **{"concentration": "µM", "gain": "µM cm²/µA/ms", "area": "1", "capacitance": "µF/cm²"},
}


def default_bounds(name: str, value: float) -> tuple[float, float]:
    """Search box around a value.

    Half-activations ±15 mV, reversals ±10 mV, widths half to double, area 0.7 to 1.4 times, everything else a quarter
    to four times.
    """
    what = kind(name)
    if what in ("half", "reversal"):
        reach = 15.0 if what == "half" else 10.0
        return value - reach, value + reach
    low, high = {"width": (0.5, 2.0), "area": (0.7, 1.4)}.get(what, (0.25, 4.0))
    low, high = sorted((value * low, value * high))
    return low, high
