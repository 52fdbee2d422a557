"""An estimated neuron along recordings of a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..biophysics.simulate import follow
from ..contracts import ClampRecording
from ..errors import DataError

if TYPE_CHECKING:
    from .assimilation import Assimilation


def predicted_sweeps(
    task: Assimilation, sweeps: Sequence[ClampRecording], source: Path, lead_ms: float
) -> list[ClampRecording]:
    """What the best estimate makes of each sweep's injected current: its voltage in a free run, and its ionic currents.

    For ``lead_ms`` the recording drives the neuron to its state; from there on it is left alone. A sweep whose
    condition was fitted has the conductances of that condition, others have those of the first.

    Args:
        task: With an estimate.
        sweeps: At the sampling rate of the recordings that were fitted.
        source: For messages.
        lead_ms: Length of the driven stretch.

    Raises:
        DataError: If a sweep has another sampling rate, or is no longer than the lead.
    """
    best, estimated = int(task.best), task.estimated
    conditions = list(getattr(estimated, "conditions", ("control",)))
    names = tuple(current.name for current in task.neuron.currents)
    found = []
    for sweep in sweeps:
        rate_hz, lead = 1e3 / estimated.dt_ms, round(lead_ms / estimated.dt_ms)
        if abs(sweep.sampling_rate_hz / rate_hz - 1) > 1e-3:
            raise DataError(
                f"{source}: is sampled at {sweep.sampling_rate_hz:g} Hz, the neuron was fitted at {rate_hz:g} Hz"
            )
        if len(sweep.voltage) <= lead + 1:
            raise DataError(
                f"{source}: {sweep.name} lasts {sweep.duration_ms:g} ms, no longer than datamodule.lead_ms={lead_ms:g}"
            )
        condition = conditions.index(sweep.condition) if sweep.condition in conditions else 0
        theta = estimated.theta(best, condition)
        gain = np.where(np.arange(len(sweep.voltage)) <= lead, task.lead_gain, 0.0)
        along = (sweep.current, estimated.dt_ms, float(sweep.voltage[0]), sweep.voltage, gain)
        run = follow(task.neuron, theta, *along, states=True, substeps=estimated.substeps)
        currents = task.neuron.currents_of(torch.from_numpy(theta), torch.from_numpy(run.states)).numpy()
        found.append(replace(sweep, voltage=run.voltage, currents=currents, current_names=names, truth={}))
    return found
