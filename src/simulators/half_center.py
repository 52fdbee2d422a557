"""A half-center oscillator: two STG-like neurons that burst in turn, as a dynamic clamp makes them inhibit each other.

Recordings of Burghi et al. 2025 in silico, with the currents that the experiment does not see. Each cell is a soma
whose membrane does not spike and a hidden axon that does, so that spikes are small at the soma, as in real GM cells.
Cells, clamp and input ("set A") are ours; the equations are those of :mod:`~..biophysics.stg_circuit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat
from scipy.signal import lfilter

from ..biophysics.dynamic_clamp import DynamicClamp
from ..biophysics.stg import AREA_MS_CM2_TO_US, CALCIUM_TAU_LIU_MS, CAPACITANCE_NF
from ..biophysics.stg_circuit import Circuit, Clamped, Compartment, integrate
from ..contracts import CircuitRecording
from ..errors import ConfigError

Array = NDArray[np.float64]

#: The clamp of set A. Its threshold lies between escape (-50) and release (-40).
CLAMP = DynamicClamp(g_syn_us=0.05, half_syn_mv=-47.0, g_h_us=0.08, tau_h_ms=1000.0)
#: Somata of the two cells, mS/cm²; as in the experiment they are not alike.
SOMATA = (
    {"CaT": 0.5, "CaS": 2.0, "A": 10.0, "KCa": 10.0, "Kd": 10.0, "leak": 0.02},
    {"CaT": 0.5, "CaS": 2.2, "A": 9.0, "KCa": 11.0, "Kd": 10.0, "leak": 0.022},
)
AXON = {"Na": 100.0, "Kd": 100.0, "leak": 0.02}
#: Units of what ``CircuitRecording.hidden`` holds.
HIDDEN_UNITS = {"voltage": "mV", "axon": "mV", "calcium": "µM", "h": "nA", "gate": "1"}
AXON_CAPACITANCE_NF, AXIAL_US, LEAK_MV = 0.2, 0.1, -55.0


@dataclass(frozen=True)
class HalfCenterSimulator:
    """Trials of two coupled neurons under independent Ornstein-Uhlenbeck currents.

    Args:
        seconds: Length of a trial.
        input_sd_na: Standard deviation of each injected current, nA.
        input_tau_ms: Its correlation time, ms.
        noise_sd_mv: White measurement noise on each voltage, mV. Truth stays noise-free.
        clamp: Artificial currents of both cells; ``clamp.half_syn_mv`` near -50 is escape, near -40 release.
        synapse_scale: Multiplies both synaptic conductances: 0 uncouples, 2 doubles (counterfactuals).
        silenced: Index of a cell without sodium, which then fires no spikes; ``None`` leaves both.
        burn_in_s: Simulated first and thrown away.
        sampling_rate_hz: Of input and recording.
        substeps: Integration steps a sample.

    Example:
        >>> trial = HalfCenterSimulator(seconds=0.1, burn_in_s=0.0).record(seed=0)
        >>> trial.voltage.shape, trial.synaptic.shape
        ((1000, 2), (1000, 2))
    """

    seconds: float = 100.0
    input_sd_na: float = 0.05
    input_tau_ms: float = 5.0
    noise_sd_mv: float = 0.1
    clamp: DynamicClamp = CLAMP
    synapse_scale: float = 1.0
    silenced: int | None = None
    burn_in_s: float = 5.0
    sampling_rate_hz: float = 10_000.0
    substeps: int = 4

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.burn_in_s < 0:
            raise ConfigError(
                f"seconds={self.seconds:g}, burn_in_s={self.burn_in_s:g}: a trial has a length, no negative burn-in"
            )
        if 1e3 / self.sampling_rate_hz / self.substeps > 0.06:
            raise ConfigError(
                f"sampling_rate_hz={self.sampling_rate_hz:g} with substeps={self.substeps}: the step exceeds 0.05 ms, "
                "at which sodium spikes come out wrong; raise substeps"
            )

    @property
    def circuit(self) -> Circuit:
        """The circuit that is integrated: somata 0 and 1 (recorded), axons 2 and 3 (hidden)."""
        parts = [_compartment(CAPACITANCE_NF, cell) for cell in SOMATA]
        for cell in range(2):
            axon = {**AXON, "Na": 0.0} if cell == self.silenced else AXON
            parts.append(_compartment(AXON_CAPACITANCE_NF, axon))
        clamp = self.clamp.scaled(self.synapse_scale)
        return Circuit(
            tuple(parts),
            axial_us=((0, 2, AXIAL_US), (1, 3, AXIAL_US)),
            clamped=(Clamped(0, 1, clamp), Clamped(1, 0, clamp)),
            calcium_tau_ms=CALCIUM_TAU_LIU_MS,
        )

    def record(self, seed: np.random.SeedSequence | int, name: str = "trial") -> CircuitRecording:
        """Simulate one trial; the seed decides input and measurement noise, not the cells.

        Returns:
            Noisy voltages (unfiltered), injected currents, true synaptic currents; ``hidden`` holds ``voltage``
            (without noise), ``axon`` (mV), ``calcium`` (µM), ``h`` (nA), ``gate`` (of the synapse), each ``(time, 2)``.
        """
        rng_noise = np.random.default_rng(_children(seed, 2)[1])
        injected = self.injected(seed)
        course = integrate(self.circuit, injected, 1e3 / self.sampling_rate_hz, self.substeps)
        kept = slice(round(self.burn_in_s * self.sampling_rate_hz), None)
        soma = course.voltage[kept, :2]
        return CircuitRecording(
            name=name,
            sampling_rate_hz=self.sampling_rate_hz,
            voltage=soma + self.noise_sd_mv * rng_noise.standard_normal(soma.shape),
            current=injected[kept],
            synaptic=course.synaptic[kept],
            hidden={
                **{"voltage": soma, "axon": course.voltage[kept, 2:], "calcium": course.calcium[kept, :2]},
                **{"h": course.h[kept], "gate": course.gate[kept]},
            },
        )

    def injected(self, seed: np.random.SeedSequence | int) -> Array:
        """Currents of a trial, its burn-in first, ``(time, 2)``, nA."""
        rng = np.random.default_rng(_children(seed, 2)[0])
        n_burn, n = (round(s * self.sampling_rate_hz) for s in (self.burn_in_s, self.seconds))
        step_ms = 1e3 / self.sampling_rate_hz
        return ornstein_uhlenbeck(rng, n_burn + n, 2, self.input_sd_na, self.input_tau_ms, step_ms)

    def trials(self, n: int, data_seed: int = 0) -> list[CircuitRecording]:
        """``n`` trials; the first ones stay the same when more are asked for."""
        return [self.record(seed, f"trial-{i}") for i, seed in enumerate(trial_seeds(n, data_seed), start=1)]

    def variant(self, **changes: object) -> HalfCenterSimulator:
        """The same preparation with some settings changed, for counterfactuals."""
        return replace(self, **changes)  # type: ignore[arg-type]


def trial_seeds(n: int, data_seed: int) -> list[np.random.SeedSequence]:
    """Seeds of the trials of a data set."""
    return np.random.SeedSequence(data_seed).spawn(n)


def ornstein_uhlenbeck(
    rng: np.random.Generator, n_times: int, n_channels: int, sd: float, tau_ms: float, step_ms: float
) -> Array:
    """Stationary coloured noise of mean 0, ``(time, channel)``; the update is exact at any step."""
    keep = np.exp(-step_ms / tau_ms)
    white = sd * np.sqrt(1 - keep**2) * rng.standard_normal((n_times, n_channels))
    white[:1] /= np.sqrt(1 - keep**2)  # the first sample already has the stationary variance
    return lfilter([1.0], [1.0, -keep], white, axis=0)


def write_mat(path: Path, recording: CircuitRecording) -> Path:
    """Write a recording of two neurons as the authors' ``rtxi_data_Trial<k>.mat``.

    Vectors ``V1``, ``V2`` (mV), ``I1``, ``I2`` (nA); ``Temp`` has two rows, the true synaptic currents (nA).
    """
    if recording.n_nodes != 2:
        raise ConfigError(f"{recording.name}: the layout holds 2 neurons, the recording has {recording.n_nodes}")
    content = {f"V{n + 1}": recording.voltage[:, n] for n in range(2)}
    content |= {f"I{n + 1}": recording.current[:, n] for n in range(2)}
    if recording.synaptic is not None:
        content["Temp"] = recording.synaptic.T
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content, do_compression=True)
    return path


def _compartment(capacitance_nf: float, densities: dict[str, float]) -> Compartment:
    microsiemens = {name: AREA_MS_CM2_TO_US * value for name, value in densities.items()}
    leak = microsiemens.pop("leak")
    return Compartment(capacitance_nf, microsiemens, leak, LEAK_MV)


def _children(seed: np.random.SeedSequence | int, n: int) -> list[np.random.SeedSequence]:
    """Streams below a seed by key: asking twice gives the same ones, which ``spawn`` does not."""
    base = np.random.SeedSequence(seed) if isinstance(seed, int) else seed
    return [np.random.SeedSequence(base.entropy, spawn_key=(*base.spawn_key, part)) for part in range(n)]
