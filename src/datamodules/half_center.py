"""Simulated half-center oscillator: needs no file, and the true synaptic currents are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..contracts import CircuitRecording, CircuitTruth
from ..simulators.half_center import CLAMP, HalfCenterSimulator, trial_seeds
from ..simulators.half_center_truth import HalfCenterTruth
from .cpg import CPGDataModule


class HalfCenterDataModule(CPGDataModule):
    """Trials of :class:`~..simulators.half_center.HalfCenterSimulator`, prepared as recordings are.

    Args:
        n_trials: Trials, of one preparation under different input; with ``split: trial`` one of them tests.
        seconds: Length of each, the dropped transient included.
        input_sd_na: Standard deviation of the injected currents, nA.
        noise_sd_mv: Measurement noise, mV.
        half_syn_mv: Threshold of the synapses, mV: near -50 cells escape, near -40 they are released.
        synapse_scale: Multiplies the synaptic conductances.
        data_seed: Of input and noise.
        **arguments: See :class:`CPGDataModule`.
    """

    def __init__(
        self,
        n_trials: int = 3,
        seconds: float = 100.0,
        input_sd_na: float = 0.05,
        noise_sd_mv: float = 0.1,
        half_syn_mv: float = -47.0,
        synapse_scale: float = 1.0,
        data_seed: int = 0,
        **arguments: Any,
    ):
        super().__init__(**arguments)
        self.n_trials, self.data_seed = n_trials, data_seed
        self.simulator = HalfCenterSimulator(
            seconds=seconds,
            input_sd_na=input_sd_na,
            noise_sd_mv=noise_sd_mv,
            clamp=replace(CLAMP, half_syn_mv=half_syn_mv),
            synapse_scale=synapse_scale,
            sampling_rate_hz=self.sampling_rate_hz,
        )

    def load(self) -> list[CircuitRecording]:
        """Simulate all trials; four seconds for each hundred."""
        return self.simulator.trials(self.n_trials, self.data_seed)

    @property
    def truth(self) -> CircuitTruth:
        """What is known of the circuit, and what it would do if something were changed."""
        samples = round(self.simulator.seconds * self.sampling_rate_hz)
        cut = (samples - len(self.recordings[0].voltage)) // 2  # by the low-pass, at both ends
        return HalfCenterTruth(self.simulator, tuple(trial_seeds(self.n_trials, self.data_seed)), cut)
