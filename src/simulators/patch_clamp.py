"""Current-clamp recordings in silico: a declared neuron under chaotic and stepped current, with drugs and known truth.

Wells et al. 2025 drive hippocampal neurons with "short chaotically driven" currents; the numbers of the protocol could
not be read, so that all are ours: x of the Lorenz system slowed to milliseconds, mixed with steps of both signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from ..biophysics.conductance import Neuron, kind
from ..biophysics.declaration import load_neuron
from ..biophysics.simulate import follow
from ..contracts import ClampRecording
from ..errors import ConfigError, did_you_mean

Array = NDArray[np.float64]
#: Rest before a sweep: slow inactivation of calcium takes a quarter of a second, and must be over where a fit begins.
SETTLE_MS = 2000.0


@dataclass(frozen=True)
class Drug:
    """What a drug blocks: current to half-blocking concentration and Hill coefficient.

    Attributes:
        unit: Of the concentrations.
        targets: Current to ``(IC50, Hill coefficient)``.
        off_targets: The same for currents that it is not meant for; only with ``off_target: true``.
    """

    unit: str
    targets: Mapping[str, tuple[float, float]]
    off_targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)


#: Iberiotoxin: Candia 1992. ZD7288: from 98 % block of HCN1 at 100 µM (Gill 2004) with Hill 1. 4-AP: Kv1.5, and it also
#: acts on calcium-activated potassium (Matsuda & Yoshida 1986; that potency is ours). Apamin's potency is ours.
DRUGS = {
    "iberiotoxin": Drug("nM", {"BK": (1.16, 1.0)}),
    "apamin": Drug("nM", {"SK": (0.5, 1.0)}),
    "4-AP": Drug("mM", {"A": (0.14, 1.0)}, {"BK": (1.0, 1.0), "K": (2.0, 1.0)}),
    "ZD7288": Drug("uM", {"H": (2.0, 1.0)}),
}


@dataclass(frozen=True)
class ClampSession:
    """Sweeps of one cell: every condition in turn, its repeats side by side."""

    sweeps: tuple[ClampRecording, ...]


@dataclass(frozen=True)
class PatchClampSimulator:
    """Sweeps of one neuron.

    Args:
        neuron: Its structure and nominal parameters.
        duration_ms: Length of a sweep.
        sampling_rate_hz: Of current and recording.
        noise_sd_mv: White measurement noise.
        chaotic: Amplitude of the chaotic current, µA/cm² (times ``area``).
        offset: Its mean.
        steps: Lowest and highest step.
        rest_ms: Without current at the start of a sweep; before it, the neuron rests for two seconds.
        half_sd_mv: Model error: how far this cell's half-activations deviate from the nominal ones, mV.
        kinetics_sd: The same for widths and time constants, as a fraction.
        conductance_spread: Conductances are drawn log-uniformly between 1/spread and spread times nominal.
        off_target: Whether drugs act on their off-targets too.
        substeps: Integration steps a sample; an estimator should use fewer.
        conditions: Of :meth:`record`, see :meth:`ratios`.
        repeats: Sweeps a condition: the same current, other noise.
        protocol_seed: Of the injected current, where all cells share it.
    """

    neuron: Neuron
    duration_ms: float = 1000.0
    sampling_rate_hz: float = 50_000.0
    noise_sd_mv: float = 0.25
    chaotic: float = 25.0
    offset: float = 8.0
    steps: tuple[float, float] = (-15.0, 25.0)
    rest_ms: float = 20.0
    half_sd_mv: float = 0.0
    kinetics_sd: float = 0.0
    conductance_spread: float = 1.0
    off_target: bool = False
    substeps: int = 4
    conditions: Sequence[str] = ("control",)
    repeats: int = 1
    protocol_seed: int | None = None

    def __post_init__(self) -> None:
        if self.duration_ms <= self.rest_ms or self.noise_sd_mv < 0 or self.conductance_spread < 1:
            raise ConfigError(
                f"duration_ms={self.duration_ms:g}, noise_sd_mv={self.noise_sd_mv:g}, "
                f"conductance_spread={self.conductance_spread:g}: longer than the rest, not negative, at least 1"
            )

    @property
    def dt_ms(self) -> float:
        """Sampling interval."""
        return 1e3 / self.sampling_rate_hz

    def cell(self, seed: int) -> Array:
        """Parameters of a cell of this kind, ``(parameter,)``."""
        rng = np.random.default_rng([seed, 1])
        theta = self.neuron.theta.copy()
        for position, name in enumerate(self.neuron.names):
            deviation = rng.standard_normal()
            if kind(name) == "half":
                theta[position] += self.half_sd_mv * deviation
            elif kind(name) in ("width", "time") and name in self.neuron.free:
                theta[position] *= np.exp(self.kinetics_sd * deviation)
            elif kind(name) == "conductance":
                theta[position] *= self.conductance_spread ** rng.uniform(-1, 1)
        return np.clip(theta, self.neuron.lower, self.neuron.upper)

    def current(self, seed: int) -> Array:
        """Injected current of a sweep, ``(time,)``."""
        rng = np.random.default_rng([seed if self.protocol_seed is None else self.protocol_seed, 2])
        n, rest = (round(t / self.dt_ms) for t in (self.duration_ms, self.rest_ms))
        current = self.offset + self.chaotic * lorenz(n, self.dt_ms, rng)
        at = rest
        while at < n:  # stretches of chaos between steps, 20 to 40 ms each
            at += round(rng.uniform(20, 40) / self.dt_ms)
            length = round(rng.uniform(20, 40) / self.dt_ms)
            current[at : at + length] = rng.uniform(*self.steps)
            at += length
        current[:rest] = 0.0
        return current * self.neuron.theta[self.neuron.index["area"]]

    def ratios(self, condition: str) -> Array:
        """What a condition leaves of each conductance, ``(current,)``, between 0 and 1.

        Args:
            condition: ``control``, a drug with its dose (``iberiotoxin 10 nM``) or a block as such (``BK -50%``).
        """
        names = [current.name for current in self.neuron.currents]
        left = dict.fromkeys(names, 1.0)
        if condition != "control":
            for name, ratio in self._acts_on(condition).items():
                if name not in left:
                    raise ConfigError(f"condition {condition!r}: the neuron has no {name}; {did_you_mean(name, names)}")
                left[name] *= ratio
        return np.array(list(left.values()))

    def _acts_on(self, condition: str) -> dict[str, float]:
        if plain := re.fullmatch(r"(\w+) -(\d+(?:\.\d+)?)%", condition):
            return {plain[1]: 1 - float(plain[2]) / 100}
        dosed = re.fullmatch(r"(\S+) (\d+(?:\.\d+)?) ?([nuµm]M)", condition)
        if dosed is None or dosed[1] not in DRUGS:
            raise ConfigError(
                f"condition {condition!r}: write control, BK -50%, or DRUG DOSE UNIT ({', '.join(DRUGS)})"
            )
        drug = DRUGS[dosed[1]]
        power = {"n": -9, "u": -6, "µ": -6, "m": -3}
        dose = float(dosed[2]) * 10.0 ** (power[dosed[3][0]] - power[drug.unit[0]])
        acts = {**drug.targets, **(drug.off_targets if self.off_target else {})}
        return {name: 1 - 1 / (1 + (ic50 / dose) ** hill) for name, (ic50, hill) in acts.items()}

    def record(self, seed: int) -> ClampSession:
        """All conditions and repeats of the cell ``seed``."""
        theta = self.cell(seed)
        return ClampSession(
            tuple(
                self.sweep(theta, condition, seed, 1000 * repeat + number)
                for number, condition in enumerate(self.conditions)
                for repeat in range(self.repeats)
            )
        )

    def sweep(self, theta: Array, condition: str = "control", seed: int = 0, noise_seed: int = 0) -> ClampRecording:
        """One sweep of the cell ``theta`` in a condition.

        Args:
            theta: Parameters in the control condition.
            condition: See :meth:`ratios`.
            seed: Of the injected current.
            noise_seed: Of the measurement noise.

        Returns:
            Noisy voltage, current, true currents; ``truth``: ``theta`` (of this condition), ``voltage``, ``ratios``.
        """
        theta = theta.copy()
        ratios = self.ratios(condition)
        theta[list(self.neuron.conductances)] *= ratios
        current = self.current(seed)
        before = round(SETTLE_MS / self.dt_ms)
        whole = np.concatenate([np.zeros(before), current])
        run = follow(self.neuron, theta, whole, self.dt_ms, -65.0, states=True, substeps=self.substeps)
        voltage = run.voltage[before:]
        currents = self.neuron.currents_of(torch.from_numpy(theta), torch.from_numpy(run.states[before:])).numpy()
        noise = np.random.default_rng([noise_seed, seed, 3]).standard_normal(len(voltage))
        return ClampRecording(
            name=f"{condition}-{noise_seed}",
            sampling_rate_hz=self.sampling_rate_hz,
            voltage=voltage + self.noise_sd_mv * noise,
            current=current,
            condition=condition,
            currents=currents,
            current_names=tuple(current.name for current in self.neuron.currents),
            truth={"theta": theta, "voltage": voltage, "ratios": ratios},
        )


def declared_neuron(name: str) -> Neuron:
    """The neuron of ``configs/model/<name>.yaml``, or of a YAML file at the path ``name``."""
    return load_neuron(name)


def lorenz(n: int, dt_ms: float, rng: np.random.Generator, slow_ms: float = 8.0) -> Array:
    """X of the Lorenz system (10, 28, 8/3) with one unit of its time lasting ``slow_ms``, scaled to about ±1."""
    return _lorenz(n, dt_ms / slow_ms, rng.normal(0, 5, 3) + np.array([0.0, 0.0, 25.0])) / 18.0


@numba.njit(cache=True)
def _lorenz(n: int, dt: float, start: NDArray[np.float64]) -> NDArray[np.float64]:
    found, state = np.empty(n), start
    for k in range(-5000, n):
        step = 0.01 if k < 0 else dt  # first onto the attractor
        slope = _flow(state)
        for fraction in (0.5, 0.5):
            slope = _flow(state + fraction * step * slope)
        state = state + step * slope
        if k >= 0:
            found[k] = state[0]
    return found


@numba.njit(cache=True)
def _flow(s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])
