"""Region time series: ABIDE text, CIFTI parcel series, NPZ/NPY, MATLAB and CSV/TSV, one scan a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DataError
from .matlab import read_mat

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TimeSeries:
    """One scan.

    Attributes:
        values: BOLD, ``(volume, roi)``, float64, arbitrary unit; NaN where the file has none.
        names: One name a region; ``roi-001`` … where the file has none.
        tr_s: Repetition time, s, where the file says it.
        origin: File it comes from.
    """

    values: Array
    names: tuple[str, ...]
    tr_s: float | None = None
    origin: str = ""


def read_timeseries(path: str | Path) -> TimeSeries:
    """Read a scan; the format follows from the file's name.

    ``.1D`` and ``.txt``: ABIDE text, one row a volume, the last ``#`` line before the numbers names the regions.
    ``.ptseries.nii``: CIFTI-2. ``.npz``, ``.npy`` and ``.mat``: one two-dimensional array, volumes first (``.mat``: the
    shorter side is taken for the regions). ``.csv`` and ``.tsv``: one row a volume, with or without a line of names.

    Raises:
        DataError: The file is unreadable, of an unknown kind, or holds no ``(volume, roi)`` table of numbers.
    """
    path = Path(path)
    name = path.name.lower()
    reader = next((READERS[end] for end in READERS if name.endswith(end)), None)
    if reader is None:
        raise DataError(f"{path}: unknown format; time series are read from {', '.join(READERS)}")
    try:
        values, names, tr_s = reader(path)
        values = np.asarray(values, dtype=np.float64)
    except DataError:
        raise
    except Exception as error:  # each library has exceptions of its own for a damaged file
        raise DataError(
            f"{path}: not readable as {path.suffix} time series ({type(error).__name__}: {error})"
        ) from error
    if values.ndim != 2 or min(values.shape) < 2:
        raise DataError(f"{path}: holds an array of shape {values.shape}; expected (volume, roi), at least 2 of each")
    if names and len(names) != values.shape[1]:
        raise DataError(f"{path}: names {len(names)} regions but holds {values.shape[1]} columns")
    return TimeSeries(values, tuple(names) or _numbered(values.shape[1]), tr_s, str(path))


Read = tuple[Any, list[str], float | None]


def _text(path: Path) -> Read:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = [line.lstrip("# \t") for line in lines if line.startswith("#")]
    rows = [line.replace(",", " ").split() for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        raise DataError(f"{path}: holds no numbers")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise DataError(f"{path}: row {number} has {len(row)} columns, the first has {width}; the file is damaged")
    names = header[-1].split() if header else []
    names = [name.lstrip("#") for name in names]
    return np.array(rows, dtype=np.float64), names if len(names) == width else [], None


def _cifti(path: Path) -> Read:
    import nibabel
    from nibabel.cifti2 import Cifti2Image, ParcelsAxis, SeriesAxis

    image = nibabel.load(path)
    if not isinstance(image, Cifti2Image):
        raise DataError(f"{path}: is no CIFTI-2 file; convert CIFTI-1 with `wb_command -file-convert`")
    axes = [image.header.get_axis(dimension) for dimension in range(image.ndim)]
    kinds = [type(axis) for axis in axes]
    if kinds != [SeriesAxis, ParcelsAxis]:
        found = " x ".join(kind.__name__ for kind in kinds)
        raise DataError(
            f"{path}: is {found}, not a parcel series; parcellate it with `wb_command -cifti-parcellate … COLUMN`"
        )
    step = float(axes[0].step) if str(axes[0].unit).upper() == "SECOND" else None
    return image.get_fdata(), [str(name) for name in axes[1].name], step


def _npz(path: Path) -> Read:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, [], None
    with loaded as arrays:
        names = [str(name) for name in arrays["names"]] if "names" in arrays.files else []
        tr_s = float(arrays["tr_s"]) if "tr_s" in arrays.files else None
        return _only({k: arrays[k] for k in arrays.files if arrays[k].ndim == 2}, path), names, tr_s


def _matlab(path: Path) -> Read:
    values = _only({k: v for k, v in read_mat(path).items() if getattr(v, "ndim", 0) == 2 and min(v.shape) > 1}, path)
    return values if values.shape[0] >= values.shape[1] else values.T, [], None


def _table(path: Path) -> Read:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    frame = pd.read_csv(path, sep=separator, header=None, comment="#", dtype=str, na_values=["n/a"])
    first = pd.to_numeric(frame.iloc[0], errors="coerce")
    names: list[str] = []
    if first.isna().sum() > frame.iloc[0].isna().sum():
        names, frame = frame.iloc[0].astype(str).tolist(), frame.iloc[1:]
    return frame.apply(pd.to_numeric).to_numpy(), names, None


def _only(arrays: dict[str, Any], path: Path) -> Any:
    for key in ("timeseries", "tc"):
        if key in arrays:
            return arrays[key]
    if len(arrays) != 1:
        found = ", ".join(arrays) or "none"
        raise DataError(f"{path}: expected one two-dimensional array, or one called timeseries; found {found}")
    return next(iter(arrays.values()))


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(f"roi-{k:03d}" for k in range(1, n + 1))


READERS: dict[str, Callable[[Path], Read]] = {
    ".1d": _text,
    ".txt": _text,
    ".ptseries.nii": _cifti,
    ".npz": _npz,
    ".npy": _npz,
    ".mat": _matlab,
    ".csv": _table,
    ".tsv": _table,
}
