"""Preprocessed fMRI volumes to region time series, through an atlas and nilearn's maskers."""

from __future__ import annotations

from pathlib import Path

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

    if not atlas.exists():
        raise MissingDataError(atlas, "an atlas of your own", "NIfTI", "3-D label image or 4-D map image")
    try:
        image, regions = nibabel.nifti1.load(path), nibabel.nifti1.load(atlas)
        if image.ndim != 4:
            raise DataError(f"{path}: has {image.ndim} dimensions; time series need 4-D volumes")
        if regions.ndim == 3:
            labels = np.unique(np.asarray(regions.dataobj)).astype(int)
            names = tuple(f"label-{label}" for label in labels if label != 0)
            masker = NiftiLabelsMasker(atlas, resampling_target="data", standardize=None, keep_masked_labels=False)
        else:
            names = tuple(f"map-{k}" for k in range(1, regions.shape[-1] + 1))
            masker = NiftiMapsMasker(atlas, resampling_target="data", standardize=None, keep_masked_maps=False)
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
