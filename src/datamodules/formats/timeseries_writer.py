"""Region time series written in the formats that :func:`~.timeseries.read_timeseries` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DataError
from .timeseries import TimeSeries

#: Millimetres to voxels of the MNI152 grid of 2 mm, in which parcels without a surface get one voxel each.
_MNI_2MM = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
_MNI_SHAPE = (91, 109, 91)


def write_timeseries(path: Path, scan: TimeSeries, positions_mm: NDArray[np.floating] | None = None) -> Path:
    """Write a scan; the format follows from the file's name.

    Args:
        path: ``.ptseries.nii``, ``.npz``, ``.tsv`` or ``.csv``.
        scan: Names and repetition time go into the file where the format has a place for them.
        positions_mm: Centre of each region in MNI space, ``(roi, 3)``; a CIFTI file needs it.

    Raises:
        DataError: If a CIFTI file lacks positions or repetition time.
    """
    kind = next(end for end in WRITERS if path.name.lower().endswith(end))
    WRITERS[kind](path, scan, positions_mm)
    return path


def _npz(path: Path, scan: TimeSeries, positions_mm: NDArray[np.floating] | None) -> None:
    timing: dict[str, Any] = {} if scan.tr_s is None else {"tr_s": np.float64(scan.tr_s)}
    np.savez_compressed(path, timeseries=scan.values, names=np.array(scan.names), **timing)


def _table(separator: str) -> Callable[[Path, TimeSeries, NDArray[np.floating] | None], None]:
    def write(path: Path, scan: TimeSeries, positions_mm: NDArray[np.floating] | None) -> None:
        frame = pd.DataFrame(scan.values, columns=list(scan.names))
        frame.to_csv(path, sep=separator, index=False, float_format="%.7g", na_rep="n/a")

    return write


def _cifti(path: Path, scan: TimeSeries, positions_mm: NDArray[np.floating] | None) -> None:
    import nibabel
    from nibabel.cifti2 import Cifti2Image, ParcelsAxis, SeriesAxis

    if positions_mm is None or scan.tr_s is None:
        raise DataError(f"{path}: a parcel series needs the regions' positions and the repetition time")
    inverse = np.linalg.inv(_MNI_2MM)
    voxels = np.rint(np.asarray(positions_mm) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    parcels = ParcelsAxis(
        list(scan.names),
        [np.atleast_2d(voxel) for voxel in np.clip(voxels, 0, np.array(_MNI_SHAPE) - 1)],
        [{} for _ in scan.names],
        affine=_MNI_2MM,
        volume_shape=_MNI_SHAPE,
    )
    axes = (SeriesAxis(0.0, scan.tr_s, len(scan.values)), parcels)
    nibabel.save(Cifti2Image(scan.values.astype(np.float32), axes), path)


WRITERS: dict[str, Callable[[Path, TimeSeries, NDArray[np.floating] | None], None]] = {
    ".ptseries.nii": _cifti,
    ".npz": _npz,
    ".tsv": _table("\t"),
    ".csv": _table(","),
}
