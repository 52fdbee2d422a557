"""Files of circuit recordings: the authors' MATLAB layout of Burghi et al. 2025, and the same names in NPZ and CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contracts import CircuitRecording
from ...errors import DataError
from .matlab import read_mat

SUFFIXES = (".mat", ".npz", ".csv")


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
    try:
        content = _read_csv(path, columns) if path.suffix == ".csv" else dict(_read_named(path))
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
    if not np.isfinite(voltage).all() or not np.isfinite(current).all():
        raise DataError(f"{path}: voltage or current holds values that are not finite; cut them out first")
    return CircuitRecording(path.stem, sampling_rate_hz, voltage, current, synaptic)


def _read_named(path: Path) -> Mapping[str, NDArray]:
    if path.suffix == ".mat":
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
