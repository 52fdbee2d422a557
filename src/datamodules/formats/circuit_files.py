"""Files of circuit recordings: the MATLAB layout of Burghi et al. 2025, the same names in NPZ and CSV, ABF and NWB."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contracts import CircuitRecording
from ...errors import DataError
from .clamp_files import CURRENT_UNITS, VOLTAGE_UNITS, converted, electrode_sweeps
from .matlab import read_mat

#: One trial a file, and one trial a sweep.
NAMED, SWEPT = (".mat", ".npz", ".csv"), (".abf", ".nwb")
SUFFIXES = NAMED + SWEPT


def read_circuits(
    path: Path, sampling_rate_hz: float, columns: Sequence[str] = (), scale: float = 1.0
) -> list[CircuitRecording]:
    """The trials of a file: the one of :func:`read_circuit`, or the sweeps of an ABF or NWB file.

    A sweep has a neuron for every electrode that recorded a voltage; where no current is known it is zero. Units are
    the file's, and a sampling rate that is not ``sampling_rate_hz`` is an error.

    Args:
        path: The file.
        sampling_rate_hz: Samples per second.
        columns: As in :func:`read_circuit`.
        scale: Multiplies the voltages, after their unit.

    Raises:
        DataError: As :func:`read_circuit`.
    """
    if path.suffix.lower() not in SWEPT:
        return [read_circuit(path, sampling_rate_hz, columns, scale)]
    try:
        sweeps = electrode_sweeps(path)
    except DataError:
        raise
    except Exception as error:  # each library has its own errors for a damaged file
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    if not sweeps or not all(sweeps):
        raise DataError(f"{path}: no channel of it is a membrane potential (unit {', '.join(VOLTAGE_UNITS)})")
    truth = _nwb_truth(path) if path.suffix.lower() == ".nwb" and len(sweeps) == 1 else None
    trials = []
    for number, pairs in enumerate(sweeps):
        rates = {float(trace.rate_hz or 0) for pair in pairs for trace in pair if trace is not None}
        if any(abs(rate / sampling_rate_hz - 1) > 1e-3 for rate in rates):
            raise DataError(
                f"{path}: is sampled at {', '.join(f'{rate:g}' for rate in sorted(rates))} Hz, "
                f"datamodule.sampling_rate_hz says {sampling_rate_hz:g}"
            )
        volts = [scale * converted(path, "voltage", v, None, VOLTAGE_UNITS) for v, _ in pairs]
        amps = [
            np.zeros_like(v) if trace is None else converted(path, "current", trace, None, CURRENT_UNITS)
            for v, (_, trace) in zip(volts, pairs, strict=True)
        ]
        if len({len(part) for part in (*volts, *amps)}) > 1:
            raise DataError(f"{path}: voltages and currents of sweep {number} differ in length")
        name = path.stem if len(sweeps) == 1 else f"{path.stem}-{number:02d}"
        voltage, current = np.stack(volts, axis=1), np.stack(amps, axis=1)
        synaptic = truth if truth is not None and truth.shape == voltage.shape else None
        trials.append(_finite(path, CircuitRecording(name, sampling_rate_hz, voltage, current, synaptic)))
    return trials


def _nwb_truth(path: Path) -> NDArray[np.float64] | None:
    """True synaptic currents in nA, as `neurotwin simulate` writes them."""
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r", load_namespaces=True) as io:
        series = [
            module.data_interfaces["synaptic_current"]
            for name, module in io.read().processing.items()
            if name == "truth" and "synaptic_current" in module.data_interfaces
        ]
        return 1e9 * np.asarray(series[0].data, float) if series else None


def _finite(path: Path, trial: CircuitRecording) -> CircuitRecording:
    if not np.isfinite(trial.voltage).all() or not np.isfinite(trial.current).all():
        raise DataError(f"{path}: voltage or current holds values that are not finite; cut them out first")
    return trial


def read_circuit(
    path: Path, sampling_rate_hz: float, columns: Sequence[str] = (), scale: float = 1.0
) -> CircuitRecording:
    """Read one trial.

    ``.mat`` and ``.npz`` hold vectors ``V1``, ``V2``, … (mV), ``I1``, ``I2``, … (nA; none: zeros) and, where known,
    ``Temp``: the true synaptic currents, one row (or column) a neuron. A one-dimensional ``Temp`` is the bath's
    temperature and is left out. A ``.csv`` file has those names in its header, or gets them from ``columns``.

    Args:
        path: The file.
        sampling_rate_hz: Samples per second; the layout does not hold it.
        columns: Names of a CSV file's columns; other names than ``V<k>``, ``I<k>`` and ``S<k>`` (true synaptic current)
            are ignored.
        scale: Multiplies the voltages, to reach mV.

    Raises:
        DataError: If the file is unreadable, or holds no voltage, or vectors of different lengths.
    """
    if path.suffix.lower() not in NAMED:
        raise DataError(f"{path}: unknown format; a circuit is read from {', '.join(SUFFIXES)}")
    try:
        content = _read_csv(path, columns) if path.suffix.lower() == ".csv" else dict(_read_named(path))
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib, scipy: each has its own errors for a damaged file
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    voltage = scale * _stack(content, "V", path)
    current = _stack(content, "I", path) if "I1" in content else np.zeros_like(voltage)
    synaptic = _stack(content, "S", path) if "S1" in content else _synaptic(content.get("Temp"), voltage.shape[1])
    for name, part in (("current", current), ("synaptic current", synaptic)):
        if part is not None and part.shape != voltage.shape:
            raise DataError(
                f"{path}: {name} of {part.shape[1]} neurons and {len(part)} samples, voltage of {voltage.shape[1]} and "
                f"{len(voltage)}: they must match"
            )
    return _finite(path, CircuitRecording(path.stem, sampling_rate_hz, voltage, current, synaptic))


def _read_named(path: Path) -> Mapping[str, NDArray]:
    if path.suffix.lower() == ".mat":
        return read_mat(path)
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_csv(path: Path, columns: Sequence[str]) -> dict[str, NDArray]:
    with path.open(encoding="utf-8") as lines:
        first = lines.readline()
    delimiter = next((mark for mark in (",", ";", "\t") if mark in first), None)
    header = first.strip().split(delimiter)
    named = any(re.search(r"[A-Za-z]", cell.replace("e", "").replace("E", "")) for cell in header)
    table = np.loadtxt(path, delimiter=delimiter, skiprows=int(named), ndmin=2)
    names = list(columns) or [cell.strip() for cell in header]
    if len(names) != table.shape[1]:
        raise ValueError(f"{table.shape[1]} columns, {len(names)} names")
    return dict(zip(names, table.T, strict=True))


def _stack(content: Mapping[str, Any], letter: str, path: Path) -> NDArray[np.float64]:
    """``V1``, ``V2``, … as columns."""
    found = sorted((int(name[1:]), np.ravel(content[name])) for name in content if re.fullmatch(rf"{letter}\d+", name))
    if not found or [k for k, _ in found] != list(range(1, len(found) + 1)):
        held = ", ".join(sorted(name for name in content if not name.startswith("__")))
        raise DataError(f"{path}: no {letter}1, {letter}2, … in it; it holds {held or 'nothing'}")
    if len({len(vector) for _, vector in found}) > 1:
        raise DataError(f"{path}: {letter}1 to {letter}{len(found)} differ in length")
    try:
        return np.stack([vector for _, vector in found], axis=1).astype(float)
    except (TypeError, ValueError):
        raise DataError(f"{path}: {letter}1 to {letter}{len(found)} hold something else than numbers") from None


def _synaptic(temp: Any, n_nodes: int) -> NDArray[np.float64] | None:
    if temp is None or np.ndim(temp) != 2 or n_nodes not in np.shape(temp) or 1 in np.shape(temp):
        return None
    array = np.asarray(temp, float)
    return array.T if array.shape[0] == n_nodes else array
