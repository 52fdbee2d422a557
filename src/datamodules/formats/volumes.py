"""Preprocessed fMRI volumes to region time series, through an atlas and nilearn's maskers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, MissingDataError
from .timeseries import TimeSeries

VOLUMES = (".nii", ".nii.gz")


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of volumes, not of a CIFTI parcel series."""
    name = path.name.lower()
    return name.endswith(VOLUMES) and not name.endswith((".ptseries.nii", ".dtseries.nii", ".dscalar.nii"))


def read_volumes(path: Path, atlas: Path) -> TimeSeries:
    """Mean signal of each region of an atlas (a 3-D label image), or its weighted mean (a 4-D map image).

    Nothing is filtered or regressed out: volumes should be preprocessed. The atlas is brought to the volumes' grid.

    Args:
        path: 4-D NIfTI.
        atlas: NIfTI in the same space; 3-D with a number a region, or 4-D with a map a region.

    Raises:
        DataError: Unreadable, not 4-D, or regions of the atlas lie outside the volumes.
    """
    import nibabel
    from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

    _require(atlas)
    try:
        image, regions = nibabel.nifti1.load(path), nibabel.nifti1.load(atlas)
        if image.ndim != 4:
            raise DataError(f"{path}: has {image.ndim} dimensions; time series need 4-D volumes")
        if regions.ndim == 3:
            masker = NiftiLabelsMasker(atlas, resampling_target="data", standardize=None, keep_masked_labels=False)
        else:
            masker = NiftiMapsMasker(atlas, resampling_target="data", standardize=None, keep_masked_maps=False)
        names = _names(regions)
        values = np.asarray(masker.fit_transform(image), dtype=np.float64)
    except DataError:
        raise
    except Exception as error:  # nibabel and nilearn have exceptions of their own for damaged files
        raise DataError(f"{path}: no time series through {atlas.name} ({type(error).__name__}: {error})") from error
    if values.shape[1] != len(names):
        raise DataError(
            f"{path}: only {values.shape[1]} of {len(names)} regions of {atlas.name} lie inside the volumes; "
            "both must be in the same space"
        )
    step = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    tr_s = step / 1000 if unit == "msec" else step
    return TimeSeries(values, names, tr_s if tr_s > 0 else None, str(path))


def region_positions(atlas: Path) -> dict[str, tuple[float, ...]]:
    """Centre of the largest connected part of every region of an atlas, by the names of :func:`read_volumes`, mm."""
    import nibabel
    from nilearn.plotting import find_parcellation_cut_coords, find_probabilistic_atlas_cut_coords

    _require(atlas)
    try:
        regions = nibabel.nifti1.load(atlas)
        find = find_parcellation_cut_coords if regions.ndim == 3 else find_probabilistic_atlas_cut_coords
        return {name: tuple(map(float, centre)) for name, centre in zip(_names(regions), find(regions), strict=True)}
    except Exception as error:
        raise DataError(f"{atlas}: no positions of regions ({type(error).__name__}: {error})") from error


def _require(atlas: Path) -> None:
    if not atlas.exists():
        raise MissingDataError(atlas, "an atlas of your own", "NIfTI", "3-D label image or 4-D map image")


def _names(regions: Any) -> tuple[str, ...]:
    """One name a region of a label image or of a map image."""
    if regions.ndim == 3:
        labels = np.unique(np.asarray(regions.dataobj)).astype(int)
        return tuple(f"label-{label}" for label in labels if label != 0)
    return tuple(f"map-{k}" for k in range(1, regions.shape[-1] + 1))
