"""Intracellular recordings as NWB: series in volts and amperes, what no instrument sees in a processing module."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from ...contracts import CircuitRecording, ClampRecording

if TYPE_CHECKING:
    from pynwb import NWBFile

#: A file without a clock time: NWB asks for one, this one says that there is none.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def write_nwb(
    path: Path,
    recording: CircuitRecording,
    description: str,
    start: datetime | None = None,
    origin: str = "truth",
    synaptic_step: int = 1,
    start_s: float = 0.0,
) -> Path:
    """Write one trial: a current-clamp series and its stimulus for each neuron, synaptic currents where known.

    Args:
        path: File to write.
        recording: Voltages in mV, currents in nA; the file holds V and A.
        description: Of the session.
        start: Clock time of the first sample; 1970-01-01 where there is none.
        origin: What the synaptic currents are: ``truth`` of a simulator, or ``prediction``.
        synaptic_step: Samples of voltage to one of synaptic current.
        start_s: Time of the first sample in the session.
    """
    from pynwb import TimeSeries

    file = _file(recording.name, description, start)
    rate = float(recording.sampling_rate_hz)
    for n in range(recording.n_nodes):
        traces = recording.voltage[:, n], recording.current[:, n]
        _add_sweep(file, f"neuron_{n + 1}", n + 1, 0, *traces, rate, "", start_s)
    if recording.synaptic is not None:
        module = file.create_processing_module(origin, "what no instrument sees")
        series = {"data": 1e-9 * recording.synaptic, "unit": "amperes", "rate": rate / synaptic_step}
        module.add(TimeSeries(name="synaptic_current", starting_time=start_s, **series))
    return _write(path, file)


def write_clamp_nwb(
    path: Path,
    sweeps: Sequence[ClampRecording],
    description: str,
    current_names: Sequence[str] = (),
    origin: str = "truth",
    start: datetime | None = None,
) -> Path:
    """Write the sweeps of one neuron, with its ionic currents where they are known.

    Args:
        path: File to write.
        sweeps: Voltages in mV, injected currents in nA; the file holds V and A.
        description: Of the session.
        current_names: Of the ionic currents, which stay densities, in A/m².
        origin: What the ionic currents are: ``truth`` of a simulator, or ``prediction``.
        start: Clock time of the first sample; 1970-01-01 where there is none.
    """
    from pynwb import TimeSeries

    file = _file(sweeps[0].name, description, start)
    for number, sweep in enumerate(sweeps):
        rate = float(sweep.sampling_rate_hz)
        _add_sweep(file, "neuron", f"{number:03d}", number, sweep.voltage, sweep.current, rate, sweep.condition)
    if all(sweep.currents is not None for sweep in sweeps) and current_names:
        module = file.create_processing_module(origin, "what no instrument sees; columns: " + ", ".join(current_names))
        for number, sweep in enumerate(sweeps):
            assert sweep.currents is not None
            series = TimeSeries(
                name=f"ionic_current_{number:03d}",
                data=1e-2 * sweep.currents,  # µA/cm²
                unit="A/m^2",
                description=f"outward positive; columns: {', '.join(current_names)}",
                rate=float(sweep.sampling_rate_hz),
                starting_time=0.0,
            )
            module.add(series)
    return _write(path, file)


def _file(name: str, description: str, start: datetime | None) -> NWBFile:
    from pynwb import NWBFile

    identifier = str(uuid5(NAMESPACE_URL, f"{name} {description}"))
    return NWBFile(description, identifier, start or _NO_TIME, source_script="neurotwin", source_script_file_name="-")


def _add_sweep(
    file: NWBFile,
    electrode: str,
    label: Any,
    number: int,
    voltage_mv: Any,
    current_na: Any,
    rate: float,
    text: str,
    start_s: float = 0.0,
) -> None:
    """A response and its stimulus, and the row of the recordings table that says that they belong together."""
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    device = file.devices.get("amplifier") or file.create_device("amplifier", "simulated, or not stated")
    where = file.icephys_electrodes.get(electrode)
    where = where or file.create_icephys_electrode(name=electrode, description="intracellular", device=device)
    common: dict[str, Any] = {"electrode": where, "gain": 1.0, "rate": rate, "starting_time": start_s}
    common |= {"sweep_number": np.uint32(number), "stimulus_description": text or "N/A"}
    response = CurrentClampSeries(name=f"voltage_{label}", data=1e-3 * voltage_mv, unit="volts", **common)
    stimulus = CurrentClampStimulusSeries(name=f"current_{label}", data=1e-9 * current_na, unit="amperes", **common)
    file.add_acquisition(response)
    file.add_stimulus(stimulus)
    file.add_intracellular_recording(electrode=where, stimulus=stimulus, response=response)


def _write(path: Path, file: NWBFile) -> Path:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "w") as target:
        target.write(file)
    return path
