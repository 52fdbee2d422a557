"""Simulated recordings as files of the formats that the field uses, readable by the datamodules of real ones."""

from __future__ import annotations

import re
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import savemat

from .contracts import CircuitRecording, ClampRecording, Exam, Recording
from .datamodules.formats.edf_writer import write_edf
from .datamodules.formats.nwb_writer import write_clamp_nwb, write_nwb
from .datamodules.formats.szcore_tsv import write_szcore_tsv
from .datamodules.formats.timeseries import TimeSeries
from .datamodules.formats.timeseries_writer import WRITERS, write_timeseries
from .datamodules.formats.volume_files import write_volume
from .errors import ConfigError, did_you_mean
from .simulation import Simulated
from .simulators.half_center import write_mat
from .simulators.patch_clamp import ClampSession
from .simulators.whole_brain import Scans


def write(simulated: Simulated, path: Path | str) -> list[Path]:
    """Write what a simulator made; the format follows from the file's name, companions lie beside it.

    Args:
        simulated: Of :func:`~.simulation.make`.
        path: File to write; its folder is made if it is not there.

    Returns:
        All written files.

    Raises:
        ConfigError: If recordings of this kind are not written in that format; the message names those that are.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write(simulated.recording, path, simulated)


@singledispatch
def _write(recording: Any, path: Path, simulated: Simulated) -> list[Path]:
    raise ConfigError(f"{simulated.name}: there is no file format for a {type(recording).__name__} yet")


@_write.register
def _(recording: Recording, path: Path, simulated: Simulated) -> list[Path]:
    """EDF+ with all events as annotations, and the seizures as a SzCORE table."""
    _suffix(path, (".edf",), simulated.name)
    seizures = [event for event in recording.events if event.kind.startswith("sz")]
    table = write_szcore_tsv(path.with_name(f"{path.stem}_events.tsv"), seizures, recording.duration_s)
    return [write_edf(path, recording), table]


@_write.register
def _(recording: CircuitRecording, path: Path, simulated: Simulated) -> list[Path]:
    """The authors' MATLAB layout, the same names in NPZ or CSV, or NWB in volts and amperes."""
    kind = _suffix(path, (".mat", ".npz", ".csv", ".nwb"), simulated.name)
    if kind == ".mat":
        return [write_mat(path, recording)]
    if kind == ".nwb":
        return [write_nwb(path, recording, f"simulated: {simulated.name}, {simulated.data.attrs['settings']}")]
    columns: dict[str, Any] = {f"V{n + 1}": recording.voltage[:, n] for n in range(recording.n_nodes)}
    columns |= {f"I{n + 1}": recording.current[:, n] for n in range(recording.n_nodes)}
    if recording.synaptic is not None:
        columns |= {f"S{n + 1}": recording.synaptic[:, n] for n in range(recording.n_nodes)}
    if kind == ".npz":
        np.savez_compressed(path, **columns)
    else:
        pd.DataFrame(columns).to_csv(path, index=False, float_format="%.6g")
    return [path]


@_write.register
def _(recording: ClampSession, path: Path, simulated: Simulated) -> list[Path]:
    """One file a condition (``<name>_<condition>``, as `datamodule=patch_clamp` takes them); CSV: one a sweep."""
    kind = _suffix(path, (".nwb", ".npz", ".mat", ".csv"), simulated.name)
    files: dict[str, list[ClampRecording]] = {}
    conditions = {sweep.condition for sweep in recording.sweeps}
    for number, sweep in enumerate(recording.sweeps):
        label = "_" + "-".join(re.findall(r"[\w.]+", sweep.condition)) if len(conditions) > 1 else ""
        label += f"_{number}" if kind == ".csv" and len(recording.sweeps) > 1 else ""
        files.setdefault(label, []).append(sweep)
    names = [current.name for current in simulated.simulator.neuron.currents]
    text = f"simulated: {simulated.name}, {simulated.data.attrs['settings']}"
    written = []
    for label, sweeps in files.items():
        target = path.with_name(f"{path.stem}{label}{path.suffix}")
        if kind == ".nwb":
            written.append(write_clamp_nwb(target, sweeps, text, names))
            continue
        voltage, current = (np.squeeze(np.stack([getattr(s, name) for s in sweeps])) for name in ("voltage", "current"))
        arrays: dict[str, Any] = {"t_ms": simulated.data.time.values * 1e3, "V_mV": voltage, "I_nA": current}
        if kind == ".csv":
            pd.DataFrame(arrays).to_csv(target, index=False, float_format="%.8g")
        else:
            arrays |= {"true_currents": np.stack([np.asarray(sweep.currents) for sweep in sweeps])}
            arrays |= {"current_names": np.array(names), "parameters": sweeps[0].truth["theta"]}
            arrays |= {"parameter_names": simulated.data.parameter.values}
            np.savez_compressed(target, **arrays) if kind == ".npz" else savemat(target, arrays)
        written.append(target)
    return written


@_write.register
def _(recording: Scans, path: Path, simulated: Simulated) -> list[Path]:
    """``<name>_rest`` and ``<name>_story`` in the chosen format, and ``<name>_truth.npz``."""
    kind = _suffix(path, tuple(WRITERS), simulated.name)
    stem = path.name[: -len(kind)]
    brain, written = simulated.simulator.connectome, []
    for state in ("rest", "story"):
        scan = TimeSeries(getattr(recording, state), brain.names, simulated.simulator.tr_s)
        written.append(write_timeseries(path.with_name(f"{stem}_{state}{kind}"), scan, brain.positions_mm))
    truth = path.with_name(f"{stem}_truth.npz")
    names = ("rest_connectivity", "story_connectivity", "effect", "trait")
    np.savez_compressed(truth, names=np.array(brain.names), **{name: getattr(recording, name) for name in names})
    return [*written, truth]


@_write.register
def _(recording: Exam, path: Path, simulated: Simulated) -> list[Path]:
    """``<name>_<sequence>`` and, where there is a label, ``<name>_<sequence>_mask``."""
    kind = _suffix(path, (".nii.gz", ".nii"), simulated.name)
    stem, written = path.name[: -len(kind)], []
    for name, volume in recording.images.items():
        target = path.with_name(f"{stem}_{name}{kind}")
        written.append(write_volume(target, np.asarray(volume.data, np.float32), volume.affine))
    for name, volume in recording.masks.items():
        target = path.with_name(f"{stem}_{name}_mask{kind}")
        written.append(write_volume(target, np.asarray(volume.data, np.uint8), volume.affine))
    return written


def _suffix(path: Path, known: tuple[str, ...], name: str) -> str:
    for suffix in sorted(known, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise ConfigError(f"{path}: {name} cannot be written as such a file; {did_you_mean(path.suffix, known)}")
