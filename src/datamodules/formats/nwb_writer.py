"""Circuit recordings written as NWB: intracellular series in volts and amperes, truth in a processing module."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from ...contracts import CircuitRecording

#: A file without a clock time: NWB asks for one, this one says that there is none.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def write_nwb(path: Path, recording: CircuitRecording, description: str, start: datetime | None = None) -> Path:
    """Write one trial: a current-clamp series and its stimulus for each neuron, true synaptic currents where known.

    Args:
        path: File to write.
        recording: Voltages in mV, currents in nA; the file holds V and A.
        description: Of the session.
        start: Clock time of the first sample; 1970-01-01 where there is none.
    """
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    identifier = str(uuid5(NAMESPACE_URL, f"{recording.name} {description}"))
    file = NWBFile(description, identifier, start or _NO_TIME, source_script="neurotwin", source_script_file_name="-")
    device = file.create_device(name="amplifier", description="simulated, or not stated")
    rate = float(recording.sampling_rate_hz)
    for n in range(recording.n_nodes):
        electrode = file.create_icephys_electrode(name=f"neuron_{n + 1}", description="intracellular", device=device)
        common = {"electrode": electrode, "gain": 1.0, "rate": rate, "starting_time": 0.0, "sweep_number": np.uint32(0)}
        volts, amperes = 1e-3 * recording.voltage[:, n], 1e-9 * recording.current[:, n]
        response = CurrentClampSeries(name=f"voltage_{n + 1}", data=volts, unit="volts", **common)
        stimulus = CurrentClampStimulusSeries(name=f"current_{n + 1}", data=amperes, unit="amperes", **common)
        file.add_acquisition(response)
        file.add_stimulus(stimulus)
    if recording.synaptic is not None:
        module = file.create_processing_module("truth", "what the simulator knows and no instrument sees")
        amperes = 1e-9 * recording.synaptic
        module.add(TimeSeries(name="synaptic_current", data=amperes, unit="amperes", rate=rate, starting_time=0.0))
    with NWBHDF5IO(path, "w") as target:
        target.write(file)
    return path
