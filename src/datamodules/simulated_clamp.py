"""The simulated twin of :class:`~.patch_clamp.PatchClampDataModule`: needs no file and knows every current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..biophysics.declaration import load_neuron
from ..contracts import ClampRecording
from ..simulators.patch_clamp import PatchClampSimulator
from .patch_clamp import PatchClampDataModule


class SimulatedClampDataModule(PatchClampDataModule):
    """Sweeps of a simulated neuron in one or several conditions.

    The simulator is :class:`~..simulators.patch_clamp.PatchClampSimulator`.

    Args:
        neuron: Name in ``configs/model`` of the true neuron, or a path to such a file.
        extra: Currents that the true neuron has besides, with their ``gates`` and ``values``, as in such a file.
        conditions: ``control``, ``BK -50%``, ``iberiotoxin 10 nM``, …
        repeats: Sweeps a condition: the same current, other noise.
        duration_ms: Length of a sweep.
        sampling_rate_hz: Of current and recording.
        noise_sd_mv: White measurement noise.
        half_sd_mv: Model error, see the simulator.
        kinetics_sd: The same.
        conductance_spread: The same.
        off_target: Whether drugs act on their off-targets.
        substeps: Integration steps a sample.
        protocol_seed: Of the injected current, where all cells share it; ``None``: each has its own.
        data_seed: Of cell, current and noise.
        **arguments: See :class:`~.patch_clamp.PatchClampDataModule`.
    """

    def __init__(
        self,
        neuron: str = "hippocampal",
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        conditions: Sequence[str] = ("control",),
        repeats: int = 1,
        duration_ms: float = 1000.0,
        sampling_rate_hz: float = 50_000.0,
        noise_sd_mv: float = 0.25,
        half_sd_mv: float = 0.0,
        kinetics_sd: float = 0.0,
        conductance_spread: float = 1.0,
        off_target: bool = False,
        substeps: int = 4,
        protocol_seed: int | None = None,
        data_seed: int = 0,
        **arguments: Any,
    ):
        super().__init__(conditions=tuple(conditions), sampling_rate_hz=sampling_rate_hz, **arguments)
        self.data_seed = data_seed
        self.simulator = PatchClampSimulator(
            load_neuron(neuron, extra or {}),
            duration_ms=duration_ms,
            sampling_rate_hz=sampling_rate_hz,
            noise_sd_mv=noise_sd_mv,
            rest_ms=min(self.begin_ms, 20.0),
            half_sd_mv=half_sd_mv,
            kinetics_sd=kinetics_sd,
            conductance_spread=conductance_spread,
            off_target=off_target,
            substeps=substeps,
            conditions=tuple(conditions),
            repeats=repeats,
            protocol_seed=protocol_seed,
        )

    def load(self) -> list[ClampRecording]:
        """Simulate all sweeps of one cell."""
        return list(self.simulator.record(self.data_seed).sweeps)
